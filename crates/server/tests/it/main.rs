//! A real manager on loopback, called by real nodes, and by those who should not call.

mod backup;
mod calls;
mod failover;
mod join;
mod keys;
mod life;
mod revoke;
mod several;
