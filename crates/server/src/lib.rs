//! The manager daemon: a node that also decides.
//!
//! It never decides who gets a certificate: it asks `ca`, makes the answer durable, and only then lets
//! it leave (I4).

mod enlist;
mod fleet;
mod forward;
mod found;
mod join;
mod manager;
mod members;
mod peers;

pub mod api;
pub mod backup;
mod clock;
mod house;
mod issuers;
mod keys;
mod leave;
mod lock;
mod locked;
mod metrics;
mod offline;
mod operator;
mod presence;
mod rate;
pub mod recover;
mod refusals;
mod retire;
mod sealing;
mod shared;
mod socket;
mod truth;
mod unrecorded;

pub mod replica;
pub mod storage;

pub use backup::BackupError;
pub use clock::ClockOff;
pub use found::{FoundError, FoundOptions, Founded, OperatorIdentity, found, found_keeping, refuse_founded};
pub use join::{JoinManagerError, JoinOptions, ManagerJoined, join};
pub use keys::KeysError;
pub use lock::{LockError, fresh_unlock_key};
pub use manager::{Manager, ManagerOptions, StartError, is_founded, listen_address};
pub use recover::RecoverError;
pub use sealing::SealError;
pub use truth::{CaMachine, Unanswered};
