//! A real manager on loopback, called by real nodes, and by those who should not call.

mod backup;
mod calls;
mod join;
mod life;
mod revoke;
