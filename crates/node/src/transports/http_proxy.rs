//! Through an HTTP proxy: `CONNECT` of HTTP/1.1 (RFC 9110 9.3.6), with Basic credentials where it wants
//! some.
//!
//! Reads up to the end of the proxy's answer and not one byte more: the next belongs to the target.
//! Credentials are never shown.

use std::fmt;
use std::io;
use std::time::Duration;

use certus_pki::code;
use certus_pki::explain::{Explain, Explanation};
use http::uri::Authority;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::head::{HEAD_BYTES_MAX, NoHead, read_head};
use super::{handshake_limit, words};

/// What a URL without a port means (RFC 9110 4.2.1).
const PORT: u16 = 80;

/// User and secret for a proxy. Shown nowhere, zeroed when dropped.
#[derive(Clone)]
pub struct ProxyCredentials {
    user: Zeroizing<String>,
    secret: Zeroizing<String>,
}

impl ProxyCredentials {
    /// Credentials; a user has no colon (RFC 7617 2).
    pub fn new(user: String, secret: String) -> Option<ProxyCredentials> {
        let (user, secret) = (Zeroizing::new(user), Zeroizing::new(secret));
        (!user.contains(':')).then_some(ProxyCredentials { user, secret })
    }

    /// What follows `Basic`.
    fn basic(&self) -> Zeroizing<String> {
        // All of it at once: a buffer that grows leaves copies behind.
        let mut pair = Zeroizing::new(Vec::with_capacity(self.user.len() + 1 + self.secret.len()));
        pair.extend_from_slice(self.user.as_bytes());
        pair.push(b':');
        pair.extend_from_slice(self.secret.as_bytes());
        Zeroizing::new(base64(&pair))
    }
}

/// Where a proxy is, as in `http://[user:secret@]host[:port]`.
#[derive(Clone)]
pub struct Proxy {
    /// `host:port`, to be dialed.
    pub address: String,
    /// What it wants to know of us.
    pub credentials: Option<ProxyCredentials>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Proxy {
    /// Reads a proxy's URL.
    ///
    /// # Errors
    /// What is wrong with it, without the URL: it may hold a secret.
    pub fn parse(url: &str) -> Result<Proxy, ProxyUrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(ProxyUrlError::NoScheme)?;
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(ProxyUrlError::Scheme { scheme: scheme.chars().take(16).collect() });
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, place) = match rest.rsplit_once('@') {
            Some((pair, place)) => (Some(credentials(pair)?), place),
            None => (None, rest),
        };
        let authority = Authority::try_from(place).map_err(|_| ProxyUrlError::Place)?;
        // `Authority` lets a port that is no number stand.
        let port = match place.strip_prefix(authority.host()) {
            Some("") => PORT,
            Some(port) => {
                let port = port.strip_prefix(':').and_then(|port| port.parse().ok());
                port.filter(|port| *port != 0).ok_or(ProxyUrlError::Place)?
            }
            None => return Err(ProxyUrlError::Place),
        };
        if authority.host().is_empty() {
            return Err(ProxyUrlError::Place);
        }
        Ok(Proxy { address: format!("{}:{port}", authority.host()), credentials })
    }
}

fn credentials(pair: &str) -> Result<ProxyCredentials, ProxyUrlError> {
    let (user, secret) = pair.split_once(':').unwrap_or((pair, ""));
    let text = |part: &str| String::from_utf8(words::percent_decoded(part.as_bytes()));
    let (Ok(user), Ok(secret)) = (text(user), text(secret)) else { return Err(ProxyUrlError::Credentials) };
    ProxyCredentials::new(user, secret).ok_or(ProxyUrlError::Credentials)
}

/// Text that is not a proxy's URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyUrlError {
    /// No `://`.
    #[error("the proxy's URL has no scheme, http:// is expected")]
    NoScheme,
    /// Another scheme.
    #[error("a proxy over `{scheme}` is not supported, only http")]
    Scheme {
        /// What came.
        scheme: String,
    },
    /// Not `host[:port]`.
    #[error("the proxy's URL does not hold one host and port")]
    Place,
    /// Not text, or a colon in the user.
    #[error("user and secret in the proxy's URL are not text, percent-encoded where needed")]
    Credentials,
}

impl Explain for ProxyUrlError {
    fn explain(&self) -> Explanation {
        Explanation::new(code::HTTP_PROXY, self.to_string()).hint("write http://[user:secret@]host:port")
    }
}

/// Asks the proxy at the other end of `io` for a connection to `target`, `host:port`. Afterwards `io`
/// leads there.
///
/// # Errors
/// The proxy refused, says nothing in time, or is none.
pub async fn connect_through<IO>(
    io: &mut IO,
    target: &str,
    credentials: Option<&ProxyCredentials>,
) -> Result<(), HttpProxyError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let limit = handshake_limit();
    timeout(limit, ask(io, target, credentials)).await.map_err(|_| HttpProxyError::Late { limit })?
}

async fn ask<IO>(
    io: &mut IO,
    target: &str,
    credentials: Option<&ProxyCredentials>,
) -> Result<(), HttpProxyError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let authority = Authority::try_from(target).ok().filter(|authority| authority.port_u16().is_some());
    let Some(authority) = authority.filter(|authority| !authority.as_str().contains('@')) else {
        return Err(HttpProxyError::BadTarget { target: target.to_owned() });
    };
    let basic = credentials.map(ProxyCredentials::basic).unwrap_or_default();
    let room = 2 * target.len() + basic.len() + 128;
    let mut request = Zeroizing::new(String::with_capacity(room));
    request.push_str(&format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n"));
    if credentials.is_some() {
        request.push_str("Proxy-Authorization: Basic ");
        request.push_str(&basic);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    io.write_all(request.as_bytes()).await.map_err(HttpProxyError::Io)?;
    io.flush().await.map_err(HttpProxyError::Io)?;
    let head = read_head(io).await.map_err(|none| match none {
        NoHead::TooLong => HttpProxyError::HeadTooLong { limit: HEAD_BYTES_MAX },
        NoHead::Ended(count) => HttpProxyError::Ended { count },
        NoHead::Io(error) => HttpProxyError::Io(error),
    })?;
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    let (status, reason) =
        status(line).ok_or_else(|| HttpProxyError::NotHttp { line: words::printable(line) })?;
    // RFC 9110 9.3.6: any 2xx; what such an answer says of a body is ignored.
    if (200..300).contains(&status) { Ok(()) } else { Err(HttpProxyError::Refused { status, reason }) }
}

/// Status and reason of a status line (RFC 9112 4).
fn status(line: &[u8]) -> Option<(u16, String)> {
    let rest = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    let (digits, reason) = rest.split_at_checked(3)?;
    if !digits.iter().all(u8::is_ascii_digit) || !matches!(reason.first(), None | Some(b' ')) {
        return None;
    }
    let status = digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    (status >= 100).then(|| (status, words::printable(reason.trim_ascii())))
}

/// A proxy that did not connect us.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpProxyError {
    /// The caller acts.
    #[error("`{target}` is not host:port")]
    BadTarget {
        /// What came.
        target: String,
    },
    /// The proxy says no.
    #[error("the proxy answered {status} {reason}")]
    Refused {
        /// HTTP's status.
        status: u16,
        /// The proxy's words.
        reason: String,
    },
    /// No answer.
    #[error("the proxy did not answer within {} s", .limit.as_secs_f32())]
    Late {
        /// How long was waited.
        limit: Duration,
    },
    /// An answer without end.
    #[error("the head of the proxy's answer is longer than {limit} bytes")]
    HeadTooLong {
        /// The most that is read.
        limit: usize,
    },
    /// It hung up.
    #[error("the proxy hung up after {count} bytes of an answer")]
    Ended {
        /// How many came.
        count: usize,
    },
    /// Something else listens there.
    #[error("the answer is not that of an HTTP proxy: {line:?}")]
    NotHttp {
        /// The first line.
        line: String,
    },
    /// The stream broke.
    #[error("the connection to the proxy broke")]
    Io(#[source] io::Error),
}

impl Explain for HttpProxyError {
    fn explain(&self) -> Explanation {
        let why = Explanation::new(code::HTTP_PROXY, self.to_string());
        match self {
            HttpProxyError::BadTarget { .. } => why.hint("give the target as host:port"),
            HttpProxyError::Refused { status: 407, .. } => {
                why.hint("the proxy wants credentials: http://user:secret@host:port")
            }
            HttpProxyError::Refused { .. } => {
                why.hint("the proxy's rules or its log say why: many allow only port 443")
            }
            HttpProxyError::Io(error) => why.fact("the system says", error),
            _ => why.hint("check the proxy's address: curl -v -p -x http://host:port https://target"),
        }
    }
}

/// RFC 4648 4. The room has no other use for base64 of text that is secret.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = DIGITS[bits >> (18 - 6 * place) & 63];
            text.push(if place > group.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

#[cfg(test)]
mod tests;
