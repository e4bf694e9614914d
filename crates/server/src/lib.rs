//! The manager daemon: a node that also decides.
//!
//! It never decides who gets a certificate: it asks `ca`, makes the answer durable, and only then lets
//! it leave (I4).

mod found;
mod manager;

pub mod api;
mod house;
mod issuers;
mod keys;
mod lock;
mod locked;
mod metrics;
mod offline;
mod operator;
mod presence;
mod rate;
mod sealing;
mod shared;
mod socket;
mod truth;

pub mod replica;
pub mod storage;

pub use found::{FoundError, FoundOptions, Founded, OperatorIdentity, found, found_keeping, refuse_founded};
pub use keys::KeysError;
pub use lock::{LockError, fresh_unlock_key};
pub use manager::{Manager, ManagerOptions, StartError, is_founded, listen_address};
pub use sealing::SealError;
pub use truth::{CaMachine, Unanswered};
