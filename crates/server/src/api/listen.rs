//! The API's listener: TCP, then our own TLS, then gRPC.
//!
//! Each handshake runs in a task of its own with a time limit, and the loop that accepts waits for none of
//! them, so that no caller holds the port.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use certus_node::metrics::{Metrics, Side};
use certus_pki::defaults::{API_CALLS_AT_ONCE, API_STREAMS_MAX, MANAGER_CONNECTIONS_MAX};
use certus_pki::{Explain, code};
use certus_tls::{Server, TlsStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::Connected;
use tracing::{info, warn};

use super::strangers::{STRANGER_LIFE, Stranger, Strangers};
use super::{Caller, GateLayer, routes};
use crate::shared::Shared;

/// Handshaken connections waiting for gRPC to take them.
const ACCEPTED_QUEUED: usize = 64;
/// After the system refused to accept (no file descriptors left), before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the API on `listener` until `shared.stopping`.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Arc<Server>,
    shared: Arc<Shared>,
    metrics: Metrics,
) -> Result<(), tonic::transport::Error> {
    let (accepted, connections) = mpsc::channel(ACCEPTED_QUEUED);
    let stopping = shared.stopping.clone();
    let acceptor = tokio::spawn({
        let (stopping, shared) = (stopping.clone(), shared.clone());
        async move {
            tokio::select! {
                () = accept(listener, tls, metrics, &shared, accepted) => {}
                () = shared.refusals.tell(stopping) => {}
            }
        }
    });
    let served = tonic::transport::Server::builder()
        .layer(GateLayer { shared: shared.clone() })
        .max_concurrent_streams(API_STREAMS_MAX)
        .concurrency_limit_per_connection(API_CALLS_AT_ONCE)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .add_routes(routes(&shared))
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), stopping.cancelled_owned())
        .await;
    acceptor.abort();
    served
}

async fn accept(
    listener: TcpListener,
    tls: Arc<Server>,
    metrics: Metrics,
    shared: &Arc<Shared>,
    accepted: mpsc::Sender<io::Result<Connection>>,
) {
    let strangers = Arc::new(Strangers::default());
    let connections = Arc::new(Semaphore::new(MANAGER_CONNECTIONS_MAX));
    loop {
        let Ok(place) = connections.clone().acquire_owned().await else { return };
        let (tcp, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if shared.refusals.says(code::UNAVAILABLE, None) {
                    warn!(%error, "the system refused to accept a connection; trying again");
                }
                metrics.accept_failed();
                strangers.give_way();
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (stranger, gave_way) = strangers.admit(address.ip());
        if gave_way {
            shared.metrics.refused(code::TOO_MANY_CONNECTIONS);
            if shared.refusals.says(code::TOO_MANY_CONNECTIONS, Some(address.ip())) {
                info!(last = %address, "too many connections without a certificate: the oldest give way");
            }
        }
        let (tls, metrics, accepted) = (tls.clone(), metrics.clone(), accepted.clone());
        let shared = shared.clone();
        tokio::spawn(async move {
            let _ = tcp.set_nodelay(true);
            let accepting = tokio::select! {
                accepting = tls.accept(tcp) => accepting,
                () = stranger.gone() => return,
            };
            match accepting {
                Ok(stream) => {
                    metrics.handshake(Side::Server, Ok(()));
                    let peer = stream.peer().cloned().map(Arc::new);
                    let unknown = peer.is_none().then(|| Unknown {
                        end: Box::pin(tokio::time::timeout(STRANGER_LIFE, stranger.gone())),
                        _stranger: stranger,
                    });
                    let caller = Caller { peer, address };
                    let connection = Connection { stream, caller, unknown, _place: place };
                    let _ = accepted.send(Ok(connection)).await;
                }
                Err(error) => {
                    metrics.handshake(Side::Server, Err(&error));
                    let explanation = error.explain();
                    if shared.refusals.says(explanation.code, Some(address.ip())) {
                        info!(%address, %explanation, "handshake refused");
                    }
                }
            }
        });
    }
}

/// An accepted connection, and who is at its other end.
struct Connection {
    stream: TlsStream<TcpStream>,
    caller: Caller,
    unknown: Option<Unknown>,
    /// Given back when the connection ends.
    _place: tokio::sync::OwnedSemaphorePermit,
}

/// What holds for a caller who showed no certificate.
struct Unknown {
    _stranger: Stranger,
    /// When it is hung up on.
    end: Pin<Box<Timeout<WaitForCancellationFutureOwned>>>,
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(unknown) = &mut self.unknown
            && unknown.end.as_mut().poll(cx).is_ready()
        {
            let words = "a connection without a certificate lasts no longer";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, words)));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
