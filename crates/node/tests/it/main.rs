//! A node against real sockets and a small manager of its own.
