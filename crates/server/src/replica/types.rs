//! The types openraft is instantiated with.

use std::fmt;
use std::marker::PhantomData;

use openraft::impls::OneshotResponder;
use openraft::{Entry, RaftTypeConfig};

use super::machine::Machine;
use super::runtime::Runtime;
use super::snapshot::SnapshotData;

/// A manager's number inside Raft. It is never reused for another manager.
pub type MemberId = u64;

/// What the Raft membership says of a manager.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Where the other managers reach it; empty while it is alone.
    pub address: String,
}

impl Member {
    /// A manager that is reached at `address`.
    pub fn at(address: impl Into<String>) -> Member {
        Member { address: address.into() }
    }
}

/// One entry of the log: the commands that were waiting together, at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The leader's clock, in Unix seconds. `apply` never lets time go back, whatever it says.
    pub at: i64,
    /// Commands in the machine's persisted form.
    pub commands: Vec<Vec<u8>>,
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} commands at {}", self.commands.len(), self.at)
    }
}

/// The answers to the commands of a batch, in their order.
#[derive(Debug)]
pub struct Replies<M: Machine>(pub Vec<M::Reply>);

/// openraft's configuration for a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Types<M>(PhantomData<M>);

impl<M: Machine> RaftTypeConfig for Types<M> {
    type D = Batch;
    type R = Replies<M>;
    type NodeId = MemberId;
    type Node = Member;
    type Entry = Entry<Types<M>>;
    type SnapshotData = SnapshotData;
    type AsyncRuntime = Runtime;
    type Responder = OneshotResponder<Types<M>>;
}

/// The id of a log entry.
pub(super) type LogId = openraft::LogId<MemberId>;
/// A vote.
pub(super) type Vote = openraft::Vote<MemberId>;
/// Who the members are.
pub(super) type Membership = openraft::Membership<MemberId, Member>;
/// Who the members are, and the entry that said so.
pub(super) type StoredMembership = openraft::StoredMembership<MemberId, Member>;
/// A failure of our storage, as openraft wants it: it stops the core.
pub(super) type RaftStorageError = openraft::StorageError<MemberId>;
