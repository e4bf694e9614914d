//! A stream to a peer that was verified, and what is known of that peer.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use certus_pki::SpiffeId;
use certus_tls::{Admission, Cut, HandshakeError, PeerIdentity, TlsStream, explain_read_error};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::audit::Place;
use super::endpoint::{End, Inner};

/// Who is at the other end of a connection, for handlers. Cheap to clone; holds no connection open.
///
/// An axum handler takes it as an argument, a tonic handler finds it in the request's extensions, and
/// [`PeerStream::peer`] gives it where the stream is at hand.
#[derive(Clone, Debug)]
pub struct PeerInfo(Arc<Known>);

#[derive(Debug)]
struct Known {
    identity: Option<PeerIdentity>,
    name: String,
    remote: SocketAddr,
    resumed: bool,
    cancelled: CancellationToken,
    draining: CancellationToken,
}

impl PeerInfo {
    pub(super) fn new(admission: &Admission, remote: SocketAddr) -> PeerInfo {
        PeerInfo(Arc::new(Known {
            identity: admission.peer().cloned(),
            name: admission.peer_name(),
            remote,
            resumed: admission.resumed(),
            cancelled: admission.cancelled(),
            draining: admission.draining(),
        }))
    }

    /// What its certificate proved; nothing where none was asked for, or chains are not verified.
    pub fn identity(&self) -> Option<&PeerIdentity> {
        self.0.identity.as_ref()
    }

    /// Its SPIFFE id, if its certificate has one.
    pub fn spiffe_id(&self) -> Option<&SpiffeId> {
        self.identity().and_then(|known| known.peer.identity.as_ref())
    }

    /// What to call it in logs: its SPIFFE id, else its certificate's first name, else its subject.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The address it came from, or was reached at.
    pub fn remote_addr(&self) -> SocketAddr {
        self.0.remote
    }

    /// Whether its handshake resumed an earlier session.
    pub fn resumed(&self) -> bool {
        self.0.resumed
    }

    /// Cancelled when the connection is cut: for work that should end with it.
    pub fn cancelled(&self) -> CancellationToken {
        self.0.cancelled.clone()
    }

    /// Cancelled when both ends shall finish what they began; a cut may follow.
    pub fn draining(&self) -> CancellationToken {
        self.0.draining.clone()
    }
}

/// A TLS stream to a peer that was verified. When one of its ends loses trust, every read and write fails
/// with an error whose inner error is a [`Cut`].
pub struct PeerStream {
    tls: TlsStream<TcpStream>,
    info: PeerInfo,
    /// Read by [`PeerStream::confirm`], and not yet by the application.
    early: BytesMut,
    inner: Arc<Inner>,
    place: Place,
    refusal_told: bool,
    _end: End,
    _held: Option<OwnedSemaphorePermit>,
}

impl PeerStream {
    pub(super) fn new(
        tls: TlsStream<TcpStream>,
        inner: Arc<Inner>,
        place: Place,
        end: End,
        held: Option<OwnedSemaphorePermit>,
    ) -> PeerStream {
        let info = PeerInfo::new(tls.admission(), place.remote);
        let (early, refusal_told) = (BytesMut::new(), false);
        PeerStream { tls, info, early, inner, place, refusal_told, _end: end, _held: held }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &PeerInfo {
        &self.info
    }

    /// The application protocol that was agreed on.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.tls.alpn()
    }

    /// Which version of TLS is spoken, `1.2` or `1.3`.
    pub fn version(&self) -> &'static str {
        self.tls.version()
    }

    /// 32 bytes that only the two ends of this connection know (RFC 8446 7.5).
    pub fn exporter(&self, label: &[u8], context: &[u8]) -> Option<[u8; 32]> {
        self.tls.exporter(label, context)
    }

    /// Our own address.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tls.get_ref().local_addr()
    }

    /// Why it was cut, if it was.
    pub fn cut(&self) -> Option<Cut> {
        self.tls.cut()
    }

    /// Leaves reads and writes as they are when the connection is cut: for protocols that end a connection
    /// in words of their own, such as a WebSocket's close with 1008. Who asks for this watches
    /// [`PeerInfo::cancelled`], and carries nothing more of the application once it says so.
    #[must_use]
    pub fn ended_by_caller(mut self) -> PeerStream {
        self.tls.end_by_caller();
        self
    }

    /// Waits until the server has shown that it accepts us, for `limit`: whether it did.
    ///
    /// In TLS 1.3 a client's handshake is over before the server has judged its certificate. A refusal
    /// comes with the first read; this asks for it before anything is written. Servers show that they
    /// accept us by a session ticket or a first byte; of one that sends neither nothing is known when
    /// `limit` is over, and `false` comes back. What was read is kept for the next read.
    ///
    /// # Errors
    /// [`HandshakeError::PeerRejectedUs`] with the reason, or the connection ended.
    pub async fn confirm(&mut self, limit: Duration) -> Result<bool, HandshakeError> {
        let confirmed = std::future::poll_fn(|cx| self.poll_confirmed(cx));
        match tokio::time::timeout(limit, confirmed).await {
            Err(_) => Ok(false),
            Ok(Ok(())) => Ok(true),
            Ok(Err(error)) => Err(explain_read_error(&error)
                .unwrap_or_else(|| HandshakeError::Io { kind: error.kind(), words: error.to_string() })),
        }
    }

    fn poll_confirmed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.tls.is_confirmed() || !self.early.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let mut space = [0; EARLY_MAX];
        let mut buf = ReadBuf::new(&mut space);
        match Pin::new(&mut self.tls).poll_read(cx, &mut buf) {
            Poll::Ready(Ok(())) => {
                self.early.extend_from_slice(buf.filled());
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.noted(error))),
            // Only a ticket may have come.
            Poll::Pending if self.tls.is_confirmed() => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Tells once that the peer refused us.
    fn noted(&mut self, error: io::Error) -> io::Error {
        let refusal = explain_read_error(&error);
        if let Some(refusal @ HandshakeError::PeerRejectedUs { .. }) = refusal
            && !std::mem::replace(&mut self.refusal_told, true)
        {
            self.inner.audit.refused_late(&self.place, &refusal);
        }
        error
    }
}

/// A first message is not looked at, only kept.
const EARLY_MAX: usize = 1024;

impl Drop for PeerStream {
    fn drop(&mut self) {
        if let Some(cut) = self.tls.cut() {
            self.inner.audit.cut(&self.place, self.info.name().to_owned(), &cut);
        }
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() && self.tls.cut().is_none() {
            let taken = self.early.len().min(buf.remaining());
            buf.put_slice(&self.early[..taken]);
            self.early.advance(taken);
            return Poll::Ready(Ok(()));
        }
        let read = ready!(Pin::new(&mut self.tls).poll_read(cx, buf));
        Poll::Ready(read.map_err(|error| self.noted(error)))
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}
