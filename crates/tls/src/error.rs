//! Why a handshake failed, in words, on the side that refused and on the side that was refused.

use std::error::Error;
use std::future::Future;
use std::io;
use std::time::Duration;

use certus_pki::{Explain, Explanation, Rejection, code, defaults};
use rustls::AlertDescription;

use crate::stream::Cut;
use crate::verifier::Notes;

/// A handshake that led to no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// We refused the peer.
    #[error("the peer was refused")]
    Rejected(#[source] Rejection),
    /// The peer refused us.
    #[error("the peer rejected our certificate: {meaning}")]
    PeerRejectedUs {
        /// The TLS alert it sent (RFC 8446 6.2).
        alert: &'static str,
        /// What that means.
        meaning: &'static str,
    },
    /// The two do not speak the same TLS, or not TLS at all.
    #[error("the TLS handshake failed: {words}")]
    Tls {
        /// What went wrong.
        words: String,
    },
    /// It took too long.
    #[error("the TLS handshake did not end within {} s", defaults::HANDSHAKE_TIMEOUT.secs())]
    Timeout,
    /// The byte stream failed.
    #[error("the connection ended during the TLS handshake: {words}")]
    Io {
        /// What kind of failure.
        kind: io::ErrorKind,
        /// What the system said.
        words: String,
    },
    /// A listener without an identity.
    #[error("there is no certificate to serve with yet")]
    NoIdentity,
    /// The first dial did not reach a manager of the pinned cluster.
    #[error("the other end is not a manager of the pinned cluster")]
    NotPinned(#[source] certus_pki::pin::PinError),
}

impl HandshakeError {
    /// The fixed word by which metrics count it.
    pub const fn label(&self) -> &'static str {
        match self {
            HandshakeError::Rejected(rejection) => rejection.label(),
            HandshakeError::PeerRejectedUs { .. } => "peer_rejected_us",
            HandshakeError::Tls { .. } => "tls",
            HandshakeError::Timeout => "timeout",
            HandshakeError::Io { .. } => "io",
            HandshakeError::NoIdentity => "no_identity_here",
            HandshakeError::NotPinned(_) => "not_pinned",
        }
    }

    /// Every word that [`HandshakeError::label`] can give, so that metrics can begin at zero.
    pub const LABELS: [&'static str; 22] = [
        "unknown_authority",
        "expired",
        "not_yet_valid",
        "no_certificate",
        "revoked",
        "issuer_not_active",
        "wrong_cluster",
        "not_allowed",
        "wrong_name",
        "name_missing",
        "key_not_accepted",
        "wrong_purpose",
        "no_identity",
        "not_a_leaf",
        "bad_signature",
        "malformed",
        "peer_rejected_us",
        "tls",
        "timeout",
        "io",
        "no_identity_here",
        "not_pinned",
    ];

    pub(crate) fn tls(error: rustls::Error) -> HandshakeError {
        match error {
            rustls::Error::AlertReceived(alert) => HandshakeError::of_alert(alert),
            rustls::Error::NoCertificatesPresented => HandshakeError::Rejected(Rejection::NoCertificate),
            other => HandshakeError::Tls { words: other.to_string() },
        }
    }

    pub(crate) fn of_alert(alert: AlertDescription) -> HandshakeError {
        match MEANINGS.iter().find(|(known, ..)| *known == alert) {
            Some((_, alert, meaning)) => HandshakeError::PeerRejectedUs { alert, meaning },
            None => HandshakeError::Tls { words: format!("the peer ended it with the alert {alert:?}") },
        }
    }
}

/// The alerts by which a peer refuses a certificate, and what it means by each.
const MEANINGS: [(AlertDescription, &str, &str); 9] = [
    (AlertDescription::BadCertificate, "bad_certificate", "it finds it malformed, or not a node's"),
    (
        AlertDescription::UnsupportedCertificate,
        "unsupported_certificate",
        "it may not be used for our side of a connection",
    ),
    (AlertDescription::CertificateRevoked, "certificate_revoked", "it was revoked"),
    (
        AlertDescription::CertificateExpired,
        "certificate_expired",
        "by the peer's clock it expired, or is not valid yet",
    ),
    (AlertDescription::CertificateUnknown, "certificate_unknown", "it does not say why"),
    (AlertDescription::UnknownCA, "unknown_ca", "the peer does not trust the authority that issued it"),
    (AlertDescription::AccessDenied, "access_denied", "it is valid, but our identity is not accepted there"),
    (AlertDescription::CertificateRequired, "certificate_required", "we showed none, and it wants one"),
    (AlertDescription::DecryptError, "decrypt_error", "a signature of ours did not verify"),
];

impl Explain for HandshakeError {
    fn explain(&self) -> Explanation {
        match self {
            HandshakeError::Rejected(rejection) => rejection.explain(),
            HandshakeError::PeerRejectedUs { alert, .. } => {
                let told = Explanation::new(code::PEER_REJECTED_US, self.to_string()).fact("alert", alert);
                told.hint(match *alert {
                    "certificate_expired" => "compare `date -u` on both machines, then: certus cert info",
                    "certificate_revoked" => "certus token create --id ID --replace admits this node again",
                    "unknown_ca" => {
                        "this node and the peer belong to different clusters, or one missed a rotation"
                    }
                    "access_denied" => "add this node's identity to `allow` of the peer's listener",
                    "certificate_required" => {
                        "this node has no certificate yet: certus worker start --token-file FILE"
                    }
                    _ => "the peer's log says what it expected and what came",
                })
            }
            HandshakeError::Tls { .. } => Explanation::new(code::HANDSHAKE_FAILED, self.to_string())
                .hint("check that the address is a certus port, and the port the right one"),
            HandshakeError::Timeout => Explanation::new(code::HANDSHAKE_TIMEOUT, self.to_string()).hint(
                "something accepts connections there but does not speak TLS, or a firewall drops packets",
            ),
            HandshakeError::Io { .. } => Explanation::new(code::HANDSHAKE_FAILED, self.to_string())
                .hint("the other end's log says why it hung up"),
            HandshakeError::NoIdentity => Explanation::new(code::OWN_CERTIFICATE, self.to_string())
                .halves("a key and its certificate", "none"),
            HandshakeError::NotPinned(error) => error.explain(),
        }
    }
}

/// A handshake that failed, before it is known why.
pub(crate) enum Failed {
    Io(io::Error),
    Timeout,
}

impl Failed {
    /// Whether the other end was told why: then it needs a moment to read that.
    pub(crate) fn told(&self) -> bool {
        let Failed::Io(error) = self else { return false };
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        tls.is_some_and(|tls| !matches!(tls, rustls::Error::AlertReceived(_)))
    }

    /// Why it failed: what we noted of the peer, or else what rustls or the stream says.
    pub(crate) fn explained(self, notes: &Notes) -> HandshakeError {
        match self {
            Failed::Timeout => HandshakeError::Timeout,
            Failed::Io(_) if notes.rejection.is_some() => {
                HandshakeError::Rejected(notes.rejection.clone().unwrap_or(Rejection::NoCertificate))
            }
            Failed::Io(error) => of_io(&error)
                .unwrap_or_else(|| HandshakeError::Io { kind: error.kind(), words: plain_words(&error) }),
        }
    }
}

/// Runs one handshake within [`defaults::HANDSHAKE_TIMEOUT`]. A stream that was refused comes back.
pub(crate) async fn in_time<T, IO>(
    handshake: impl Future<Output = Result<T, (io::Error, IO)>>,
) -> Result<T, (Failed, Option<IO>)> {
    within(Duration::from_secs(defaults::HANDSHAKE_TIMEOUT.secs().into()), handshake).await
}

pub(crate) async fn within<T, IO>(
    limit: Duration,
    handshake: impl Future<Output = Result<T, (io::Error, IO)>>,
) -> Result<T, (Failed, Option<IO>)> {
    match tokio::time::timeout(limit, handshake).await {
        Ok(outcome) => outcome.map_err(|(error, io)| (Failed::Io(error), Some(io))),
        Err(_) => Err((Failed::Timeout, None)),
    }
}

fn of_io(error: &io::Error) -> Option<HandshakeError> {
    let inner = error.get_ref()?;
    let tls = inner.downcast_ref::<rustls::Error>().cloned();
    tls.map(HandshakeError::tls).or_else(|| inner.downcast_ref::<HandshakeError>().cloned())
}

/// An error of a read or write, with rustls' alert turned into [`HandshakeError`].
pub(crate) fn in_words(error: io::Error) -> io::Error {
    match of_io(&error) {
        Some(explained) => io::Error::new(error.kind(), explained),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            io::Error::new(error.kind(), plain_words(&error))
        }
        None => error,
    }
}

/// What happened to a byte stream. Of an end without a goodbye rustls says more than a user can use.
fn plain_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
            "the peer closed the connection".to_owned()
        }
        io::ErrorKind::ConnectionReset => "the peer reset the connection".to_owned(),
        _ => error.to_string(),
    }
}

/// What an error of a read or write on a [`crate::TlsStream`] means, where the peer or the protocol is
/// its cause: in TLS 1.3 a client learns with its first read that it was refused.
pub fn explain_read_error(error: &io::Error) -> Option<HandshakeError> {
    of_io(error)
}

/// Finds the cause of `error` in its chain of sources: a refused handshake, by us or by the peer, or a
/// cut. For errors of protocols that run over a [`crate::TlsStream`].
pub fn explain_source(error: &(dyn Error + 'static)) -> Option<Explanation> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(known) = error.downcast_ref::<HandshakeError>() {
            return Some(known.explain());
        }
        if let Some(cut) = error.downcast_ref::<Cut>() {
            return Some(cut.explain());
        }
        // The source of an io::Error is its inner error's source: the inner error itself is skipped.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
