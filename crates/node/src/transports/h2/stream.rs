//! One carried connection as a byte stream: flow control and half-close are HTTP/2's own.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::h2::{Reason, RecvStream, SendStream};
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client::Dialed;
use super::error::H2Error;

/// What one write takes at most, so that one stream does not reserve a whole connection's window.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// A stream. `shutdown` ends what we send and leaves the other direction open. Dropped before both
/// directions have ended, the stream is reset: without `shutdown`, or at the dialing end, the other end
/// sees `ConnectionReset` instead of an end.
pub struct H2Stream {
    send: SendStream<Bytes>,
    receive: RecvStream,
    /// Received and not read; the window is given back as it is read.
    unread: Bytes,
    is_shut: bool,
    dialed: Option<Dialed>,
}

impl H2Stream {
    pub(super) fn new(send: SendStream<Bytes>, receive: RecvStream, dialed: Option<Dialed>) -> H2Stream {
        H2Stream { send, receive, unread: Bytes::new(), is_shut: false, dialed }
    }

    /// Ends both directions at once, for this reason.
    pub fn reset(mut self, reason: Reason) {
        self.is_shut = true;
        self.send.send_reset(reason);
    }

    /// Why nothing more can be sent.
    fn unsendable(&mut self, cx: &mut Context<'_>) -> io::Error {
        match self.send.poll_reset(cx) {
            Poll::Ready(Ok(reason)) => of_reset(reason),
            Poll::Ready(Err(error)) => self.unwritten(cx, &error),
            Poll::Pending => io::ErrorKind::BrokenPipe.into(),
        }
    }

    fn unwritten(&mut self, cx: &mut Context<'_>, error: &::h2::Error) -> io::Error {
        match error.reason() {
            Some(reason) if !error.is_go_away() => of_reset(reason),
            _ => self.broken(cx, error),
        }
    }

    /// Streams of a connection that ended only know that it did; it may know why.
    fn broken(&mut self, cx: &mut Context<'_>, error: &::h2::Error) -> io::Error {
        let why = self.dialed.as_mut().filter(|_| error.is_io()).and_then(|dialed| dialed.ended(cx));
        why.unwrap_or_else(|| H2Error::of(error)).into_io()
    }
}

/// RFC 9113 8.1: `NO_ERROR` says that the other end has said all and wants to hear no more.
fn of_reset(reason: Reason) -> io::Error {
    if reason == Reason::NO_ERROR {
        return io::Error::new(io::ErrorKind::BrokenPipe, "the other end reads no more");
    }
    H2Error::Reset { reason: reason.description().to_owned() }.into_io()
}

impl AsyncRead for H2Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        while this.unread.is_empty() {
            match ready!(this.receive.poll_data(cx)) {
                Some(Ok(data)) => this.unread = data,
                Some(Err(error)) if error.is_reset() && error.reason() == Some(Reason::NO_ERROR) => {
                    return Poll::Ready(Ok(()));
                }
                Some(Err(error)) => return Poll::Ready(Err(this.broken(cx, &error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = this.unread.len().min(buf.remaining());
        buf.put_slice(&this.unread[..count]);
        this.unread.advance(count);
        // Fails only for more than was received.
        let _ = this.receive.flow_control().release_capacity(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for H2Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.is_shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        this.send.reserve_capacity(buf.len().min(WRITE_BYTES_MAX));
        // `poll_capacity` is ready only when there is more than before, so what is there comes first.
        while this.send.capacity() == 0 {
            match ready!(this.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(this.unwritten(cx, &error))),
                None => return Poll::Ready(Err(this.unsendable(cx))),
            }
        }
        let count = this.send.capacity().min(buf.len());
        match this.send.send_data(Bytes::copy_from_slice(&buf[..count]), false) {
            Ok(()) => Poll::Ready(Ok(count)),
            Err(_) => Poll::Ready(Err(this.unsendable(cx))),
        }
    }

    /// What was written is with the connection, which sends without being told.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_shut {
            return Poll::Ready(Ok(()));
        }
        self.is_shut = true;
        match self.send.send_data(Bytes::new(), true) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(_) => Poll::Ready(Err(self.unsendable(cx))),
        }
    }
}

impl Drop for H2Stream {
    fn drop(&mut self) {
        if !self.is_shut {
            self.send.send_reset(Reason::CANCEL);
        }
    }
}
