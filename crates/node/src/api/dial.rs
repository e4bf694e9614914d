//! Dialling managers: addresses in turn, each within its share of the time, failures kept in words.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use certus_pki::explain::{Explain, Explanation};
use certus_pki::{code, defaults};
use certus_tls::{Client, TlsStream, explain_read_error};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::error::{Cause, Tried};
use crate::clock::duration;
use crate::metrics::{Metrics, Side};

/// What is spoken over TLS.
pub(super) const ALPN: &[u8] = b"h2";

/// A call of ten seconds tries three addresses that do not answer at all.
const TCP_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// More addresses than a cluster has managers.
const ADDRESSES_MAX: usize = 64;

/// Who dials, and what went wrong last.
pub(super) struct Dialer {
    addresses: Vec<String>,
    client: Client,
    metrics: Metrics,
    /// Where the next dial begins.
    next: AtomicUsize,
    /// tonic wraps and flattens errors; what happened is kept here until the call that failed asks.
    failures: Mutex<Vec<Tried>>,
}

impl Dialer {
    pub(super) fn new(mut addresses: Vec<String>, client: Client, metrics: Metrics) -> Dialer {
        addresses.truncate(ADDRESSES_MAX);
        Dialer { addresses, client, metrics, next: AtomicUsize::new(0), failures: Mutex::default() }
    }

    pub(super) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// What went wrong with the connection in use, or with the last attempt to have one.
    pub(super) fn failures(&self) -> Vec<Tried> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn forget_failures(&self) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The address in use did not do; the next dial begins after it.
    pub(super) fn try_another(&self) {
        self.next.fetch_add(1, Ordering::Relaxed);
    }

    fn failed(&self, address: &str, cause: Cause) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|tried| tried.address != address);
        failures.push(Tried { address: address.to_owned(), cause });
    }

    /// The first address that answers as a manager.
    async fn dial(self: Arc<Self>) -> io::Result<TokioIo<Observed>> {
        self.forget_failures();
        let begin = self.next.load(Ordering::Relaxed);
        let count = self.addresses.len();
        for place in (begin..begin.saturating_add(count)).map(|place| place % count) {
            let address = &self.addresses[place];
            let tcp = match connect_tcp(address).await {
                Ok(tcp) => tcp,
                Err(error) => {
                    self.failed(address, Cause::Io(error.to_string()));
                    continue;
                }
            };
            let outcome = self.client.connect(tcp).await;
            self.metrics.handshake(Side::Client, outcome.as_ref().map(drop));
            match outcome {
                Ok(tls) => {
                    self.next.store(place, Ordering::Relaxed);
                    self.forget_failures();
                    return Ok(TokioIo::new(Observed { tls, place, dialer: self.clone() }));
                }
                Err(error) => {
                    let why = error.explain();
                    tracing::warn!(address, code = %why.code, %why, "no manager that we can talk to");
                    self.failed(address, Cause::of(error));
                }
            }
        }
        Err(io::Error::new(io::ErrorKind::NotConnected, "no manager could be reached"))
    }
}

/// A TCP connection to `host:port`, without Nagle's delay.
pub(crate) async fn connect_tcp(address: &str) -> io::Result<TcpStream> {
    let tcp = tokio::time::timeout(TCP_CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let late = |_| {
        let words = format!("no answer within {} s", TCP_CONNECT_TIMEOUT.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, words)
    };
    let tcp = tcp.map_err(late)??;
    tune(&tcp);
    Ok(tcp)
}

/// Without Nagle's delay, which adds 40 ms to every small answer; and with questions to a peer that says
/// nothing, so that a machine that vanished is noticed in two minutes. A socket that is gone says so later.
pub(crate) fn tune(tcp: &TcpStream) {
    use rustix::net::sockopt;
    let _ = tcp.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(tcp, true);
    let _ = sockopt::set_tcp_keepidle(tcp, KEEPALIVE_IDLE);
    let _ = sockopt::set_tcp_keepintvl(tcp, KEEPALIVE_INTERVAL);
    let _ = sockopt::set_tcp_keepcnt(tcp, KEEPALIVE_COUNT);
}

const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_COUNT: u32 = 4;

/// A channel that dials when it is first used, and again when its connection broke.
pub(super) fn channel(dialer: Arc<Dialer>) -> Channel {
    endpoint().connect_with_connector_lazy(service_fn(move |_| {
        let dialer = dialer.clone();
        async move { dialer.dial().await }
    }))
}

/// A channel over the one connection there is.
pub(super) async fn channel_over<IO>(io: IO) -> Result<Channel, tonic::transport::Error>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let only = Arc::new(Mutex::new(Some(io)));
    let connector = service_fn(move |_| {
        let io = only.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move { io.map(TokioIo::new).ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "it ended")) }
    });
    endpoint().connect_with_connector(connector).await
}

fn endpoint() -> Endpoint {
    // TLS is ours, so tonic is told of none; the name is never resolved.
    Endpoint::from_static("http://certus")
        .http2_keep_alive_interval(duration(defaults::HEARTBEAT))
        .keep_alive_timeout(duration(defaults::HEARTBEAT))
        .buffer_size(CALLS_QUEUED_MAX)
}

/// Calls that wait for the connection; a node makes two at a time, a command line one.
const CALLS_QUEUED_MAX: usize = 64;

/// A connection that notes why it ended: in TLS 1.3 a refusal of our certificate comes with a read.
struct Observed {
    tls: TlsStream<TcpStream>,
    place: usize,
    dialer: Arc<Dialer>,
}

impl AsyncRead for Observed {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.tls).poll_read(cx, buf);
        if let Poll::Ready(Err(error)) = &polled {
            let cause = match (explain_read_error(error), this.tls.cut()) {
                (Some(refused), _) => {
                    this.dialer.metrics.handshake(Side::Client, Err(&refused));
                    Cause::of(refused)
                }
                (None, Some(cut)) => Cause::Cut(cut),
                (None, None) => Cause::Io(error.to_string()),
            };
            this.dialer.failed(&this.dialer.addresses[this.place], cause);
        }
        polled
    }
}

impl AsyncWrite for Observed {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tls).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tls).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tls).poll_shutdown(cx)
    }
}

/// Runs `call` within the time a call has.
pub(super) async fn in_time<T>(call: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(duration(defaults::CALL_TIMEOUT), call).await.ok()
}

/// What the system said of an address that could not be reached, explained.
pub(crate) fn unreachable(what: &str, address: &str, error: &io::Error) -> Explanation {
    Explanation::new(code::PEER_UNREACHABLE, format!("{what} does not answer"))
        .fact("address", address)
        .fact("the system says", error)
}
