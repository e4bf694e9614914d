//! The first dial: a joiner holds a pin of the root and nothing else.
//!
//! No certificate is shown and nothing secret is sent before the other end is proven a manager (I13).

use std::fmt;
use std::sync::{Arc, Mutex};

use certus_pki::pin::{PinnedManager, verify_manager};
use certus_pki::token::Pin;
use certus_pki::{Epoch, Purpose, UnixTime};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme, crypto};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::client::unsent_name;
use crate::connection::{Admission, Admitted, Registered};
use crate::error::HandshakeError;
use crate::provider::{Time, provider, signatures};
use crate::registry::EndId;
use crate::stream::{PeerIdentity, TlsStream};
use crate::verifier::Notes;
use crate::{error, lock};

/// Connects to whoever proves to be a manager of the cluster whose root is pinned.
///
/// The stream is in no registry: it is for one bootstrap call.
///
/// # Errors
/// [`HandshakeError::NotPinned`] with what was expected and what came; or the handshake failed.
pub async fn connect_pinned<IO>(
    io: IO,
    pin: Pin,
    alpn: Vec<Vec<u8>>,
    now: UnixTime,
) -> Result<(TlsStream<IO>, PinnedManager), HandshakeError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    let verifier = Arc::new(PinVerifier { pin, now, found: Mutex::new(None) });
    let time = Arc::new(Time(Arc::new(move || now)));
    let mut config = ClientConfig::builder_with_details(provider(), time)
        .with_protocol_versions(&[&TLS13])
        .map_err(HandshakeError::tls)?
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone())
        .with_no_client_auth();
    config.alpn_protocols = alpn;
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    let handshake = TlsConnector::from(Arc::new(config)).connect(unsent_name(), io).into_fallible();
    let outcome = error::in_time(handshake).await;
    let found = lock(&verifier.found).take();
    let (tls, manager) = match (outcome, found) {
        (Ok(tls), Some(Ok(manager))) => (tls, manager),
        (_, Some(Err(error))) => return Err(HandshakeError::NotPinned(error)),
        (Err((failed, _)), _) => return Err(failed.explained(&Notes::default())),
        (Ok(_), None) => return Err(HandshakeError::Tls { words: "the peer was not verified".to_owned() }),
    };
    let epoch = Epoch::default();
    let registered = Registered::nowhere(Admitted {
        peer: Some(PeerIdentity::new(Arc::new(manager.peer.clone()), epoch)),
        chain: Vec::new(),
        own: None,
        let_in: false,
        plaintext: false,
        clear_until: None,
        epoch,
        purpose: Purpose::Server,
        end: EndId::NOWHERE,
        resumed: false,
        since: now,
    });
    Ok((TlsStream::new(tls.into(), Admission::new(registered, None)), manager))
}

/// Verifies one server's chain against a pin, once, and keeps what it found.
struct PinVerifier {
    pin: Pin,
    now: UnixTime,
    found: Mutex<Option<Result<PinnedManager, certus_pki::pin::PinError>>>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls_pki_types::UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain: Vec<&[u8]> = std::iter::once(end_entity).chain(intermediates).map(AsRef::as_ref).collect();
        let found = verify_manager(&chain, self.pin, self.now);
        let verified = found.is_ok();
        *lock(&self.found) = Some(found);
        if verified {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls12_signature(message, cert, dss, signatures())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls13_signature(message, cert, dss, signatures())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signatures().supported_schemes()
    }
}

impl fmt::Debug for PinVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PinVerifier")
    }
}
