//! The accepting end over TCP: handshakes in tasks of their own, so that no caller holds up another.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use certus_pki::explain::Explanation;
use certus_pki::{Explain, code, defaults};
use certus_tls::{HandshakeError, Server};
use futures_util::Stream;
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::audit::{AuditKind, Place};
use super::endpoint::{End, Inner};
use super::error::EndpointError;
use super::expired;
use super::stream::PeerStream;
use crate::api::tune;
use crate::clock::duration;
use crate::metrics::Side;
use crate::seldom::Seldom;
use crate::spec::Limits;

/// Connections whose handshake is over may wait so many at once for the application to take them.
pub(super) const READY_MAX: usize = 64;
/// Out of file descriptors or memory: others must end first, and asking at once only burns time.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// What a listener speaks, and how much it takes.
///
/// ```
/// use certus_node::embed::{ListenOptions, alpn};
///
/// let options = ListenOptions::default().alpn(alpn::HTTP).connections(2_000);
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ListenOptions {
    pub(super) alpn: Vec<Vec<u8>>,
    pub(super) limits: Limits,
}

impl ListenOptions {
    /// Application protocols (RFC 7301), the preferred one first: see [`super::alpn`]. None unless set.
    /// Over TCP, callers that offer none of them are served all the same.
    #[must_use]
    pub fn alpn<P: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = P>) -> ListenOptions {
        self.alpn = protocols.into_iter().map(|protocol| protocol.as_ref().to_vec()).collect();
        self
    }

    /// How many connections at once, those in their handshake among them; 10,000 unless set. One more is
    /// hung up on.
    #[must_use]
    pub fn connections(mut self, most: usize) -> ListenOptions {
        self.limits.connections = most;
        self
    }

    /// How many handshakes at once; 512 unless set. Others wait; who has sent nothing yet takes no place.
    #[must_use]
    pub fn handshakes(mut self, most: usize) -> ListenOptions {
        self.limits.handshakes = most.max(1);
        self
    }

    /// How many streams of one QUIC connection at once; 100 unless set.
    #[must_use]
    pub fn streams(mut self, most: u32) -> ListenOptions {
        self.limits.streams = most;
        self
    }
}

/// Accepts connections of peers that are verified and taken by the policy. Dropped, it accepts no more;
/// connections that it accepted live on.
///
/// It can be handed to `axum::serve`, and to tonic's `serve_with_incoming` as a [`Stream`].
pub struct Listener {
    ready: mpsc::Receiver<PeerStream>,
    bound: SocketAddr,
}

impl Listener {
    pub(super) async fn bind(
        inner: Arc<Inner>,
        address: impl ToSocketAddrs + ToString,
        options: ListenOptions,
    ) -> Result<Listener, EndpointError> {
        let said = address.to_string();
        let wrong = |error: io::Error| EndpointError::Listen { address: said.clone(), error };
        let tcp = TcpListener::bind(address).await.map_err(wrong)?;
        let bound = tcp.local_addr().map_err(wrong)?;
        let server = inner.server(options.alpn, true);
        let (ready, accepted) = mpsc::channel(READY_MAX);
        let handshakes = Arc::new(Semaphore::new(options.limits.handshakes));
        let accepting = Arc::new(Accepting { inner, server, handshakes, ready, seldom: Seldom::default() });
        tokio::spawn(accepting.run(tcp, options.limits.connections));
        Ok(Listener { ready: accepted, bound })
    }

    /// Where it is bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.bound
    }

    /// The next connection whose peer was verified. What fails before that is told by
    /// [`Endpoint::failures`](super::Endpoint::failures) and [`Endpoint::audit`](super::Endpoint::audit).
    pub async fn accept(&mut self) -> PeerStream {
        match self.ready.recv().await {
            Some(stream) => stream,
            // The task of a listener that lives ends only with its runtime.
            None => std::future::pending().await,
        }
    }
}

impl Stream for Listener {
    type Item = io::Result<PeerStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<PeerStream>>> {
        self.ready.poll_recv(cx).map(|next| next.map(Ok))
    }
}

/// What the handshakes of one listener share.
struct Accepting {
    inner: Arc<Inner>,
    server: Arc<Server>,
    handshakes: Arc<Semaphore>,
    ready: mpsc::Sender<PeerStream>,
    seldom: Seldom,
}

impl Accepting {
    async fn run(self: Arc<Self>, tcp: TcpListener, limit: usize) {
        let places = Arc::new(Semaphore::new(limit));
        loop {
            let accepted = tokio::select! {
                () = self.ready.closed() => return,
                accepted = tcp.accept() => accepted,
            };
            let (tcp, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.refused_by_system(&error).await;
                    continue;
                }
            };
            let place = Place { side: Side::Server, transport: "tcp", remote };
            let Ok(held) = places.clone().try_acquire_owned() else {
                self.inner.audit.failed(&place, "", too_many(limit), None);
                continue;
            };
            tokio::spawn(self.clone().handshake(tcp, place, held));
        }
    }

    async fn handshake(self: Arc<Self>, tcp: TcpStream, place: Place, held: OwnedSemaphorePermit) {
        tune(&tcp);
        // A caller that says nothing takes no place from those that do.
        let mut first = [0];
        let spoke = tokio::time::timeout(duration(defaults::HANDSHAKE_TIMEOUT), tcp.peek(&mut first));
        let outcome = match spoke.await {
            Err(_) => Err(HandshakeError::Timeout),
            Ok(_) => {
                let _one_of = self.handshakes.acquire().await;
                self.server.accept(tcp).await
            }
        };
        self.inner.audit.handshake(&place, &outcome);
        let Ok(tls) = outcome else { return };
        if let Err(error) = expired::judge(&self.inner, &place, tls.admission()) {
            let name = tls.admission().peer_name();
            return self.inner.audit.failed(&place, &name, error.explain(), Some(AuditKind::Refused));
        }
        let end = End::Server { _kept: self.server.clone() };
        let stream = PeerStream::new(tls, self.inner.clone(), place, end, Some(held));
        // The listener may have been dropped meanwhile.
        let _ = self.ready.send(stream).await;
    }

    async fn refused_by_system(&self, error: &io::Error) {
        self.inner.audit.metrics.accept_failed();
        let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
        if exhausted.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) {
            if let Some(before) = self.seldom.says(Instant::now()) {
                tracing::warn!(endpoint = self.inner.name, %error, before, "cannot accept now; trying again");
            }
            tokio::time::sleep(EXHAUSTED_PAUSE).await;
        } else {
            // The caller went away before it was accepted.
            tracing::debug!(endpoint = self.inner.name, %error, "a connection was gone before it was accepted");
        }
    }
}

/// A listener that is full.
pub(super) fn too_many(limit: usize) -> Explanation {
    Explanation::new(code::TOO_MANY_CONNECTIONS, "too many connections at once")
        .halves(format!("{limit} at most"), "one more")
}
