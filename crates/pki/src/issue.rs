//! Issuing: a plan of what a certificate shall say, and an issuer that signs it.
//!
//! Plans are values that can be compared with what was signed: [`LeafPlan::check`] is how the
//! replicated record is held against the certificate it is for.

pub(crate) mod encode;
pub(crate) mod offline;

pub use offline::{AuthorityPlan, CertPlan, KeyUses};

use der::{Decode, Encode};
use x509_cert::ext::Extension;
use x509_cert::name::Name;

use crate::cert::{BadCertificate, Certificate};
use crate::code;
use crate::constraints::OutsideConstraints;
use crate::defaults::BACKDATE;
use crate::explain::{Explain, Explanation};
use crate::hash::{Sha256, hex};
use crate::key::{PublicKey, Signer, SigningFailed};
use crate::name::{ClusterName, Role, SpiffeId};
use crate::san::San;
use crate::serial::Serial;
use crate::subject::BadSubject;
use crate::time::{Lifetime, UnixTime};

use encode::{
    COMMON_NAME_CHARS_MAX, CaProfile, LeafProfile, common_name, encoding, extensions_of, key_id,
    leaf_extensions, sign,
};

/// When a certificate is valid: both moments included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: UnixTime,
    /// The last moment.
    pub not_after: UnixTime,
}

impl Validity {
    /// From five minutes before `now`, for clocks that are behind, until `lifetime` after it.
    pub const fn starting(now: UnixTime, lifetime: Lifetime) -> Validity {
        Validity { not_before: now.minus(BACKDATE), not_after: now.plus(lifetime) }
    }
}

/// Which sides of a TLS connection a certificate is for (RFC 5280 4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// May accept connections.
    pub server: bool,
    /// May open them.
    pub client: bool,
}

impl Usage {
    /// Both sides.
    pub const ANY: Usage = Usage { server: true, client: true };
    /// Accepting connections only.
    pub const SERVER: Usage = Usage { server: true, client: false };
    /// Neither: extended key usage is left out, or names other purposes.
    pub const NONE: Usage = Usage { server: false, client: false };
    /// Opening connections only.
    pub const CLIENT: Usage = Usage { server: false, client: true };

    /// What `role` needs: a client never serves.
    pub const fn of_role(role: Role) -> Usage {
        match role {
            Role::Manager | Role::Worker => Usage::ANY,
            Role::Client => Usage::CLIENT,
        }
    }
}

/// What a CA certificate shall say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaPlan {
    /// The common name of its subject.
    pub common_name: String,
    /// The cluster it signs for; it carries the trust domain's URI (X509-SVID §3.1).
    pub cluster: ClusterName,
    /// When it is valid.
    pub validity: Validity,
    /// How many CA certificates may stand below it.
    pub path_len: Option<u8>,
}

impl CaPlan {
    /// A cluster's root. It states no path length: in a planned rotation the old root signs the new one,
    /// below which issuers stand, and a verifier that honours an anchor's limit must accept that path.
    /// Issuers state zero, so that nothing but leaves stands below those.
    pub fn root(cluster: &ClusterName, validity: Validity) -> CaPlan {
        CaPlan { common_name: format!("{cluster} root"), cluster: cluster.clone(), validity, path_len: None }
    }

    /// An issuer of a cluster; `tag` tells it from the others. A name that would be too long is cut: what
    /// identifies an issuer is its key.
    pub fn issuer(cluster: &ClusterName, tag: &str, validity: Validity) -> CaPlan {
        CaPlan {
            common_name: format!("{cluster} {tag}").chars().take(COMMON_NAME_CHARS_MAX).collect(),
            cluster: cluster.clone(),
            validity,
            path_len: Some(0),
        }
    }
}

/// What a leaf shall say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafPlan {
    /// Whose it is.
    pub identity: SpiffeId,
    /// Over which key.
    pub public_key: PublicKey,
    /// DNS names and addresses beside the identity.
    pub sans: Vec<San>,
    /// When it is valid.
    pub validity: Validity,
}

impl LeafPlan {
    /// Whether `certificate` says what is planned, nothing more and nothing less: names, key, times, and
    /// every extension to the byte. Which issuer it names, and the signature, are not looked at.
    pub fn check(&self, certificate: &Certificate) -> Result<(), PlanMismatch> {
        let differs = |what, expected: String, came: String| {
            if expected == came { Ok(()) } else { Err(PlanMismatch { what, expected, came }) }
        };
        let list = |sans: &[San]| sans.iter().map(San::to_string).collect::<Vec<_>>().join(", ");
        let usage = Usage::of_role(self.identity.role);
        differs("identity", self.identity.to_string(), certificate.uris.join(", "))?;
        differs("subject", format!("CN={}", self.identity.id), certificate.subject.clone())?;
        differs("names", list(&self.sans), list(&certificate.sans))?;
        differs("other names", "0".into(), certificate.other_names.to_string())?;
        differs("key", self.public_key.hash().to_string(), certificate.key_hash().to_string())?;
        differs("usage", format!("{usage:?}"), format!("{:?}", certificate.usage))?;
        differs("CA", "false".into(), certificate.is_ca.to_string())?;
        differs("not before", self.validity.not_before.to_string(), certificate.not_before.to_string())?;
        differs("not after", self.validity.not_after.to_string(), certificate.not_after.to_string())?;
        self.check_encoding(certificate)
    }

    /// What is left once names, key and times agree: key usage, further purposes, extensions that nobody
    /// planned, the subject in another encoding.
    fn check_encoding(&self, certificate: &Certificate) -> Result<(), PlanMismatch> {
        let unreadable =
            |what, why: String| PlanMismatch { what, expected: "readable".to_owned(), came: why };
        let subject =
            common_name(self.identity.id.as_str()).map_err(|e| unreadable("subject", e.to_string()))?;
        let authority = certificate.authority_key_id.clone().unwrap_or_default();
        let planned = leaf_extensions(self, &subject, &authority);
        let planned = planned.map_err(|e| unreadable("extensions", e.to_string()))?;
        let came = extensions_of(&certificate.der).map_err(|e| unreadable("extensions", e.to_string()))?;
        let subject = subject.to_der().map_err(|e| unreadable("subject", e.to_string()))?;
        if subject != certificate.subject_der {
            let (expected, came) = (hex(&subject), hex(&certificate.subject_der));
            return Err(PlanMismatch { what: "subject", expected, came });
        }
        if planned == came {
            return Ok(());
        }
        let list = |extensions: &[Extension]| {
            extensions.iter().take(EXTENSIONS_SHOWN).map(in_words).collect::<Vec<_>>().join(", ")
        };
        Err(PlanMismatch { what: "extensions", expected: list(&planned), came: list(&came) })
    }
}

/// More than are ever planned: an error is no place for all that a certificate may carry.
const EXTENSIONS_SHOWN: usize = 12;

/// An extension for people: its identifier, whether it is critical, and its value or, where that is long,
/// the digest.
fn in_words(extension: &Extension) -> String {
    /// The extensions of few words fit: usages, constraints, key identifiers.
    const SHOWN_BYTES: usize = 32;
    let value = extension.extn_value.as_bytes();
    let value =
        if value.len() <= SHOWN_BYTES { hex(value) } else { format!("SHA-256 {}", Sha256::of(value)) };
    format!("{}{} {value}", extension.extn_id, if extension.critical { " critical" } else { "" })
}

/// A certificate that does not say what was planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate's {what} is not what was planned")]
pub struct PlanMismatch {
    /// Which part.
    pub what: &'static str,
    /// What was planned.
    pub expected: String,
    /// What it says.
    pub came: String,
}

/// A CA certificate and what is needed of it to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    certificate: Certificate,
}

impl Issuer {
    /// A new root, signed by itself.
    pub fn self_signed(plan: &CaPlan, serial: Serial, key: &dyn Signer) -> Result<Issuer, NotIssued> {
        let subject = common_name(&plan.common_name)?;
        let key_id = key_id(key.public_key());
        let public_key = key.public_key();
        let profile =
            CaProfile { plan, public_key, subject: subject.clone(), issuer: subject, authority: key_id };
        let der = sign(profile, serial, plan.validity, public_key, key)?;
        Issuer::from_der(&der)
    }

    /// The issuer in a CA certificate.
    pub fn from_der(der: &[u8]) -> Result<Issuer, NotIssued> {
        let certificate = Certificate::from_der(der).map_err(NotIssued::Certificate)?;
        if certificate.is_ca { Ok(Issuer { certificate }) } else { Err(NotIssued::NotACa) }
    }

    /// Signs an issuer below this one.
    pub fn sign_ca(
        &self,
        plan: &CaPlan,
        public_key: &PublicKey,
        serial: Serial,
        key: &dyn Signer,
    ) -> Result<Issuer, NotIssued> {
        self.outlives(plan.validity, key)?;
        let profile = CaProfile {
            plan,
            public_key,
            subject: common_name(&plan.common_name)?,
            issuer: self.name()?,
            authority: self.key_id(),
        };
        Issuer::from_der(&sign(profile, serial, plan.validity, public_key, key)?)
    }

    /// Signs a leaf, DER.
    pub fn sign_leaf(&self, plan: &LeafPlan, serial: Serial, key: &dyn Signer) -> Result<Vec<u8>, NotIssued> {
        self.outlives(plan.validity, key)?;
        if plan.sans.len() > San::PER_CERTIFICATE_MAX {
            return Err(NotIssued::TooManyNames { came: plan.sans.len() });
        }
        let profile = LeafProfile {
            plan,
            subject: common_name(plan.identity.id.as_str())?,
            issuer: self.name()?,
            authority: self.key_id(),
        };
        sign(profile, serial, plan.validity, &plan.public_key, key)
    }

    /// The CA certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Its subject, RFC 4514.
    pub fn subject(&self) -> &str {
        &self.certificate.subject
    }

    /// SHA-256 of its key's SubjectPublicKeyInfo.
    pub fn key_hash(&self) -> Sha256 {
        self.certificate.key_hash()
    }

    fn name(&self) -> Result<Name, NotIssued> {
        // The name is copied as it stands: chains of foreign roots break when it is rebuilt.
        Name::from_der(&self.certificate.subject_der).map_err(encoding)
    }

    pub(crate) fn key_id(&self) -> Vec<u8> {
        self.certificate.subject_key_id.clone().unwrap_or_else(|| key_id(&self.certificate.public_key))
    }

    /// Whether `key` is this CA's.
    pub(crate) fn owns(&self, key: &dyn Signer) -> Result<(), NotIssued> {
        let (expected, came) = (self.key_hash(), key.public_key().hash());
        if expected == came { Ok(()) } else { Err(NotIssued::WrongKey { expected, came }) }
    }

    fn outlives(&self, validity: Validity, key: &dyn Signer) -> Result<(), NotIssued> {
        self.owns(key)?;
        if validity.not_after > self.certificate.not_after {
            let (issuer, asked) = (self.certificate.not_after, validity.not_after);
            return Err(NotIssued::IssuerTooShort { issuer, asked });
        }
        Ok(())
    }
}

/// A certificate that was not issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotIssued {
    /// The issuer ends before what it should sign.
    #[error("the issuer ends before the certificate it should sign")]
    IssuerTooShort {
        /// The issuer's last moment.
        issuer: UnixTime,
        /// The last moment asked for.
        asked: UnixTime,
    },
    /// The key is not the issuer's.
    #[error("the signing key is not the issuer's")]
    WrongKey {
        /// The issuer's key.
        expected: Sha256,
        /// The key that was to sign.
        came: Sha256,
    },
    /// The issuer's certificate is not a CA's.
    #[error("the issuer's certificate is not a CA certificate")]
    NotACa,
    /// The issuer's certificate cannot be read.
    #[error("the issuer's certificate cannot be read")]
    Certificate(#[source] BadCertificate),
    /// More names than a certificate may carry.
    #[error("{came} names, at most 100 are allowed in one certificate")]
    TooManyNames {
        /// How many were asked for.
        came: usize,
    },
    /// The issuer's key usage does not hold keyCertSign.
    #[error("the issuer's key may not sign certificates")]
    MayNotSign,
    /// The issuer's name constraints do not allow a name.
    #[error("the issuer may not sign for {}", .0.name)]
    Outside(#[source] OutsideConstraints),
    /// The issuer's path length has no room.
    #[error("the issuer has no room for a CA below it")]
    PathTooLong {
        /// The issuer's path length.
        issuer: u8,
        /// The path length asked for.
        asked: Option<u8>,
    },
    /// It would end before it begins.
    #[error("the certificate would end before it begins")]
    EndsBeforeItBegins {
        /// Its first moment.
        not_before: UnixTime,
        /// Its last moment.
        not_after: UnixTime,
    },
    /// Neither a subject nor a name.
    #[error("the certificate would name nobody")]
    Nameless,
    /// A name that cannot stand in a certificate.
    #[error("the subject cannot stand in a certificate")]
    Subject(#[source] BadSubject),
    /// A serial number that may not be issued (RFC 5280 4.1.2.2).
    #[error("the serial number {came} may not be issued")]
    Serial {
        /// What it is.
        came: Serial,
    },
    /// A CRL's number that does not grow (RFC 5280 5.2.3).
    #[error("the number of a CRL only grows")]
    CrlNumber {
        /// The number asked for.
        came: u64,
        /// The number of the CRL before it.
        previous: u64,
    },
    /// A moment that a certificate cannot state.
    #[error("{at} cannot be stated in a certificate")]
    Time {
        /// The moment.
        at: UnixTime,
    },
    /// What was planned cannot be encoded.
    #[error("the certificate cannot be encoded: {why}")]
    Encoding {
        /// What is wrong.
        why: String,
    },
    /// The key could not sign.
    #[error("the certificate could not be signed")]
    Signing(#[source] SigningFailed),
}

impl Explain for NotIssued {
    fn explain(&self) -> Explanation {
        match self {
            NotIssued::IssuerTooShort { issuer, asked } => {
                Explanation::new(code::ISSUER_TOO_SHORT, self.to_string())
                    .fact("issuer ends", issuer)
                    .fact("asked for", asked)
            }
            NotIssued::WrongKey { expected, came } => {
                Explanation::new(code::KEY_MISMATCH, self.to_string()).halves(expected, came)
            }
            NotIssued::Certificate(bad) => bad.explain(),
            NotIssued::Signing(failed) => failed.explain(),
            NotIssued::Subject(bad) => bad.explain(),
            NotIssued::Outside(outside) => Explanation::new(code::OUTSIDE_CONSTRAINTS, self.to_string())
                .halves(&outside.expected, &outside.name)
                .hint("sign it with a CA without such name constraints, or leave the name out"),
            NotIssued::PathTooLong { issuer, asked } => {
                Explanation::new(code::OUT_OF_BOUNDS, self.to_string())
                    .fact("issuer's path length", issuer)
                    .fact("asked for", asked.map_or_else(|| "any".to_owned(), |asked| asked.to_string()))
                    .hint("only a CA with a path length of 1 or more, or without one, signs CAs")
            }
            NotIssued::MayNotSign => Explanation::new(code::MALFORMED_CERTIFICATE, self.to_string())
                .halves("key usage keyCertSign", "key usage without it"),
            NotIssued::EndsBeforeItBegins { not_before, not_after } => {
                Explanation::new(code::OUT_OF_BOUNDS, self.to_string())
                    .fact("not before", not_before)
                    .fact("not after", not_after)
            }
            NotIssued::Nameless => Explanation::new(code::BAD_NAME, self.to_string())
                .halves("a subject or a name", "neither")
                .hint("name it: --cn NAME, or --san dns:NAME"),
            NotIssued::Serial { came } => Explanation::new(code::OUT_OF_BOUNDS, self.to_string())
                .halves("a positive number of at most 20 bytes", came),
            NotIssued::CrlNumber { came, previous } => {
                Explanation::new(code::OUT_OF_BOUNDS, self.to_string())
                    .halves(format!("a number above {previous}"), came)
            }
            NotIssued::TooManyNames { .. } => Explanation::new(code::OUT_OF_BOUNDS, self.to_string()),
            NotIssued::NotACa => Explanation::new(code::MALFORMED_CERTIFICATE, self.to_string())
                .halves("CA:true", "CA:false, or no basic constraints"),
            NotIssued::Time { .. } | NotIssued::Encoding { .. } => {
                Explanation::new(code::BAD_ENCODING, self.to_string())
            }
        }
    }
}
