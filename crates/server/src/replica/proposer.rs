//! The proposer: packs the commands that wait into one entry, and writes one entry at a time.
//!
//! This is the group commit: while one entry is being written, the next one fills. No timer but the
//! limit after which an entry that no majority takes is given up.

use openraft::error::{ClientWriteError, Fatal, RaftError};
use openraft::raft::ClientWriteResponse;
use openraft::{Raft, RaftMetrics, ServerState};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::clocks::Clocks;
use super::error::ProposeError;
use super::failure::{Failure, Failures};
use super::limits::{self, BATCH_BYTES};
use super::machine::Machine;
use super::types::{Batch, Member, MemberId, Types};

/// A command that waits, and whom to tell.
pub(super) struct Proposal<R> {
    pub(super) command: Vec<u8>,
    pub(super) answer: Answer<R>,
}

/// What a command's proposer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed<R> {
    /// The machine's answer.
    pub reply: R,
    /// The log index of the entry: a state that has applied it holds what the command did.
    pub index: u64,
}

/// Proposes what comes through the queue.
pub(super) struct Proposer<M: Machine> {
    pub(super) raft: Raft<Types<M>>,
    pub(super) clocks: Clocks,
    pub(super) failures: Failures,
    /// The most commands in an entry.
    pub(super) commands_max: usize,
}

type Written<M> = Result<ClientWriteResponse<Types<M>>, WriteError>;
type WriteError = RaftError<MemberId, ClientWriteError<MemberId, Member>>;
type Answer<R> = oneshot::Sender<Result<Committed<R>, ProposeError>>;

impl<M: Machine> Proposer<M> {
    /// Proposes until every handle to the queue is gone.
    pub(super) async fn run(self, mut queue: mpsc::Receiver<Proposal<M::Reply>>) {
        while let Some(first) = queue.recv().await {
            let (commands, answers) = self.gather(first, &mut queue);
            if commands.is_empty() {
                continue;
            }
            match self.write(commands).await {
                Ok(response) => {
                    let (index, replies) = (response.log_id.index, response.data.0);
                    debug_assert_eq!(replies.len(), answers.len());
                    for (answer, reply) in answers.into_iter().zip(replies) {
                        // The caller may have gone; the command is committed all the same.
                        let _ = answer.send(Ok(Committed { reply, index }));
                    }
                }
                Err(error) => {
                    for answer in answers {
                        let _ = answer.send(Err(error.clone()));
                    }
                }
            }
        }
    }

    /// Takes what waits already, up to the bounds of one entry, but for what nobody waits for anymore.
    fn gather(
        &self,
        first: Proposal<M::Reply>,
        queue: &mut mpsc::Receiver<Proposal<M::Reply>>,
    ) -> (Vec<Vec<u8>>, Vec<Answer<M::Reply>>) {
        let (mut bytes, mut commands, mut answers) = (0, Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(Proposal { command, answer }) = next.take() {
            if !answer.is_closed() {
                bytes += command.len();
                commands.push(command);
                answers.push(answer);
            }
            if commands.len() < self.commands_max && bytes < BATCH_BYTES {
                next = queue.try_recv().ok();
            }
        }
        (commands, answers)
    }

    async fn write(&self, commands: Vec<Vec<u8>>) -> Result<ClientWriteResponse<Types<M>>, ProposeError> {
        let at = self.clocks.now();
        self.may_propose(at)?;
        let mut metrics = self.raft.metrics();
        let term = metrics.borrow().current_term;
        let written = self.raft.client_write(Batch { at, commands });
        tokio::pin!(written);
        let lost = async {
            let lost = metrics.wait_for(|now| now.state != ServerState::Leader || now.current_term != term);
            drop(lost.await);
        };
        // From here on nothing may be called uncommitted: what this log had taken may yet be found in
        // another member's and be committed by it, even when openraft says that another one leads.
        tokio::select! {
            biased;
            written = &mut written => self.outcome(written),
            () = lost => match timeout(limits::LOST_LEAD, written).await {
                Ok(written) => self.outcome(written),
                Err(_) => Err(ProposeError::Unknown),
            },
            () = sleep(limits::PROPOSE) => Err(ProposeError::Unknown),
        }
    }

    /// Refuses what surely must not, or could not, be proposed here.
    fn may_propose(&self, at: i64) -> Result<(), ProposeError> {
        let metrics = self.raft.metrics();
        let now = metrics.borrow();
        leads(&now)?;
        self.clocks.check(at, now.id, now.membership_config.membership())
    }

    fn outcome(&self, written: Written<M>) -> Result<ClientWriteResponse<Types<M>>, ProposeError> {
        written.map_err(|error| match error {
            // The core led a moment before, so the entry may have got into the log. It was removed
            // from ours when the next leader said otherwise; a third member may still have it.
            RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => ProposeError::Unknown,
            RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
                // Only membership entries are refused so, and no batch is one.
                ProposeError::Failed(Failure { what: error.to_string().into() })
            }
            RaftError::Fatal(fatal) => ended(&fatal, &self.failures),
        })
    }
}

/// Refuses unless this replica leads, and a majority has said so lately.
pub(super) fn leads(now: &RaftMetrics<MemberId, Member>) -> Result<(), ProposeError> {
    if now.running_state.is_ok() && now.state != ServerState::Leader {
        return Err(ProposeError::NotLeading { leader: now.current_leader.filter(|id| *id != now.id) });
    }
    let silence = now.millis_since_quorum_ack.unwrap_or(0);
    if now.state == ServerState::Leader && u128::from(silence) > limits::QUORUM_SILENCE.as_millis() {
        return Err(ProposeError::NotLeading { leader: None });
    }
    Ok(())
}

/// What the end of the core means for whoever waited for it.
pub(super) fn ended(fatal: &Fatal<MemberId>, failures: &Failures) -> ProposeError {
    if !(matches!(fatal, Fatal::Stopped) && failures.stopping()) {
        failures.report_words(fatal.to_string());
    }
    match failures.first() {
        Some(failure) => ProposeError::Failed(failure),
        None => ProposeError::Stopped,
    }
}
