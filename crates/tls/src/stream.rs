//! A mutually authenticated byte stream that ends when its peer is no longer trusted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use certus_pki::{Epoch, Explain, Explanation, Peer};
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::connection::{Admission, Connection};
use crate::error;
use crate::lifecycle::CutReason;

/// Who the peer is, and the epoch of the trust that it was admitted under.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerIdentity {
    /// Who it is.
    pub peer: Arc<Peer>,
    /// The epoch at admission.
    pub epoch: Epoch,
}

impl PeerIdentity {
    pub(crate) fn new(peer: Arc<Peer>, epoch: Epoch) -> PeerIdentity {
        PeerIdentity { peer, epoch }
    }
}

/// A TLS connection whose peer was admitted.
///
/// When its peer loses trust, every pending and later read and write fails with an error whose inner
/// error is [`Cut`]. Dropping it, and every [`Admission`] of it, takes it out of the registry.
pub struct TlsStream<IO> {
    tls: tokio_rustls::TlsStream<IO>,
    admission: Admission,
    /// Whether a cut fails reads and writes here.
    cut_ends: bool,
}

impl<IO> TlsStream<IO> {
    pub(crate) fn new(tls: tokio_rustls::TlsStream<IO>, admission: Admission) -> TlsStream<IO> {
        TlsStream { tls, admission, cut_ends: true }
    }

    fn connection(&self) -> &Connection {
        self.admission.connection()
    }

    /// The admission, to be kept beside what is done with the stream.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Leaves reads and writes as they are when the connection is cut: for protocols that end a
    /// connection in words of their own. Who asks for this watches [`Admission::cancelled`] and carries
    /// nothing more of the application once it says so.
    #[must_use]
    pub fn ended_by_caller(self) -> TlsStream<IO> {
        TlsStream { cut_ends: false, ..self }
    }

    /// [`TlsStream::ended_by_caller`], of a stream that stays where it is.
    pub fn end_by_caller(&mut self) {
        self.cut_ends = false;
    }

    /// Whether the other end has shown that it accepts us. A server knows when its handshake is over, and so
    /// does a client of TLS 1.2. In 1.3 a server judges its client afterwards, and shows it by a session
    /// ticket, which a read takes in; of one that sends none, only its first byte tells.
    pub fn is_confirmed(&self) -> bool {
        match &self.tls {
            tokio_rustls::TlsStream::Server(_) => true,
            tokio_rustls::TlsStream::Client(tls) => {
                let connection = tls.get_ref().1;
                connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_2)
                    || connection.tls13_tickets_received() > 0
            }
        }
    }

    /// Which version of TLS is spoken, `1.2` or `1.3`.
    pub fn version(&self) -> &'static str {
        match self.tls.get_ref().1.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "1.2",
            _ => "1.3",
        }
    }

    /// Who is at the other end; nobody known only where a listener takes callers without a certificate.
    pub fn peer(&self) -> Option<&PeerIdentity> {
        self.connection().peer.as_ref()
    }

    /// Whether the handshake resumed an earlier session.
    pub fn resumed(&self) -> bool {
        self.connection().resumed
    }

    /// The epoch of the trust at admission.
    pub fn epoch(&self) -> Epoch {
        self.connection().epoch
    }

    /// The application protocol that was agreed on.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.tls.get_ref().1.alpn_protocol()
    }

    /// The byte stream below.
    pub fn get_ref(&self) -> &IO {
        self.tls.get_ref().0
    }

    /// Why it was cut, if it was.
    pub fn cut(&self) -> Option<Cut> {
        self.connection().reason().cloned().map(|reason| Cut { reason })
    }

    /// Cancelled when the connection is cut: for forwarders that hold more than this stream.
    pub fn cancelled(&self) -> CancellationToken {
        self.connection().token.clone()
    }

    /// 32 bytes that only the two ends of this connection know (RFC 8446 7.5), or nothing if the
    /// protocol version cannot give them.
    pub fn exporter(&self, label: &[u8], context: &[u8]) -> Option<[u8; 32]> {
        let (output, context) = ([0; 32], Some(context));
        match &self.tls {
            tokio_rustls::TlsStream::Client(tls) => {
                tls.get_ref().1.export_keying_material(output, label, context).ok()
            }
            tokio_rustls::TlsStream::Server(tls) => {
                tls.get_ref().1.export_keying_material(output, label, context).ok()
            }
        }
    }

    /// Fails once the connection is cut; otherwise asks `io`, and is woken by a cut while it waits.
    fn unless_cut<T>(
        &mut self,
        cx: &mut Context<'_>,
        waker: impl FnOnce(&Connection) -> &AtomicWaker,
        io: impl FnOnce(Pin<&mut tokio_rustls::TlsStream<IO>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let connection = self.admission.connection();
        if !self.cut_ends {
            return io(Pin::new(&mut self.tls), cx).map_err(error::in_words);
        }
        if let Some(reason) = connection.reason() {
            return Poll::Ready(Err(Cut { reason: reason.clone() }.into()));
        }
        let polled = io(Pin::new(&mut self.tls), cx);
        if polled.is_pending() {
            waker(connection).register(cx.waker());
            // A cut between the first look and the registration has woken nobody.
            if let Some(reason) = connection.reason() {
                return Poll::Ready(Err(Cut { reason: reason.clone() }.into()));
            }
        }
        polled.map_err(error::in_words)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.unless_cut(cx, |connection| &connection.reader, |tls, cx| tls.poll_read(cx, buf))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.unless_cut(cx, |connection| &connection.writer, |tls, cx| tls.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.unless_cut(cx, |connection| &connection.writer, |tls, cx| tls.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unless_cut(cx, |connection| &connection.writer, |tls, cx| tls.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unless_cut(cx, |connection| &connection.writer, |tls, cx| tls.poll_shutdown(cx))
    }
}

/// The connection was cut: one of its ends is no longer trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection was cut")]
pub struct Cut {
    /// Why.
    #[source]
    pub reason: CutReason,
}

impl Explain for Cut {
    fn explain(&self) -> Explanation {
        let mut why = self.reason.explain();
        why.message = format!("the connection was cut: {}", why.message);
        why
    }
}

impl From<Cut> for io::Error {
    fn from(cut: Cut) -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionAborted, cut)
    }
}
