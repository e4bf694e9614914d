//! The plain service behind web-1: HTTP without TLS, as the services are that certus carries.

use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use certus_pki::{Explanation, code};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What it answers.
pub(crate) const GREETING: &str = "hello from web-1";

/// A running service; it ends with this value.
pub(crate) struct Service {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Service {
    /// Serves on the preferred port of loopback, or on any that is free.
    pub(crate) async fn start(preferred: u16) -> Result<Service, Explanation> {
        let listener = match TcpListener::bind(("127.0.0.1", preferred)).await {
            Ok(listener) => Ok(listener),
            Err(_) => TcpListener::bind(("127.0.0.1", 0)).await,
        };
        let cannot = |error: std::io::Error| {
            Explanation::new(code::LISTEN, "the service cannot listen on loopback")
                .fact("the system says", error)
        };
        let listener = listener.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let router = Router::new().route("/", get(|| async { format!("{GREETING}\n") }));
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!(%error, "the service ended");
            }
        });
        Ok(Service { address, serving })
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
