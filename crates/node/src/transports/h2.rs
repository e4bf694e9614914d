//! One connection, many streams: HTTP/2 with one plain `CONNECT` per carried connection (RFC 9113 8.5).
//!
//! A stream is asked for by the name of a service. Whether it is given is the caller's decision, for
//! each stream anew.
//!
//! Memory of one connection is bounded: what was received and not read is at most
//! [`CONNECTION_WINDOW`], what waits to be sent at most [`SEND_BUFFER`] for each of
//! [`STREAMS_MAX`] streams: 16.5 MiB with all of them in use and none drained. A stream that is not
//! read stops its own sender after [`STREAM_WINDOW`]; only `CONNECTION_WINDOW / STREAM_WINDOW` such
//! streams at once stop the others.

mod client;
mod error;
mod keep_alive;
mod server;
mod stream;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use client::{H2Client, connect};
pub use error::{H2Error, OpenError};
pub use server::{H2Server, Incoming, accept};
pub use stream::H2Stream;

/// Why a connection ends, in HTTP/2's words (RFC 9113 7).
pub use ::h2::Reason;

/// What one stream may have received and not read: 20 MiB/s at 50 ms between the ends.
pub const STREAM_WINDOW: u32 = 1 << 20;
/// What all streams of a connection may have received and not read.
pub const CONNECTION_WINDOW: u32 = 4 << 20;
/// Streams the other end may have open; RFC 9113 6.5.2 advises no less.
pub const STREAMS_MAX: u32 = 100;
/// What a stream holds back for a connection that does not take it: a few writes of a carrier.
pub const SEND_BUFFER: usize = 128 << 10;
/// As much as a carrier reads and writes at once; RFC 9113 6.5.2 begins with 16 KiB. An active connection
/// holds one frame that is not whole yet.
pub const FRAME_BYTES_MAX: u32 = 64 << 10;
/// Names and words, never cookies.
pub const HEADER_LIST_BYTES_MAX: u32 = 16 << 10;
/// A dead peer is noticed within this and [`KEEP_ALIVE_ANSWER`]; networks forget idle connections later.
pub const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// An answer to a ping that takes longer does not come.
pub const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(10);

/// Opened before the peer has said how many it takes; the rest wait one round trip.
const STREAMS_BEFORE_SETTINGS: usize = 8;
/// Streams reset by us that are remembered, so that what is still under way is not an error.
const RESETS_REMEMBERED_MAX: usize = 100;
/// Streams opened and reset before they were looked at: a few are impatience, more is CVE-2023-44487.
const RESETS_PENDING_MAX: usize = 20;
/// Streams reset because of the peer's faults; a peer that goes on is cut (CVE-2025-8671).
const RESETS_OF_FAULTS_MAX: usize = 100;

/// Set to `1`: an end-to-end session runs inside the stream.
const HEADER_E2E: &str = "certus-e2e";
/// The number of the code of a refusal.
const HEADER_CODE: &str = "certus-code";
/// A refusal in words.
const HEADER_MESSAGE: &str = "certus-message";

/// What a stream is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The name of the service, as an authority of RFC 3986: a name, or `host:port`.
    pub authority: String,
    /// Whether an end-to-end session runs inside.
    pub e2e: bool,
}

impl Ask {
    /// Asks for a service by name, without an end-to-end session.
    pub fn new(authority: impl Into<String>) -> Ask {
        Ask { authority: authority.into(), e2e: false }
    }
}

/// Bounds of one connection; [`Default`] has the constants of this module.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// See [`STREAMS_MAX`].
    pub streams_max: u32,
    /// See [`STREAM_WINDOW`]; at most 2^31-1.
    pub stream_window: u32,
    /// See [`CONNECTION_WINDOW`]; at least 65,535 is used, at most 2^31-1.
    pub connection_window: u32,
    /// See [`KEEP_ALIVE`].
    pub keep_alive: Duration,
    /// See [`KEEP_ALIVE_ANSWER`].
    pub keep_alive_answer: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            streams_max: STREAMS_MAX,
            stream_window: STREAM_WINDOW,
            connection_window: CONNECTION_WINDOW,
            keep_alive: KEEP_ALIVE,
            keep_alive_answer: KEEP_ALIVE_ANSWER,
        }
    }
}

impl Limits {
    /// RFC 9113 6.9.1: a window is never larger.
    const WINDOW_MAX: u32 = (1 << 31) - 1;

    fn stream_window(&self) -> u32 {
        self.stream_window.min(Self::WINDOW_MAX)
    }

    fn connection_window(&self) -> u32 {
        self.connection_window.clamp(65_535, Self::WINDOW_MAX)
    }
}
