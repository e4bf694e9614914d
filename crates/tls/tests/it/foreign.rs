//! A caller that is not ours: it takes any server, keeps every session it was ever given, and offers
//! whichever a test wants, as often as it wants.

use std::fmt;
use std::sync::{Arc, Mutex};

use certus_pki::{Lifetime, PrivateKey};
use certus_tls::HandshakeError;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, Error, NamedGroup, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::places::{Either, Met, Place};
use crate::world::{Authority, key};

/// What it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tls12,
    Tls13,
    Quic,
}

pub(crate) const KINDS: [Kind; 3] = [Kind::Tls12, Kind::Tls13, Kind::Quic];

pub(crate) struct Foreign {
    kind: Kind,
    pub(crate) config: Arc<ClientConfig>,
    hoard: Arc<Hoard>,
    /// Its leaf, to be revoked.
    pub(crate) leaf: certus_pki::cert::Certificate,
}

impl Foreign {
    pub(crate) fn new(kind: Kind, authority: &Authority, id: &str, lifetime: Lifetime) -> Foreign {
        let key: PrivateKey = key();
        let chain = authority.chain(id, &key, lifetime);
        let leaf = certus_pki::cert::Certificate::from_der(&chain[0]).unwrap();
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let document = PrivatePkcs8KeyDer::from(key.to_pkcs8_der().ok().unwrap().to_vec());
        let version = if kind == Kind::Tls12 { &TLS12 } else { &TLS13 };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TakesAny(provider)))
            .with_client_auth_cert(chain, PrivateKeyDer::Pkcs8(document))
            .unwrap();
        let hoard = Arc::new(Hoard::default());
        config.resumption = Resumption::store(hoard.clone());
        config.enable_sni = false;
        Foreign { kind, config: Arc::new(config), hoard, leaf }
    }

    /// How many sessions it was given.
    pub(crate) fn sessions(&self) -> usize {
        let kept = self.hoard.0.lock().unwrap();
        kept.old.len() + kept.new.len()
    }

    /// Which session it offers next.
    pub(crate) fn offer(&self, number: Option<usize>) {
        self.hoard.0.lock().unwrap().offered = number;
    }

    /// Dials, offering the session of that number: what the server says of it.
    pub(crate) async fn dial(&self, place: &Place, session: Option<usize>) -> Met {
        self.offer(session);
        match self.kind {
            Kind::Tls12 | Kind::Tls13 => self.dial_stream(place).await,
            Kind::Quic => self.dial_udp(place).await,
        }
    }

    /// Each session that it has, and what the server says of it.
    pub(crate) async fn dial_with_each(&self, place: &Place) -> Vec<Met> {
        let mut met = Vec::new();
        for number in 0..self.sessions() {
            met.push(self.dial(place, Some(number)).await);
        }
        met
    }

    async fn dial_stream(&self, place: &Place) -> Met {
        let (near, far) = tokio::io::duplex(64 << 10);
        let dials = async {
            let name = ServerName::try_from("peer.invalid").unwrap();
            let mut tls = TlsConnector::from(self.config.clone()).connect(name, near).await?;
            // The tickets come before the first word.
            tls.read_exact(&mut [0; 4]).await?;
            std::io::Result::Ok(())
        };
        let accepts = async {
            let mut tls = place.server.accept(far).await?;
            tls.write_all(b"ping").await.unwrap();
            tls.flush().await.unwrap();
            Ok::<_, HandshakeError>(tls)
        };
        let (served, dialed) = tokio::join!(accepts, dials);
        assert_eq!(served.is_ok(), dialed.is_ok());
        served.map(Either::stream)
    }

    async fn dial_udp(&self, place: &Place) -> Met {
        let config = QuicClientConfig::try_from(self.config.clone()).unwrap();
        let config = quinn::ClientConfig::new(Arc::new(config));
        let connecting = place.dialing.connect_with(config, place.address(), "peer.invalid").unwrap();
        let dials = async {
            let connection = connecting.await.ok()?;
            let (mut send, mut receive) = connection.open_bi().await.ok()?;
            send.write_all(b"ping").await.ok()?;
            receive.read_exact(&mut [0; 4]).await.ok()
        };
        let accepts = async {
            let quic = place.accept_quic().await?;
            let (mut send, mut receive) = quic.connection().accept_bi().await.unwrap();
            receive.read_exact(&mut [0; 4]).await.unwrap();
            send.write_all(b"pong").await.unwrap();
            Ok::<_, HandshakeError>((quic, send))
        };
        let (served, dialed) = tokio::join!(accepts, dials);
        assert_eq!(served.is_ok(), dialed.is_some());
        served.map(|(quic, _)| Either::Udp(quic))
    }
}

#[derive(Default)]
struct Hoard(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    old: Vec<Tls12ClientSessionValue>,
    /// rustls hands each to one connection only, and so must we.
    new: Vec<Option<Tls13ClientSessionValue>>,
    offered: Option<usize>,
}

impl ClientSessionStore for Hoard {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.lock().unwrap().old.push(value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        let kept = self.0.lock().unwrap();
        kept.old.get(kept.offered?).cloned()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.lock().unwrap().new.push(Some(value));
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut kept = self.0.lock().unwrap();
        let offered = kept.offered?;
        kept.new.get_mut(offered)?.take()
    }
}

impl fmt::Debug for Hoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hoard")
    }
}

#[derive(Debug)]
pub(crate) struct TakesAny(pub(crate) Arc<CryptoProvider>);

impl ServerCertVerifier for TakesAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
