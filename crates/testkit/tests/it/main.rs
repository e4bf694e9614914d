//! The integration tests of the simulation: one binary.

mod crashes;
mod group;
