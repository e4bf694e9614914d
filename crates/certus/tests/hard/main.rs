//! What people who did not write it do to it, and what machines do: sieges, faults, silence, and the long
//! chaos, all on real processes.
//!
//! The long forms and what they showed: docs/hardening.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

#[allow(dead_code, reason = "shared with the tests of the command line")]
#[path = "../cli/harness.rs"]
mod harness;

mod chaos;
mod clock;
mod disk;
mod files;
mod network;
mod process;
mod secrets;
mod siege;
mod siege_worker;
mod stale;
mod stranger;
