//! The proposer: packs the commands that wait into one entry, and writes one entry at a time.
//!
//! This is the group commit: while one entry is being written, the next one fills. No timer.

use openraft::Raft;
use openraft::error::{ClientWriteError, Fatal, RaftError};
use tokio::sync::{mpsc, oneshot};

use super::failure::{Failure, Failures};
use super::limits::BATCH_BYTES;
use super::machine::Machine;
use super::types::{Batch, Member, MemberId, Types};
use super::{Clock, ProposeError};

/// A command that waits, and whom to tell.
pub(super) struct Proposal<R> {
    pub(super) command: Vec<u8>,
    pub(super) answer: oneshot::Sender<Result<R, ProposeError>>,
}

/// Proposes until every handle to the queue is gone.
pub(super) async fn run<M: Machine>(
    raft: Raft<Types<M>>,
    clock: Clock,
    failures: Failures,
    commands_max: usize,
    mut queue: mpsc::Receiver<Proposal<M::Reply>>,
) {
    while let Some(first) = queue.recv().await {
        let (commands, answers) = gather(first, commands_max, &mut queue);
        let at = clock();
        let written = raft.client_write(Batch { at, commands }).await;
        match written {
            Ok(response) => {
                let replies = response.data.0;
                debug_assert_eq!(replies.len(), answers.len());
                for (answer, reply) in answers.into_iter().zip(replies) {
                    // The caller may have gone; the command is committed all the same.
                    let _ = answer.send(Ok(reply));
                }
            }
            Err(error) => {
                let error = refuse(error, &failures).await;
                for answer in answers {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }
}

type Answer<R> = oneshot::Sender<Result<R, ProposeError>>;

/// Takes what waits already, up to the bounds of one entry.
fn gather<R>(
    first: Proposal<R>,
    commands_max: usize,
    queue: &mut mpsc::Receiver<Proposal<R>>,
) -> (Vec<Vec<u8>>, Vec<Answer<R>>) {
    let mut bytes = first.command.len();
    let mut commands = vec![first.command];
    let mut answers = vec![first.answer];
    while commands.len() < commands_max && bytes < BATCH_BYTES {
        let Ok(next) = queue.try_recv() else { break };
        bytes += next.command.len();
        commands.push(next.command);
        answers.push(next.answer);
    }
    (commands, answers)
}

type WriteError = RaftError<MemberId, ClientWriteError<MemberId, Member>>;

async fn refuse(error: WriteError, failures: &Failures) -> ProposeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            ProposeError::NotLeading { leader: forward.leader_id }
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
            // Only membership entries are refused so, and no batch is one.
            ProposeError::Failed(Failure { what: error.to_string().into() })
        }
        RaftError::Fatal(Fatal::Stopped) if failures.stopping() => ProposeError::Stopped,
        RaftError::Fatal(fatal) => {
            failures.report_words(fatal.to_string());
            match failures.first() {
                Some(failure) => ProposeError::Failed(failure),
                None => ProposeError::Stopped,
            }
        }
    }
}
