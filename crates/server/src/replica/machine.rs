//! The port between the log and what its commands mean.
//!
//! The replica moves bytes; a [`Machine`] says what they do to the tables.

use std::fmt::Debug;

use certus_ca::store::{Fault, Store, View};

/// What a replicated command is and does. Its functions are pure: equal logs give equal state (I2).
pub trait Machine: Copy + Debug + Default + Ord + Send + Sync + 'static {
    /// What is proposed.
    type Command: Send + Sync;
    /// What the proposer is told after the commit: an answer or a refusal, never a fault.
    type Reply: Debug + Send + Sync + 'static;

    /// The persisted bytes of a command.
    fn encode(command: &Self::Command) -> Vec<u8>;

    /// Applies the bytes of one command at a time that never goes back (Unix seconds).
    ///
    /// A refused command writes nothing (I8). A [`Fault`] stops the replica.
    fn apply(store: &mut dyn Store, at: i64, command: &[u8]) -> Result<Self::Reply, Fault>;

    /// The number of the last change, which only grows (I5).
    fn revision(view: &dyn View) -> Result<u64, Fault>;
}
