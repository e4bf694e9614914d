//! The same handshakes over QUIC (RFC 9001): the same policy, the same check at the end, no 0-RTT.
//!
//! Opens no socket: endpoints are handed in. A handshake of QUIC runs in a task of quinn's own, so each
//! gets a configuration of its own whose verifier and sessions write into its notes.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use certus_pki::{Rejection, defaults};
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connecting, Connection, Endpoint, Incoming, ServerConfig, TransportConfig,
    TransportErrorCode, VarInt,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::StoresServerSessions;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{AlertDescription, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::admit::{Finished, Gate};
use crate::client::Client;
use crate::connection::Admission;
use crate::error::HandshakeError;
use crate::identity::Identity;
use crate::lock;
use crate::server::Server;
use crate::verifier::{Notes, Verifier, noting};

/// An admitted QUIC connection.
#[derive(Clone)]
pub struct QuicConnection {
    connection: Connection,
    admission: Admission,
}

impl QuicConnection {
    /// Who is at the other end, and what becomes of the connection.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Streams are opened and accepted here. Ask [`Admission::recheck`] for each, and close it once
    /// [`Admission::cancelled`] says so.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The application protocol that was agreed on.
    pub fn alpn(&self) -> Option<Vec<u8>> {
        let data = self.connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
        data.protocol
    }

    /// 32 bytes that only the two ends of this connection know (RFC 8446 7.5).
    pub fn exporter(&self, label: &[u8], context: &[u8]) -> Option<[u8; 32]> {
        let mut output = [0; 32];
        self.connection.export_keying_material(&mut output, label, context).ok().map(|()| output)
    }
}

impl Server {
    /// What a listening endpoint is made with. Callers are accepted by [`Server::accept_quic`], with the
    /// configuration in force then.
    ///
    /// # Errors
    /// There is no identity to serve with yet.
    pub fn quic_endpoint(&self, streams: u32) -> Result<ServerConfig, HandshakeError> {
        let (config, _) = self.config()?;
        let mut quic = ServerConfig::with_crypto(Arc::new(of_server(rustls::ServerConfig::clone(&config))?));
        quic.transport_config(transport(streams)).migration(true);
        Ok(quic)
    }

    /// Carries out the handshake of one caller. Each belongs in a task of its own.
    ///
    /// # Errors
    /// Why it failed: who was refused and for what, or that the caller refused us.
    pub async fn accept_quic(
        &self,
        incoming: Incoming,
        streams: u32,
    ) -> Result<QuicConnection, HandshakeError> {
        let slot = Slot::default();
        let noting =
            |inner| -> Arc<dyn ClientCertVerifier> { Arc::new(Slotted { inner, slot: slot.clone() }) };
        let (mut config, own) = self.config_with(&noting)?;
        let inner = config.session_storage.clone();
        config.session_storage = Arc::new(Slotted { inner, slot: slot.clone() });
        let mut quic = ServerConfig::with_crypto(Arc::new(of_server(config)?));
        quic.transport_config(transport(streams));
        let connecting = incoming.accept_with(Arc::new(quic)).map_err(|error| of_quic(&error, &slot))?;
        let whole = |chain: Vec<CertificateDer<'static>>| chain.iter().map(|der| der.to_vec()).collect();
        finish(connecting, self.gate(), own, &slot, whole).await
    }
}

impl Client {
    /// Carries out the handshake with the server at `address`.
    ///
    /// The other end judges us after this returned: its refusal closes the connection, and
    /// [`explain_quic_close`] says why.
    ///
    /// # Errors
    /// Why it failed: who was refused and for what, or that the peer refused us.
    pub async fn connect_quic(
        &self,
        endpoint: &Endpoint,
        address: SocketAddr,
    ) -> Result<QuicConnection, HandshakeError> {
        let (config, own) = self.config()?;
        let slot = Slot::default();
        let mut config = rustls::ClientConfig::clone(&config);
        if self.is_verified() {
            let inner = Verifier::new(self.gate().clone(), true);
            config.dangerous().set_certificate_verifier(Arc::new(Slotted { inner, slot: slot.clone() }));
        }
        let config = QuicClientConfig::try_from(config).map_err(|error| quic_words(&error))?;
        let mut config = ClientConfig::new(Arc::new(config));
        config.transport_config(transport(0));
        let name = self.name().to_str().into_owned();
        let connecting = endpoint.connect_with(config, address, &name).map_err(|error| quic_words(&error))?;
        finish(connecting, self.gate(), own, &slot, |chain| self.proven(&chain)).await
    }
}

/// Ends a handshake with the one check.
async fn finish(
    connecting: Connecting,
    gate: &Arc<Gate>,
    own: Option<Arc<Identity>>,
    slot: &Slot,
    proven: impl FnOnce(Vec<CertificateDer<'static>>) -> Vec<Vec<u8>>,
) -> Result<QuicConnection, HandshakeError> {
    let limit = Duration::from_secs(defaults::HANDSHAKE_TIMEOUT.secs().into());
    let connection = match tokio::time::timeout(limit, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return Err(of_quic(&error, slot)),
        Err(_) => return Err(HandshakeError::Timeout),
    };
    let chain = connection.peer_identity().and_then(|chain| chain.downcast().ok());
    let chain: Vec<CertificateDer<'static>> = chain.map(|chain| *chain).unwrap_or_default();
    let notes = std::mem::take(&mut *lock(slot));
    // rustls asks the verifier in every full handshake, and in no resumed one.
    let resumed = notes.verified.is_none() && !chain.is_empty();
    let finished = Finished { chain: proven(chain), resumed, own, notes };
    match gate.admission(finished) {
        Ok(admission) => Ok(QuicConnection { connection, admission }),
        Err(rejection) => {
            connection.close(REFUSED, rejection.label().as_bytes());
            Err(HandshakeError::Rejected(rejection))
        }
    }
}

/// What one QUIC handshake writes its notes into.
type Slot = Arc<Mutex<Notes>>;

/// One of rustls' callbacks, noting for one handshake.
struct Slotted<T: ?Sized> {
    slot: Slot,
    inner: Arc<T>,
}

impl<T: ?Sized> fmt::Debug for Slotted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slotted")
    }
}

impl<T: StoresServerSessions + ?Sized> StoresServerSessions for Slotted<T> {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        noting(&self.slot, || self.inner.put(key, value))
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        noting(&self.slot, || self.inner.get(key))
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        noting(&self.slot, || self.inner.take(key))
    }

    fn can_cache(&self) -> bool {
        self.inner.can_cache()
    }
}

impl<T: ClientCertVerifier> ClientCertVerifier for Slotted<T> {
    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        noting(&self.slot, || self.inner.verify_client_cert(end_entity, intermediates, now))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ClientCertVerifier::verify_tls12_signature(&*self.inner, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ClientCertVerifier::verify_tls13_signature(&*self.inner, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ClientCertVerifier::supported_verify_schemes(&*self.inner)
    }
}

impl<T: ServerCertVerifier> ServerCertVerifier for Slotted<T> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify = || self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp, now);
        noting(&self.slot, verify)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls12_signature(&*self.inner, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(&*self.inner, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(&*self.inner)
    }
}

fn of_server(config: rustls::ServerConfig) -> Result<QuicServerConfig, HandshakeError> {
    QuicServerConfig::try_from(config).map_err(|error| quic_words(&error))
}

fn quic_words(error: &dyn fmt::Display) -> HandshakeError {
    HandshakeError::Tls { words: error.to_string() }
}

/// How both ends carry: what a peer may make us hold is bounded by the windows.
fn transport(streams: u32) -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(CONNECTION_WINDOW.into())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(VarInt::from_u32(SILENCE_MS).into()));
    Arc::new(transport)
}

/// What one stream's reader may leave lying: a megabyte fills 80 ms of a 100 Mbit/s line.
const STREAM_WINDOW: u32 = 1 << 20;
/// What all streams of a connection may leave lying together.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Three fit into the silence that ends a connection.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// A peer that was silent this long is gone.
const SILENCE_MS: u32 = 30_000;
/// The application's close of a connection that was refused after its handshake.
const REFUSED: VarInt = VarInt::from_u32(0x403);

/// Why a QUIC handshake failed: what we noted of the peer, or else what QUIC says.
fn of_quic(error: &quinn::ConnectionError, slot: &Slot) -> HandshakeError {
    // Our own alert: no verifier is asked about a certificate that did not come.
    let missing = TransportErrorCode::crypto(AlertDescription::CertificateRequired.into());
    match (lock(slot).rejection.take(), error) {
        (Some(rejection), _) => HandshakeError::Rejected(rejection),
        (None, quinn::ConnectionError::TransportError(ours)) if ours.code == missing => {
            HandshakeError::Rejected(Rejection::NoCertificate)
        }
        (None, _) => explain_quic_close(error).unwrap_or_else(|| quic_words(error)),
    }
}

/// What the end of a QUIC connection means, where the peer's refusal or silence is its cause: a client
/// is judged after its handshake ended.
pub fn explain_quic_close(error: &quinn::ConnectionError) -> Option<HandshakeError> {
    match error {
        quinn::ConnectionError::ConnectionClosed(close) => {
            // RFC 9001 4.8: an alert is 0x100 and its number.
            let alert = u64::from(close.error_code).checked_sub(0x100)?;
            Some(HandshakeError::of_alert(u8::try_from(alert).ok()?.into()))
        }
        quinn::ConnectionError::TimedOut => Some(HandshakeError::Timeout),
        _ => None,
    }
}
