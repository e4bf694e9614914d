//! The offline CA as its users call it: the real binary, real files, other programs as judges.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
#![allow(clippy::print_stderr, reason = "a skip must be visible")]

#[path = "../cli/harness.rs"]
#[allow(dead_code, reason = "shared with tests that start daemons")]
mod harness;

mod aliases;
mod authority;
mod crash;
mod fleet;
mod foreign;
mod judge;
mod judges;
mod lints;
mod recipes;
mod verify;
