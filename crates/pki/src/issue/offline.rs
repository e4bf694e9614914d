//! Issuing from files: certificates and CAs with any name, below CAs of any make.
//!
//! Beside the plans of a cluster, whose every word the cluster decides; here the operator decides.

use der::asn1::{AnyRef, BitStringRef, UtcTime};
use der::{Decode, Encode};
use spki::AlgorithmIdentifierOwned;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::KeyUsage;
use x509_cert::ext::pkix::constraints::name::NameConstraints as NameConstraintsExt;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::Time;

use super::encode::{Signing, encoding, key_id, time};
use super::{Issuer, NotIssued, Usage, Validity};
use crate::alt::Names;
use crate::cert::Certificate;
use crate::constraints::NameConstraints;
use crate::key::{KeyType, PublicKey, Signer};
use crate::serial::Serial;
use crate::subject::Subject;
use crate::time::UnixTime;

mod extensions;

pub(crate) use extensions::add;
use extensions::{authority_extensions, bridge_extensions, cert_extensions};

/// What a key may be used for (RFC 5280 4.2.1.3), as far as end certificates are concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyUses {
    /// Sign handshakes.
    pub digital_signature: bool,
    /// Sign what is to be proven later (nonRepudiation).
    pub content_commitment: bool,
    /// Receive keys encrypted to it: RSA key transport of TLS 1.2.
    pub key_encipherment: bool,
    /// Agree on keys.
    pub key_agreement: bool,
}

impl KeyUses {
    /// What TLS needs of a key of this type.
    pub const fn tls(key_type: KeyType) -> KeyUses {
        KeyUses {
            digital_signature: true,
            content_commitment: false,
            key_encipherment: matches!(key_type, KeyType::Rsa(_)),
            key_agreement: false,
        }
    }
}

/// What an end certificate shall say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertPlan {
    /// Whose it is; may be empty where `names` is not.
    pub subject: Subject,
    /// The names that verifiers look at.
    pub names: Names,
    /// Which sides of a connection it is for; neither leaves extended key usage out.
    pub usage: Usage,
    /// What its key may do; unless stated, what TLS needs of its type.
    pub key_usage: Option<KeyUses>,
    /// When it is valid.
    pub validity: Validity,
    /// Where its issuer's CRL is fetched.
    pub crl_urls: Vec<String>,
    /// Where its issuer's certificate is fetched.
    pub issuer_urls: Vec<String>,
}

impl CertPlan {
    /// A certificate for TLS, without addresses of CRLs.
    pub fn new(subject: Subject, names: Names, usage: Usage, validity: Validity) -> CertPlan {
        let (key_usage, crl_urls, issuer_urls) = (None, Vec::new(), Vec::new());
        CertPlan { subject, names, usage, key_usage, validity, crl_urls, issuer_urls }
    }
}

/// What a CA certificate made from files shall say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityPlan {
    /// The CA's name; never empty.
    pub subject: Subject,
    /// Names of its own, rarely any: a trust domain's URI.
    pub names: Names,
    /// When it is valid.
    pub validity: Validity,
    /// How many CA certificates may stand below it.
    pub path_len: Option<u8>,
    /// What the certificates below it may be called.
    pub constraints: NameConstraints,
    /// Where its issuer's CRL is fetched.
    pub crl_urls: Vec<String>,
    /// Where its issuer's certificate is fetched.
    pub issuer_urls: Vec<String>,
}

impl AuthorityPlan {
    /// A CA without constraints on names.
    pub fn new(subject: Subject, path_len: Option<u8>, validity: Validity) -> AuthorityPlan {
        AuthorityPlan {
            subject,
            names: Names::none(),
            validity,
            path_len,
            constraints: NameConstraints::none(),
            crl_urls: Vec::new(),
            issuer_urls: Vec::new(),
        }
    }
}

impl Validity {
    /// The same, ended where `issuer` ends: for those who asked for it by a flag.
    #[must_use]
    pub fn capped(self, issuer: &Issuer) -> Validity {
        let not_after = self.not_after.min(issuer.certificate().not_after);
        Validity { not_after, ..self }
    }
}

impl Issuer {
    /// A new root, signed by itself.
    ///
    /// # Errors
    /// A name that is empty, a moment or a name that cannot be encoded, a key that cannot sign.
    pub fn found(plan: &AuthorityPlan, serial: Serial, key: &dyn Signer) -> Result<Issuer, NotIssued> {
        let own = key_id(key.public_key());
        let extensions = authority_extensions(plan, key.public_key(), &own)?;
        let tbs = Tbs { serial, issuer: &plan.subject, subject: &plan.subject, validity: plan.validity };
        Issuer::from_der(&tbs.sign(key.public_key(), extensions, key)?)
    }

    /// Signs an end certificate over `public_key`, DER.
    ///
    /// # Errors
    /// [`NotIssued::IssuerTooShort`] where it would outlive this CA (see [`Validity::capped`]),
    /// [`NotIssued::Outside`] where a name breaks this CA's name constraints.
    pub fn sign_cert(
        &self,
        plan: &CertPlan,
        public_key: &PublicKey,
        serial: Serial,
        key: &dyn Signer,
    ) -> Result<Vec<u8>, NotIssued> {
        self.may_sign(plan.validity, &plan.names, key)?;
        if plan.subject.is_empty() && plan.names.is_empty() {
            return Err(NotIssued::Nameless);
        }
        let extensions = cert_extensions(plan, public_key, &self.key_id())?;
        let tbs =
            Tbs { serial, issuer: &self.subject_name()?, subject: &plan.subject, validity: plan.validity };
        tbs.sign(public_key, extensions, key)
    }

    /// Signs a CA below this one.
    ///
    /// # Errors
    /// As [`Issuer::sign_cert`], and [`NotIssued::PathTooLong`] where this CA's path length has no room.
    pub fn sign_authority(
        &self,
        plan: &AuthorityPlan,
        public_key: &PublicKey,
        serial: Serial,
        key: &dyn Signer,
    ) -> Result<Issuer, NotIssued> {
        self.may_sign(plan.validity, &plan.names, key)?;
        self.has_room(plan.path_len)?;
        let extensions = authority_extensions(plan, public_key, &self.key_id())?;
        let tbs =
            Tbs { serial, issuer: &self.subject_name()?, subject: &plan.subject, validity: plan.validity };
        Issuer::from_der(&tbs.sign(public_key, extensions, key)?)
    }

    /// Signs another CA's name and key anew, so that who trusts this CA trusts that one: the bridge of a
    /// rotation. Its extensions are copied, but for the key identifier of the issuer and the addresses of
    /// CRLs. Path length is not held against this CA's where both are roots: the bridge then gets the
    /// shorter of that CA's and what this one has room for.
    pub fn cross_sign(
        &self,
        other: &Certificate,
        validity: Validity,
        serial: Serial,
        key: &dyn Signer,
    ) -> Result<Issuer, NotIssued> {
        self.may_sign(validity, &Names::none(), key)?;
        if !other.is_ca {
            return Err(NotIssued::NotACa);
        }
        let room = match self.certificate().path_len {
            Some(0) => return Err(NotIssued::PathTooLong { issuer: 0, asked: other.path_len }),
            Some(room) => Some(room - 1),
            None => None,
        };
        let path_len = [room, other.path_len].into_iter().flatten().min();
        let extensions = bridge_extensions(other, path_len, &self.key_id())?;
        let subject = Subject::from_der(&other.subject_der).map_err(NotIssued::Subject)?;
        let tbs = Tbs { serial, issuer: &self.subject_name()?, subject: &subject, validity };
        Issuer::from_der(&tbs.sign(&other.public_key, extensions, key)?)
    }

    /// The CA's name, byte for byte: chains of foreign CAs break when it is written anew.
    pub(crate) fn subject_name(&self) -> Result<Subject, NotIssued> {
        Subject::from_der(&self.certificate().subject_der).map_err(NotIssued::Subject)
    }

    fn may_sign(&self, validity: Validity, names: &Names, key: &dyn Signer) -> Result<(), NotIssued> {
        self.outlives(validity, key)?;
        if validity.not_before > validity.not_after {
            let (not_before, not_after) = (validity.not_before, validity.not_after);
            return Err(NotIssued::EndsBeforeItBegins { not_before, not_after });
        }
        let facts = Constraints::of(self.certificate())?;
        if !facts.signs_certificates {
            return Err(NotIssued::MayNotSign);
        }
        names.iter().try_for_each(|name| facts.names.check(name)).map_err(NotIssued::Outside)
    }

    fn has_room(&self, asked: Option<u8>) -> Result<(), NotIssued> {
        match (self.certificate().path_len, asked) {
            (None, _) => Ok(()),
            (Some(room), Some(asked)) if asked < room => Ok(()),
            (Some(issuer), asked) => Err(NotIssued::PathTooLong { issuer, asked }),
        }
    }
}

/// What an issuer's certificate says of those below it.
struct Constraints {
    names: NameConstraints,
    signs_certificates: bool,
}

impl Constraints {
    fn of(certificate: &Certificate) -> Result<Constraints, NotIssued> {
        let parsed = x509_cert::Certificate::from_der(&certificate.der).map_err(encoding)?;
        let tbs = parsed.tbs_certificate();
        let usage = tbs.get_extension::<KeyUsage>().map_err(encoding)?;
        let names = tbs.get_extension::<NameConstraintsExt>().map_err(encoding)?;
        let names =
            names.map_or_else(NameConstraints::none, |(_, ext)| NameConstraints::from_extension(&ext));
        Ok(Constraints { names, signs_certificates: usage.is_none_or(|(_, usage)| usage.key_cert_sign()) })
    }
}

/// The part of a certificate that is signed, but for key and extensions. Written here and not by the
/// builder of `x509-cert`, which writes the issuer's name anew.
struct Tbs<'a> {
    serial: Serial,
    issuer: &'a Subject,
    subject: &'a Subject,
    validity: Validity,
}

#[derive(der::Sequence)]
struct TbsCertificate<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: u8,
    serial: SerialNumber,
    algorithm: AlgorithmIdentifierOwned,
    issuer: AnyRef<'a>,
    validity: x509_cert::time::Validity,
    subject: AnyRef<'a>,
    key: AnyRef<'a>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

/// What is signed, by which algorithm, and the signature: certificates and CRLs (RFC 5280 4.1, 5.1).
#[derive(der::Sequence)]
struct Signed<'a> {
    content: AnyRef<'a>,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitStringRef<'a>,
}

impl Tbs<'_> {
    fn sign(
        &self,
        public_key: &PublicKey,
        extensions: Vec<Extension>,
        key: &dyn Signer,
    ) -> Result<Vec<u8>, NotIssued> {
        if !self.serial.may_be_issued() {
            return Err(NotIssued::Serial { came: self.serial });
        }
        let content = TbsCertificate {
            // Version 3, counted from 0.
            version: 2,
            serial: SerialNumber::new(self.serial.significant()).map_err(encoding)?,
            algorithm: Signing::algorithm(key.public_key()),
            issuer: AnyRef::from_der(self.issuer.der()).map_err(encoding)?,
            validity: x509_cert::time::Validity::new(
                short_time(self.validity.not_before)?,
                short_time(self.validity.not_after)?,
            ),
            subject: AnyRef::from_der(self.subject.der()).map_err(encoding)?,
            key: AnyRef::from_der(public_key.spki_der()).map_err(encoding)?,
            extensions,
        };
        signed(&content.to_der().map_err(encoding)?, key)
    }
}

/// A moment as UTCTime up to 2049, as GeneralizedTime from then on (RFC 5280 4.1.2.5).
pub(crate) fn short_time(at: UnixTime) -> Result<Time, NotIssued> {
    Ok(match time(at)? {
        Time::GeneralTime(long) if long.to_date_time().year() <= UtcTime::MAX_YEAR => {
            Time::UtcTime(UtcTime::from_date_time(long.to_date_time()).map_err(encoding)?)
        }
        time => time,
    })
}

/// `content` with its signature by `key`.
pub(crate) fn signed(content: &[u8], key: &dyn Signer) -> Result<Vec<u8>, NotIssued> {
    let signature = key.sign(content).map_err(NotIssued::Signing)?;
    let signed = Signed {
        content: AnyRef::from_der(content).map_err(encoding)?,
        algorithm: Signing::algorithm(key.public_key()),
        signature: BitStringRef::from_bytes(&signature).map_err(encoding)?,
    };
    signed.to_der().map_err(encoding)
}
