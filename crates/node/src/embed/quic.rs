//! Both ends over QUIC, under the same credentials and the same policy.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use certus_pki::Explain;
use certus_tls::quic::{QuicConnection, explain_quic_close};
use certus_tls::{Cut, HandshakeError, Server};
use quinn::{ConnectionError, EndpointConfig, Incoming, RecvStream, SendStream, VarInt};
use tokio::net::ToSocketAddrs;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::audit::{AuditKind, Place};
use super::connector::{Connector, host_and_port};
use super::endpoint::{End, Inner};
use super::error::EndpointError;
use super::expired;
use super::listener::{ListenOptions, READY_MAX, too_many};
use super::stream::PeerInfo;
use crate::api::unreachable;
use crate::metrics::Side;

/// What is agreed on where no protocol was named: both ends must name one (RFC 9001 8.1).
const ALPN: &[u8] = b"certus-embed/1";
/// The application's close of a connection one of whose ends lost trust.
const CUT: VarInt = VarInt::from_u32(0x403);
/// From so many handshakes at once on, a caller must first show that its address is its own
/// (RFC 9000 8.1.2).
const UNVALIDATED_MAX: usize = 64;
/// A connection that ended takes its 30 KiB for three seconds more, for packets that are still on their way
/// (RFC 9000 10.2): so many of them, and callers are not answered until there are fewer.
const ENDED_MAX: usize = 2_048;

/// Accepts QUIC connections of peers that are verified and taken by the policy. Dropped, it accepts no
/// more; connections that it accepted live on.
pub struct QuicListener {
    ready: mpsc::Receiver<QuicPeer>,
    bound: SocketAddr,
}

impl QuicListener {
    pub(super) async fn bind(
        inner: Arc<Inner>,
        address: impl ToSocketAddrs + ToString,
        mut options: ListenOptions,
    ) -> Result<QuicListener, EndpointError> {
        if options.alpn.is_empty() {
            options.alpn.push(ALPN.to_vec());
        }
        let said = address.to_string();
        let wrong = |error: io::Error| EndpointError::Listen { address: said.clone(), error };
        let server = inner.server(options.alpn.clone(), false);
        let config = server.quic_endpoint(options.limits.streams).map_err(EndpointError::Handshake)?;
        let socket = tokio::net::UdpSocket::bind(address).await.map_err(wrong)?;
        let socket = socket.into_std().map_err(wrong)?;
        let runtime = Arc::new(quinn::TokioRuntime);
        let endpoint = quinn::Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime);
        let endpoint = endpoint.map_err(wrong)?;
        let bound = endpoint.local_addr().map_err(wrong)?;
        let (ready, accepted) = mpsc::channel(READY_MAX);
        let handshakes = Arc::new(Semaphore::new(options.limits.handshakes));
        let accepting = Arc::new(Accepting { inner, server, handshakes, options, ready });
        tokio::spawn(accepting.run(endpoint));
        Ok(QuicListener { ready: accepted, bound })
    }

    /// Where it is bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.bound
    }

    /// The next connection whose peer was verified.
    pub async fn accept(&mut self) -> QuicPeer {
        match self.ready.recv().await {
            Some(peer) => peer,
            // The task of a listener that lives ends only with its runtime.
            None => std::future::pending().await,
        }
    }
}

struct Accepting {
    inner: Arc<Inner>,
    server: Arc<Server>,
    handshakes: Arc<Semaphore>,
    options: ListenOptions,
    ready: mpsc::Sender<QuicPeer>,
}

impl Accepting {
    async fn run(self: Arc<Self>, endpoint: quinn::Endpoint) {
        let limits = self.options.limits;
        let places = Arc::new(Semaphore::new(limits.connections));
        loop {
            let incoming = tokio::select! {
                () = self.ready.closed() => return,
                incoming = endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { return };
            let remote = incoming.remote_address();
            let place = Place { side: Side::Server, transport: "quic", remote };
            let live = limits.connections.saturating_sub(places.available_permits());
            if endpoint.open_connections() >= live + ENDED_MAX {
                incoming.ignore();
                continue;
            }
            let Ok(held) = places.clone().try_acquire_owned() else {
                self.inner.audit.failed(&place, "", too_many(limits.connections), None);
                incoming.refuse();
                continue;
            };
            let busy = limits.handshakes.saturating_sub(self.handshakes.available_permits());
            if busy > UNVALIDATED_MAX && !incoming.remote_address_validated() {
                // Fails only for addresses that were validated.
                let _ = incoming.retry();
                continue;
            }
            tokio::spawn(self.clone().handshake(incoming, place, held));
        }
    }

    async fn handshake(self: Arc<Self>, incoming: Incoming, place: Place, held: OwnedSemaphorePermit) {
        let outcome = {
            let _one_of = self.handshakes.acquire().await;
            self.server.accept_quic(incoming, self.options.limits.streams).await
        };
        self.inner.audit.handshake(&place, &outcome);
        let Ok(quic) = outcome else { return };
        let end = End::Server { _kept: self.server.clone() };
        if let Ok(peer) = QuicPeer::admitted(quic, &self.inner, place, end, Some(held)) {
            // The listener may have been dropped meanwhile.
            let _ = self.ready.send(peer).await;
        }
    }
}

impl Connector {
    /// Connects over QUIC to `host:port`.
    ///
    /// The server judges us after this returned: its refusal closes the connection, and every stream fails
    /// with the reason, which [`explain_error`](super::explain_error) finds.
    ///
    /// # Errors
    /// Nobody answers, or the handshake failed and why.
    pub async fn connect_quic(&self, address: &str) -> Result<QuicPeer, EndpointError> {
        let (host, port) = host_and_port(address)?;
        let found = tokio::net::lookup_host((host, port)).await.map(|mut found| found.next());
        let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let remote = found.and_then(|found| found.ok_or_else(none));
        let remote =
            remote.map_err(|error| EndpointError::Unreachable(unreachable("the peer", address, &error)))?;
        let dialer = self.or_alpn(ALPN).dialer(&format!("quic {address}"), host)?;
        let place = Place { side: Side::Client, transport: "quic", remote };
        let outcome = dialer.client.connect_quic(&self.quic_socket(remote)?, remote).await;
        self.inner().audit.handshake(&place, &outcome);
        let quic = outcome.map_err(EndpointError::Handshake)?;
        let end = End::Dialer { _kept: dialer };
        QuicPeer::admitted(quic, self.inner(), place, end, None).map_err(EndpointError::Handshake)
    }
}

/// A QUIC connection to a peer that was verified. Cheap to clone; the last one dropped closes it.
///
/// When one of its ends loses trust it is closed with the application's code 0x403, and every stream fails.
#[derive(Clone)]
pub struct QuicPeer {
    quic: QuicConnection,
    info: PeerInfo,
    shared: Arc<Shared>,
}

struct Shared {
    inner: Arc<Inner>,
    place: Place,
    refusal_told: AtomicBool,
    /// Ends the task that watches for a cut, which would otherwise hold the connection open.
    _watched: DropGuard,
    _end: End,
    _held: Option<OwnedSemaphorePermit>,
}

impl QuicPeer {
    fn admitted(
        quic: QuicConnection,
        inner: &Arc<Inner>,
        place: Place,
        end: End,
        held: Option<OwnedSemaphorePermit>,
    ) -> Result<QuicPeer, HandshakeError> {
        let admission = quic.admission();
        let info = PeerInfo::new(admission, place.remote);
        if let Err(error) = expired::judge(inner, &place, admission) {
            inner.audit.failed(&place, info.name(), error.explain(), Some(AuditKind::Refused));
            quic.connection().close(CUT, b"expired");
            return Err(error);
        }
        let unwatched = CancellationToken::new();
        tokio::spawn(watch(quic.clone(), inner.clone(), place.clone(), unwatched.clone()));
        let shared = Shared {
            inner: inner.clone(),
            place,
            refusal_told: AtomicBool::new(false),
            _watched: unwatched.drop_guard(),
            _end: end,
            _held: held,
        };
        Ok(QuicPeer { quic, info, shared: Arc::new(shared) })
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &PeerInfo {
        &self.info
    }

    /// quinn's connection. Streams that are accepted there are not asked about; see [`QuicPeer::accept_bi`].
    pub fn connection(&self) -> &quinn::Connection {
        self.quic.connection()
    }

    /// The application protocol that was agreed on.
    pub fn alpn(&self) -> Option<Vec<u8>> {
        self.quic.alpn()
    }

    /// 32 bytes that only the two ends of this connection know (RFC 8446 7.5).
    pub fn exporter(&self, label: &[u8], context: &[u8]) -> Option<[u8; 32]> {
        self.quic.exporter(label, context)
    }

    /// Why it was cut, if it was.
    pub fn cut(&self) -> Option<Cut> {
        self.quic.admission().cut()
    }

    /// Opens a stream. The peer learns of it with the first byte that is written.
    ///
    /// # Errors
    /// The connection ended: by a cut, a refusal of ours or theirs, or otherwise.
    pub async fn open_bi(&self) -> io::Result<(SendStream, RecvStream)> {
        self.connection().open_bi().await.map_err(|error| self.words(error))
    }

    /// The next stream that the peer opened, its peer judged anew: the connection may be old.
    ///
    /// # Errors
    /// As [`QuicPeer::open_bi`], and the peer is no longer accepted.
    pub async fn accept_bi(&self) -> io::Result<(SendStream, RecvStream)> {
        let (mut send, mut receive) =
            self.connection().accept_bi().await.map_err(|error| self.words(error))?;
        if let Err(rejection) = self.quic.admission().recheck() {
            // A stream that is gone already needs no reset.
            let _ = send.reset(CUT);
            let _ = receive.stop(CUT);
            let error = HandshakeError::Rejected(rejection);
            let (place, why) = (&self.shared.place, error.explain());
            self.shared.inner.audit.failed(place, self.info.name(), why, Some(AuditKind::Refused));
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, error));
        }
        Ok((send, receive))
    }

    /// Waits until the connection ended, and says why.
    pub async fn closed(&self) -> io::Error {
        self.words(self.connection().closed().await)
    }

    /// Ends the connection with an application's code of its own.
    pub fn close(&self, code: u32, reason: &[u8]) {
        self.connection().close(VarInt::from_u32(code), reason);
    }

    fn words(&self, error: ConnectionError) -> io::Error {
        if let Some(cut) = self.cut() {
            return cut.into();
        }
        match explain_quic_close(&error) {
            Some(refusal) => {
                let is_refusal = matches!(refusal, HandshakeError::PeerRejectedUs { .. });
                if is_refusal && !self.shared.refusal_told.swap(true, Ordering::Relaxed) {
                    self.shared.inner.audit.refused_late(&self.shared.place, &refusal);
                }
                io::Error::new(io::ErrorKind::ConnectionAborted, refusal)
            }
            None => error.into(),
        }
    }
}

/// Closes a connection that is cut.
async fn watch(quic: QuicConnection, inner: Arc<Inner>, place: Place, unwatched: CancellationToken) {
    let cut = quic.admission().cancelled();
    tokio::select! {
        () = unwatched.cancelled() => return,
        _ = quic.connection().closed() => return,
        () = cut.cancelled() => {}
    }
    let Some(why) = quic.admission().cut() else { return };
    quic.connection().close(CUT, why.explain().code.to_string().as_bytes());
    inner.audit.cut(&place, quic.admission().peer_name(), &why);
}
