//! The dialing end: opens streams on a connection that somebody else dialed.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use ::h2::client::{Builder, Connection, SendRequest};
use bytes::Bytes;
use certus_pki::code::Code;
use http::uri::{Authority, Uri};
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::error::{H2Error, OpenError};
use super::keep_alive::KeepAlive;
use super::stream::H2Stream;
use super::{Ask, Limits};
use crate::transports::{handshake_limit, words};

/// The means to open streams; clones share the connection. When the last is gone and the streams have
/// ended, so does the connection.
#[derive(Clone)]
pub struct H2Client {
    requests: SendRequest<Bytes>,
    streams: Arc<AtomicUsize>,
}

/// What a stream of the dialing end keeps of its connection, which counts it as long as it lives.
pub(super) struct Dialed {
    requests: SendRequest<Bytes>,
    streams: Arc<AtomicUsize>,
}

impl Dialed {
    fn of(client: &H2Client) -> Dialed {
        client.streams.fetch_add(1, Ordering::Relaxed);
        Dialed { requests: client.requests.clone(), streams: Arc::clone(&client.streams) }
    }

    /// Why the connection takes no more streams, if it takes none.
    pub(super) fn ended(&mut self, cx: &mut Context<'_>) -> Option<H2Error> {
        match self.requests.poll_ready(cx) {
            Poll::Ready(Err(error)) => Some(H2Error::of(&error)),
            _ => None,
        }
    }
}

impl Drop for Dialed {
    fn drop(&mut self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Speaks HTTP/2 as the dialing end over `io`. The second value moves the bytes of all streams and must
/// be polled until it ends, usually as a task of its own; dropping it cuts the connection.
///
/// # Errors
/// `io` broke.
pub async fn connect<IO>(
    io: IO,
    limits: Limits,
) -> Result<(H2Client, impl Future<Output = Result<(), H2Error>> + Send + 'static), H2Error>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(limits.stream_window())
        .initial_connection_window_size(limits.connection_window())
        .initial_max_send_streams(super::STREAMS_BEFORE_SETTINGS)
        .max_frame_size(super::FRAME_BYTES_MAX)
        .max_header_list_size(super::HEADER_LIST_BYTES_MAX)
        .max_send_buffer_size(super::SEND_BUFFER)
        .max_concurrent_reset_streams(super::RESETS_REMEMBERED_MAX)
        .max_pending_accept_reset_streams(super::RESETS_PENDING_MAX)
        .max_local_error_reset_streams(Some(super::RESETS_OF_FAULTS_MAX));
    let limit = handshake_limit();
    let shaken = timeout(limit, builder.handshake(io)).await.map_err(|_| H2Error::Late { limit })?;
    let (requests, connection) = shaken.map_err(|error| H2Error::of(&error))?;
    Ok((H2Client { requests, streams: Arc::default() }, drive(connection, limits)))
}

async fn drive<IO>(mut connection: Connection<IO, Bytes>, limits: Limits) -> Result<(), H2Error>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut keep_alive = KeepAlive::new(connection.ping_pong(), &limits);
    let mut connection = std::pin::pin!(connection);
    poll_fn(|cx| {
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(ended.map_err(|error| H2Error::of(&error)));
        }
        keep_alive.poll(cx).map(Err)
    })
    .await
}

impl H2Client {
    /// Waits until the connection is known to live or to have ended.
    ///
    /// # Errors
    /// It takes no more streams.
    pub async fn ready(&self) -> Result<(), OpenError> {
        self.requests.clone().ready().await.map(drop).map_err(|error| OpenError::of(&error))
    }

    /// Streams that are open or being opened, over all clones.
    pub fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// How many streams the other end takes at once, as far as it has said.
    pub fn streams_max(&self) -> usize {
        self.requests.current_max_send_streams()
    }

    /// Whether the other end takes another stream at once; else [`H2Client::open`] waits until one ends.
    pub fn has_room(&self) -> bool {
        self.streams() < self.streams_max()
    }

    /// Asks for a stream and waits for the answer, without a limit of its own. Dropped while it waits, it
    /// takes the question back.
    ///
    /// # Errors
    /// The other end refused, or the connection takes no more streams.
    pub async fn open(&self, ask: &Ask) -> Result<H2Stream, OpenError> {
        let request = request(ask)?;
        let dialed = Dialed::of(self);
        let lost = |error: ::h2::Error| OpenError::of(&error);
        let mut requests = self.requests.clone().ready().await.map_err(lost)?;
        let (answer, send) = requests.send_request(request, false).map_err(lost)?;
        let (head, receive) = answer.await.map_err(lost)?.into_parts();
        if head.status == StatusCode::OK {
            Ok(H2Stream::new(send, receive, Some(dialed)))
        } else {
            Err(refusal(head.status, &head.headers))
        }
    }
}

fn request(ask: &Ask) -> Result<Request<()>, OpenError> {
    let bad = || OpenError::BadName { authority: ask.authority.clone() };
    let authority = Authority::try_from(ask.authority.as_str()).map_err(|_| bad())?;
    // RFC 9113 8.3.1: an authority never carries the user that RFC 3986 allows there.
    if authority.as_str().contains('@') {
        return Err(bad());
    }
    let uri = Uri::builder().authority(authority).build().map_err(|_| bad())?;
    let mut request = Request::builder().method(Method::CONNECT).uri(uri);
    if ask.e2e {
        request = request.header(super::HEADER_E2E, "1");
    }
    request.body(()).map_err(|_| bad())
}

fn refusal(status: StatusCode, headers: &HeaderMap) -> OpenError {
    let code = headers.get(super::HEADER_CODE).and_then(|value| value.to_str().ok());
    OpenError::Refused {
        status: status.as_u16(),
        code: code.and_then(|number| number.parse().ok()).map(Code::from_number),
        words: headers.get(super::HEADER_MESSAGE).map(|value| words::decode(value.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_authorities_can_be_asked_for() {
        for good in ["db", "db.internal", "db.internal:5432", "[::1]:80", "web_1"] {
            let request = request(&Ask { authority: good.to_owned(), e2e: true }).unwrap();
            assert_eq!(request.uri().authority().unwrap(), good);
            assert_eq!(request.headers()["certus-e2e"], "1");
        }
        for bad in ["", "a b", "a/b", "user@db", "db\r\n", "http://db"] {
            let bad = Ask::new(bad);
            assert!(matches!(request(&bad), Err(OpenError::BadName { .. })), "{bad:?}");
        }
    }
}
