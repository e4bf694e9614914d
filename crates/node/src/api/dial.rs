//! Dialling one manager: TCP, TLS and HTTP/2 within the time there is, and why it ended in words.
//!
//! Chooses no address and repeats nothing.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use certus_pki::explain::{Explain, Explanation};
use certus_pki::{code, defaults};
use certus_tls::{Client, HandshakeError, TlsStream, explain_read_error};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::error::Cause;
use crate::clock::duration;
use crate::metrics::{Metrics, Side};

/// What is spoken over TLS.
pub(super) const ALPN: &[u8] = b"h2";

/// A call of ten seconds tries three addresses that do not answer at all.
const TCP_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Who dials.
pub(super) struct Dialer {
    pub(super) client: Client,
    pub(super) metrics: Metrics,
}

impl Dialer {
    /// A connection to the manager at `address`, with HTTP/2 spoken over it.
    pub(super) async fn dial(&self, address: &str, limit: Duration, identity: u64) -> Result<Line, Cause> {
        let late = || Cause::Io(format!("no answer within {:.1} s", limit.as_secs_f32()));
        let begin = Instant::now();
        let tcp = tokio::time::timeout(limit, connect_tcp(address)).await.map_err(|_| late())?;
        let tcp = tcp.map_err(|error| Cause::Io(error.to_string()))?;
        let left = limit.saturating_sub(begin.elapsed());
        let outcome = tokio::time::timeout(left, self.client.connect(tcp)).await;
        let outcome = outcome.unwrap_or(Err(HandshakeError::Timeout));
        self.metrics.handshake(Side::Client, outcome.as_ref().map(drop));
        let tls = match outcome {
            Ok(tls) => tls,
            Err(HandshakeError::Timeout) => return Err(late()),
            Err(error) => {
                let why = error.explain();
                tracing::warn!(address, code = %why.code, %why, "no manager that we can talk to");
                return Err(Cause::of(error));
            }
        };
        let noted = Arc::new(Noted::default());
        let io = TokioIo::new(Observed { tls, noted: noted.clone(), metrics: self.metrics.clone() });
        let left = limit.saturating_sub(begin.elapsed());
        let spoken = tokio::time::timeout(left, http2().handshake(io)).await.map_err(|_| late())?;
        let (sender, connection) = spoken.map_err(|error| noted.cause(&error))?;
        // Ends when the last sender and the last stream do.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Line { address: address.to_owned(), identity, sender, noted })
    }
}

/// Pings whoever has calls or streams open: a machine that hangs is noticed in two heartbeats.
fn http2() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(duration(defaults::HEARTBEAT))
        .keep_alive_timeout(duration(defaults::HEARTBEAT));
    builder
}

/// One connection to one manager.
pub(super) struct Line {
    pub(super) address: String,
    /// Which of our identities it was dialled under.
    pub(super) identity: u64,
    sender: http2::SendRequest<Body>,
    noted: Arc<Noted>,
}

/// A call that brought no answer.
pub(super) struct Unsent {
    pub(super) cause: Cause,
    /// The call itself, where it surely did not leave.
    pub(super) request: Option<http::Request<Body>>,
}

impl Line {
    /// Whether a call may be sent on it, as far as is known.
    pub(super) fn is_usable(&self) -> bool {
        !self.sender.is_closed()
    }

    pub(super) async fn send(
        &self,
        request: http::Request<Body>,
    ) -> Result<http::Response<Incoming>, Unsent> {
        let sent = self.sender.clone().try_send_request(request).await;
        sent.map_err(|mut failed| {
            let request = failed.take_message();
            Unsent { cause: self.noted.cause(failed.error()), request }
        })
    }

    /// Why a stream on it ended with `error`.
    pub(super) fn cause(&self, error: &dyn std::error::Error) -> Cause {
        self.noted.cause(error)
    }
}

/// Why a connection ended. HTTP/2 wraps and flattens it, so it is kept here.
#[derive(Default)]
struct Noted(Mutex<Option<Cause>>);

impl Noted {
    fn note(&self, cause: Cause) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
    }

    fn cause(&self, error: &dyn std::error::Error) -> Cause {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        noted.unwrap_or_else(|| Cause::Io(words_of(error)))
    }
}

/// An error with all that lies below it.
fn words_of(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        words = format!("{words}: {error}");
        below = error.source();
    }
    words
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
    noted: Arc<Noted>,
    metrics: Metrics,
}

impl AsyncRead for Observed {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.tls).poll_read(cx, buf);
        if let Poll::Ready(Err(error)) = &polled {
            let cause = match (explain_read_error(error), this.tls.cut()) {
                (Some(refused), _) => {
                    this.metrics.handshake(Side::Client, Err(&refused));
                    Cause::of(refused)
                }
                (None, Some(cut)) => Cause::Cut(cut),
                (None, None) => Cause::Io(error.to_string()),
            };
            this.noted.note(cause);
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

/// What the system said of an address that could not be reached, explained.
pub(crate) fn unreachable(what: &str, address: &str, error: &io::Error) -> Explanation {
    Explanation::new(code::PEER_UNREACHABLE, format!("{what} does not answer"))
        .fact("address", address)
        .fact("the system says", error)
}
