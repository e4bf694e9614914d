//! The admin interface: health, readiness and metrics over HTTP, on a Unix socket or loopback.
//!
//! Reads only; nothing here changes the process.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use certus_pki::code;
use certus_pki::explain::{Explain, Explanation};
use prometheus_client::registry::Registry;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

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
    let path = path.to_owned();
    Ok(tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::warn!(%error, socket = %path.display(), "the admin interface ended");
        }
        let _ = std::fs::remove_file(&path);
    }))
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

/// The admin socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("the admin interface cannot listen on {}", .path.display())]
pub struct AdminError {
    /// Which socket.
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
