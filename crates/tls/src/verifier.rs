//! Our verdict inside rustls' handshake, so that the peer gets the alert that fits.
//!
//! The same [`Gate::judge`] decides here and at admission. What it found goes into the notes of the one
//! handshake that is being polled, because rustls' own errors cannot carry both halves of a comparison.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};

use certus_pki::{Peer, Rejection};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme, crypto};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::admit::{Gate, View};
use crate::{lock, provider};

/// What one handshake left behind.
#[derive(Default)]
pub(crate) struct Notes {
    /// The peer's chain was accepted under this view, by a full handshake.
    pub(crate) verified: Option<(View, Arc<Peer>)>,
    /// The peer showed a chain, as nobody does who resumes.
    pub(crate) asked: bool,
    /// It was refused.
    pub(crate) rejection: Option<Rejection>,
    /// A session of this peer was offered and may be resumed.
    pub(crate) session: Option<Arc<Peer>>,
}

tokio::task_local! {
    static NOTES: Arc<Mutex<Notes>>;
}

/// Runs one handshake and returns what it left behind.
pub(crate) async fn with_notes<F: Future>(handshake: F) -> (F::Output, Notes) {
    let notes = Arc::new(Mutex::new(Notes::default()));
    let output = NOTES.scope(notes.clone(), handshake).await;
    let notes = std::mem::take(&mut *lock(&notes));
    (output, notes)
}

/// Runs one step of a handshake whose notes are kept in `notes`.
pub(crate) fn noting<T>(notes: &Arc<Mutex<Notes>>, step: impl FnOnce() -> T) -> T {
    NOTES.sync_scope(notes.clone(), step)
}

/// Writes into the notes of the handshake that is being polled, if one is.
pub(crate) fn note<T>(write: impl FnOnce(&mut Notes) -> T) -> Option<T> {
    NOTES.try_with(|notes| write(&mut lock(notes))).ok()
}

/// Both of rustls' verifiers in one.
pub(crate) struct Verifier {
    gate: Arc<Gate>,
    certificate_required: bool,
}

impl Verifier {
    pub(crate) fn new(gate: Arc<Gate>, certificate_required: bool) -> Arc<Verifier> {
        Arc::new(Verifier { gate, certificate_required })
    }

    fn verify(&self, leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Result<(), Error> {
        note(|notes| notes.asked = true);
        let chain: Vec<&[u8]> = std::iter::once(leaf).chain(rest).map(AsRef::as_ref).collect();
        let view = self.gate.view();
        match self.gate.judge(&view, &chain) {
            Ok(peer) => {
                note(|notes| notes.verified = Some((view, Arc::new(peer))));
                Ok(())
            }
            Err(rejection) => {
                let error = alert(&rejection);
                note(|notes| notes.rejection = Some(rejection));
                Err(error)
            }
        }
    }
}

/// The error by which rustls sends the alert that fits (RFC 8446 6.2).
pub(crate) fn alert(rejection: &Rejection) -> Error {
    Error::InvalidCertificate(match rejection {
        Rejection::Expired { .. } => CertificateError::Expired,
        Rejection::NotYetValid { .. } => CertificateError::NotValidYet,
        Rejection::UnknownAuthority { .. } | Rejection::IssuerNotActive { .. } => {
            CertificateError::UnknownIssuer
        }
        Rejection::Revoked { .. } => CertificateError::Revoked,
        Rejection::WrongPurpose { .. } => CertificateError::InvalidPurpose,
        Rejection::WrongName { .. } => CertificateError::NotValidForName,
        Rejection::NotAllowed { .. }
        | Rejection::NameMissing { .. }
        | Rejection::KeyNotAccepted { .. }
        | Rejection::WrongCluster { .. }
        | Rejection::NoCertificate => CertificateError::ApplicationVerificationFailure,
        Rejection::BadSignature
        | Rejection::NoIdentity(_)
        | Rejection::NotALeaf { .. }
        | Rejection::Certificate(_)
        | Rejection::ChainTooLong { .. }
        | Rejection::Path { .. } => CertificateError::BadEncoding,
    })
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.certificate_required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Nodes have one identity; a hint would only tell strangers the cluster's name.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
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

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, intermediates).map(|()| ServerCertVerified::assertion())
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

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}
