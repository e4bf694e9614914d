//! The accepting end.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use certus_pki::{Accept, Issuers, Purpose, Rejection, UnixTime};
use rustls::server::Acceptor;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use crate::admit::{Finished, Gate, Unknown};
use crate::connection::Admission;
use crate::credentials::{Credentials, Snapshot};
use crate::error::HandshakeError;
use crate::identity::Identity;
use crate::lifecycle::Lifecycle;
use crate::provider::{Time, provider};
use crate::registry::CutRecord;
use crate::sessions::Sessions;
use crate::stream::TlsStream;
use crate::verifier::{Verifier, with_notes};
use crate::{error, lock};

/// Whether callers must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Who shows none is refused.
    Required,
    /// Who shows none gets in with no identity: for bootstrap calls. Who shows one must be trusted and
    /// accepted all the same.
    Optional,
    /// None is asked for; the policy is asked whether those of whom nothing is known are accepted.
    NotAsked,
}

/// Which versions of TLS are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// 1.3.
    Tls13,
    /// 1.2 (AEAD suites only) and 1.3, for foreign callers.
    Tls12AndUp,
}

impl Versions {
    pub(crate) fn list(self) -> &'static [&'static SupportedProtocolVersion] {
        static NEW: [&SupportedProtocolVersion; 1] = [&TLS13];
        static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        match self {
            Versions::Tls13 => &NEW,
            Versions::Tls12AndUp => &BOTH,
        }
    }
}

/// How a listener accepts.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Which trusted callers.
    pub accept: Accept,
    /// Which issuers they may come from.
    pub issuers: Issuers,
    /// Whether they must show a certificate.
    pub client_certificate: ClientCertificate,
    /// Application protocols, the preferred one first; with none, none is negotiated.
    pub alpn: Vec<Vec<u8>>,
    /// Whether callers who offer none of them are served all the same, with no protocol agreed.
    pub alpn_optional: bool,
    /// Whether the bundle's roots follow the chain, for joiners who hold only a pin.
    pub send_roots: bool,
    /// Which versions of TLS.
    pub versions: Versions,
    /// What becomes of live connections when trust changes.
    pub lifecycle: Lifecycle,
}

impl ServerOptions {
    /// Callers must show a certificate that `accept` takes; TLS 1.3, no application protocol, no roots.
    pub fn new(accept: Accept) -> ServerOptions {
        ServerOptions {
            accept,
            issuers: Issuers::Known,
            client_certificate: ClientCertificate::Required,
            alpn: Vec::new(),
            alpn_optional: false,
            send_roots: false,
            versions: Versions::Tls13,
            lifecycle: Lifecycle::default(),
        }
    }
}

/// Accepts connections under the credentials in force.
pub struct Server {
    gate: Arc<Gate>,
    options: ServerOptions,
    screened: bool,
    built: Mutex<Option<Built>>,
}

/// A configuration and what it was built from.
struct Built {
    snapshot: Arc<Snapshot>,
    config: Arc<ServerConfig>,
}

impl Server {
    /// A listener under `credentials`.
    pub fn new(credentials: Credentials, options: ServerOptions) -> Server {
        Server::screening(credentials, options, true)
    }

    pub(crate) fn screening(credentials: Credentials, options: ServerOptions, screened: bool) -> Server {
        let unknown = match options.client_certificate {
            ClientCertificate::Required => Unknown::Refused,
            ClientCertificate::Optional => Unknown::LetIn,
            ClientCertificate::NotAsked => Unknown::Judged,
        };
        let rules = (options.issuers, options.lifecycle);
        let gate = Gate::new(credentials, options.accept.clone(), Purpose::Client, unknown, rules);
        Server { gate: Arc::new(gate), options, screened, built: Mutex::new(None) }
    }

    /// Carries out the handshake on `io`. Each belongs in a task of its own: a slow caller may take
    /// [`certus_pki::defaults::HANDSHAKE_TIMEOUT`].
    ///
    /// # Errors
    /// Why it failed: who was refused and for what, or that the caller refused us.
    pub async fn accept<IO>(&self, io: IO) -> Result<TlsStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (config, own) = self.config()?;
        // Boxed: connections outlive their handshakes, and a task keeps the room of all it ever does.
        let handshake = Box::pin(error::in_time(self.handshake(config, io)));
        let (outcome, notes) = with_notes(handshake).await;
        let tls = match outcome {
            Ok(tls) => tls,
            Err((failed, io)) => {
                if let Some(io) = io.filter(|_| failed.told()) {
                    linger(io).await;
                }
                return Err(failed.explained(&notes));
            }
        };
        let connection = tls.get_ref().1;
        let chain = connection.peer_certificates().unwrap_or_default();
        let finished = Finished {
            chain: chain.iter().map(|der| der.to_vec()).collect(),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            own,
            notes,
        };
        let admission = self.gate.admission(finished).map_err(HandshakeError::Rejected)?;
        Ok(TlsStream::new(tls.into(), admission))
    }

    /// The handshake by `config`, or by the same without application protocols where the caller offers
    /// none of them: rustls would refuse it (RFC 7301 3.2).
    async fn handshake<IO>(
        &self,
        config: Arc<ServerConfig>,
        io: IO,
    ) -> Result<tokio_rustls::server::TlsStream<IO>, (io::Error, IO)>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send,
    {
        if !self.options.alpn_optional {
            return TlsAcceptor::from(config).accept(io).into_fallible().await;
        }
        let mut hello = LazyConfigAcceptor::new(Acceptor::default(), io);
        let start = match (&mut hello).await {
            Ok(start) => start,
            Err(error) => match hello.take_io() {
                Some(io) => return Err((error, io)),
                // The stream went with the error: nobody is left to be told.
                None => return std::future::pending().await,
            },
        };
        let spoken = |offered: &[u8]| self.options.alpn.iter().any(|known| known == offered);
        let agreed = start.client_hello().alpn().is_some_and(|mut offered| offered.any(spoken));
        let config = if agreed {
            config
        } else {
            let mut config = ServerConfig::clone(&config);
            config.alpn_protocols.clear();
            Arc::new(config)
        };
        start.into_stream(config).into_fallible().await
    }

    /// Admits a caller who came in the clear, where the policy says so of such callers, until the date of
    /// [`Server::set_plaintext_until`].
    ///
    /// # Errors
    /// The policy does not, or the date is past.
    pub fn admit_plaintext(&self) -> Result<Admission, Rejection> {
        self.gate.admit_unknown(true)
    }

    /// Judges its live connections by the trust of `next`, a listener that takes its place with roots of its
    /// own: those that it would refuse end as the lifecycle says of a change of policy. Those that were cut
    /// are returned.
    pub fn judge_by(&self, next: &Server) -> Vec<CutRecord> {
        self.gate.judge_by(&next.gate)
    }

    /// Until when callers are taken in the clear, for ever unless set. Those who came so and whose date is
    /// past end as the lifecycle says of a change of policy, now or when they are swept; those that were
    /// cut are returned.
    pub fn set_plaintext_until(&self, until: UnixTime) -> Vec<CutRecord> {
        self.gate.set_clear_until(until)
    }

    /// Admits a caller whose TLS was ended elsewhere: only an end-to-end session can tell who it is.
    ///
    /// # Errors
    /// The policy lets nobody in whom such a session could prove.
    pub fn admit_unknown(&self) -> Result<Admission, Rejection> {
        self.gate.admit_unknown(false)
    }

    /// The time by which callers are judged.
    pub fn now(&self) -> UnixTime {
        self.gate.now()
    }

    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Replaces the policy: sessions begun under the old one cannot be resumed, and connections that
    /// the new one does not accept are cut and returned.
    pub fn set_accept(&self, accept: Accept) -> Vec<CutRecord> {
        let cuts = self.gate.set_accept(accept);
        *lock(&self.built) = None;
        cuts
    }

    /// The configuration for the snapshot in force. It is built anew when identity or roots changed,
    /// not for a mere revocation: that would end everybody's sessions.
    pub(crate) fn config(&self) -> Result<(Arc<ServerConfig>, Option<Arc<Identity>>), HandshakeError> {
        let snapshot = self.gate.credentials.current();
        let mut built = lock(&self.built);
        if let Some(built) = built.as_ref().filter(|built| same_material(&built.snapshot, &snapshot)) {
            return Ok((built.config.clone(), built.snapshot.identity().cloned()));
        }
        let config = Arc::new(self.build(&snapshot)?);
        let own = snapshot.identity().cloned();
        *built = Some(Built { snapshot, config: config.clone() });
        Ok((config, own))
    }

    fn build(&self, snapshot: &Snapshot) -> Result<ServerConfig, HandshakeError> {
        let identity = snapshot.identity().ok_or(HandshakeError::NoIdentity)?;
        let roots = snapshot.bundle().roots().iter().filter(|_| self.options.send_roots);
        let certified = identity.certified(roots.map(|root| root.der()));
        let required = self.options.client_certificate == ClientCertificate::Required;
        let time = Arc::new(Time(self.gate.credentials.clock().clone()));
        let builder = ServerConfig::builder_with_details(provider(), time)
            .with_protocol_versions(self.options.versions.list())
            .map_err(HandshakeError::tls)?;
        let builder = match self.options.client_certificate {
            ClientCertificate::NotAsked => builder.with_no_client_auth(),
            _ => builder.with_client_cert_verifier(Verifier::new(self.gate.clone(), required)),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = self.options.alpn.clone();
        config.session_storage = Sessions::new(self.gate.clone(), self.screened);
        config.send_tls13_tickets = TICKETS;
        // RFC 7627: without it, a caller's certificate in TLS 1.2 is not one connection's alone. Strangers
        // who show none may be old; our own dialers want it of every server.
        config.require_ems = self.options.client_certificate != ClientCertificate::NotAsked;
        // All of ours are sound; that the choice is not a stranger's is one thing less to argue about.
        config.ignore_client_order = true;
        Ok(config)
    }
}

/// Closes a stream on which an alert was sent. Hung up on at once, a TCP peer that is still sending
/// gets a reset that can overtake the alert, and would never learn why.
async fn linger<IO: AsyncRead + AsyncWrite + Unpin>(mut io: IO) {
    let drained = async {
        io.shutdown().await?;
        tokio::io::copy(&mut io.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    // Whether it read the alert is the peer's affair.
    let _ = tokio::time::timeout(LINGER, drained).await;
}

/// A round trip on a bad line.
const LINGER: Duration = Duration::from_millis(500);
/// What a client may have sent before the alert reaches it.
const LINGER_BYTES: u64 = 64 << 10;

/// Tickets are good for one use; two let a peer that resumes open a second connection beside it.
const TICKETS: usize = 2;

/// Whether a configuration built from one snapshot serves the other.
pub(crate) fn same_material(one: &Snapshot, other: &Snapshot) -> bool {
    let same_identity = match (one.identity(), other.identity()) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    };
    same_identity && one.bundle().roots() == other.bundle().roots()
}
