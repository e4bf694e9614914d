//! A listener: authenticates who connects, and forwards to the service.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use certus_pki::explain::{Explain, Explanation};
use certus_pki::{Accept, code};
use certus_tls::{Credentials, Server, ServerOptions};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

use super::accept::End;
use super::outbound::{Reset, carry_until};
use crate::api::tune;
use crate::metrics::{Metrics, Side};
use crate::spec::{Backend, ListenerSpec};

/// A service is near; one that does not answer by then is down.
const BACKEND_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Inbound {
    spec: ListenerSpec,
    server: Server,
    metrics: Metrics,
}

impl Inbound {
    pub(super) fn new(spec: ListenerSpec, credentials: Credentials, metrics: Metrics) -> Inbound {
        let options = ServerOptions::new(Accept::new(spec.allow.clone()));
        Inbound { server: Server::new(credentials, options), spec, metrics }
    }
}

impl End for Inbound {
    fn name(&self) -> &str {
        &self.spec.name
    }

    async fn carry(&self, tcp: TcpStream, from: SocketAddr, ending: CancellationToken) {
        let name = self.spec.name.as_str();
        let outcome = tokio::select! {
            () = ending.cancelled() => return,
            outcome = self.server.accept(tcp) => outcome,
        };
        self.metrics.handshake(Side::Server, outcome.as_ref().map(drop));
        let tls = match outcome {
            Ok(tls) => tls,
            Err(error) => {
                let why = error.explain();
                tracing::warn!(name, %from, code = %why.code, %why, "refused a handshake");
                return;
            }
        };
        let peer = tls.peer().map(|peer| peer.peer.name()).unwrap_or_default();
        let Some(forward) = &self.spec.forward else { return };
        let plain = match Plain::connect(forward).await {
            Ok(plain) => plain,
            Err(error) => {
                let why = Explanation::new(code::BACKEND, "the service does not answer")
                    .fact("address", forward)
                    .fact("the system says", error);
                tracing::warn!(name, %from, peer, code = %why.code, %why, "closed a connection");
                return;
            }
        };
        let (carried, ended) = carry_until(tls, plain, true, &ending).await;
        let (towards, back) = (carried.towards, carried.back);
        match ended {
            Ok(how) => tracing::info!(name, %from, peer, towards, back, how, "a connection ended"),
            Err(why) => {
                tracing::info!(name, %from, peer, towards, back, code = %why.code, %why, "a connection broke");
            }
        }
    }
}

/// A connection to the service.
enum Plain {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Plain {
    async fn connect(backend: &Backend) -> io::Result<Plain> {
        let connecting = async {
            match backend {
                Backend::Tcp(address) => {
                    let tcp = TcpStream::connect(address).await?;
                    tune(&tcp);
                    Ok(Plain::Tcp(tcp))
                }
                Backend::Unix(path) => UnixStream::connect(path).await.map(Plain::Unix),
            }
        };
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
        tokio::time::timeout(BACKEND_TIMEOUT, connecting).await.map_err(late)?
    }
}

impl Reset for Plain {
    fn reset(&self) {
        if let Plain::Tcp(tcp) = self {
            tcp.reset();
        }
    }
}

macro_rules! either {
    ($plain:expr, $inner:ident => $call:expr) => {
        match $plain.get_mut() {
            Plain::Tcp(tcp) => {
                let $inner = Pin::new(tcp);
                $call
            }
            Plain::Unix(unix) => {
                let $inner = Pin::new(unix);
                $call
            }
        }
    };
}

impl AsyncRead for Plain {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, inner => inner.poll_read(cx, buf))
    }
}

impl AsyncWrite for Plain {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, inner => inner.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, inner => inner.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, inner => inner.poll_shutdown(cx))
    }
}
