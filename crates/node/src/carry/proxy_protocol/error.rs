//! Why a header of the PROXY protocol could not be read or written.

use std::io;

use certus_pki::code;
use certus_pki::explain::{Explain, Explanation};

use super::{HEADER_BYTES_MAX, UNIX_PATH_BYTES_MAX};

/// A header that is none, or cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyProtocolError {
    /// Another version.
    #[error("a header of the PROXY protocol version {came} came, version 2 is expected")]
    Version {
        /// Which.
        came: u8,
    },
    /// Something else.
    #[error(
        "the connection does not begin with a PROXY protocol header: expected its signature, {came:02x?} came"
    )]
    NoHeader {
        /// The first bytes.
        came: Vec<u8>,
    },
    /// A command that does not exist.
    #[error("command {came} in a PROXY protocol header: expected 0 (LOCAL) or 1 (PROXY)")]
    Command {
        /// Which.
        came: u8,
    },
    /// An address family or protocol that is not taken.
    #[error(
        "addresses of kind {came:#04x} in a PROXY protocol header: expected those of TCP or a Unix stream"
    )]
    Family {
        /// Family and protocol.
        came: u8,
    },
    /// Fewer or more bytes than the header says.
    #[error("{what} of a PROXY protocol header takes {expected} bytes, there are {came}")]
    Length {
        /// Which part.
        what: &'static str,
        /// What it takes.
        expected: usize,
        /// What is there.
        came: usize,
    },
    /// Too long to be read or written.
    #[error("a PROXY protocol header of {came} bytes, {HEADER_BYTES_MAX} are the most")]
    TooLong {
        /// How long.
        came: usize,
    },
    /// A path that does not fit.
    #[error("the path of a Unix socket of {came} bytes, {UNIX_PATH_BYTES_MAX} are the most")]
    PathTooLong {
        /// How long.
        came: usize,
    },
    /// A value that comes twice.
    #[error("the value of type {kind:#04x} comes twice in a PROXY protocol header")]
    Twice {
        /// Which.
        kind: u8,
    },
    /// A value that is not text.
    #[error(
        "the value of type {kind:#04x} in a PROXY protocol header is not UTF-8 without control characters"
    )]
    NotText {
        /// Which.
        kind: u8,
    },
    /// The connection ended within the header, or broke.
    #[error("the connection broke within a PROXY protocol header, after {came} bytes")]
    Io {
        /// How many bytes came.
        came: usize,
        /// What happened.
        #[source]
        error: io::Error,
    },
}

impl Explain for ProxyProtocolError {
    fn explain(&self) -> Explanation {
        let why = Explanation::new(code::PROXY_PROTOCOL, self.to_string());
        match self {
            ProxyProtocolError::Version { .. } => {
                why.hint("let the sender use version 2: in HAProxy `send-proxy-v2`")
            }
            ProxyProtocolError::NoHeader { .. } => why.hint(
                "only what sends the header may connect here: set it up there, or not to be expected here",
            ),
            ProxyProtocolError::Io { error, .. } => why.fact("the system says", error),
            _ => why,
        }
    }
}
