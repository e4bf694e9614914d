//! What both ends must agree on before they say anything: version, transport, the TLS below.
//!
//! Never sent; mixed into the handshake, which fails where the two differ.

use std::fmt;

/// The TLS exporter's label (RFC 8446 7.5) for [`Prologue::exporter`]; the context is empty.
pub const EXPORTER_LABEL: &[u8] = b"EXPERIMENTAL certus-e2e/1";

/// What a session is bound to (Noise revision 34 §6).
#[derive(Clone, Copy)]
pub struct Prologue {
    /// How the stream travels: `tcp`, `h2`, `ws` or `quic`.
    pub transport: &'static str,
    /// What only the two ends of the TLS connection below know, so that the session holds on no other;
    /// nothing where there is no TLS, or both ends declare that somebody between them ends it.
    pub exporter: Option<[u8; 32]>,
}

impl Prologue {
    /// No NUL can stand in the parts before the last, so two prologues never spell the same bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = [VERSION, self.transport.as_bytes(), b""].join(&0);
        match &self.exporter {
            Some(exporter) => bytes.extend_from_slice(&[b"tls", &exporter[..]].concat()),
            None => bytes.extend_from_slice(b"none"),
        }
        bytes
    }

    pub(super) fn shape(&self) -> Shape {
        Shape { bound: self.exporter.is_some(), transport: self.transport.to_owned() }
    }
}

const VERSION: &[u8] = b"certus-e2e/1";

/// What of a prologue may be told in the clear: enough to say where two ends differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) bound: bool,
    pub(super) transport: String,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = if self.bound { "bound to the TLS connection" } else { "not bound to a TLS connection" };
        write!(f, "{}, {tls}", self.transport)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_that_are_documented() {
        let none = Prologue { transport: "ws", exporter: None };
        assert_eq!(none.encode(), b"certus-e2e/1\0ws\0none");
        let bound = Prologue { transport: "tcp", exporter: Some([b'x'; 32]) };
        assert_eq!(bound.encode(), [&b"certus-e2e/1\0tcp\0tls"[..], &[b'x'; 32]].concat());
    }
}
