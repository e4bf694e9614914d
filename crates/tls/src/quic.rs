//! The same handshakes over QUIC (RFC 9001): the same policy, the same check at the end, no 0-RTT.
//!
//! Opens no socket: endpoints are handed in.

mod noting;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use certus_pki::{Rejection, defaults};
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connecting, Connection, Endpoint, Incoming, ServerConfig, TransportConfig, VarInt,
};
use rustls::{AlertDescription, Error};
use rustls_pki_types::CertificateDer;

use self::noting::{Noting, Slot};
use crate::admit::{Finished, Gate};
use crate::client::Client;
use crate::connection::Admission;
use crate::error::HandshakeError;
use crate::identity::Identity;
use crate::lock;
use crate::server::Server;
use crate::verifier::alert;

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
        let mut quic = ServerConfig::with_crypto(of_server(config)?);
        quic.transport_config(transport(streams)).migration(true);
        quic.max_incoming(INCOMING_MAX)
            .incoming_buffer_size(INCOMING_BYTES_MAX)
            .incoming_buffer_size_total(INCOMING_MAX as u64 * INCOMING_BYTES_MAX);
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
        let (config, own) = self.config()?;
        let crypto = Noting { inner: of_server(config)?, slot: slot.clone() };
        let mut quic = ServerConfig::with_crypto(Arc::new(crypto));
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
        let config = QuicClientConfig::try_from(config).map_err(|error| quic_words(&error))?;
        let crypto = Noting { inner: Arc::new(config), slot: slot.clone() };
        let mut config = ClientConfig::new(Arc::new(crypto));
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
    let resumed = !notes.asked && !chain.is_empty();
    let finished = Finished { chain: proven(chain), resumed, own, notes };
    match gate.admission(finished) {
        Ok(admission) => Ok(QuicConnection { connection, admission }),
        Err(rejection) => {
            connection.close(refused(&rejection), b"");
            Err(HandshakeError::Rejected(rejection))
        }
    }
}

fn of_server(config: Arc<rustls::ServerConfig>) -> Result<Arc<QuicServerConfig>, HandshakeError> {
    QuicServerConfig::try_from(config).map(Arc::new).map_err(|error| quic_words(&error))
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

/// Callers whose first datagram came and whom nobody has accepted or refused yet: listeners do so at once.
const INCOMING_MAX: usize = 1_024;
/// What each of them may have sent: a hello with a hybrid key share takes two datagrams.
const INCOMING_BYTES_MAX: u64 = 16 << 10;
/// What one stream's reader may leave lying: a megabyte fills 80 ms of a 100 Mbit/s line.
const STREAM_WINDOW: u32 = 1 << 20;
/// What all streams of a connection may leave lying together.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Three fit into the silence that ends a connection.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// A peer that was silent this long is gone.
const SILENCE_MS: u32 = 30_000;
/// How an application closes a connection that was refused after its handshake: this and the number of
/// the TLS alert. Far from the small numbers that applications use themselves.
const REFUSED: u32 = 0x403 << 8;

fn refused(rejection: &Rejection) -> VarInt {
    let alert = match alert(rejection) {
        Error::InvalidCertificate(error) => AlertDescription::from(error),
        _ => AlertDescription::AccessDenied,
    };
    VarInt::from_u32(REFUSED | u32::from(u8::from(alert)))
}

/// Why a QUIC handshake failed: what we noted of the peer, or else what QUIC says.
fn of_quic(error: &quinn::ConnectionError, slot: &Slot) -> HandshakeError {
    if let Some(rejection) = lock(slot).rejection.take() {
        return HandshakeError::Rejected(rejection);
    }
    match error {
        // Ours, not the peer's: rustls has no more to say of a caller that shows no certificate.
        quinn::ConnectionError::TransportError(error)
            if alert_of(error.code) == Some(AlertDescription::CertificateRequired) =>
        {
            HandshakeError::Rejected(Rejection::NoCertificate)
        }
        other => explain_quic_close(other).unwrap_or_else(|| quic_words(other)),
    }
}

/// RFC 9001 4.8: an alert is 0x100 and its number.
fn alert_of(code: quinn::TransportErrorCode) -> Option<AlertDescription> {
    let alert = u64::from(code).checked_sub(0x100)?;
    u8::try_from(alert).ok().map(AlertDescription::from)
}

/// What the end of a QUIC connection means, where the peer's refusal or silence is its cause: a client
/// is judged after its handshake ended.
pub fn explain_quic_close(error: &quinn::ConnectionError) -> Option<HandshakeError> {
    match error {
        quinn::ConnectionError::ConnectionClosed(close) => {
            alert_of(close.error_code).map(HandshakeError::of_alert)
        }
        quinn::ConnectionError::ApplicationClosed(close) => {
            let alert = u64::from(close.error_code).checked_sub(REFUSED.into())?;
            u8::try_from(alert).ok().map(|alert| HandshakeError::of_alert(alert.into()))
        }
        quinn::ConnectionError::TimedOut => Some(HandshakeError::Timeout),
        _ => None,
    }
}
