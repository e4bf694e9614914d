//! The byte stream on top of a WebSocket's messages.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::error::{Broken, Failed, WsClosed};
use super::{CLOSE_NO_STATUS, CLOSE_NORMAL, MESSAGE_BYTES_MAX};
use crate::transports::words;

/// Two messages and control frames, though one is the most that ever waits.
const WRITE_BUFFER_MAX: usize = 2 * MESSAGE_BYTES_MAX + (1 << 10);
/// As the smallest buffer of a carrier; larger frames get their own.
const READ_BUFFER: usize = 8 << 10;
/// RFC 6455 5.5: a control frame carries 125 bytes, two of them the code.
const REASON_BYTES_MAX: usize = 123;
/// For the other end's Close after ours. It has what we had to say whether it answers or not.
const CLOSE_ANSWER: Duration = Duration::from_secs(2);

/// A carried connection inside a WebSocket. `shutdown` ends what we send and leaves the other direction
/// open; dropped before that, the other end sees `UnexpectedEof` instead of an end.
pub struct WsStream<IO> {
    socket: WebSocketStream<IO>,
    /// Received and not read.
    unread: Bytes,
    /// The message that ends the direction towards us came, whatever came after it.
    is_whole: bool,
    reading: Reading,
    writing: Writing,
    /// What broke the stream, for the first that asks: TLS says inside it whom it refused and why.
    first: Option<io::Error>,
}

/// What becomes of the direction towards us.
#[derive(Clone)]
enum Reading {
    Open,
    /// The message that ends it came.
    Ended,
    /// The other end closed.
    Closed(WsClosed),
    /// Nothing that comes is to be trusted.
    Failed(io::ErrorKind, Option<Broken>),
}

/// What becomes of the direction away from us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writing {
    Open,
    /// The message that ends it is with the socket.
    Ended,
    /// A Close is with the socket.
    Closed,
}

impl<IO> WsStream<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) async fn new(io: IO, role: Role) -> WsStream<IO> {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            // Every message is written at once, so none waits for the next.
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER_MAX)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        WsStream {
            socket: WebSocketStream::from_raw_socket(io, role, Some(config)).await,
            unread: Bytes::new(),
            is_whole: false,
            reading: Reading::Open,
            writing: Writing::Open,
            first: None,
        }
    }

    /// What carries the messages.
    pub fn inner(&self) -> &IO {
        self.socket.get_ref()
    }

    /// Ends both directions and tells the other end why: a code of RFC 6455 7.4, and at most 123 bytes
    /// of the reason. Waits a moment for the other end's answer, so that what was sent is not lost.
    ///
    /// # Errors
    /// The Close could not be sent.
    pub async fn close(&mut self, code: u16, reason: &str) -> io::Result<()> {
        let is_answered = matches!(self.reading, Reading::Closed(_));
        let mut sent = Ok(());
        if self.writing != Writing::Closed && !is_answered {
            self.writing = Writing::Closed;
            let close = Message::Close(Some(close_frame(code, reason)));
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the other end takes no Close");
            let sending = timeout(CLOSE_ANSWER, self.socket.send(close)).await.map_err(late);
            sent = sending.and_then(|sent| sent.map_err(failure));
        }
        if sent.is_ok() {
            // Unread data would make the system reset the connection, and the Close be lost.
            let draining = async { while let Some(Ok(_)) = self.socket.next().await {} };
            let _ = timeout(CLOSE_ANSWER, draining).await;
        }
        let _ = timeout(CLOSE_ANSWER, self.socket.get_mut().shutdown()).await;
        sent
    }

    /// The next bytes into `unread`, or what became of the direction.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let message = match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(message)) => message,
                Some(Err(error)) => {
                    self.fail(cx, Failed::of(error));
                    return Poll::Ready(());
                }
                None => {
                    if !matches!(self.reading, Reading::Closed(_)) {
                        self.reading = Reading::Failed(io::ErrorKind::UnexpectedEof, None);
                    }
                    return Poll::Ready(());
                }
            };
            match message {
                Message::Binary(data) if matches!(self.reading, Reading::Ended) => {
                    self.fail(cx, Failed::Broken(Broken::AfterEnd { len: data.len() }));
                }
                Message::Binary(data) if data.is_empty() => {
                    self.is_whole = true;
                    self.reading = Reading::Ended;
                    self.finish(cx);
                }
                Message::Binary(data) => self.unread = data,
                Message::Text(text) => self.fail(cx, Failed::Broken(Broken::Text { len: text.len() })),
                Message::Close(frame) => {
                    self.reading = Reading::Closed(closed(frame));
                    // Sends the Close that answers it, as far as it goes.
                    let _ = Pin::new(&mut self.socket).poll_flush(cx);
                }
                // Pings are answered by the socket at its next turn, which is now.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            }
            return Poll::Ready(());
        }
    }

    /// The other end breaks the rules, or the stream broke.
    fn fail(&mut self, cx: &mut Context<'_>, failed: Failed) {
        self.reading = match failed {
            Failed::Io(error) => {
                let kind = error.kind();
                self.first = Some(error);
                Reading::Failed(kind, None)
            }
            Failed::Broken(broken) => {
                self.say_close(cx, close_frame(broken.close_code(), &broken.to_string()));
                Reading::Failed(io::ErrorKind::InvalidData, Some(broken))
            }
        };
    }

    /// Closes if both directions have ended.
    fn finish(&mut self, cx: &mut Context<'_>) {
        if matches!(self.reading, Reading::Ended) && self.writing == Writing::Ended {
            self.say_close(cx, close_frame(CLOSE_NORMAL, ""));
        }
    }

    /// Gives a Close to the socket and sends as much as can be sent at once: nobody waits for it.
    fn say_close(&mut self, cx: &mut Context<'_>, frame: CloseFrame) {
        if self.writing != Writing::Closed {
            self.writing = Writing::Closed;
            let mut socket = Pin::new(&mut self.socket);
            let _ = socket.as_mut().start_send(Message::Close(Some(frame)));
            let _ = socket.poll_flush(cx);
        }
    }

    /// While we only write, somebody must notice that the other end closes, or pings.
    fn look_around(&mut self, cx: &mut Context<'_>) {
        while matches!(self.reading, Reading::Ended) {
            if self.poll_incoming(cx).is_pending() {
                return;
            }
        }
    }

    /// Whether the other end has confirmed that it has all of ours: it closes with 1000 after both
    /// ends. Then it may be gone before our own Close is out.
    fn is_settled(&mut self, cx: &mut Context<'_>) -> bool {
        self.look_around(cx);
        let is_normal = matches!(&self.reading, Reading::Closed(closed) if closed.code == CLOSE_NORMAL);
        is_normal && self.is_whole && self.writing != Writing::Open
    }

    /// Why nothing can be written, if nothing can.
    fn unwritable(&mut self) -> Option<io::Error> {
        if matches!(self.reading, Reading::Failed(kind, _) if kind != io::ErrorKind::UnexpectedEof)
            && let Some(first) = self.first.take()
        {
            return Some(first);
        }
        match (&self.reading, self.writing) {
            (Reading::Closed(closed), _) => Some(closed.clone().into_io()),
            (Reading::Failed(kind, broken), _) => {
                let kind =
                    if *kind == io::ErrorKind::UnexpectedEof { io::ErrorKind::BrokenPipe } else { *kind };
                Some(broken.clone().map_or_else(|| kind.into(), Broken::into_io))
            }
            (_, Writing::Open) => None,
            _ => Some(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

fn close_frame(code: u16, reason: &str) -> CloseFrame {
    let cut = (0..=reason.len().min(REASON_BYTES_MAX)).rev().find(|at| reason.is_char_boundary(*at));
    let reason = &reason[..cut.unwrap_or_default()];
    CloseFrame { code: code.into(), reason: Utf8Bytes::from(reason) }
}

fn closed(frame: Option<CloseFrame>) -> WsClosed {
    match frame {
        Some(frame) => {
            WsClosed { code: frame.code.into(), reason: words::printable(frame.reason.as_bytes()) }
        }
        None => WsClosed { code: CLOSE_NO_STATUS, reason: String::new() },
    }
}

fn failure(error: tokio_tungstenite::tungstenite::Error) -> io::Error {
    match Failed::of(error) {
        Failed::Io(error) => error,
        Failed::Broken(broken) => broken.into_io(),
    }
}

impl<IO> AsyncRead for WsStream<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
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
            match &this.reading {
                _ if this.is_whole => return Poll::Ready(Ok(())),
                Reading::Open => ready!(this.poll_incoming(cx)),
                Reading::Ended => return Poll::Ready(Ok(())),
                // Other people's programs end so: all that they had to say came before.
                Reading::Closed(closed) if closed.code == CLOSE_NORMAL => return Poll::Ready(Ok(())),
                Reading::Closed(closed) => return Poll::Ready(Err(closed.clone().into_io())),
                Reading::Failed(kind, broken) => {
                    let again = || broken.clone().map_or_else(|| (*kind).into(), Broken::into_io);
                    return Poll::Ready(Err(this.first.take().unwrap_or_else(again)));
                }
            }
        }
        let count = this.unread.len().min(buf.remaining());
        buf.put_slice(&this.unread[..count]);
        this.unread.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<IO> AsyncWrite for WsStream<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.look_around(cx);
        if let Some(error) = this.unwritable() {
            return Poll::Ready(Err(error));
        }
        // An empty message would end the direction.
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let mut socket = Pin::new(&mut this.socket);
        // What waits is sent first, so that the buffer never holds more than one message.
        ready!(socket.as_mut().poll_flush(cx)).map_err(failure)?;
        let count = buf.len().min(MESSAGE_BYTES_MAX);
        socket.start_send(Message::Binary(Bytes::copy_from_slice(&buf[..count]))).map_err(failure)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.look_around(cx);
        Pin::new(&mut self.socket).poll_flush(cx).map_err(failure)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.look_around(cx);
        if this.writing == Writing::Open {
            if let Some(error) = this.unwritable() {
                return Poll::Ready(Err(error));
            }
            let mut socket = Pin::new(&mut this.socket);
            ready!(socket.as_mut().poll_flush(cx)).map_err(failure)?;
            socket.start_send(Message::Binary(Bytes::new())).map_err(failure)?;
            this.writing = Writing::Ended;
            this.finish(cx);
        }
        let mut outcome = ready!(Pin::new(&mut this.socket).poll_flush(cx)).map_err(failure);
        if outcome.is_ok() && (this.writing == Writing::Closed || matches!(this.reading, Reading::Closed(_)))
        {
            outcome = ready!(Pin::new(this.socket.get_mut()).poll_shutdown(cx));
        }
        Poll::Ready(outcome.or_else(|error| if this.is_settled(cx) { Ok(()) } else { Err(error) }))
    }
}
