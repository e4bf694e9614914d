//! The PROXY protocol, version 2: tells a service behind a listener who is at the other end.
//!
//! Follows <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>. Version 1 is refused by name;
//! datagrams are refused, for what is carried here are streams. Whether a header may be believed is
//! the caller's to know.

mod error;
mod read;
mod write;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

pub use error::ProxyProtocolError;
pub use read::{decode, read_header};

/// A header in all. The addresses take 232 bytes at most; the rest is for names.
pub const HEADER_BYTES_MAX: usize = 4 << 10;
/// The path of a Unix socket.
pub const UNIX_PATH_BYTES_MAX: usize = 108;

/// What every header of version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length.
const FIXED_BYTES: usize = 16;

/// The server's name that the client asked for.
const TYPE_AUTHORITY: u8 = 0x02;
/// What TLS says of the client: bits, whether its certificate was verified, then more TLVs.
const TYPE_SSL: u8 = 0x20;
const SUBTYPE_SSL_VERSION: u8 = 0x21;
const SUBTYPE_SSL_CN: u8 = 0x22;
/// The first of the types left to applications: the SPIFFE id.
const TYPE_SPIFFE_ID: u8 = 0xe0;
/// The second: the fingerprint of the key.
const TYPE_KEY_FINGERPRINT: u8 = 0xe1;

/// The client speaks TLS.
const CLIENT_SSL: u8 = 0x01;
/// It showed a certificate over this connection.
const CLIENT_CERT_CONN: u8 = 0x02;
/// It showed a certificate in this TLS session.
const CLIENT_CERT_SESS: u8 = 0x04;

/// One header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose connection it is.
    pub ends: Ends,
    /// What else is known of it. Of [`Ends::Local`] nothing is.
    pub facts: Facts,
}

/// The two ends of the connection that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The sender's own, such as a health check: the real connection counts.
    Local,
    /// Carried for a client whose address is not told.
    Unspecified,
    /// TCP over IPv4 or IPv6. If the two differ, IPv4 is written as IPv6.
    Tcp {
        /// The client.
        source: SocketAddr,
        /// Whom it reached.
        destination: SocketAddr,
    },
    /// A Unix stream socket.
    Unix {
        /// The client's path: bytes, often none; of at most [`UNIX_PATH_BYTES_MAX`].
        source: Vec<u8>,
        /// The path it reached.
        destination: Vec<u8>,
    },
}

/// What is known of the client besides its address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The server's name that it asked for.
    pub authority: Option<String>,
    /// What TLS says.
    pub tls: Option<TlsFacts>,
    /// Its identity, `spiffe://…`, in TLV 0xE0.
    pub spiffe_id: Option<String>,
    /// The fingerprint of its key as text, in TLV 0xE1.
    pub key_fingerprint: Option<String>,
}

/// What TLS says of the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// Whether it showed a certificate on this connection.
    pub certificate: bool,
    /// Whether it did so in this session: also true of one that was resumed.
    pub certificate_in_session: bool,
    /// Whether that certificate was verified.
    pub verified: bool,
    /// Such as `TLSv1.3`.
    pub version: Option<String>,
    /// The certificate's common name.
    pub common_name: Option<String>,
}
