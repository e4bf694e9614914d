//! What switches a check off. Nothing here is reached by accident: one grep finds every use.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{DigitallySignedStruct, Error, SignatureScheme, crypto};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::client::{Client, ClientOptions};
use crate::credentials::Credentials;
use crate::provider;
use crate::verifier::note;

/// A dialer that takes whatever certificate answers: TLS then hides what is said from those who only
/// listen, and proves nothing of who listens. Something inside must: an end-to-end session, pinned to
/// the peer's key.
pub fn client_of_any_server(credentials: Credentials, options: ClientOptions) -> Client {
    Client::verifying(credentials, options, false)
}

/// Takes every chain; that the server holds the leaf's key is still proven.
pub(crate) struct AnyServer;

impl AnyServer {
    pub(crate) fn new() -> Arc<AnyServer> {
        Arc::new(AnyServer)
    }
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        note(|notes| notes.asked = true);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls12_signature(message, cert, dss, provider::signatures())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls13_signature(message, cert, dss, provider::signatures())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider::signatures().supported_schemes()
    }
}

impl fmt::Debug for AnyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyServer")
    }
}
