//! Why a connection or a stream of HTTP/2 failed, sorted by who acts next.

use std::io;
use std::time::Duration;

use certus_pki::code::{self, Code};
use certus_pki::explain::{Explain, Explanation};

/// A connection, or one of its streams, that ended otherwise than it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum H2Error {
    /// The first bytes of HTTP/2 did not come.
    #[error("no HTTP/2 within {} s", .limit.as_secs_f32())]
    Late {
        /// How long was waited.
        limit: Duration,
    },
    /// A ping was not answered.
    #[error("the other end did not answer a ping within {} s", .limit.as_secs_f32())]
    Silent {
        /// How long was waited.
        limit: Duration,
    },
    /// One of the two ends says that the other breaks the protocol, or asks too much.
    #[error("the other end and we do not agree on HTTP/2: {why}")]
    Broken {
        /// In HTTP/2's words.
        why: String,
    },
    /// The connection ended.
    #[error("the connection ended: {why}")]
    Closed {
        /// What the other end or the system said.
        why: String,
        /// Whether the other end announced it.
        is_goaway: bool,
    },
    /// One stream was ended by the other end.
    #[error("the stream was reset: {reason}")]
    Reset {
        /// In HTTP/2's words.
        reason: String,
    },
}

impl H2Error {
    pub(super) fn of(error: &::h2::Error) -> H2Error {
        let why = super::super::words::printable(error.to_string().as_bytes());
        match error.reason() {
            // RST_STREAM, and streams that never began.
            Some(reason) if error.is_reset() => H2Error::Reset { reason: reason.description().to_owned() },
            Some(::h2::Reason::NO_ERROR) => H2Error::Closed { why, is_goaway: error.is_go_away() },
            Some(_) if error.is_go_away() && error.is_remote() => H2Error::Closed { why, is_goaway: true },
            Some(_) => H2Error::Broken { why },
            None => H2Error::Closed { why, is_goaway: false },
        }
    }

    /// For the reader or writer of a stream.
    pub(super) fn into_io(self) -> io::Error {
        let kind = match &self {
            H2Error::Reset { .. } => io::ErrorKind::ConnectionReset,
            H2Error::Late { .. } | H2Error::Silent { .. } => io::ErrorKind::TimedOut,
            H2Error::Broken { .. } => io::ErrorKind::InvalidData,
            H2Error::Closed { .. } => io::ErrorKind::ConnectionAborted,
        };
        io::Error::new(kind, self)
    }
}

impl Explain for H2Error {
    fn explain(&self) -> Explanation {
        match self {
            H2Error::Late { limit } | H2Error::Silent { limit } => {
                Explanation::new(code::TRANSPORT_SILENT, self.to_string())
                    .halves(format!("an answer within {} s", limit.as_secs_f32()), "nothing")
                    .hint("check that both ends name the same transport, and that nothing blocks the path")
            }
            H2Error::Broken { why } => {
                Explanation::new(code::TRANSPORT_BROKEN, "the HTTP/2 connection broke")
                    .halves("HTTP/2 by RFC 9113", why)
                    .hint("check that both ends name `h2` as their transport")
            }
            H2Error::Closed { why, .. } => {
                Explanation::new(code::TRANSPORT_CLOSED, "the HTTP/2 connection ended").fact("reason", why)
            }
            H2Error::Reset { reason } => {
                Explanation::new(code::TRANSPORT_CLOSED, "the other end reset the stream")
                    .fact("reason", reason)
            }
        }
    }
}

/// A stream that was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The name cannot be asked for: the caller acts.
    #[error("`{authority}` is not an authority that a stream can be opened to")]
    BadName {
        /// What was asked for.
        authority: String,
    },
    /// The other end says no.
    #[error("the other end refused the stream with status {status}")]
    Refused {
        /// HTTP's status.
        status: u16,
        /// The other end's code, if it gave one.
        code: Option<Code>,
        /// The other end's words, if it gave any.
        words: Option<String>,
    },
    /// Only this stream failed.
    #[error("the stream was reset before it was open: {reason}")]
    Reset {
        /// In HTTP/2's words.
        reason: String,
        /// Whether it certainly was not looked at, so that asking again is safe (RFC 9113 8.7).
        is_unprocessed: bool,
    },
    /// The connection takes no more streams: dial again.
    #[error("the connection takes no more streams: {why}")]
    Closed {
        /// What the other end or the system said.
        why: String,
        /// Whether the other end announced it; then the stream was not looked at, and asking again
        /// on another connection is safe.
        is_goaway: bool,
    },
}

impl OpenError {
    pub(super) fn of(error: &::h2::Error) -> OpenError {
        match H2Error::of(error) {
            H2Error::Reset { reason } => {
                let is_unprocessed = error.reason() == Some(::h2::Reason::REFUSED_STREAM);
                OpenError::Reset { reason, is_unprocessed }
            }
            H2Error::Closed { why, is_goaway } => OpenError::Closed { why, is_goaway },
            other => OpenError::Closed { why: other.to_string(), is_goaway: error.is_go_away() },
        }
    }
}

impl Explain for OpenError {
    fn explain(&self) -> Explanation {
        let message = self.to_string();
        match self {
            OpenError::BadName { .. } => Explanation::new(code::BAD_NAME, message)
                .hint("name the service with letters, digits, `.` and `-`, or as host:port"),
            OpenError::Refused { code, words, .. } => {
                let said = words.clone().unwrap_or(message);
                Explanation::new(code.unwrap_or(code::STREAM_REFUSED), said)
                    .fact("said by", "the other end")
                    .hint("its log has the reason with both halves")
            }
            OpenError::Reset { .. } => Explanation::new(code::STREAM_REFUSED, message)
                .hint("the other end's log has the reason; it may have as many streams as it takes"),
            OpenError::Closed { .. } => Explanation::new(code::TRANSPORT_CLOSED, message),
        }
    }
}
