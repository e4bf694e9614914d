//! Both directions of a QUIC stream as a byte stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use quinn::{RecvStream, SendStream, StoppedError, VarInt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::DropGuard;

use crate::carry::pool::Counted;

/// The application's code of a stream that broke off.
const ABORTED: VarInt = VarInt::from_u32(0x500);

type Arriving = Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>> + Send>>;

/// A stream. Dropped before it was shut down, it is reset: quinn alone would say that it is complete.
pub(crate) struct QuicStream {
    pub(super) send: SendStream,
    pub(super) receive: RecvStream,
    is_shut: bool,
    /// Until the other end has all of it: a connection that is closed before loses what is on its way.
    arriving: Option<Arriving>,
    /// Its connection counts it.
    pub(in crate::carry) counted: Option<Counted>,
    /// Its connection lives as long as it does.
    pub(super) user: Option<Arc<DropGuard>>,
}

impl QuicStream {
    pub(super) fn new(send: SendStream, receive: RecvStream, counted: Option<Counted>) -> QuicStream {
        QuicStream { send, receive, is_shut: false, arriving: None, counted, user: None }
    }

    /// Ends both directions so that nobody takes them for complete.
    pub(crate) fn abort(&mut self) {
        self.is_shut = true;
        // Both fail only where it ended before.
        let _ = self.send.reset(ABORTED);
        let _ = self.receive.stop(ABORTED);
    }
}

impl Drop for QuicStream {
    fn drop(&mut self) {
        if !self.is_shut {
            self.abort();
        }
    }
}

impl AsyncRead for QuicStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.receive).poll_read(cx, buf)
    }
}

impl AsyncWrite for QuicStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.send), cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.send), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(AsyncWrite::poll_shutdown(Pin::new(&mut self.send), cx))?;
            self.is_shut = true;
            self.arriving = Some(Box::pin(self.send.stopped()));
        }
        let Some(arriving) = &mut self.arriving else { return Poll::Ready(Ok(())) };
        let arrived = ready!(arriving.as_mut().poll(cx));
        self.arriving = None;
        // Whoever wants to hear no more has what it wants.
        Poll::Ready(arrived.map(drop).map_err(io::Error::other))
    }
}
