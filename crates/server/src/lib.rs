//! The manager daemon: a node that also decides.
//!
//! It never decides who gets a certificate: it asks `ca`, and makes the answer durable.

pub mod replica;
pub mod storage;
