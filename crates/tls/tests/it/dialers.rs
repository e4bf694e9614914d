//! Our own dialer's sessions (I11): it forgets them when it renews, when its policy or its roots change,
//! and it judges a server that resumes one as any other.

use std::sync::Arc;

use certus_pki::{Lifetime, Rejection};
use certus_tls::{Client, ClientOptions, HandshakeError, Publisher, Versions};
use rustls::crypto::aws_lc_rs;
use rustls::server::{ServerSessionMemoryCache, danger::ClientCertVerified, danger::ClientCertVerifier};
use rustls::version::TLS12;
use rustls::{DigitallySignedStruct, DistinguishedName, HandshakeKind, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsAcceptor;

use crate::foreign::TakesAny;
use crate::places::{Over, Place, dialer};
use crate::world::*;

const M1: &str = "spiffe://prod/manager/m1";
const WEB_1: &str = "spiffe://prod/worker/web-1";

#[tokio::test]
async fn i11_a_dialer_that_renewed_shows_its_new_certificate_at_once() {
    for over in [Over::Stream, Over::Udp] {
        let (prod, dial) = (Authority::new("prod"), Dial::new());
        let trust = bundle("prod", 1, &[&prod], &[]);
        let place = Place::accepting(&node(&prod.identity(M1), &trust, &dial), only(&["spiffe://prod/*"]));
        let worker = node(&prod.identity(WEB_1), &trust, &dial);
        let client = dialer(&worker, only(&[M1]));
        assert!(!place.connect(over, &client).await.0.resumed());
        let (served, dialed) = place.connect(over, &client).await;
        assert!(served.resumed() && dialed.resumed(), "{over:?}");
        let renewed = prod.identity(WEB_1);
        worker.publish_identity(renewed.clone()).unwrap();
        let (served, _) = place.connect(over, &client).await;
        assert!(!served.resumed());
        let serial = served.admission().peer().unwrap().peer.cert.serial;
        assert_eq!(serial, renewed.leaf().serial);
        // Another policy, and other roots, begin anew too.
        assert!(place.connect(over, &client).await.1.resumed());
        client.set_accept(only(&["spiffe://prod/manager/*"]));
        assert!(!place.connect(over, &client).await.1.resumed());
        assert!(place.connect(over, &client).await.1.resumed());
        worker.publish_bundle(bundle("prod", 2, &[&prod, &Authority::new("prod")], &[])).unwrap();
        assert!(!place.connect(over, &client).await.1.resumed());
    }
}

/// A server that is not ours, speaks TLS 1.2 and resumes whatever it is offered.
struct Old {
    config: Arc<ServerConfig>,
    leaf: certus_pki::cert::Certificate,
}

impl Old {
    fn new(authority: &Authority, lifetime: Lifetime) -> Old {
        let key = key();
        let chain = authority.chain(M1, &key, lifetime);
        let leaf = certus_pki::cert::Certificate::from_der(&chain[0]).unwrap();
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let document = PrivatePkcs8KeyDer::from(key.to_pkcs8_der().ok().unwrap().to_vec());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS12])
            .unwrap()
            .with_client_cert_verifier(Arc::new(AnyCaller(TakesAny(provider))))
            .with_single_cert(chain, PrivateKeyDer::Pkcs8(document))
            .unwrap();
        config.session_storage = ServerSessionMemoryCache::new(64);
        Old { config: Arc::new(config), leaf }
    }

    /// Whether both say that it was a resumption, or why the dialer refused.
    async fn dialed_by(&self, client: &Client) -> Result<bool, HandshakeError> {
        let (near, far) = tokio::io::duplex(64 << 10);
        let accepts = async {
            let mut tls = TlsAcceptor::from(self.config.clone()).accept(far).await.ok()?;
            let _ = tls.write_all(b"ping").await;
            Some(tls)
        };
        let (served, dialed): (Option<tokio_rustls::server::TlsStream<DuplexStream>>, _) =
            tokio::join!(accepts, client.connect(near));
        let mut dialed = dialed?;
        dialed.read_exact(&mut [0; 4]).await.unwrap();
        assert_eq!(dialed.version(), "1.2");
        let resumed = served.unwrap().get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        assert_eq!(dialed.resumed(), resumed);
        Ok(resumed)
    }
}

fn of_both_versions(worker: &Publisher) -> Client {
    let options = ClientOptions { versions: Versions::Tls12AndUp, ..ClientOptions::new(only(&[M1])) };
    Client::new(worker.credentials(), options)
}

#[tokio::test]
async fn i11_sessions_of_tls_1_2_end_with_what_they_were_begun_under() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let worker = node(&prod.identity(WEB_1), &bundle("prod", 1, &[&prod], &[]), &dial);
    let client = of_both_versions(&worker);
    let server = Old::new(&prod, Lifetime::from_hours(1));
    assert!(!server.dialed_by(&client).await.unwrap());
    assert!(server.dialed_by(&client).await.unwrap());
    worker.publish_identity(prod.identity(WEB_1)).unwrap();
    assert!(!server.dialed_by(&client).await.unwrap(), "our own renewal");
    assert!(server.dialed_by(&client).await.unwrap());
    client.set_accept(only(&["spiffe://prod/manager/*"]));
    assert!(!server.dialed_by(&client).await.unwrap(), "another policy");
    assert!(server.dialed_by(&client).await.unwrap());
    worker.publish_bundle(bundle("prod", 2, &[&prod, &Authority::new("prod")], &[])).unwrap();
    assert!(!server.dialed_by(&client).await.unwrap(), "other roots");
    assert!(server.dialed_by(&client).await.unwrap());
    dial.advance(Lifetime::from_hours(2));
    let refused = server.dialed_by(&client).await.unwrap_err();
    assert!(matches!(refused, HandshakeError::Rejected(Rejection::Expired { .. })), "{refused:?}");
}

#[tokio::test]
async fn i11_a_revoked_server_of_tls_1_2_is_refused_when_it_resumes() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let worker = node(&prod.identity(WEB_1), &bundle("prod", 1, &[&prod], &[]), &dial);
    let client = of_both_versions(&worker);
    let server = Old::new(&prod, DAY);
    server.dialed_by(&client).await.unwrap();
    assert!(server.dialed_by(&client).await.unwrap());
    let cert = certus_pki::CertId { issuer: prod.issuer.key_hash(), serial: server.leaf.serial };
    let (reason, not_after) = (certus_pki::Reason::KeyCompromise, server.leaf.not_after);
    let revoked = certus_pki::Revocation { cert, at: START, reason, not_after };
    worker.publish_bundle(bundle("prod", 2, &[&prod], &[revoked])).unwrap();
    let refused = server.dialed_by(&client).await.unwrap_err();
    assert!(matches!(refused, HandshakeError::Rejected(Rejection::Revoked { .. })), "{refused:?}");
    assert_eq!(worker.registry().live(), 0);
}

/// Asks for a certificate and takes whichever comes.
#[derive(Debug)]
struct AnyCaller(TakesAny);

impl ClientCertVerifier for AnyCaller {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::client::danger::ServerCertVerifier::verify_tls12_signature(&self.0, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::client::danger::ServerCertVerifier::verify_tls13_signature(&self.0, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::client::danger::ServerCertVerifier::supported_verify_schemes(&self.0)
    }
}
