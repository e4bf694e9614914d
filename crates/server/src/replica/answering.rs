//! What this replica says to the other members: answers to appends and votes, snapshots received.
//!
//! Who may ask is the caller's affair; [`sender_of`] says in whose name a message speaks.

use openraft::Snapshot;
use openraft::error::{Fatal, RaftError};
use openraft::raft::AppendEntriesResponse;

use super::Replica;
use super::codec::DecodeError;
use super::error::{AnswerError, ProposeError};
use super::machine::Machine;
use super::message::{self, Head, Request};
use super::proposer;
use super::snapshot::{Incoming, SnapshotData, SnapshotError};
use super::types::MemberId;
use crate::storage::blocking;

/// The member in whose name a request, or the head of a snapshot, speaks.
pub fn sender_of(message: &[u8]) -> Result<MemberId, DecodeError> {
    message::parties(message).map(|(from, _)| from)
}

impl<M: Machine> Replica<M> {
    /// Answers another member's request. What the answer says is on disk by then.
    pub async fn answer(&self, message: &[u8]) -> Result<Vec<u8>, AnswerError> {
        let raft = &self.inner.raft;
        let (to, request) = message::decode_request::<M>(message)?;
        self.check_addressee(to)?;
        match request {
            Request::Append(request) => {
                let term = request.vote.leader_id.term;
                let answer = raft.append_entries(request).await.map_err(|error| self.mute(error))?;
                if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
                    self.inner.standing.heard(term);
                }
                Ok(message::encode_append_answer(self.inner.clocks.now(), &answer))
            }
            Request::Vote(request) => {
                let answer = raft.vote(request).await.map_err(|error| self.mute(error))?;
                Ok(message::encode_vote_answer(self.inner.clocks.now(), &answer))
            }
        }
    }

    /// Begins to receive a snapshot of another member.
    pub fn receive_snapshot(&self, head: &[u8]) -> Result<Receiving<M>, AnswerError> {
        let (to, head) = message::decode_head(head)?;
        self.check_addressee(to)?;
        let spool = blocking(|| self.inner.storage.spool()).map_err(SnapshotError::from)?;
        Ok(Receiving { replica: self.clone(), head, incoming: Incoming::new(spool) })
    }

    fn check_addressee(&self, to: MemberId) -> Result<(), AnswerError> {
        match to == self.inner.member {
            true => Ok(()),
            false => Err(AnswerError::Misdirected { found: to, expected: self.inner.member }),
        }
    }

    fn mute(&self, error: RaftError<MemberId>) -> AnswerError {
        match error {
            RaftError::Fatal(fatal) => self.silenced(&fatal),
            RaftError::APIError(never) => match never {},
        }
    }

    fn silenced(&self, fatal: &Fatal<MemberId>) -> AnswerError {
        match proposer::ended(fatal, &self.inner.failures) {
            ProposeError::Failed(failure) => AnswerError::Failed(failure),
            _ => AnswerError::Stopped,
        }
    }
}

/// A snapshot being received from another member. Dropping it forgets it.
#[derive(Debug)]
pub struct Receiving<M: Machine> {
    replica: Replica<M>,
    head: Head,
    incoming: Incoming,
}

impl<M: Machine> Receiving<M> {
    /// Takes the next chunk, in the order they were sent.
    pub fn accept(&mut self, chunk: &[u8]) -> Result<(), AnswerError> {
        Ok(blocking(|| self.incoming.accept(chunk))?)
    }

    /// Installs the snapshot, once the last chunk has come, and gives the answer.
    pub async fn finish(self) -> Result<Vec<u8>, AnswerError> {
        let Receiving { replica, head, incoming } = self;
        if !incoming.is_whole() {
            return Err(SnapshotError::NotWhole { rows: incoming.rows() }.into());
        }
        let snapshot = Snapshot { meta: head.meta, snapshot: Box::new(SnapshotData::Received(incoming)) };
        let installed = replica.inner.raft.install_full_snapshot(head.vote, snapshot).await;
        let answer = installed.map_err(|fatal| replica.silenced(&fatal))?;
        Ok(message::encode_snapshot_answer(replica.inner.clocks.now(), &answer))
    }
}
