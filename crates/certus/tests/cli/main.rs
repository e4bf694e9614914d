//! The binary as its users start it: real processes, real sockets, real files.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod agent;
mod backup;
mod deploy;
mod dev;
mod doctor;
mod failover;
#[allow(dead_code, reason = "shared with other tests of the binary")]
mod harness;
mod init;
mod interop;
mod join;
mod json;
mod keys;
mod lists;
mod metrics;
mod notify;
mod operator;
mod secrets;
mod shells;
mod sizes;
mod story;
mod words;
