//! The dialing end.

use std::sync::{Arc, Mutex};

use certus_pki::{Accept, Issuers, Purpose};
use rustls::client::Resumption;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, HandshakeKind};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::admit::{Finished, Gate};
use crate::credentials::{Credentials, Snapshot};
use crate::error::HandshakeError;
use crate::provider::{Time, provider};
use crate::registry::CutRecord;
use crate::server::same_material;
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
}

impl ClientOptions {
    /// Peers that `accept` takes, of issuers that the bundle names; no application protocol.
    pub fn new(accept: Accept) -> ClientOptions {
        ClientOptions { accept, alpn: Vec::new(), issuers: Issuers::Known }
    }
}

/// Opens connections under the credentials in force, TLS 1.3 only.
///
/// A peer is known by its identity; host names are neither sent nor matched. Sessions are resumed, so
/// one dialer should stand for one destination. Without an identity it shows no certificate.
pub struct Client {
    gate: Arc<Gate>,
    options: ClientOptions,
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
        let gate = Gate::new(credentials, options.accept.clone(), Purpose::Server, false);
        let gate = gate.accepting(options.issuers);
        Client { gate: Arc::new(gate), options, built: Mutex::new(None) }
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
        let handshake = TlsConnector::from(self.config()?).connect(unsent_name(), io).into_fallible();
        let (outcome, notes) = with_notes(error::in_time(handshake)).await;
        let tls = outcome.map_err(|(failed, _)| failed.explained(&notes))?;
        let connection = tls.get_ref().1;
        let chain = connection.peer_certificates().unwrap_or_default();
        let finished = Finished {
            chain: chain.iter().map(|der| der.to_vec()).collect(),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            notes,
        };
        let registered = self.gate.admit(finished).map_err(HandshakeError::Rejected)?;
        Ok(TlsStream::new(tls.into(), registered))
    }

    /// Replaces the policy: sessions begun under the old one are forgotten, and connections that the
    /// new one does not accept are cut and returned.
    pub fn set_accept(&self, accept: Accept) -> Vec<CutRecord> {
        let cuts = self.gate.set_accept(accept);
        *lock(&self.built) = None;
        cuts
    }

    /// The configuration for the snapshot in force; built anew when identity or roots changed, so that
    /// a session never shows an identity that was replaced.
    fn config(&self) -> Result<Arc<ClientConfig>, HandshakeError> {
        let snapshot = self.gate.credentials.current();
        let mut built = lock(&self.built);
        if let Some(built) = built.as_ref().filter(|built| same_material(&built.snapshot, &snapshot)) {
            return Ok(built.config.clone());
        }
        let config = Arc::new(self.build(&snapshot)?);
        *built = Some(Built { snapshot, config: config.clone() });
        Ok(config)
    }

    fn build(&self, snapshot: &Snapshot) -> Result<ClientConfig, HandshakeError> {
        let time = Arc::new(Time(self.gate.credentials.clock().clone()));
        let builder = ClientConfig::builder_with_details(provider(), time)
            .with_protocol_versions(&[&TLS13])
            .map_err(HandshakeError::tls)?
            .dangerous()
            .with_custom_certificate_verifier(Verifier::new(self.gate.clone(), true));
        let mut config = match snapshot.identity() {
            Some(identity) => {
                let certified = identity.certified(std::iter::empty());
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.options.alpn.clone();
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        config.enable_sni = false;
        Ok(config)
    }
}

/// rustls keeps at most eight tickets of a destination.
const SESSIONS_MAX: usize = 8;

/// rustls wants a name to connect to; it is neither sent nor matched.
pub(crate) fn unsent_name() -> ServerName<'static> {
    ServerName::try_from("peer.invalid").expect("a DNS name")
}
