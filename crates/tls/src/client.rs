//! The dialing end.

use std::sync::{Arc, Mutex};

use certus_pki::{Accept, Issuers, Purpose, Rejection, San};
use rustls::client::Resumption;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, HandshakeKind};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::admit::{Finished, Gate, Unknown};
use crate::connection::Admission;
use crate::credentials::{Credentials, Snapshot};
use crate::danger::AnyServer;
use crate::error::HandshakeError;
use crate::identity::Identity;
use crate::lifecycle::Lifecycle;
use crate::provider::{Time, provider};
use crate::registry::CutRecord;
use crate::server::{Versions, same_material};
use crate::stream::TlsStream;
use crate::verifier::{Verifier, with_notes};
use crate::{error, lock};

/// How a dialer connects.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Which trusted peers may answer.
    pub accept: Accept,
    /// Application protocols, the preferred one first; with none, none is negotiated.
    pub alpn: Vec<Vec<u8>>,
    /// Which issuers they may come from.
    pub issuers: Issuers,
    /// Which versions of TLS.
    pub versions: Versions,
    /// What becomes of live connections when trust changes.
    pub lifecycle: Lifecycle,
}

impl ClientOptions {
    /// Peers that `accept` takes, of issuers that the bundle names; no application protocol.
    pub fn new(accept: Accept) -> ClientOptions {
        ClientOptions {
            accept,
            alpn: Vec::new(),
            issuers: Issuers::Known,
            versions: Versions::Tls13,
            lifecycle: Lifecycle::default(),
        }
    }
}

/// Opens connections under the credentials in force.
///
/// A peer is known by what the policy says of it. A host name is matched, and sent if it is a DNS name
/// (RFC 6066 3), only where the policy has one ([`Accept::named`]). Sessions are resumed, so one dialer
/// should stand for one destination. Without an identity it shows no certificate.
pub struct Client {
    gate: Arc<Gate>,
    options: ClientOptions,
    /// Set in [`crate::danger`] alone.
    unverified: bool,
    built: Mutex<Option<Built>>,
}

/// A configuration and what it was built from.
struct Built {
    snapshot: Arc<Snapshot>,
    config: Arc<ClientConfig>,
}

impl Client {
    /// A dialer under `credentials`.
    pub fn new(credentials: Credentials, options: ClientOptions) -> Client {
        Client::verifying(credentials, options, true)
    }

    pub(crate) fn verifying(credentials: Credentials, options: ClientOptions, verified: bool) -> Client {
        let unverified = !verified;
        let unknown = if unverified { Unknown::Judged } else { Unknown::Refused };
        let rules = (options.issuers, options.lifecycle);
        let gate = Gate::new(credentials, options.accept.clone(), Purpose::Server, unknown, rules);
        Client { gate: Arc::new(gate), options, unverified, built: Mutex::new(None) }
    }

    /// Carries out the handshake on `io`.
    ///
    /// In TLS 1.3 the other end judges us after this returned: its refusal comes with the first read,
    /// as a [`HandshakeError::PeerRejectedUs`] that [`crate::explain_read_error`] finds.
    ///
    /// # Errors
    /// Why it failed: who was refused and for what, or that the peer refused us.
    pub async fn connect<IO>(&self, io: IO) -> Result<TlsStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (config, own) = self.config()?;
        // Some 10 KiB, which the task of a connection would otherwise hold as long as it lives.
        let handshake = Box::pin(TlsConnector::from(config).connect(self.name(), io).into_fallible());
        let (outcome, notes) = with_notes(error::in_time(handshake)).await;
        let tls = outcome.map_err(|(failed, _)| failed.explained(&notes))?;
        let connection = tls.get_ref().1;
        let chain = connection.peer_certificates().unwrap_or_default();
        let finished = Finished {
            chain: self.proven(chain),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            own,
            notes,
        };
        let admission = self.gate.admission(finished).map_err(HandshakeError::Rejected)?;
        Ok(TlsStream::new(tls.into(), admission))
    }

    /// Admits a peer that is reached without TLS of ours: only an end-to-end session can tell who it is.
    ///
    /// # Errors
    /// The policy wants what such a session cannot prove.
    pub fn admit_unknown(&self) -> Result<Admission, Rejection> {
        self.gate.admit_unknown(false)
    }

    /// What the server's chain proves: nothing where it was not verified.
    pub(crate) fn proven(&self, chain: &[CertificateDer<'_>]) -> Vec<Vec<u8>> {
        if self.unverified { Vec::new() } else { chain.iter().map(|der| der.to_vec()).collect() }
    }

    /// The name that rustls wants: the policy's, or one that is neither sent nor matched.
    pub(crate) fn name(&self) -> ServerName<'static> {
        match self.gate.view().accept.server_name() {
            Some(San::Dns(name)) => ServerName::try_from(name.clone()).unwrap_or_else(|_| unsent_name()),
            Some(San::Ip(address)) => ServerName::from(*address),
            None => unsent_name(),
        }
    }

    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Replaces the policy: sessions begun under the old one are forgotten, and connections that the
    /// new one does not accept are cut and returned.
    pub fn set_accept(&self, accept: Accept) -> Vec<CutRecord> {
        let cuts = self.gate.set_accept(accept);
        *lock(&self.built) = None;
        cuts
    }

    /// Judges its live connections by the trust of `next`, a dialer that takes its place with roots of its
    /// own: those that it would refuse end as the lifecycle says of a change of policy. Those that were cut
    /// are returned.
    pub fn judge_by(&self, next: &Client) -> Vec<CutRecord> {
        self.gate.judge_by(&next.gate)
    }

    /// The configuration for the snapshot in force; built anew when identity or roots changed, so that
    /// a session never shows an identity that was replaced.
    pub(crate) fn config(&self) -> Result<(Arc<ClientConfig>, Option<Arc<Identity>>), HandshakeError> {
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

    fn build(&self, snapshot: &Snapshot) -> Result<ClientConfig, HandshakeError> {
        let time = Arc::new(Time(self.gate.credentials.clock().clone()));
        let builder = ClientConfig::builder_with_details(provider(), time)
            .with_protocol_versions(self.options.versions.list())
            .map_err(HandshakeError::tls)?
            .dangerous();
        let builder = if self.unverified {
            builder.with_custom_certificate_verifier(AnyServer::new())
        } else {
            builder.with_custom_certificate_verifier(Verifier::new(self.gate.clone(), true))
        };
        let mut config = match snapshot.identity() {
            Some(identity) => {
                let certified = identity.certified(std::iter::empty());
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.options.alpn.clone();
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        // RFC 7627: without it, secrets and sessions of TLS 1.2 are not one connection's alone.
        config.require_ems = true;
        config.enable_sni = matches!(self.gate.view().accept.server_name(), Some(San::Dns(_)));
        Ok(config)
    }
}

/// rustls keeps at most eight tickets of a destination.
const SESSIONS_MAX: usize = 8;

/// rustls wants a name to connect to; it is neither sent nor matched.
pub(crate) fn unsent_name() -> ServerName<'static> {
    ServerName::try_from("peer.invalid").expect("a DNS name")
}
