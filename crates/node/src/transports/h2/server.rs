//! The accepting end: yields what streams are asked for; the caller accepts or refuses each.

use std::future::poll_fn;
use std::task::{Context, Poll};

use ::h2::server::{Builder, Connection, SendResponse};
use ::h2::{Reason, RecvStream};
use bytes::Bytes;
use certus_pki::Code;
use certus_pki::code;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::error::H2Error;
use super::keep_alive::KeepAlive;
use super::stream::H2Stream;
use super::{Ask, Limits};
use crate::transports::{handshake_limit, words};

/// A connection whose other end opens streams.
pub struct H2Server<IO> {
    connection: Connection<IO, Bytes>,
    keep_alive: KeepAlive,
}

/// Speaks HTTP/2 as the accepting end over `io`.
///
/// # Errors
/// The other end says nothing in time, or does not speak HTTP/2.
pub async fn accept<IO>(io: IO, limits: Limits) -> Result<H2Server<IO>, H2Error>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new();
    builder
        .initial_window_size(limits.stream_window())
        .initial_connection_window_size(limits.connection_window())
        .max_concurrent_streams(limits.streams_max)
        .max_frame_size(super::FRAME_BYTES_MAX)
        .max_header_list_size(super::HEADER_LIST_BYTES_MAX)
        .max_send_buffer_size(super::SEND_BUFFER)
        .max_concurrent_reset_streams(super::RESETS_REMEMBERED_MAX)
        .max_pending_accept_reset_streams(super::RESETS_PENDING_MAX)
        .max_local_error_reset_streams(Some(super::RESETS_OF_FAULTS_MAX));
    let limit = handshake_limit();
    let shaken = timeout(limit, builder.handshake(io)).await.map_err(|_| H2Error::Late { limit })?;
    let mut connection = shaken.map_err(|error| H2Error::of(&error))?;
    let keep_alive = KeepAlive::new(connection.ping_pong(), &limits);
    Ok(H2Server { connection, keep_alive })
}

impl<IO: AsyncRead + AsyncWrite + Unpin> H2Server<IO> {
    /// The next stream that is asked for; `None` when the connection has ended. This also moves the
    /// bytes of all streams, so it must be called again until then, and streams be served by tasks of
    /// their own. It may be dropped and called anew without loss.
    ///
    /// # Errors
    /// The connection broke; it is of no more use.
    pub async fn next(&mut self) -> Option<Result<Incoming, H2Error>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Incoming, H2Error>>> {
        loop {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    if let Some(incoming) = Incoming::read(request, respond) {
                        return Poll::Ready(Some(Ok(incoming)));
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(H2Error::of(&error)))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return self.keep_alive.poll(cx).map(|dead| Some(Err(dead))),
            }
        }
    }

    /// Takes no new streams and lets those that are open end: GOAWAY. [`H2Server::next`] goes on until
    /// they have.
    pub fn graceful_shutdown(&mut self) {
        self.connection.graceful_shutdown();
    }

    /// Ends all streams and the connection for this reason; [`H2Server::next`] tells the other end.
    pub fn abrupt(&mut self, reason: Reason) {
        self.connection.abrupt_shutdown(reason);
    }
}

/// A stream that is asked for. Dropped without an answer, it is reset.
pub struct Incoming {
    /// What for.
    pub ask: Ask,
    respond: SendResponse<Bytes>,
    receive: RecvStream,
}

impl Incoming {
    /// `None` if it is nothing to ask the caller about; then it is answered.
    fn read(request: Request<RecvStream>, respond: SendResponse<Bytes>) -> Option<Incoming> {
        let (head, receive) = request.into_parts();
        let mut values = head.headers.get_all(super::HEADER_E2E).iter();
        let e2e = match (values.next(), values.next()) {
            (None, _) => Some(false),
            (Some(value), None) if value == "1" => Some(true),
            _ => None,
        };
        let authority = head.uri.authority().map(|name| name.as_str().to_owned()).unwrap_or_default();
        let is_connect = head.method == Method::CONNECT;
        let incoming = Incoming { ask: Ask { authority, e2e: e2e == Some(true) }, respond, receive };
        let (status, why) = if !is_connect {
            (StatusCode::METHOD_NOT_ALLOWED, "only CONNECT is answered here, one stream per connection")
        } else if incoming.ask.authority.is_empty() {
            (StatusCode::BAD_REQUEST, "CONNECT without an authority: it names the service")
        } else if e2e.is_none() {
            (StatusCode::BAD_REQUEST, "certus-e2e is either absent or 1")
        } else {
            return Some(incoming);
        };
        incoming.refuse(status, Some(code::BAD_MESSAGE), why);
        None
    }

    /// Opens it.
    ///
    /// # Errors
    /// The other end has taken its question back, or the connection has ended.
    pub fn accept(mut self) -> Result<H2Stream, H2Error> {
        let sent = self.respond.send_response(Response::new(()), false);
        sent.map(|send| H2Stream::new(send, self.receive, None)).map_err(|error| H2Error::of(&error))
    }

    /// Says no: the code and the first 512 characters of the words reach the other end. A status of
    /// success becomes 500.
    pub fn refuse(mut self, status: StatusCode, code: Option<Code>, message: &str) {
        let mut answer = Response::new(());
        *answer.status_mut() = if status.is_success() || status.is_informational() {
            StatusCode::INTERNAL_SERVER_ERROR
        } else {
            status
        };
        let headers = answer.headers_mut();
        if let Some(code) = code {
            headers.insert(super::HEADER_CODE, HeaderValue::from(code.number()));
        }
        if let Ok(value) = HeaderValue::try_from(words::encode(message)) {
            headers.insert(super::HEADER_MESSAGE, value);
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            // RFC 9110 15.5.6.
            headers.insert(http::header::ALLOW, HeaderValue::from_static("CONNECT"));
        }
        // Whoever took the question back needs no answer.
        let _ = self.respond.send_response(answer, true);
    }
}
