//! Why a WebSocket did not open, or ended otherwise than it should.

use std::io;
use std::time::Duration;

use certus_pki::code;
use certus_pki::explain::{Explain, Explanation};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};

use super::{
    CLOSE_BROKEN, CLOSE_GOING_AWAY, CLOSE_POLICY, CLOSE_PROTOCOL, CLOSE_TOO_BIG, CLOSE_UNSUPPORTED,
    MESSAGE_BYTES_MAX,
};

/// A handshake that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WsError {
    /// What is asked for cannot be put into a request: the caller acts.
    #[error("`{value}` cannot stand in a WebSocket request")]
    BadAsk {
        /// The host or path.
        value: String,
    },
    /// The handshake took too long.
    #[error("no WebSocket handshake within {} s", .limit.as_secs_f32())]
    Late {
        /// How long was waited.
        limit: Duration,
    },
    /// The other end sent a head that does not end.
    #[error("the head of the other end's message is longer than {limit} bytes")]
    HeadTooLong {
        /// The most that is read.
        limit: usize,
    },
    /// Accepting: the request is not one for us. It was answered with the status, in words.
    #[error("answered a request with status {status}: {why}")]
    Answered {
        /// HTTP's status.
        status: u16,
        /// What the client was told.
        why: String,
    },
    /// Dialing: the other end says no.
    #[error("the other end refused the WebSocket with status {status}")]
    Refused {
        /// HTTP's status.
        status: u16,
        /// What the other end said.
        words: String,
    },
    /// Dialing: the answer is not one to our request.
    #[error("the other end's answer is not that of a WebSocket: {why}")]
    BadAnswer {
        /// What is wrong with it.
        why: String,
    },
    /// The stream broke.
    #[error("the connection broke during the WebSocket handshake")]
    Io(#[source] io::Error),
}

impl Explain for WsError {
    fn explain(&self) -> Explanation {
        let message = self.to_string();
        match self {
            WsError::BadAsk { .. } => Explanation::new(code::BAD_NAME, message)
                .hint("a host is a name or host:port, a path begins with / and has no blanks"),
            WsError::Late { limit } => Explanation::new(code::TRANSPORT_SILENT, message)
                .halves(format!("a handshake within {} s", limit.as_secs_f32()), "nothing")
                .hint("check that both ends name `ws` as their transport"),
            WsError::HeadTooLong { limit } => Explanation::new(code::TRANSPORT_BROKEN, message)
                .halves(format!("a head of at most {limit} bytes"), "more"),
            WsError::Answered { status, why } => {
                Explanation::new(code::TRANSPORT_BROKEN, "a request was not one for this WebSocket")
                    .fact("status", status)
                    .fact("told", why)
                    .hint("compare path and transport of the two ends")
            }
            WsError::Refused { words, .. } => Explanation::new(code::STREAM_REFUSED, message)
                .fact("it says", words)
                .hint("compare `path` with the other end's, and ask any gateway between the two"),
            WsError::BadAnswer { why } => {
                Explanation::new(code::TRANSPORT_BROKEN, "the other end does not speak WebSocket")
                    .halves("an answer by RFC 6455 4.2.2", why)
                    .hint("check that both ends name `ws` as their transport")
            }
            WsError::Io(error) => {
                Explanation::new(code::TRANSPORT_CLOSED, message).fact("the system says", error)
            }
        }
    }
}

/// The other end closed: inside the `io::Error` of whoever still read or wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other end closed the WebSocket with {code} {reason:?}")]
pub struct WsClosed {
    /// Its code, RFC 6455 7.4.1; 1005 if it gave none.
    pub code: u16,
    /// Its reason, at most 123 bytes; may be empty.
    pub reason: String,
}

impl WsClosed {
    /// What an error of a [`super::WsStream`] says about the close, if the other end closed.
    pub fn of(error: &io::Error) -> Option<&WsClosed> {
        error.get_ref()?.downcast_ref()
    }

    pub(super) fn into_io(self) -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionAborted, self)
    }
}

impl Explain for WsClosed {
    fn explain(&self) -> Explanation {
        let meaning = match self.code {
            CLOSE_GOING_AWAY => "it shuts down",
            CLOSE_POLICY => "it no longer accepts us",
            CLOSE_BROKEN => "what it leads to broke",
            CLOSE_PROTOCOL | CLOSE_UNSUPPORTED | CLOSE_TOO_BIG => "it does not understand us",
            _ => "it is done",
        };
        let closed = Explanation::new(code::TRANSPORT_CLOSED, "the other end closed the WebSocket")
            .fact("code", format!("{} ({meaning})", self.code));
        if self.reason.is_empty() { closed } else { closed.fact("reason", &self.reason) }
    }
}

/// The other end broke the rules: inside the `io::Error` of whoever still read or wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// Text, where bytes travel.
    #[error("a text message of {len} bytes came where only binary messages are taken")]
    Text {
        /// How long it is.
        len: usize,
    },
    /// More data after the message that ends its direction.
    #[error("{len} bytes came after the message that ends the data")]
    AfterEnd {
        /// How many.
        len: usize,
    },
    /// A message or frame that is too big.
    #[error("a message of {size} bytes came where {limit} are the most")]
    TooBig {
        /// Its size.
        size: usize,
        /// The most that is taken.
        limit: usize,
    },
    /// Not RFC 6455.
    #[error("the other end breaks RFC 6455: {why}")]
    Protocol {
        /// Which rule.
        why: String,
    },
}

impl Broken {
    /// What the other end is told.
    pub(super) fn close_code(&self) -> u16 {
        match self {
            Broken::Text { .. } => CLOSE_UNSUPPORTED,
            Broken::TooBig { .. } => CLOSE_TOO_BIG,
            Broken::AfterEnd { .. } | Broken::Protocol { .. } => CLOSE_PROTOCOL,
        }
    }

    pub(super) fn into_io(self) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, self)
    }
}

impl Explain for Broken {
    fn explain(&self) -> Explanation {
        Explanation::new(code::TRANSPORT_BROKEN, self.to_string())
            .hint("check that both ends name `ws` as their transport")
    }
}

/// How a WebSocket failed: the stream, or its rules.
pub(super) enum Failed {
    Io(io::Error),
    Broken(Broken),
}

impl Failed {
    pub(super) fn of(error: Error) -> Failed {
        match error {
            Error::Io(error) => Failed::Io(error),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                let cut = "the connection ended without a Close";
                Failed::Io(io::Error::new(io::ErrorKind::UnexpectedEof, cut))
            }
            Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Protocol(ProtocolError::SendAfterClosing) => {
                Failed::Io(io::Error::new(io::ErrorKind::BrokenPipe, "the WebSocket is closed"))
            }
            Error::Capacity(CapacityError::MessageTooLong { size, .. }) => {
                Failed::Broken(Broken::TooBig { size, limit: MESSAGE_BYTES_MAX })
            }
            other => {
                let why = super::super::words::printable(other.to_string().as_bytes());
                Failed::Broken(Broken::Protocol { why })
            }
        }
    }
}
