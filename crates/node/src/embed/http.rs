//! What lets axum, hyper and tonic use listeners, connectors and streams as they are.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::FromRequestParts;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::serve::IncomingStream;
use http::request::Parts;
use http::{StatusCode, Uri};
use hyper_util::client::legacy::connect;
use hyper_util::rt::TokioIo;
use tower::Service;

use super::connector::Connector;
use super::error::EndpointError;
use super::listener::Listener;
use super::stream::{PeerInfo, PeerStream};

/// Application protocols to agree on in TLS (RFC 7301).
pub mod alpn {
    /// HTTP/2, else HTTP/1.1.
    pub const HTTP: &[&str] = &["h2", "http/1.1"];
    /// What gRPC wants.
    pub const GRPC: &[&str] = &["h2"];
    /// WebSockets begin as HTTP/1.1 (RFC 6455).
    pub const WEBSOCKET: &[&str] = &["http/1.1"];
}

/// What `https` means without a port.
const HTTPS_PORT: u16 = 443;

impl axum::serve::Listener for Listener {
    type Io = PeerStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (PeerStream, SocketAddr) {
        let stream = Listener::accept(self).await;
        let remote = stream.peer().remote_addr();
        (stream, remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(Listener::local_addr(self))
    }
}

impl Connected<IncomingStream<'_, Listener>> for PeerInfo {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> PeerInfo {
        stream.io().peer().clone()
    }
}

/// An axum handler's argument, where the service was made with
/// `into_make_service_with_connect_info::<PeerInfo>()`.
impl<S: Send + Sync> FromRequestParts<S> for PeerInfo {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<PeerInfo, Self::Rejection> {
        let by_axum = parts.extensions.get::<ConnectInfo<PeerInfo>>().map(|ConnectInfo(peer)| peer);
        let found = by_axum.or_else(|| parts.extensions.get::<PeerInfo>());
        found.cloned().ok_or((
            StatusCode::INTERNAL_SERVER_ERROR,
            "the peer is not known: serve with into_make_service_with_connect_info::<PeerInfo>()",
        ))
    }
}

/// A tonic handler finds the [`PeerInfo`] in its request's extensions.
impl tonic::transport::server::Connected for PeerStream {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        self.peer().clone()
    }
}

/// A response of hyper-util's client carries the server's [`PeerInfo`] in its extensions.
impl connect::Connection for PeerStream {
    fn connected(&self) -> connect::Connected {
        let connected = connect::Connected::new().extra(self.peer().clone());
        if self.alpn() == Some(b"h2") { connected.negotiated_h2() } else { connected }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<PeerStream>;
    type Error = EndpointError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<PeerStream>, EndpointError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), EndpointError>> {
        Poll::Ready(Ok(()))
    }

    /// Connects with TLS whatever the scheme: some clients take `http` only, where TLS is not theirs.
    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let bad = || EndpointError::BadAddress { came: uri.to_string(), why: "a URI with a host" };
            let host = uri.host().ok_or_else(bad)?;
            let port = uri.port_u16().unwrap_or(HTTPS_PORT);
            connector.connect(&format!("{host}:{port}")).await.map(TokioIo::new)
        })
    }
}
