//! How plans become DER: the profiles of the two kinds of certificate, and the builders of `x509-cert`
//! as a [`Signer`] drives them.
//!
//! Decides nothing: what a certificate says comes from the plan, except what is the same in all.

use std::time::Duration;

use const_oid::db::{rfc4519, rfc5280, rfc5912, rfc8410};
use der::asn1::{Any, BitString, Ia5String, Null, OctetString};
use der::{Decode, Encode, Tag};
use spki::{
    AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier, EncodePublicKey, SubjectPublicKeyInfoOwned,
    SubjectPublicKeyInfoRef,
};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder, CertificateBuilder};
use x509_cert::certificate::TbsCertificate;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::Time;

use super::{CaPlan, LeafPlan, NotIssued, Usage, Validity};
use crate::key::{KeyType, PublicKey, Signer};
use crate::san::San;
use crate::serial::Serial;
use crate::time::UnixTime;

/// RFC 7093 §2 method 4, cut to 160 bits: SHA-256 of the SubjectPublicKeyInfo, as keys are named here.
pub(crate) fn key_id(public_key: &PublicKey) -> Vec<u8> {
    public_key.hash().as_bytes()[..KEY_ID_BYTES].to_vec()
}

/// As long as the SHA-1 identifiers that every reader expects (RFC 5280 4.2.1.2).
const KEY_ID_BYTES: usize = 20;

/// RFC 5280 A.1: `ub-common-name`.
pub(super) const COMMON_NAME_CHARS_MAX: usize = 64;

pub(super) fn sign(
    profile: impl BuilderProfile,
    serial: Serial,
    validity: Validity,
    subject_key: &PublicKey,
    key: &dyn Signer,
) -> Result<Vec<u8>, NotIssued> {
    let serial = SerialNumber::new(serial.significant()).map_err(encoding)?;
    let validity = x509_cert::time::Validity::new(time(validity.not_before)?, time(validity.not_after)?);
    let spki = SubjectPublicKeyInfoOwned::from_der(subject_key.spki_der()).map_err(encoding)?;
    let signing = Signing::new(key)?;
    let mut builder = CertificateBuilder::new(profile, serial, validity, spki).map_err(encoding)?;
    let tbs = builder.finalize(&signing).map_err(encoding)?;
    let signature = bit_string(&key.sign(&tbs).map_err(NotIssued::Signing)?)?;
    builder.assemble(signature, &signing).map_err(encoding)?.to_der().map_err(encoding)
}

pub(crate) fn time(at: UnixTime) -> Result<Time, NotIssued> {
    let secs = u64::try_from(at.secs()).map_err(|_| NotIssued::Time { at })?;
    let time = der::asn1::GeneralizedTime::from_unix_duration(Duration::from_secs(secs));
    // The builder turns it into UTCTime up to 2049 (RFC 5280 4.1.2.5).
    time.map(Time::GeneralTime).map_err(|_| NotIssued::Time { at })
}

/// The name `CN=text`. Built, not parsed from text: the parser of `x509-cert` takes the comma after an
/// escaped backslash for the end of the name.
pub(crate) fn common_name(text: &str) -> Result<Name, NotIssued> {
    let chars = text.chars().count();
    if !(1..=COMMON_NAME_CHARS_MAX).contains(&chars) {
        return Err(encoding(format!(
            "a common name of {chars} characters, 1 to {COMMON_NAME_CHARS_MAX} fit"
        )));
    }
    let attribute = AttributeTypeAndValue {
        oid: rfc4519::COMMON_NAME,
        value: Any::new(Tag::Utf8String, text.as_bytes()).map_err(encoding)?,
    };
    let relative = RelativeDistinguishedName::try_from(vec![attribute]).map_err(encoding)?;
    let der = RdnSequence::from(vec![relative]).to_der().map_err(encoding)?;
    Name::from_der(&der).map_err(encoding)
}

pub(crate) fn bit_string(bytes: &[u8]) -> Result<BitString, NotIssued> {
    BitString::from_bytes(bytes).map_err(encoding)
}

pub(crate) fn encoding(error: impl std::fmt::Display) -> NotIssued {
    NotIssued::Encoding { why: error.to_string() }
}

pub(super) struct CaProfile<'a> {
    pub(super) plan: &'a CaPlan,
    pub(super) public_key: &'a PublicKey,
    pub(super) subject: Name,
    pub(super) issuer: Name,
    pub(super) authority: Vec<u8>,
}

impl BuilderProfile for CaProfile<'_> {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        _spk: SubjectPublicKeyInfoRef<'_>,
        _issuer_spk: SubjectPublicKeyInfoRef<'_>,
        _tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        let uri = GeneralName::UniformResourceIdentifier(Ia5String::new(&self.plan.cluster.uri())?);
        let mut extensions = Extensions::new(&self.subject);
        extensions.add(&BasicConstraints { ca: true, path_len_constraint: self.plan.path_len })?;
        extensions.add(&KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign))?;
        extensions.add(&SubjectAltName(vec![uri]))?;
        extensions.add_key_ids(&key_id(self.public_key), &self.authority)?;
        Ok(extensions.list)
    }
}

pub(super) struct LeafProfile<'a> {
    pub(super) plan: &'a LeafPlan,
    pub(super) subject: Name,
    pub(super) issuer: Name,
    pub(super) authority: Vec<u8>,
}

impl BuilderProfile for LeafProfile<'_> {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        _spk: SubjectPublicKeyInfoRef<'_>,
        _issuer_spk: SubjectPublicKeyInfoRef<'_>,
        _tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        Ok(leaf_extensions(self.plan, &self.subject, &self.authority)?)
    }
}

/// Every extension of a leaf of `plan`; `authority` is its issuer's key identifier.
pub(super) fn leaf_extensions(
    plan: &LeafPlan,
    subject: &Name,
    authority: &[u8],
) -> Result<Vec<Extension>, der::Error> {
    let identity = Ia5String::new(&plan.identity.to_string())?;
    let mut names = vec![GeneralName::UniformResourceIdentifier(identity)];
    for san in &plan.sans {
        names.push(match san {
            San::Dns(name) => GeneralName::DnsName(Ia5String::new(name)?),
            San::Ip(ip) => GeneralName::from(*ip),
        });
    }
    let usage = Usage::of_role(plan.identity.role);
    let server = usage.server.then_some(rfc5280::ID_KP_SERVER_AUTH);
    let client = usage.client.then_some(rfc5280::ID_KP_CLIENT_AUTH);
    let mut extensions = Extensions::new(subject);
    extensions.add(&BasicConstraints { ca: false, path_len_constraint: None })?;
    extensions.add(&KeyUsage(KeyUsages::DigitalSignature.into()))?;
    extensions.add(&ExtendedKeyUsage(server.into_iter().chain(client).collect()))?;
    extensions.add(&SubjectAltName(names))?;
    extensions.add_key_ids(&key_id(&plan.public_key), authority)?;
    Ok(extensions.list)
}

/// The extensions that a certificate carries, in its order.
pub(crate) fn extensions_of(certificate: &[u8]) -> Result<Vec<Extension>, der::Error> {
    let certificate = x509_cert::Certificate::from_der(certificate)?;
    Ok(certificate.tbs_certificate().extensions().cloned().unwrap_or_default())
}

/// The extensions of a certificate under construction.
struct Extensions<'a> {
    subject: &'a Name,
    list: Vec<Extension>,
}

impl<'a> Extensions<'a> {
    fn new(subject: &'a Name) -> Extensions<'a> {
        Extensions { subject, list: Vec::new() }
    }

    fn add<E: ToExtension<Error = der::Error>>(&mut self, extension: E) -> Result<(), der::Error> {
        let extension = extension.to_extension(self.subject, &self.list)?;
        self.list.push(extension);
        Ok(())
    }

    fn add_key_ids(&mut self, subject: &[u8], authority: &[u8]) -> Result<(), der::Error> {
        self.add(&SubjectKeyIdentifier(OctetString::new(subject)?))?;
        let key_identifier = Some(OctetString::new(authority)?);
        self.add(&AuthorityKeyIdentifier { key_identifier, ..AuthorityKeyIdentifier::default() })
    }
}

/// A [`Signer`] as the builders of `x509-cert` want to see one. They only ask it for identifiers; the
/// signature itself is made by the caller.
pub(crate) struct Signing {
    spki: SubjectPublicKeyInfoOwned,
    algorithm: AlgorithmIdentifierOwned,
}

impl Signing {
    pub(crate) fn new(key: &dyn Signer) -> Result<Signing, NotIssued> {
        let public_key = key.public_key();
        let spki = SubjectPublicKeyInfoOwned::from_der(public_key.spki_der()).map_err(encoding)?;
        Ok(Signing { spki, algorithm: Signing::algorithm(public_key) })
    }

    /// The algorithm that keys of this type sign with.
    pub(crate) fn algorithm(public_key: &PublicKey) -> AlgorithmIdentifierOwned {
        let (oid, parameters) = match public_key.key_type() {
            KeyType::P256 => (rfc5912::ECDSA_WITH_SHA_256, None),
            KeyType::P384 => (rfc5912::ECDSA_WITH_SHA_384, None),
            KeyType::Ed25519 => (rfc8410::ID_ED_25519, None),
            // RFC 4055 §5: the parameters of the RSA algorithms are NULL, not absent.
            KeyType::Rsa(_) => (rfc5912::SHA_256_WITH_RSA_ENCRYPTION, Some(Any::from(Null))),
        };
        AlgorithmIdentifierOwned { oid, parameters }
    }
}

/// The public half, as the builders ask for it.
#[derive(Clone)]
pub(crate) struct Verifying(SubjectPublicKeyInfoOwned);

impl EncodePublicKey for Verifying {
    fn to_public_key_der(&self) -> spki::Result<der::Document> {
        Ok(der::Document::encode_msg(&self.0)?)
    }
}

impl signature::Keypair for Signing {
    type VerifyingKey = Verifying;

    fn verifying_key(&self) -> Verifying {
        Verifying(self.spki.clone())
    }
}

impl DynSignatureAlgorithmIdentifier for Signing {
    fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifierOwned> {
        Ok(self.algorithm.clone())
    }
}
