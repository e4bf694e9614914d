//! The binary as its users start it: real processes, real sockets, real files.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod agent;
mod backup;
mod deploy;
mod dev;
mod doctor;
mod failover;
mod harness;
mod init;
mod interop;
mod join;
mod keys;
mod metrics;
mod notify;
mod operator;
mod secrets;
mod story;
mod words;
