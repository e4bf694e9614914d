//! The admin interface: health, readiness and metrics over HTTP, on a Unix socket or loopback.
//!
//! Reads only; what a manager adds to it is the manager's own.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

mod renew;
mod seen;

use axum::Router;
use axum::body::Bytes;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use certus_pki::code;
use certus_pki::explain::{Explain, Explanation};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use renew::renewal_answer;
pub(crate) use renew::{asked, renew};
pub use seen::{Seen, seen};

/// What the interface shows.
#[derive(Clone)]
pub struct Admin {
    /// Why the process is not ready; empty when it is.
    pub reasons: Arc<dyn Fn() -> Vec<Explanation> + Send + Sync>,
    /// The numbers, with [`crate::Metrics`] among them.
    pub metrics: Arc<Registry>,
    /// Called before the numbers are read, to bring up to date those that are only looked up.
    pub refresh: Arc<dyn Fn() + Send + Sync>,
}

/// `GET /health`, `/ready` and `/metrics`.
pub fn router(admin: Admin) -> Router {
    let ready = admin.clone();
    Router::new()
        .route("/health", get(|| async { "ok\n" }))
        .route("/ready", get(move || async move { readiness(&(ready.reasons)()) }))
        .route("/metrics", get(move || async move { numbers(&admin) }))
}

/// Serves `router` on a Unix socket of mode 0600 until `stop`; then the socket is removed.
///
/// # Errors
/// Another process answers on the socket, or the system refuses it.
pub async fn serve_unix(
    path: &Path,
    router: Router,
    stop: CancellationToken,
) -> Result<JoinHandle<()>, AdminError> {
    let listener = bind(path).await.map_err(|error| AdminError { path: path.to_owned(), error })?;
    let (path, ours) = (path.to_owned(), place_of(path));
    Ok(tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::warn!(%error, socket = %path.display(), "the admin interface ended");
        }
        // Connections may have taken their time to end: the next process' socket can be there by now.
        if ours.is_some() && place_of(&path) == ours {
            let _ = std::fs::remove_file(&path);
        }
    }))
}

/// Serves health, readiness and the numbers over TCP until `stop`, for collectors that cannot open a Unix
/// socket. They travel in the clear, so that only an address of loopback is taken.
///
/// # Errors
/// The address is not of loopback, or the system refuses it.
pub async fn serve_loopback(
    address: SocketAddr,
    admin: Admin,
    stop: CancellationToken,
) -> Result<JoinHandle<()>, AdminError> {
    let bound = match address.ip().is_loopback() {
        true => TcpListener::bind(address).await,
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not an address of loopback")),
    };
    let listener = bound.map_err(|error| AdminError { path: address.to_string().into(), error })?;
    Ok(tokio::spawn(async move {
        let served = axum::serve(listener, router(admin)).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::warn!(%error, %address, "the numbers are not served any more");
        }
    }))
}

/// Which file a path leads to; with its time, because numbers of files that are gone are given anew.
fn place_of(path: &Path) -> Option<(u64, u64, SystemTime)> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.modified().ok()?))
}

async fn bind(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).await.is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers on it"));
    }
    // Nobody answers: what is there was left behind by a crash.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Until its mode is set the socket is guarded by its directory, which is 0700.
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Asks the process that serves the socket at `path`: one `GET`, one answer.
///
/// # Errors
/// Nobody answers there, or not in time, or not with HTTP.
pub async fn get_from(path: &Path, route: &str) -> Result<(StatusCode, String), AdminError> {
    ask(path, Method::GET, route, String::new()).await
}

/// The same with one `POST` of `body`.
///
/// # Errors
/// Nobody answers there, or not in time, or not with HTTP.
pub async fn post(path: &Path, route: &str, body: String) -> Result<(StatusCode, String), AdminError> {
    ask(path, Method::POST, route, body).await
}

/// How a streamed answer ended.
#[derive(Debug)]
pub enum Streamed<E> {
    /// All of it came.
    Whole,
    /// The process said no, in words.
    Refused(StatusCode, String),
    /// Whoever takes the pieces wants no more.
    Stopped(E),
    /// The answer broke off before its end.
    BrokeOff(io::Error),
}

/// One `POST` of `body` whose answer may be of any length: it is handed to `each` piece by piece.
///
/// # Errors
/// Nobody answers there, or not in time.
pub async fn post_streamed<E>(
    path: &Path,
    route: &str,
    body: &[u8],
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Streamed<E>, AdminError> {
    let failed = |error| AdminError { path: path.to_owned(), error };
    let body = Bytes::copy_from_slice(body);
    let asked = tokio::time::timeout(ANSWER_WITHIN, send(path, Method::POST, route, body)).await;
    let (head, mut body) =
        asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)?.into_parts();
    if head.status != StatusCode::OK {
        let text = Limited::new(body, REFUSAL_BYTES_MAX).collect().await;
        let text = text.map(|text| text.to_bytes()).unwrap_or_default();
        return Ok(Streamed::Refused(head.status, String::from_utf8_lossy(&text).into_owned()));
    }
    loop {
        let piece = match tokio::time::timeout(PIECE_WITHIN, body.frame()).await {
            Err(_) => return Ok(Streamed::BrokeOff(io::ErrorKind::TimedOut.into())),
            Ok(None) => return Ok(Streamed::Whole),
            Ok(Some(Err(error))) => return Ok(Streamed::BrokeOff(io::Error::other(error))),
            Ok(Some(Ok(frame))) => frame,
        };
        if let Some(Err(stopped)) = piece.data_ref().map(|data| each(data)) {
            return Ok(Streamed::Stopped(stopped));
        }
    }
}

async fn ask(
    path: &Path,
    method: Method,
    route: &str,
    body: String,
) -> Result<(StatusCode, String), AdminError> {
    let failed = |error| AdminError { path: path.to_owned(), error };
    let asked = tokio::time::timeout(ANSWER_WITHIN, exchange(path, method, route, body)).await;
    asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)
}

async fn exchange(
    path: &Path,
    method: Method,
    route: &str,
    body: String,
) -> io::Result<(StatusCode, String)> {
    let (head, body) = send(path, method, route, Bytes::from(body)).await?.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(io::Error::other)?;
    let text = String::from_utf8(body.to_bytes().into()).map_err(io::Error::other)?;
    Ok((head.status, text))
}

async fn send(
    path: &Path,
    method: Method,
    route: &str,
    body: Bytes,
) -> io::Result<hyper::Response<hyper::body::Incoming>> {
    let socket = TokioIo::new(UnixStream::connect(path).await?);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(socket).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let request = hyper::Request::builder()
        .method(method)
        .uri(route)
        .header(header::HOST, "localhost")
        .body(Full::new(body))
        .map_err(io::Error::other)?;
    sender.send_request(request).await.map_err(io::Error::other)
}

/// The connections of a full listener, at 300 bytes each.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// A manager answers when a command is committed.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A process that has something to say says some of it within this.
const PIECE_WITHIN: Duration = Duration::from_secs(60);
/// An explanation, with room to spare.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

fn readiness(reasons: &[Explanation]) -> Response {
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let reasons: Vec<_> = reasons
        .iter()
        .map(|reason| {
            let facts: serde_json::Map<String, serde_json::Value> =
                reason.facts.iter().map(|(label, value)| (label.clone(), value.as_str().into())).collect();
            serde_json::json!({
                "code": reason.code.to_string(),
                "message": reason.message,
                "facts": facts,
                "hint": reason.hint,
            })
        })
        .collect();
    let body = serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons });
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

fn numbers(admin: &Admin) -> Response {
    (admin.refresh)();
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &admin.metrics) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The admin socket cannot be listened on, or nobody answers there.
#[derive(Debug, thiserror::Error)]
#[error("the admin socket {} cannot be used", .path.display())]
pub struct AdminError {
    /// Which socket: a path, or an address.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub error: io::Error,
}

impl Explain for AdminError {
    fn explain(&self) -> Explanation {
        Explanation::new(code::LISTEN, self.to_string()).fact("the system says", &self.error)
    }
}
