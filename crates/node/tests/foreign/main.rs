//! Other people's programs at the other end of a node, over loopback: they dial its listeners, and its
//! peers dial them.
//!
//! Certificates come from an implementation that is not ours either. A program that is not installed is
//! skipped where one can see it, and a failure where `CERTUS_REQUIRE_INTEROP` is `1`.

mod program;
mod world;

mod curl;
mod haproxy;
mod http2;
mod nginx;
mod openssl;
mod python;
mod revoking;
mod runtimes;
mod scans;
mod stunnel;
