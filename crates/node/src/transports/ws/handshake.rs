//! Opening a WebSocket: a request with one subprotocol, and an answer in words where it is refused.
//!
//! The origin is of no interest: no browser holds a certificate that is accepted here, and the byte
//! stream is authenticated before this.

use std::time::Duration;

use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use http::{Request, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::{Response as Answer, generate_key, generate_request};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::handshake::machine::TryParse;
use tokio_tungstenite::tungstenite::handshake::server::{Request as Asked, create_response, write_response};
use tokio_tungstenite::tungstenite::protocol::Role;

use super::error::WsError;
use super::stream::WsStream;
use super::{Ask, Subprotocol};
use crate::transports::head::{HEAD_BYTES_MAX, NoHead, read_head};
use crate::transports::{handshake_limit, words};

/// Of the body of a refusal: a sentence.
const BODY_BYTES_MAX: u64 = 512;
/// For the body of a refusal, which says more than the status but is not what matters.
const BODY_LIMIT: Duration = Duration::from_secs(2);

/// A WebSocket that a client opened.
pub struct Accepted<IO> {
    /// Its bytes.
    pub stream: WsStream<IO>,
    /// What both ends agreed to speak inside.
    pub subprotocol: Subprotocol,
}

/// Opens a WebSocket as the dialing end of `io`.
///
/// # Errors
/// The other end refused, says nothing in time, or does not speak WebSocket.
pub async fn connect<IO>(io: IO, ask: &Ask) -> Result<WsStream<IO>, WsError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    within(handshake_limit(), dial(io, ask)).await
}

/// Answers one request for a WebSocket as the accepting end of `io`. The client names the subprotocols
/// it speaks in its order; the first that is among `speaks` is agreed.
///
/// # Errors
/// The request is not one for this path and these subprotocols, which the client was told in words, or
/// did not come in time.
pub async fn accept<IO>(io: IO, path: &str, speaks: &[Subprotocol]) -> Result<Accepted<IO>, WsError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    within(handshake_limit(), answer(io, path, speaks)).await
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, WsError>>) -> Result<T, WsError> {
    timeout(limit, work).await.map_err(|_| WsError::Late { limit })?
}

async fn dial<IO>(mut io: IO, ask: &Ask) -> Result<WsStream<IO>, WsError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let (bytes, key) = request(ask)?;
    io.write_all(&bytes).await.map_err(WsError::Io)?;
    io.flush().await.map_err(WsError::Io)?;
    let head = head(&mut io).await?;
    let bad = |why: &dyn ToString| WsError::BadAnswer { why: words::printable(why.to_string().as_bytes()) };
    let parsed = Answer::try_parse(&head).map_err(|error| bad(&error))?;
    let (_, answer) = parsed.ok_or_else(|| bad(&"it is not HTTP"))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = answer.status().as_u16();
        return Err(WsError::Refused { status, words: body(&mut io, answer.headers()).await });
    }
    check(answer.headers(), &key, ask.subprotocol()).map_err(|why| bad(&why))?;
    Ok(WsStream::new(io, Role::Client).await)
}

fn request(ask: &Ask) -> Result<(Vec<u8>, String), WsError> {
    let bad = |value: &str| WsError::BadAsk { value: value.to_owned() };
    let host = http::uri::Authority::try_from(ask.host.as_str()).map_err(|_| bad(&ask.host))?;
    if !ask.path.starts_with('/') {
        return Err(bad(&ask.path));
    }
    let key = generate_key();
    let request = Request::get(&ask.path)
        .header("Host", host.as_str())
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", &key)
        .header(SEC_WEBSOCKET_PROTOCOL, ask.subprotocol().name())
        .body(())
        .map_err(|_| bad(&ask.path))?;
    generate_request(request).map_err(|_| bad(&ask.path))
}

/// RFC 6455 4.1, what a client checks of a 101.
fn check(headers: &HeaderMap, key: &str, subprotocol: Subprotocol) -> Result<(), String> {
    let is = |name: &str, value: &str| {
        headers.get(name).is_some_and(|came| came.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
    };
    if !is("upgrade", "websocket") {
        return Err("no `Upgrade: websocket`".to_owned());
    }
    if !names(headers, "connection").any(|name| name.eq_ignore_ascii_case("upgrade")) {
        return Err("no `Connection: Upgrade`".to_owned());
    }
    let accept = derive_accept_key(key.as_bytes());
    if headers.get("sec-websocket-accept").is_none_or(|came| came.as_bytes() != accept.as_bytes()) {
        return Err("its `Sec-WebSocket-Accept` is not made from our key".to_owned());
    }
    if headers.contains_key("sec-websocket-extensions") {
        return Err("it uses extensions that were not asked for".to_owned());
    }
    let came: Vec<_> = names(headers, SEC_WEBSOCKET_PROTOCOL.as_str()).collect();
    if came != [subprotocol.name()] {
        return Err(format!("subprotocol {} was asked for, {came:?} came", subprotocol.name()));
    }
    Ok(())
}

/// The elements of a header that is a list.
fn names<'a>(headers: &'a HeaderMap, header: &'a str) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(header).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|name| !name.is_empty())
}

async fn answer<IO>(mut io: IO, path: &str, speaks: &[Subprotocol]) -> Result<Accepted<IO>, WsError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let head = match head(&mut io).await {
        Ok(head) => head,
        Err(error @ WsError::HeadTooLong { .. }) => {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            refuse(&mut io, status, &error.to_string()).await;
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    match judge(&head, path, speaks) {
        Ok((bytes, subprotocol)) => {
            io.write_all(&bytes).await.map_err(WsError::Io)?;
            io.flush().await.map_err(WsError::Io)?;
            Ok(Accepted { stream: WsStream::new(io, Role::Server).await, subprotocol })
        }
        Err((status, why)) => {
            refuse(&mut io, status, &why).await;
            Err(WsError::Answered { status: status.as_u16(), why })
        }
    }
}

/// The answer that opens the WebSocket, or a status and words.
fn judge(
    head: &[u8],
    path: &str,
    speaks: &[Subprotocol],
) -> Result<(Vec<u8>, Subprotocol), (StatusCode, String)> {
    let asked = match Asked::try_parse(head) {
        Ok(Some((_, asked))) => asked,
        Ok(None) => return Err((StatusCode::BAD_REQUEST, "this is not a request of HTTP/1.1".to_owned())),
        Err(error) => return Err(unfit(&error)),
    };
    if asked.uri().path() != path {
        let came = words::printable(asked.uri().path().as_bytes());
        return Err((StatusCode::NOT_FOUND, format!("there is nothing at {came}")));
    }
    let mut answer = create_response(&asked).map_err(|error| unfit(&error))?;
    let asks = || names(asked.headers(), SEC_WEBSOCKET_PROTOCOL.as_str());
    let known = |name: &str| speaks.iter().copied().find(|spoken| spoken.name() == name);
    let Some(agreed) = asks().find_map(known) else {
        let ours: Vec<_> = speaks.iter().map(|spoken| spoken.name()).collect();
        let came = words::printable(asks().collect::<Vec<_>>().join(", ").as_bytes());
        let why = format!("subprotocols spoken here: {}; asked for: {came}", ours.join(", "));
        return Err((StatusCode::BAD_REQUEST, why));
    };
    answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(agreed.name()));
    let mut bytes = Vec::new();
    write_response(&mut bytes, &answer).map_err(|error| unfit(&error))?;
    Ok((bytes, agreed))
}

/// What a client is told whose request is not that of a WebSocket.
fn unfit(error: &Error) -> (StatusCode, String) {
    let status = match error {
        Error::Protocol(ProtocolError::WrongHttpMethod) => StatusCode::METHOD_NOT_ALLOWED,
        Error::Protocol(ProtocolError::WrongHttpVersion) => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        // RFC 9110 15.5.22: what it would take is said in the answer's headers.
        Error::Protocol(
            ProtocolError::MissingConnectionUpgradeHeader
            | ProtocolError::MissingUpgradeWebSocketHeader
            | ProtocolError::MissingSecWebSocketVersionHeader,
        ) => StatusCode::UPGRADE_REQUIRED,
        _ => StatusCode::BAD_REQUEST,
    };
    (status, words::printable(format!("only WebSocket is spoken here: {error}").as_bytes()))
}

/// Answers in words; whether they arrive changes nothing.
async fn refuse(io: &mut (impl AsyncWrite + Unpin), status: StatusCode, why: &str) {
    let more = match status {
        StatusCode::METHOD_NOT_ALLOWED => "Allow: GET\r\n",
        StatusCode::UPGRADE_REQUIRED => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        _ => "",
    };
    let body = format!("{why}\n");
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n{more}\r\n{body}",
        body.len()
    );
    let _ = io.write_all(answer.as_bytes()).await;
    let _ = io.shutdown().await;
}

async fn head(io: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, WsError> {
    read_head(io).await.map_err(|none| match none {
        NoHead::TooLong => WsError::HeadTooLong { limit: HEAD_BYTES_MAX },
        NoHead::Ended(count) => {
            let why = format!("it ended after {count} bytes of a head");
            WsError::Io(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, why))
        }
        NoHead::Io(error) => WsError::Io(error),
    })
}

/// The first line of a refusal's body, as far as it came.
async fn body(io: &mut (impl AsyncRead + Unpin), headers: &HeaderMap) -> String {
    let length = headers.get(http::header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length = length.and_then(|value| value.parse().ok()).unwrap_or(BODY_BYTES_MAX);
    let mut bytes = Vec::new();
    let mut body = io.take(length.min(BODY_BYTES_MAX));
    let _ = timeout(BODY_LIMIT, body.read_to_end(&mut bytes)).await;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    words::printable(line).trim().to_owned()
}
