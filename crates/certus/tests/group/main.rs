//! Three managers in processes of their own, and what can happen to them: nothing that was answered is
//! lost, and the others go on.
//!
//! The managers are the binary; their callers are library clients in this process, the command line and a
//! worker. Each test takes the machine for itself: three managers and their load fill it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what was measured, and a skip, must be visible"
)]

#[path = "../cli/harness.rs"]
#[allow(dead_code, reason = "shared with tests of the command line")]
mod harness;

mod load;
mod skip;
mod stage;
mod witness;

mod apart;
mod changes;
mod damage;
mod disk;
mod end;
mod keys;
mod recovery;
