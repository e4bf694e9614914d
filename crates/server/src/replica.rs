//! One manager's copy of the cluster: commands go in, are made durable, and change the state.
//!
//! A thin facade over openraft; nothing outside of this module names it. It never decides what a
//! command means: that is the [`Machine`].
//!
//! A proposal that returns has been committed and applied. One that fails with
//! [`ProposeError::Unknown`], [`ProposeError::Failed`] or [`ProposeError::Stopped`] may be committed,
//! now or later.

mod answering;
mod clocks;
mod codec;
mod error;
mod failure;
mod hold;
pub mod limits;
mod log;
mod lone;
mod machine;
mod members;
mod message;
mod network;
mod peers;
mod proposer;
mod runtime;
mod snapshot;
mod standing;
mod state;
mod tally;
mod tending;
mod types;

pub use self::answering::{Receiving, sender_of};
pub use self::codec::DecodeError;
pub use self::error::{AnswerError, InitializeReplicaError, MembershipError, OpenError, ProposeError};
pub use self::failure::Failure;
pub use self::lone::AloneError;
pub(crate) use self::lone::{applied_in, begin_alone, group, make_alone};
pub use self::machine::Machine;
pub use self::members::MemberStatus;
pub use self::peers::{Alone, PeerError, Peers};
pub use self::proposer::Committed;
pub use self::runtime::seed_elections;
pub use self::snapshot::{Incoming, Outgoing, SnapshotData, SnapshotError};
pub(crate) use self::tally::{SnapshotEnd, SnapshotRows, Tally};
pub use self::types::{Batch, Member, MemberId, Replies};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{CheckIsLeaderError, Fatal, InitializeError, RaftError};
use openraft::{Config, Raft, ServerState, SnapshotPolicy};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::timeout;

use self::clocks::Clocks;
use self::failure::Failures;
use self::hold::Hold;
use self::limits::Cadence;
use self::log::LogStore;
use self::network::Lines;
use self::proposer::{Proposal, Proposer};
use self::standing::Standing;
use self::state::{Progress, StateMachine};
use self::types::{Membership, Types};
use crate::storage::{StateView, Storage, StorageError, blocking};

/// The clock of this machine, in Unix seconds.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A handle to the replica; clones are handles to the same one.
pub struct Replica<M: Machine> {
    inner: Arc<Inner<M>>,
}

struct Inner<M: Machine> {
    member: MemberId,
    raft: Raft<Types<M>>,
    storage: Arc<Storage>,
    queue: mpsc::Sender<Proposal<M::Reply>>,
    progress: Progress,
    clocks: Clocks,
    failures: Failures,
    /// The term this replica led when it was closed, and the last entry it had then.
    resumed: Option<(u64, u64)>,
    /// Held while the members are being changed.
    changing: Mutex<()>,
    standing: Standing,
}

impl<M: Machine> Replica<M> {
    /// Opens the first member of a cluster where it left off; it knows no other. A lone voter has
    /// applied its whole log when this returns, and leads.
    pub async fn open(storage: Storage, clock: Clock) -> Result<Replica<M>, OpenError> {
        Replica::open_at(storage, clock, Cadence::default()).await
    }

    /// The same, with another rhythm of barriers and log cuts.
    pub async fn open_at(storage: Storage, clock: Clock, cadence: Cadence) -> Result<Replica<M>, OpenError> {
        Replica::join_group(storage, clock, cadence, FIRST_MEMBER, Alone).await
    }

    /// Opens a member of a group where it left off. On empty storage it waits for a leader to speak
    /// to it. It does not wait to lead, or for anybody who does, unless it is the lone voter.
    pub async fn join_group(
        storage: Storage,
        clock: Clock,
        cadence: Cadence,
        member: MemberId,
        peers: impl Peers,
    ) -> Result<Replica<M>, OpenError> {
        let storage = Arc::new(storage);
        let failures = Failures::new();
        let progress = blocking(|| -> Result<Progress, OpenError> {
            let view = storage.view()?;
            let revision = M::revision(&view).map_err(OpenError::State)?;
            Ok(Progress::new(revision, view.applied_next()?))
        })?;
        let clocks = Clocks::new(clock);
        let resumed = log::resumed(&storage, member).map_err(|error| {
            failures.report(&error);
            stopped(&failures, Fatal::Stopped)
        })?;
        let log = LogStore::new(storage.clone(), failures.clone(), progress.applied_next.subscribe());
        let hold = Hold::new(cadence.hold);
        let state = StateMachine::new(
            storage.clone(),
            progress.clone(),
            failures.clone(),
            cadence.barrier,
            hold.clone(),
        );
        let standing = Standing::default();
        let lines = Lines::new(peers, clocks.clone(), hold, standing.clone());
        let raft = Raft::new(member, Arc::new(config(cadence)?), lines, log, state)
            .await
            .map_err(|fatal| stopped(&failures, fatal))?;

        let (queue, waiting) = mpsc::channel(limits::QUEUE_COMMANDS);
        let proposer = Proposer {
            raft: raft.clone(),
            clocks: clocks.clone(),
            failures: failures.clone(),
            commands_max: cadence.commands.max(1),
        };
        tokio::spawn(proposer.run(waiting));
        tokio::spawn(watch_core(raft.metrics(), failures.clone()));
        let changing = Mutex::new(());
        let inner = Arc::new(Inner {
            member,
            raft,
            storage,
            queue,
            progress,
            clocks,
            failures,
            resumed,
            changing,
            standing,
        });
        tokio::spawn(tending::run(Arc::downgrade(&inner)));
        let replica = Replica { inner };
        replica.settle().await?;
        Ok(replica)
    }

    /// Makes this replica the one voter of a new cluster. Once, on empty storage.
    pub async fn initialize(&self) -> Result<(), InitializeReplicaError> {
        let members = BTreeMap::from([(self.inner.member, Member::default())]);
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
    /// If the future is dropped, the command may be committed or not.
    pub async fn propose(&self, command: &M::Command) -> Result<M::Reply, ProposeError> {
        Ok(self.propose_encoded(M::encode(command)).await?.reply)
    }

    /// The same for the persisted bytes of a command, with the place it got.
    pub async fn propose_encoded(&self, command: Vec<u8>) -> Result<Committed<M::Reply>, ProposeError> {
        if command.len() > limits::COMMAND_BYTES {
            return Err(ProposeError::TooLarge { found: command.len(), expected: limits::COMMAND_BYTES });
        }
        let (answer, reply) = oneshot::channel();
        let proposal = Proposal { command, answer };
        let settled = timeout(limits::PROPOSE, async {
            self.inner.queue.send(proposal).await.map_err(|_| self.gone())?;
            reply.await.map_err(|_| self.gone())?
        });
        settled.await.unwrap_or(Err(ProposeError::Unknown))
    }

    /// A log index such that a state that has applied it holds all that was committed before this
    /// was asked, by whomever. The leader alone knows, and asks a majority whether it still leads.
    pub async fn read_index(&self) -> Result<u64, ProposeError> {
        let inner = &self.inner;
        let term = {
            let metrics = inner.raft.metrics();
            let now = metrics.borrow();
            proposer::leads(&now)?;
            inner.clocks.check(inner.clocks.now(), now.id, now.membership_config.membership())?;
            now.current_term
        };
        // openraft leads on after a restart, in the same term, and then knows less of what it had
        // committed than it did: the last of it may be any entry that was in the log.
        let before = inner.resumed.filter(|(led, _)| *led == term).map_or(0, |(_, last)| last);
        match inner.raft.get_read_log_id().await {
            Ok((read, _)) => Ok(read.map_or(0, |id| id.index).max(before)),
            Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(forward))) => {
                Err(ProposeError::NotLeading { leader: forward.leader_id.filter(|id| *id != inner.member) })
            }
            Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_))) => {
                Err(ProposeError::NotLeading { leader: None })
            }
            Err(RaftError::Fatal(fatal)) => Err(proposer::ended(&fatal, &inner.failures)),
        }
    }

    /// Waits until the state here has applied the entry at `index`; `false` if it has not by then.
    pub async fn wait_applied(&self, index: u64, limit: Duration) -> bool {
        let mut applied_next = self.inner.progress.applied_next.subscribe();
        let waited = timeout(limit, applied_next.wait_for(|next| *next > index)).await;
        matches!(waited, Ok(Ok(_)))
    }

    /// Whether this replica is the only voter: then nobody can tell it that its clock is wrong.
    pub(crate) fn is_alone(&self) -> bool {
        let metrics = self.inner.raft.metrics();
        let now = metrics.borrow();
        now.membership_config.membership().voter_ids().eq([self.inner.member])
    }

    /// See [`Clocks::bound_leaps`]. In seconds.
    pub(crate) fn bound_leaps(&self, known: i64, max: i64) {
        self.inner.clocks.bound_leaps(known, max);
    }

    fn gone(&self) -> ProposeError {
        match self.inner.failures.first() {
            Some(failure) => ProposeError::Failed(failure),
            None => ProposeError::Stopped,
        }
    }

    /// A consistent reading of the state as of now. Hold it for a request, not for a connection.
    pub fn view(&self) -> Result<StateView, StorageError> {
        self.inner.storage.view()
    }

    /// The revision after the last applied entry; it wakes whoever watches the cluster.
    pub fn revision(&self) -> watch::Receiver<u64> {
        self.inner.progress.revision.subscribe()
    }

    /// Where the replica stands.
    pub fn status(&self) -> Status {
        let metrics = self.inner.raft.metrics();
        let now = metrics.borrow();
        let membership = now.membership_config.membership();
        let leading = now.state == ServerState::Leader;
        let leader = now.current_leader;
        Status {
            member: self.inner.member,
            voter: membership.voter_ids().any(|id| id == self.inner.member),
            leading,
            leader,
            leader_address: leader.and_then(|id| membership.get_node(&id)).map(|node| node.address.clone()),
            term: now.current_term,
            applied: now.last_applied.map(|id| id.index),
            last_log: now.last_log_index,
            quorum_silence: now.millis_since_quorum_ack.filter(|_| leading).map(Duration::from_millis),
        }
    }

    /// How far the clocks of the other members are ahead of ours, in seconds, as their answers told.
    pub fn clock_offsets(&self) -> BTreeMap<MemberId, i64> {
        self.inner.clocks.offsets()
    }

    /// Waits until the replica has stopped because its disk or state failed; for ever if not.
    pub async fn failed(&self) -> Failure {
        self.inner.failures.wait().await
    }

    /// Why the replica has stopped, if it has.
    pub fn failure(&self) -> Option<Failure> {
        self.inner.failures.first()
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
        let member = inner.member;
        let facts = inner.raft.with_raft_state(move |state| {
            let voters: Vec<_> = state.membership_state.effective().voter_ids().collect();
            let vote = state.vote_ref();
            (voters == [member], vote.committed && vote.leader_id.node_id == member)
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
            biased;
            settled = timeout(limits::SETTLE, settled) => match settled {
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
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Its own number.
    pub member: MemberId,
    /// Whether it votes; a learner only receives.
    pub voter: bool,
    /// Whether it leads, and thus takes proposals.
    pub leading: bool,
    /// Who leads, as far as is known.
    pub leader: Option<MemberId>,
    /// Where that one is reached; empty while it is alone.
    pub leader_address: Option<String>,
    /// Raft's term.
    pub term: u64,
    /// The index of the last applied entry.
    pub applied: Option<u64>,
    /// The index of the last entry in the log.
    pub last_log: Option<u64>,
    /// If it leads: how long ago a majority last said so. Zero for a lone voter.
    pub quorum_silence: Option<Duration>,
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
        install_snapshot_timeout: millis(limits::SNAPSHOT),
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
