//! A byte stream in WebSocket messages (RFC 6455): what passes HTTP proxies and gateways.
//!
//! Bytes travel in binary messages, whose borders mean nothing. WebSocket has no half-close, so an
//! **empty binary message** means: no more data in this direction. When both directions have ended so,
//! each end closes with 1000. A Close frame ends both directions at once; its code and reason reach
//! the reader and the writer as [`WsClosed`] inside their `io::Error`. A stream that ends without
//! either was cut: `UnexpectedEof`.
//!
//! Memory of one connection is bounded by some 350 KiB: one message of [`MESSAGE_BYTES_MAX`] read, one being
//! put together from a frame, one being written with its copy in the buffer, and control frames.

mod error;
mod handshake;
mod stream;

#[cfg(test)]
mod tests;

pub use error::{Broken, WsClosed, WsError};
pub use handshake::{Accepted, accept, connect};
pub use stream::WsStream;

/// What a message or a frame carries at most: as much as a carrier copies at once.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Where a service is, unless it is told otherwise.
pub const PATH: &str = "/certus";

/// RFC 6455 7.4.1: done.
pub const CLOSE_NORMAL: u16 = 1000;
/// The end shuts down.
pub const CLOSE_GOING_AWAY: u16 = 1001;
/// The other end breaks the protocol.
pub const CLOSE_PROTOCOL: u16 = 1002;
/// Data of a kind that is not taken: text.
pub const CLOSE_UNSUPPORTED: u16 = 1003;
/// Stands for a Close frame without a code; never sent.
pub const CLOSE_NO_STATUS: u16 = 1005;
/// The peer is no longer accepted.
pub const CLOSE_POLICY: u16 = 1008;
/// What it led to broke, through no fault of the other end.
pub const CLOSE_BROKEN: u16 = 1011;
/// A message beyond [`MESSAGE_BYTES_MAX`].
pub const CLOSE_TOO_BIG: u16 = 1009;

/// What is spoken inside the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprotocol {
    /// The carried connection's bytes.
    Plain,
    /// An end-to-end session with the carried connection inside.
    EndToEnd,
}

impl Subprotocol {
    /// Its name in `Sec-WebSocket-Protocol`.
    pub const fn name(self) -> &'static str {
        match self {
            Subprotocol::Plain => "certus.v1",
            Subprotocol::EndToEnd => "certus-e2e.v1",
        }
    }
}

/// What the dialing end asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What stands in the `Host` header.
    pub host: String,
    /// The path, and a query if there is one.
    pub path: String,
    /// Whether an end-to-end session runs inside.
    pub e2e: bool,
}

impl Ask {
    /// Asks at [`PATH`], without an end-to-end session.
    pub fn new(host: impl Into<String>) -> Ask {
        Ask { host: host.into(), path: PATH.to_owned(), e2e: false }
    }

    fn subprotocol(&self) -> Subprotocol {
        if self.e2e { Subprotocol::EndToEnd } else { Subprotocol::Plain }
    }
}
