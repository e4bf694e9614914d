//! openraft's view of the other members, over [`Peers`].
//!
//! Each answer's clock is noted on the way.

use std::fmt;
use std::future::Future;

use openraft::error::{
    Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetwork, RaftNetworkFactory, Snapshot};

use super::clocks::Clocks;
use super::codec::DecodeError;
use super::hold::Hold;
use super::limits;
use super::machine::Machine;
use super::message::{self, Answer, Head};
use super::peers::{PeerError, Peers};
use super::snapshot::SnapshotData;
use super::standing::Standing;
use super::types::{Member, MemberId, Types, Vote};

/// Makes a line to each member.
#[derive(Debug)]
pub(super) struct Lines<P> {
    peers: P,
    clocks: Clocks,
    hold: Hold,
    standing: Standing,
}

impl<P> Lines<P> {
    pub(super) fn new(peers: P, clocks: Clocks, hold: Hold, standing: Standing) -> Lines<P> {
        Lines { peers, clocks, hold, standing }
    }
}

impl<M: Machine, P: Peers> RaftNetworkFactory<Types<M>> for Lines<P> {
    type Network = Line<P>;

    async fn new_client(&mut self, target: MemberId, member: &Member) -> Line<P> {
        Line {
            target,
            member: member.clone(),
            peers: self.peers.clone(),
            clocks: self.clocks.clone(),
            hold: self.hold.clone(),
            standing: self.standing.clone(),
        }
    }
}

/// The line to one member.
pub(super) struct Line<P> {
    target: MemberId,
    member: Member,
    peers: P,
    clocks: Clocks,
    hold: Hold,
    standing: Standing,
}

impl<P: Peers> Line<P> {
    async fn call<A>(
        &self,
        message: Vec<u8>,
        decode: fn(&[u8]) -> Result<Answer<A>, DecodeError>,
    ) -> Result<A, LineError> {
        let cause = match self.peers.call(self.target, &self.member, message).await {
            Ok(bytes) => match decode(&bytes) {
                Ok(Answer { clock, answer }) => {
                    self.clocks.note(self.target, clock);
                    return Ok(answer);
                }
                Err(error) => Cause::Answer(error),
            },
            Err(error) => Cause::Peer(error),
        };
        Err(self.failed(cause))
    }

    fn failed(&self, cause: Cause) -> LineError {
        // Silence is every day's; a refusal has a reason that somebody must read.
        if !matches!(cause, Cause::Peer(PeerError::Unreachable(_))) {
            let address = &self.member.address;
            tracing::warn!(member = self.target, %address, %cause, "a manager does not take part");
        }
        LineError { target: self.target, cause }
    }
}

impl<M: Machine, P: Peers> RaftNetwork<Types<M>> for Line<P> {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types<M>>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<MemberId>, RPCError<MemberId, Member, RaftError<MemberId>>> {
        let bytes = message::encode_append(self.target, &request);
        let answered = self.call(bytes, message::decode_append_answer).await;
        answered.map_err(|error| Unreachable::new(&error).into())
    }

    async fn vote(
        &mut self,
        request: VoteRequest<MemberId>,
        _option: RPCOption,
    ) -> Result<VoteResponse<MemberId>, RPCError<MemberId, Member, RaftError<MemberId>>> {
        let bytes = message::encode_vote_request(self.target, &request);
        let answered = self.call(bytes, message::decode_vote_answer).await;
        if let Ok(answer) = &answered {
            self.standing.compared(request.last_log_id.as_ref(), answer.last_log_id.as_ref());
        }
        answered.map_err(|error| Unreachable::new(&error).into())
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<Types<M>>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<MemberId>, StreamingError<Types<M>, Fatal<MemberId>>> {
        let head = message::encode_head(self.target, &Head { vote, meta: snapshot.meta });
        let SnapshotData::Live(outgoing) = *snapshot.snapshot else {
            let error = self.failed(Cause::NotLive);
            return Err(NetworkError::new(&error).into());
        };
        let _held = self.hold.begin();
        let sent = self.peers.send_snapshot(self.target, &self.member, head, outgoing);
        let sent = tokio::time::timeout(limits::SNAPSHOT, sent);
        let answered = tokio::select! {
            biased;
            closed = cancel => return Err(closed.into()),
            sent = sent => sent,
        };
        let cause = match answered {
            Ok(Ok(bytes)) => match message::decode_snapshot_answer(&bytes) {
                Ok(Answer { clock, answer }) => {
                    self.clocks.note(self.target, clock);
                    return Ok(answer);
                }
                Err(error) => Cause::Answer(error),
            },
            Ok(Err(error)) => Cause::Peer(error),
            Err(_) => Cause::Slow { waited_s: limits::SNAPSHOT.as_secs() },
        };
        Err(Unreachable::new(&self.failed(cause)).into())
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(limits::BACKOFF))
    }
}

impl<P> fmt::Debug for Line<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line {{ to manager {} at {:?} }}", self.target, self.member.address)
    }
}

/// A member did not take part.
#[derive(Debug, thiserror::Error)]
#[error("manager {target}: {cause}")]
struct LineError {
    target: MemberId,
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Peer(PeerError),
    #[error("its answer cannot be read: {0}")]
    Answer(DecodeError),
    #[error("the snapshot took more than {waited_s} s")]
    Slow { waited_s: u64 },
    #[error("asked to send a snapshot that was received, expected our own")]
    NotLive,
}
