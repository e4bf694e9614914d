//! Why a generation cannot be used, with both halves.

use certus_pki::cert::BadCertificate;
use certus_pki::key::BadKey;
use certus_pki::pem::BadPem;
use certus_pki::{Explain, Explanation, Sha256, UnixTime, code};

use super::{CHAIN_MAX, ROOTS_MAX};
use crate::sources::text::Part;

/// Key, chain or roots that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MaterialError {
    /// A text that is not PEM, or cut off.
    #[error("{part} cannot be read")]
    Pem {
        /// Which text.
        part: Part,
        /// What is wrong, with the line.
        #[source]
        error: BadPem,
    },
    /// A text without what it should hold.
    #[error("{part} holds no {expected}")]
    Absent {
        /// Which text.
        part: Part,
        /// What should be there.
        expected: &'static str,
        /// What is there instead.
        came: String,
    },
    /// The key cannot be read.
    #[error("the private key cannot be used")]
    Key(#[source] BadKey),
    /// A certificate cannot be read, or is not fit for its place.
    #[error("{which} cannot be used")]
    Certificate {
        /// Whose certificate, or the text it is in.
        which: String,
        /// The line it begins on.
        line: Option<usize>,
        /// What is wrong.
        #[source]
        error: BadCertificate,
    },
    /// No key and chain where they are needed.
    #[error("there is no key and no certificate")]
    NoIdentity,
    /// No root where one is needed.
    #[error("there is no trusted root")]
    NoRoots,
    /// A key without any certificate.
    #[error("the chain holds no certificate of the key's own")]
    EmptyChain,
    /// More certificates than a chain may hold.
    #[error("the chain has {came} certificates")]
    ChainTooLong {
        /// How many it has.
        came: usize,
    },
    /// More roots than are taken.
    #[error("{came} roots are to be trusted")]
    TooManyRoots {
        /// How many there are.
        came: usize,
    },
    /// The certificate is of a version that can say nothing.
    #[error("{which} is an X.509 version {came} certificate: it carries no names and no purposes")]
    Version {
        /// Whose certificate.
        which: String,
        /// Its version.
        came: u8,
    },
    /// The key is another certificate's.
    #[error("the key does not fit {which}")]
    WrongKey {
        /// Whose certificate.
        which: String,
        /// The certificate's key.
        expected: Sha256,
        /// The key that came.
        came: Sha256,
    },
    /// A CA's certificate in a leaf's place.
    #[error("{which} is a CA certificate, and cannot be a node's own")]
    IsCa {
        /// Whose certificate.
        which: String,
    },
    /// Neither for servers nor for clients.
    #[error("{which} is for neither side of a TLS connection")]
    WrongPurpose {
        /// Whose certificate.
        which: String,
        /// What it is for.
        came: String,
    },
    /// Its key may not sign handshakes.
    #[error("the key of {which} may not sign handshakes")]
    CannotSign {
        /// Whose certificate.
        which: String,
        /// What it may do.
        came: String,
    },
    /// Its time is over.
    #[error("{which} expired {}", .not_after.relative_to(*.now))]
    Expired {
        /// Whose certificate.
        which: String,
        /// The time asked about.
        now: UnixTime,
        /// Its last moment.
        not_after: UnixTime,
    },
    /// Its time has not come.
    #[error("{which} becomes valid {}", .not_before.relative_to(*.now))]
    NotYetValid {
        /// Whose certificate.
        which: String,
        /// The time asked about.
        now: UnixTime,
        /// Its first moment.
        not_before: UnixTime,
    },
    /// The chain is not in order, or a certificate of another chain is in it.
    #[error("certificate {place} of the chain is not the issuer of {which}")]
    Order {
        /// Its place in the chain, from 1.
        place: usize,
        /// The certificate before it.
        which: String,
        /// Who should stand there.
        expected: String,
        /// Who does.
        came: String,
    },
    /// The names fit, the signature does not.
    #[error("certificate {place} of the chain did not sign {which}")]
    NotSigned {
        /// Its place in the chain, from 1.
        place: usize,
        /// The certificate before it.
        which: String,
        /// Whose certificate stands there.
        above: String,
        /// Whether that is a CA's.
        is_ca: bool,
    },
    /// Roots that all have ended, or have not begun.
    #[error("none of {roots} trusted roots is in its time")]
    RootsOutOfTime {
        /// The time asked about.
        now: UnixTime,
        /// How many there are.
        roots: usize,
        /// The last moment of the one that lives longest.
        not_after: UnixTime,
    },
}

/// What `openssl x509 -req` leaves out when it is not told.
const VERSION_HINT: &str = "openssl x509 -req -in node.csr -CA ca.crt -CAkey ca.key -CAcreateserial \
     -out node.crt -days 90 -sha256 -extfile <(printf 'subjectAltName=DNS:node-1\\n\
     basicConstraints=critical,CA:FALSE\\nkeyUsage=critical,digitalSignature\\n\
     extendedKeyUsage=serverAuth,clientAuth\\n')";

impl MaterialError {
    /// Whether reading again a moment later may end well: somebody is in the middle of writing.
    pub(crate) fn may_settle(&self) -> bool {
        matches!(
            self,
            MaterialError::WrongKey { .. }
                | MaterialError::Pem { .. }
                | MaterialError::Absent { .. }
                | MaterialError::Key(BadKey::Pem(_) | BadKey::NotOne { came: 0 })
                | MaterialError::EmptyChain
        )
    }
}

impl Explain for MaterialError {
    fn explain(&self) -> Explanation {
        let told = |code| Explanation::new(code, self.to_string());
        match self {
            MaterialError::Pem { part, error } => error.explain().fact("in", part),
            MaterialError::Absent { part, expected, came } => {
                told(code::BAD_ENCODING).halves(expected, came).fact("in", part)
            }
            MaterialError::Key(BadKey::PassphraseNeeded) => told(code::PASSPHRASE_NEEDED)
                .halves("a key that is not encrypted", "an encrypted one")
                .hint("openssl pkey -in OLD -out NEW; chmod 600 NEW"),
            MaterialError::Key(error) => error.explain(),
            MaterialError::Certificate { which, line, error } => {
                let told = error.explain().fact("which", which);
                line.iter().fold(told, |told, line| told.fact("line", line))
            }
            MaterialError::NoIdentity => told(code::CONFIGURATION)
                .halves("a private key and its certificate chain", "neither")
                .hint("name them: cert and key, or one bundle of both"),
            MaterialError::NoRoots => told(code::CONFIGURATION)
                .halves("one CA certificate at least", "none")
                .hint("name the file with the CA certificates that peers are judged by: ca"),
            MaterialError::EmptyChain => told(code::BAD_ENCODING)
                .halves("a leaf and its issuers", "no certificate, or self-signed CAs only"),
            MaterialError::ChainTooLong { came } => {
                told(code::OUT_OF_BOUNDS).halves(format!("at most {CHAIN_MAX}"), came)
            }
            MaterialError::TooManyRoots { came } => {
                told(code::OUT_OF_BOUNDS).halves(format!("at most {ROOTS_MAX}"), came)
            }
            MaterialError::Version { came, .. } => told(code::BROKEN_RULE)
                .halves("version 3 with subjectAltName", format!("version {came}, without names"))
                .hint(VERSION_HINT),
            MaterialError::WrongKey { expected, came, .. } => told(code::KEY_MISMATCH)
                .halves(expected, came)
                .hint("the files are of different times or nodes: put the pair in place again, whole"),
            MaterialError::IsCa { .. } => told(code::NOT_A_LEAF)
                .halves("CA:FALSE", "CA:TRUE")
                .hint("the node's own certificate stands first, its issuers behind it"),
            MaterialError::WrongPurpose { came, .. } => {
                told(code::WRONG_PURPOSE).halves("serverAuth or clientAuth", came)
            }
            MaterialError::CannotSign { came, .. } => {
                told(code::NOT_A_LEAF).halves("key usage digitalSignature", came)
            }
            MaterialError::Expired { now, not_after, .. } => {
                told(code::EXPIRED).fact("now", now).fact("not after", not_after)
            }
            MaterialError::NotYetValid { now, not_before, .. } => {
                told(code::NOT_YET_VALID).fact("now", now).fact("not before", not_before)
            }
            MaterialError::Order { expected, came, .. } => {
                told(code::BROKEN_RULE).halves(expected, came).hint("the leaf first, then each one's issuer")
            }
            MaterialError::NotSigned { above, is_ca, .. } => {
                let came = if *is_ca { "a signature by another key" } else { "no CA certificate" };
                told(code::BAD_SIGNATURE).halves(format!("a signature by the CA {above}"), came)
            }
            MaterialError::RootsOutOfTime { now, not_after, .. } => {
                told(code::EXPIRED).fact("now", now).fact("the last one's not after", not_after)
            }
        }
    }
}
