//! Other people's programs at the other end of a connection: clients of our listeners, servers that our
//! peers dial, and proxies between.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
#![allow(clippy::print_stderr, reason = "a skip must be visible")]

#[path = "../cli/harness.rs"]
#[allow(dead_code, reason = "shared with tests of the command line")]
mod harness;
#[path = "../offline/judge.rs"]
#[allow(dead_code, reason = "shared with tests of the offline CA")]
mod judge;

mod direct;
mod haproxy;
mod http2;
mod nginx;
mod python;
mod scan;
mod stage;
