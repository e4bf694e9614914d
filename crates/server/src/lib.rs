//! The manager daemon: a node that also decides.
//!
//! It never decides who gets a certificate: it asks `ca`, makes the answer durable, and only then lets
//! it leave (I4).

mod found;
mod manager;

pub mod api;
pub mod backup;
mod house;
mod keys;
mod metrics;
mod operator;
mod presence;
mod rate;
pub mod recover;
mod sealing;
mod shared;
mod truth;
mod unrecorded;

pub mod replica;
pub mod storage;

pub use backup::BackupError;
pub use found::{FoundError, FoundOptions, Founded, OperatorIdentity, found, found_keeping, refuse_founded};
pub use keys::KeysError;
pub use manager::{Manager, ManagerOptions, StartError, is_founded, listen_address};
pub use recover::RecoverError;
pub use sealing::SealError;
pub use truth::{CaMachine, Unanswered};
