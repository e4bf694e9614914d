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
mod retire;
mod sealing;
mod shared;
mod socket;
mod truth;

pub mod replica;
pub mod storage;

pub use found::{FoundError, FoundOptions, Founded, OperatorIdentity, found, found_keeping, refuse_founded};
pub use join::{JoinManagerError, JoinOptions, ManagerJoined, join};
pub use keys::KeysError;
pub use lock::{LockError, fresh_unlock_key};
pub use manager::{Manager, ManagerOptions, StartError, is_founded, listen_address};
pub use sealing::SealError;
pub use truth::{CaMachine, Unanswered};
