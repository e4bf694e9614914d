//! What a replica can answer instead of what was asked for.
//!
//! The words of a proposal that failed say how much is known of it: surely not proposed, or open.

use certus_ca::store::Fault;

use super::codec::DecodeError;
use super::failure::Failure;
use super::snapshot::SnapshotError;
use super::types::MemberId;
use crate::storage::StorageError;

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
    /// The command is larger than any that makes sense. It was not proposed.
    #[error("the command has {found} bytes, expected at most {expected}")]
    TooLarge {
        /// Its size.
        found: usize,
        /// The limit.
        expected: usize,
    },
    /// Another manager leads, or none does, or this one has lost touch with the majority. It was not
    /// proposed: asking the leader is safe.
    #[error("this manager does not lead (leader: {leader:?})")]
    NotLeading {
        /// Who does, as far as is known.
        leader: Option<MemberId>,
    },
    /// This manager leads and its clock is far off the majority of the others. It was not proposed.
    #[error("this manager's clock says {own}, the other managers' say {others} (Unix seconds)")]
    ClockOff {
        /// Our clock, in Unix seconds.
        own: i64,
        /// The median of the others' clocks.
        others: i64,
    },
    /// This manager is alone, and its clock is far ahead of what it knew last. It was not proposed.
    #[error("this manager's clock says {own}, and by what it knew last it is {known} (Unix seconds)")]
    ClockLeapt {
        /// Our clock, in Unix seconds.
        own: i64,
        /// What the clock should say by the last proposal and the time since.
        known: i64,
    },
    /// It was proposed, and this manager lost the lead or the majority before it was committed. It
    /// may or may not be committed, now or later.
    #[error("this manager lost the lead or the majority: the command may or may not be committed")]
    Unknown,
    /// The replica was shut down. It may have been committed.
    #[error("the replica has been shut down")]
    Stopped,
    /// The disk or the state failed. It may have been committed.
    #[error(transparent)]
    Failed(Failure),
}

/// The members could not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// Another manager leads, or none does. Nothing was changed.
    #[error("this manager does not lead (leader: {leader:?})")]
    NotLeading {
        /// Who does, as far as is known.
        leader: Option<MemberId>,
    },
    /// Another change is under way. Nothing was changed.
    #[error("another change of the members is under way")]
    InProgress,
    /// Nobody has this number. Nothing was changed.
    #[error("no manager has number {id} (members: {members:?})")]
    NotAMember {
        /// The number.
        id: MemberId,
        /// Those that there are.
        members: Vec<MemberId>,
    },
    /// Nobody would be left to decide. Nothing was changed.
    #[error("manager {id} is the only voter, expected another one to stay")]
    LastVoter {
        /// The voter.
        id: MemberId,
    },
    /// The member does not have the log yet. It stays a learner.
    #[error("manager {id} has the log up to entry {matched:?} after {waited_s} s, expected {last:?}")]
    NotCaughtUp {
        /// The member.
        id: MemberId,
        /// The last entry it is known to have.
        matched: Option<u64>,
        /// The last entry of the log.
        last: Option<u64>,
        /// How long was waited, in seconds.
        waited_s: u64,
    },
    /// This manager lost the lead or the majority meanwhile. It may or may not be done; ask again.
    #[error("this manager lost the lead or the majority: the members may or may not have changed")]
    Unknown,
    /// The replica was shut down.
    #[error("the replica has been shut down")]
    Stopped,
    /// The disk or the state failed.
    #[error(transparent)]
    Failed(Failure),
}

/// A member's message was not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// It is not what this version writes.
    #[error("a message of another manager cannot be read")]
    Message(#[from] DecodeError),
    /// It is meant for another manager: two have the same address.
    #[error("the message is for manager {found}, this is manager {expected}")]
    Misdirected {
        /// Whom it is for.
        found: MemberId,
        /// Who we are.
        expected: MemberId,
    },
    /// A chunk of a snapshot is not what was sent, or could not be kept.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The replica was shut down.
    #[error("the replica has been shut down")]
    Stopped,
    /// The disk or the state failed.
    #[error(transparent)]
    Failed(Failure),
}
