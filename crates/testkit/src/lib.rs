//! What integration tests share: a cluster in this process, a simulated disk, and a replica that is
//! crashed on it.
//!
//! No room's unit tests use it: Cargo would build the room twice.

pub mod authority;
pub mod chance;
pub mod cluster;
pub mod disk;
pub mod proxy;
pub mod registry;
pub mod sim;
