//! A session at work: bytes in and out, sealed in between.
//!
//! Knows nothing of who is accepted, and never takes the end of the stream below for the end of what
//! was sent: only the other end's word is that.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use certus_pki::AgentId;
use snow::TransportState;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::buffer::Buffer;
use super::error::E2eError;
use super::resolver::TAG_BYTES;
use super::{LENGTH_BYTES, MESSAGE_BYTES_MAX};

/// The most that one record carries.
pub(super) const PAYLOAD_BYTES_MAX: usize = MESSAGE_BYTES_MAX - TAG_BYTES;
/// What is read at once where no longer record is known to come.
const READ_BYTES: usize = 4 << 10;
/// How long the stream below may take to end after both directions did; the rest is its own affair.
const LINGER: Duration = Duration::from_secs(1);

/// A byte stream between two agents that have proved who they are.
///
/// Shutting it down says that this direction ends, and the other goes on. Reading ends cleanly only where
/// the other end said so: what was cut off is [`io::ErrorKind::UnexpectedEof`], what was changed
/// [`io::ErrorKind::InvalidData`], both with an [`E2eError`] inside. Written bytes may wait in it until it
/// is flushed.
pub struct E2eStream<IO> {
    io: IO,
    noise: TransportState,
    peer: AgentId,
    reading: Reading,
    /// As it came.
    sealed: Buffer,
    /// Opened, and more than the reader had room for.
    opened: Buffer,
    writing: Writing,
    /// Sealed, and not yet taken by the stream below.
    outgoing: Buffer,
    below: Below,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Open,
    /// The other end said that it ends.
    Ended,
    /// The stream below ended before.
    CutOff,
    /// A record was no record.
    Changed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Writing {
    Open,
    /// The record that says so is on its way.
    Ending,
    Ended,
}

/// How the stream below ends, once both directions have.
enum Below {
    Open,
    Awaited(Pin<Box<Sleep>>),
    Ended,
}

impl<IO> E2eStream<IO> {
    pub(super) fn new(io: IO, noise: TransportState, peer: AgentId) -> E2eStream<IO> {
        E2eStream {
            io,
            noise,
            peer,
            reading: Reading::Open,
            sealed: Buffer::default(),
            opened: Buffer::default(),
            writing: Writing::Open,
            outgoing: Buffer::default(),
            below: Below::Open,
        }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> AgentId {
        self.peer
    }

    /// The stream below.
    pub fn into_inner(self) -> IO {
        self.io
    }

    /// The stream below.
    pub fn get_ref(&self) -> &IO {
        &self.io
    }

    /// What is allocated for bytes on their way.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        self.sealed.allocated() + self.opened.allocated() + self.outgoing.allocated()
    }

    /// The length of the next record, once its first bytes are there.
    fn next_length(&self) -> Option<usize> {
        let length = self.sealed.filled().first_chunk::<LENGTH_BYTES>()?;
        Some(usize::from(u16::from_be_bytes(*length)))
    }

    /// Opens the next record if all of it is there, straight into `out` where it fits. Says whether one was.
    fn open_next(&mut self, out: &mut ReadBuf<'_>) -> Result<bool, E2eError> {
        let Some(length) = self.next_length() else { return Ok(false) };
        let payload = length.checked_sub(TAG_BYTES).ok_or(E2eError::Changed)?;
        let end = LENGTH_BYTES + length;
        let Some(record) = self.sealed.filled().get(LENGTH_BYTES..end) else { return Ok(false) };
        // A record that does not open may have left bytes in `out`; they are not counted as filled.
        let direct = out.remaining() >= payload;
        let room = if direct { out.initialize_unfilled_to(payload) } else { self.opened.room_for(payload) };
        let count = self.noise.read_message(record, room).map_err(|_| E2eError::Changed)?;
        self.sealed.consume(end);
        match (count, direct) {
            (0, _) => self.reading = Reading::Ended,
            (_, true) => out.advance(count),
            (_, false) => self.opened.filled_by(count),
        }
        Ok(true)
    }

    /// Seals one record behind what waits to be written.
    fn seal(&mut self, payload: &[u8]) -> io::Result<()> {
        let length = payload.len() + TAG_BYTES;
        let framed = LENGTH_BYTES + length;
        let total = self.outgoing.len() + framed;
        let room = &mut self.outgoing.room_for(total)[..framed];
        let (head, record) = room.split_at_mut(LENGTH_BYTES);
        let count = self.noise.write_message(payload, record).map_err(|e| E2eError::library(e).into_io())?;
        head.copy_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
        self.outgoing.filled_by(framed);
        Ok(())
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> E2eStream<IO> {
    /// Reads more of what is sealed; says how much came.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let next = self.next_length().map_or(0, |length| LENGTH_BYTES + length);
        let mut room = ReadBuf::new(self.sealed.room_for(next.max(READ_BYTES)));
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut room))?;
        let count = room.filled().len();
        self.sealed.filled_by(count);
        Poll::Ready(Ok(count))
    }

    /// Writes what is sealed until nothing waits.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, self.outgoing.filled()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.outgoing.consume(count),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits, once both directions ended, for the end of the stream below. A socket that is closed with
    /// something unread, were it only TLS's close_notify, is reset, and what it still had to send is lost.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.reading != Reading::Ended || self.writing != Writing::Ended {
            return Poll::Ready(());
        }
        if matches!(self.below, Below::Open) {
            self.below = Below::Awaited(Box::pin(tokio::time::sleep(LINGER)));
        }
        while let Below::Awaited(limit) = &mut self.below {
            let mut ignored = [0; 256];
            let mut ignored = ReadBuf::new(&mut ignored);
            let read = Pin::new(&mut self.io).poll_read(cx, &mut ignored);
            let more = matches!(read, Poll::Ready(Ok(()))) && !ignored.filled().is_empty();
            if limit.as_mut().poll(cx).is_ready() || (read.is_ready() && !more) {
                self.below = Below::Ended;
            } else if read.is_pending() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for E2eStream<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if !this.opened.is_empty() {
                let count = this.opened.len().min(out.remaining());
                out.put_slice(&this.opened.filled()[..count]);
                this.opened.consume(count);
                return Poll::Ready(Ok(()));
            }
            match this.reading {
                Reading::Open => {}
                Reading::Ended => {
                    ready!(this.poll_linger(cx));
                    return Poll::Ready(Ok(()));
                }
                Reading::CutOff => return Poll::Ready(Err(E2eError::CutOff.into_io())),
                Reading::Changed => return Poll::Ready(Err(E2eError::Changed.into_io())),
            }
            let before = out.filled().len();
            match this.open_next(out) {
                Ok(true) if out.filled().len() > before => return Poll::Ready(Ok(())),
                Ok(true) => continue,
                Ok(false) => {}
                Err(_) => {
                    this.reading = Reading::Changed;
                    continue;
                }
            }
            match this.poll_more(cx) {
                Poll::Ready(Ok(0)) => this.reading = Reading::CutOff,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    this.opened.rest();
                    this.sealed.rest();
                    return Poll::Pending;
                }
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for E2eStream<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.writing != Writing::Open {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        // An empty record would say that this direction ends.
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        // One record at a time waits, no more.
        ready!(this.poll_drain(cx))?;
        let count = bytes.len().min(PAYLOAD_BYTES_MAX);
        this.seal(&bytes[..count])?;
        // What the stream below does not take now waits for the next call.
        match this.poll_drain(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(count)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        // Who flushes may be quiet for long.
        this.outgoing.rest();
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match this.writing {
                Writing::Open => {
                    ready!(this.poll_drain(cx))?;
                    this.seal(&[])?;
                    this.writing = Writing::Ending;
                }
                Writing::Ending => {
                    ready!(this.poll_drain(cx))?;
                    ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
                    this.outgoing.rest();
                    this.writing = Writing::Ended;
                }
                Writing::Ended => {
                    ready!(this.poll_linger(cx));
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}
