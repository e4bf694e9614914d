//! The runtime as its users see it: two ends over an in-memory stream, certificates made with pki.

mod agents;
mod authorities;
mod cuts;
mod dialers;
mod foreign;
mod handshake;
mod lifecycle;
mod pinned;
mod places;
mod publish;
mod quic;
mod resumption;
mod scale;
mod sessions;
mod shadow;
mod world;
