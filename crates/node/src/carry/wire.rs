//! The stream that a carried connection travels in, whatever the transport, and how each kind ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use certus_pki::code;
use certus_pki::explain::Explanation;
use certus_tls::TlsStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::outbound::Reset;
use super::pool::Counted;
use super::quic::QuicStream;
use super::sniff::Peeked;
use crate::e2e::E2eStream;
use crate::transports::h2::H2Stream;
use crate::transports::ws::{self, WsStream};

/// What lies directly on a socket: TLS, or nothing where somebody else ends it.
pub(crate) enum Outer {
    /// TLS of ours.
    Tls(Box<TlsStream<Peeked<TcpStream>>>),
    /// None.
    Plain(Peeked<TcpStream>),
}

impl Outer {
    /// What only the two ends of the TLS connection know; nothing where there is none.
    pub(crate) fn exporter(&self, label: &[u8]) -> Option<[u8; 32]> {
        match self {
            Outer::Tls(tls) => tls.exporter(label, b""),
            Outer::Plain(_) => None,
        }
    }

    /// The protocol that TLS agreed on.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        match self {
            Outer::Tls(tls) => tls.alpn(),
            Outer::Plain(_) => None,
        }
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Outer::Tls(tls) => tls.get_ref().inner(),
            Outer::Plain(tcp) => tcp.inner(),
        }
    }

    /// For protocols that end a connection in words of their own.
    pub(crate) fn ended_by_caller(self) -> Outer {
        match self {
            Outer::Tls(tls) => Outer::Tls(Box::new((*tls).ended_by_caller())),
            plain => plain,
        }
    }
}

/// A carried connection's stream.
pub(crate) enum Wire {
    /// Alone on its socket.
    Tcp(Outer),
    /// One of many in HTTP/2, which counts those that it dialed.
    H2(H2Stream, #[expect(dead_code, reason = "counts as long as it lives")] Option<Counted>),
    /// Inside a WebSocket.
    Ws(Box<WsStream<Outer>>),
    /// One of many in QUIC.
    Quic(Box<QuicStream>),
    /// Inside an end-to-end session inside one of the others.
    Sealed(Box<E2eStream<Wire>>),
}

impl Wire {
    /// Whether it has its connection for itself. The streams of others end with what is said to their
    /// connection: GOAWAY, or that it takes no more of them.
    pub(crate) fn is_alone(&self) -> bool {
        match self {
            Wire::Tcp(_) | Wire::Ws(_) => true,
            Wire::H2(..) | Wire::Quic(_) => false,
            Wire::Sealed(sealed) => sealed.get_ref().is_alone(),
        }
    }

    /// Whether a word of one side ends both directions: a WebSocket's Close (RFC 6455 5.5.1).
    pub(crate) fn ends_whole(&self) -> bool {
        match self {
            Wire::Ws(_) => true,
            Wire::Tcp(_) | Wire::H2(..) | Wire::Quic(_) => false,
            Wire::Sealed(sealed) => sealed.get_ref().ends_whole(),
        }
    }

    /// Says that all was said, where that takes more than ending our direction.
    pub(crate) async fn goodbye(self) {
        match self {
            Wire::Ws(mut socket) => {
                let closing = socket.close(ws::CLOSE_GOING_AWAY, "drained");
                let _ = tokio::time::timeout(GOODBYE, closing).await;
            }
            Wire::Sealed(sealed) => Box::pin(sealed.into_inner().goodbye()).await,
            Wire::Tcp(_) | Wire::H2(..) | Wire::Quic(_) => {}
        }
    }

    /// Ends it in a way that its other end does not take for complete: the peer, or our own standing with
    /// it, lost trust, or what it leads to broke.
    pub(crate) async fn abort(self, why: &Explanation) {
        match self {
            Wire::Tcp(outer) => outer.tcp().reset(),
            Wire::H2(stream, _) => stream.reset(::h2::Reason::CANCEL),
            Wire::Ws(mut socket) => {
                let code = match why.code {
                    code if (1100..1200).contains(&code.number()) => ws::CLOSE_POLICY,
                    code::UNAVAILABLE => ws::CLOSE_GOING_AWAY,
                    _ => ws::CLOSE_BROKEN,
                };
                let closing = socket.close(code, &why.message);
                // Whether it hears that is the other end's affair.
                let _ = tokio::time::timeout(GOODBYE, closing).await;
            }
            Wire::Quic(mut stream) => stream.abort(),
            Wire::Sealed(sealed) => Box::pin(sealed.into_inner().abort(why)).await,
        }
    }
}

/// What a goodbye may take; the other end may be gone.
const GOODBYE: Duration = Duration::from_secs(1);

/// Reads and writes go to whichever stream it is.
macro_rules! streams {
    ($name:ty { $($variant:ident),* }) => {
        impl AsyncRead for $name {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$variant(stream, ..) => Pin::new(stream).poll_read(cx, buf),)*
                }
            }
        }

        impl AsyncWrite for $name {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $(Self::$variant(stream, ..) => Pin::new(stream).poll_write(cx, buf),)*
                }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $(Self::$variant(stream, ..) => Pin::new(stream).poll_write_vectored(cx, bufs),)*
                }
            }

            // HTTP/2 writes a frame's head and what it carries as one, where it may.
            fn is_write_vectored(&self) -> bool {
                match self {
                    $(Self::$variant(stream, ..) => stream.is_write_vectored(),)*
                }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$variant(stream, ..) => Pin::new(stream).poll_flush(cx),)*
                }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$variant(stream, ..) => Pin::new(stream).poll_shutdown(cx),)*
                }
            }
        }
    };
}
pub(super) use streams;

streams!(Wire { Tcp, H2, Ws, Quic, Sealed });
streams!(Outer { Tls, Plain });
