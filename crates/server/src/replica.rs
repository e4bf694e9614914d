//! One manager's copy of the cluster: commands go in, are made durable, and change the state.
//!
//! A thin facade over openraft; nothing outside of this module names it. It never decides what a
//! command means: that is the [`Machine`].
//!
//! A proposal that returns has been committed and applied. One that fails with
//! [`ProposeError::Failed`] or [`ProposeError::Stopped`] may still be found committed when the
//! replica is opened again.

mod codec;
mod failure;
pub mod limits;
mod log;
mod lone;
mod machine;
mod network;
mod proposer;
mod snapshot;
mod state;
mod tally;
mod types;

pub use self::codec::DecodeError;
pub use self::failure::Failure;
pub use self::lone::AloneError;
pub(crate) use self::lone::{applied_in, begin_alone, group, make_alone};
pub use self::machine::Machine;
pub(crate) use self::tally::{SnapshotEnd, SnapshotRows, Tally};

pub use self::snapshot::{Incoming, Outgoing, SnapshotData, SnapshotError};
pub use self::types::{Batch, Member, MemberId, Replies};

use std::collections::BTreeMap;
use std::sync::Arc;

use certus_ca::store::Fault;
use openraft::error::{Fatal, InitializeError, RaftError};
use openraft::{Config, Raft, ServerState, SnapshotPolicy};
use tokio::sync::{mpsc, oneshot, watch};

use self::failure::Failures;
use self::limits::Cadence;
use self::log::LogStore;
use self::network::Alone;
use self::proposer::Proposal;
use self::state::StateMachine;
use self::types::Types;
use crate::storage::{StateView, Storage, StorageError, blocking};

/// The clock of this machine, in Unix seconds.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A handle to the replica; clones are handles to the same one.
pub struct Replica<M: Machine> {
    inner: Arc<Inner<M>>,
}

struct Inner<M: Machine> {
    raft: Raft<Types<M>>,
    storage: Arc<Storage>,
    queue: mpsc::Sender<Proposal<M::Reply>>,
    revision: watch::Receiver<u64>,
    failures: Failures,
}

impl<M: Machine> Replica<M> {
    /// Opens the replica where it left off. A lone voter has applied its whole log when this
    /// returns, and leads.
    pub async fn open(storage: Storage, clock: Clock) -> Result<Replica<M>, OpenError> {
        Replica::open_at(storage, clock, Cadence::default()).await
    }

    /// The same, with another rhythm of barriers and log cuts.
    pub async fn open_at(storage: Storage, clock: Clock, cadence: Cadence) -> Result<Replica<M>, OpenError> {
        let storage = Arc::new(storage);
        let failures = Failures::new();
        let revision = blocking(|| -> Result<u64, OpenError> {
            let view = storage.view()?;
            M::revision(&view).map_err(OpenError::State)
        })?;
        let (revision_sender, revision) = watch::channel(revision);
        let log = LogStore::new(storage.clone(), failures.clone());
        let state = StateMachine::new(storage.clone(), revision_sender, failures.clone(), cadence.barrier);
        let raft = Raft::new(FIRST_MEMBER, Arc::new(config(cadence)?), Alone, log, state)
            .await
            .map_err(|fatal| stopped(&failures, fatal))?;

        let (queue, waiting) = mpsc::channel(limits::QUEUE_COMMANDS);
        let commands_max = cadence.commands.max(1);
        tokio::spawn(proposer::run(raft.clone(), clock, failures.clone(), commands_max, waiting));
        tokio::spawn(watch_core(raft.metrics(), failures.clone()));
        let replica = Replica { inner: Arc::new(Inner { raft, storage, queue, revision, failures }) };
        replica.settle().await?;
        Ok(replica)
    }

    /// Makes this replica the one voter of a new cluster. Once, on empty storage.
    pub async fn initialize(&self) -> Result<(), InitializeReplicaError> {
        let members = BTreeMap::from([(FIRST_MEMBER, Member::default())]);
        match self.inner.raft.initialize(members).await {
            Ok(()) => Ok(self.settle().await?),
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {
                Err(InitializeReplicaError::AlreadyInitialized { applied: self.status().applied })
            }
            Err(RaftError::APIError(InitializeError::NotInMembers(error))) => {
                Err(InitializeReplicaError::Refused(error.to_string()))
            }
            Err(RaftError::Fatal(fatal)) => Err(stopped(&self.inner.failures, fatal).into()),
        }
    }

    /// Whether there is a cluster in the storage already.
    pub async fn is_initialized(&self) -> Result<bool, OpenError> {
        let known = self.inner.raft.is_initialized().await;
        known.map_err(|fatal| stopped(&self.inner.failures, fatal))
    }

    /// Proposes a command and waits until it is committed and applied.
    ///
    /// Dropping the future does not take the command back.
    pub async fn propose(&self, command: &M::Command) -> Result<M::Reply, ProposeError> {
        let command = M::encode(command);
        if command.len() > limits::COMMAND_BYTES {
            return Err(ProposeError::TooLarge { found: command.len(), expected: limits::COMMAND_BYTES });
        }
        let (answer, reply) = oneshot::channel();
        let proposal = Proposal { command, answer };
        let gone = || match self.inner.failures.first() {
            Some(failure) => ProposeError::Failed(failure),
            None => ProposeError::Stopped,
        };
        self.inner.queue.send(proposal).await.map_err(|_| gone())?;
        reply.await.map_err(|_| gone())?
    }

    /// A consistent reading of the state as of now. Hold it for a request, not for a connection.
    pub fn view(&self) -> Result<StateView, StorageError> {
        self.inner.storage.view()
    }

    /// The revision after the last applied entry; it wakes whoever watches the cluster.
    pub fn revision(&self) -> watch::Receiver<u64> {
        self.inner.revision.clone()
    }

    /// Where the replica stands.
    pub fn status(&self) -> Status {
        let metrics = self.inner.raft.metrics();
        let now = metrics.borrow();
        Status {
            leading: now.state == ServerState::Leader,
            leader: now.current_leader,
            term: now.current_term,
            applied: now.last_applied.map(|id| id.index),
            last_log: now.last_log_index,
        }
    }

    /// Waits until the replica has stopped because its disk or state failed; for ever if not.
    pub async fn failed(&self) -> Failure {
        self.inner.failures.wait().await
    }

    /// Stops, makes the state durable and closes the files. Later proposals fail.
    pub async fn shutdown(&self) -> Result<(), StorageError> {
        self.inner.failures.stop();
        // Its only error is a panic of the core, which the barrier does not depend on.
        let _ = self.inner.raft.shutdown().await;
        let storage = &self.inner.storage;
        let settled = blocking(|| storage.barrier());
        storage.close();
        settled.map(drop)
    }

    /// A lone voter elects itself without waiting for silence, and applies its whole log.
    async fn settle(&self) -> Result<(), OpenError> {
        let inner = &self.inner;
        let mut metrics = inner.raft.metrics();
        let stopped = |fatal| stopped(&inner.failures, fatal);
        let facts = inner.raft.with_raft_state(|state| {
            let voters: Vec<_> = state.membership_state.effective().voter_ids().collect();
            (voters == [FIRST_MEMBER], state.vote_ref().committed)
        });
        let (alone, leads) = facts.await.map_err(stopped)?;
        if !alone {
            return Ok(());
        }
        if !leads {
            inner.raft.trigger().elect().await.map_err(stopped)?;
        }
        let settled = metrics.wait_for(|now| {
            let applied = now.last_applied.map(|id| id.index);
            now.state == ServerState::Leader && applied >= now.last_log_index
        });
        tokio::select! {
            settled = tokio::time::timeout(limits::SETTLE, settled) => match settled {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(_)) => Err(stopped(Fatal::Stopped)),
                Err(_) => Err(OpenError::NotSettled { waited_s: limits::SETTLE.as_secs() }),
            },
            failure = inner.failures.wait() => Err(OpenError::Failed(failure)),
        }
    }
}

impl<M: Machine> Clone for Replica<M> {
    fn clone(&self) -> Self {
        Replica { inner: self.inner.clone() }
    }
}

impl<M: Machine> std::fmt::Debug for Replica<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Replica {{ {:?} }}", self.status())
    }
}

/// Where a replica stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Whether it leads, and thus takes proposals.
    pub leading: bool,
    /// Who leads, as far as is known.
    pub leader: Option<MemberId>,
    /// Raft's term.
    pub term: u64,
    /// The index of the last applied entry.
    pub applied: Option<u64>,
    /// The index of the last entry in the log.
    pub last_log: Option<u64>,
}

/// The replica could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The storage cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The state cannot be read.
    #[error("the replicated state cannot be read")]
    State(#[source] Fault),
    /// The disk or the state failed while the log was replayed.
    #[error(transparent)]
    Failed(Failure),
    /// A lone voter did not come to lead.
    #[error("the only manager does not lead after {waited_s} s, expected at once")]
    NotSettled {
        /// How long was waited, in seconds.
        waited_s: u64,
    },
    /// Our own limits contradict each other (a bug).
    #[error("the replica's limits are not accepted")]
    Limits(#[source] Box<openraft::ConfigError>),
}

/// The replica could not become the first of a cluster.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitializeReplicaError {
    /// There is a cluster already.
    #[error("the storage holds a cluster already (applied up to entry {applied:?}), expected none")]
    AlreadyInitialized {
        /// The last applied entry.
        applied: Option<u64>,
    },
    /// Raft refused the membership (a bug).
    #[error("the first membership was refused: {0}")]
    Refused(String),
    /// It stopped, or did not come to lead.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// A command was not committed, or it is not known whether it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// The command is larger than any that makes sense. It was not committed.
    #[error("the command has {found} bytes, expected at most {expected}")]
    TooLarge {
        /// Its size.
        found: usize,
        /// The limit.
        expected: usize,
    },
    /// Another manager leads, or none does. It was not committed.
    #[error("this manager does not lead (leader: {leader:?})")]
    NotLeading {
        /// Who does.
        leader: Option<MemberId>,
    },
    /// The replica was shut down. It may have been committed.
    #[error("the replica has been shut down")]
    Stopped,
    /// The disk or the state failed. It may have been committed.
    #[error(transparent)]
    Failed(Failure),
}

/// Tells of a core that ended without any of our storage calls having failed.
async fn watch_core(
    mut metrics: watch::Receiver<openraft::RaftMetrics<MemberId, Member>>,
    failures: Failures,
) {
    let ended = metrics.wait_for(|now| now.running_state.is_err()).await;
    let what = match ended.as_deref().map(|now| &now.running_state) {
        Ok(Err(fatal)) => fatal.to_string(),
        Ok(Ok(())) | Err(_) => "the Raft core ended".to_owned(),
    };
    failures.report_words(what);
}

fn stopped(failures: &Failures, fatal: Fatal<MemberId>) -> OpenError {
    failures.report_words(fatal.to_string());
    OpenError::Failed(failures.first().unwrap_or_else(|| Failure { what: fatal.to_string().into() }))
}

fn config(cadence: Cadence) -> Result<Config, OpenError> {
    let millis = |duration: std::time::Duration| duration.as_millis() as u64;
    Config {
        cluster_name: "certus".to_owned(),
        heartbeat_interval: millis(limits::HEARTBEAT),
        election_timeout_min: millis(limits::ELECTION_MIN),
        election_timeout_max: millis(limits::ELECTION_MAX),
        max_payload_entries: limits::REPLICATE_ENTRIES,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(cadence.snapshot),
        max_in_snapshot_log_to_keep: cadence.keep,
        purge_batch_size: cadence.purge,
        ..Config::default()
    }
    .validate()
    .map_err(|error| OpenError::Limits(Box::new(error)))
}

/// The number of the manager that founds a cluster.
pub(crate) const FIRST_MEMBER: MemberId = 1;

#[cfg(test)]
pub(crate) use self::lone::make_three;
#[cfg(test)]
mod tests;
