//! The runtime as its users see it: two ends over an in-memory stream, certificates made with pki.

mod cuts;
mod handshake;
mod pinned;
mod publish;
mod resumption;
mod world;
