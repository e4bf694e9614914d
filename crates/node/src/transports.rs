//! How carried connections travel over one authenticated byte stream: multiplexed in HTTP/2, inside
//! WebSocket messages, and through HTTP proxies.
//!
//! Nothing here authenticates, decides or opens sockets: every function takes a byte stream that is
//! ready, usually TLS. What comes over it is bounded before it is kept.

pub mod h2;
pub mod http_proxy;
pub mod ws;

mod head;
mod words;

#[cfg(test)]
mod tests;

use std::time::Duration;

use certus_pki::defaults;

use crate::clock::duration;

/// A handshake of a transport is as quick as TLS's own, or is given up.
fn handshake_limit() -> Duration {
    duration(defaults::HANDSHAKE_TIMEOUT)
}
