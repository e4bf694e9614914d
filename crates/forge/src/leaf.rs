//! End-entity certificates, including those that should never have been issued.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
};

use crate::{Key, KeyType, NOT_AFTER, NOT_BEFORE};

/// The extended key usages of a leaf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eku {
    /// `serverAuth` only.
    Server,
    /// `clientAuth` only.
    Client,
    /// Both.
    #[default]
    Both,
    /// No such extension.
    None,
}

/// What a leaf is to say.
#[derive(Clone, Debug)]
pub struct LeafSpec {
    /// The common name. Empty gives an empty subject.
    pub cn: String,
    /// URI names; Certus expects exactly one, and tests want none, two or a wrong one.
    pub uris: Vec<String>,
    /// DNS names.
    pub dns: Vec<String>,
    /// IP addresses.
    pub ips: Vec<IpAddr>,
    /// Extended key usages.
    pub eku: Eku,
    /// Unix seconds.
    pub not_before: i64,
    /// Unix seconds.
    pub not_after: i64,
    /// Writes `CA:TRUE` and `keyCertSign`: a leaf that could sign others.
    pub is_ca: bool,
    /// Writes the `digitalSignature` key usage.
    pub digital_signature: bool,
    /// Adds a critical extension that nobody knows, which RFC 5280 4.2 says must be refused.
    pub unknown_critical: bool,
    /// The serial number, big-endian; `None` draws 128 random bits.
    pub serial: Option<Vec<u8>>,
    /// What kind of key it gets.
    pub key_type: KeyType,
}

impl LeafSpec {
    /// A sound P-256 leaf without names beside `cn`, for both ends, valid in any test.
    pub fn named(cn: &str) -> Self {
        Self {
            cn: cn.to_owned(),
            uris: Vec::new(),
            dns: Vec::new(),
            ips: Vec::new(),
            eku: Eku::Both,
            not_before: NOT_BEFORE,
            not_after: NOT_AFTER,
            is_ca: false,
            digital_signature: true,
            unknown_critical: false,
            serial: None,
            key_type: KeyType::P256,
        }
    }

    /// The same with one URI name: the shape of every leaf a Certus cluster issues.
    pub fn spiffe(cn: &str, uri: &str) -> Self {
        Self { uris: vec![uri.to_owned()], ..Self::named(cn) }
    }
}

/// A certificate with its key and the way up to its root.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// The certificate.
    pub der: Vec<u8>,
    /// The certificate, as PEM.
    pub pem: String,
    /// The key itself, to certify again or to sign with.
    pub key: Key,
    /// The private key as PKCS #8 DER.
    pub key_pkcs8_der: Vec<u8>,
    /// The private key as PEM.
    pub key_pem: String,
    /// The leaf, then its issuers, nearest first, without the root.
    pub chain_der: Vec<Vec<u8>>,
    /// The same chain as PEM.
    pub chain_pem: String,
}

impl Leaf {
    pub(crate) fn assemble(der: Vec<u8>, key: Key, issuers: &[Vec<u8>]) -> Self {
        let chain_der: Vec<_> = std::iter::once(der.clone()).chain(issuers.iter().cloned()).collect();
        Self {
            pem: crate::pem("CERTIFICATE", &der),
            der,
            key_pkcs8_der: key.pkcs8_der(),
            key_pem: key.pem(),
            key,
            chain_pem: chain_der.iter().map(|c| crate::pem("CERTIFICATE", c)).collect(),
            chain_der,
        }
    }
}

/// A certificate signed by its own key: an identity nobody vouches for.
pub fn self_signed(spec: &LeafSpec) -> Leaf {
    let key = Key::generate(spec.key_type);
    let der = params(spec).self_signed(&key.0).expect("self-signed").der().to_vec();
    Leaf::assemble(der, key, &[])
}

pub(crate) fn params(spec: &LeafSpec) -> CertificateParams {
    let mut params = CertificateParams::default();
    let serial = spec.serial.clone().unwrap_or_else(crate::random_serial);
    params.serial_number = Some(serial.into());
    params.distinguished_name = crate::common_name(&spec.cn);
    params.subject_alt_names = crate::sans(&spec.uris, &spec.dns, &spec.ips);
    params.not_before = crate::date(spec.not_before);
    params.not_after = crate::date(spec.not_after);
    params.extended_key_usages = purposes(spec.eku);
    params.is_ca = IsCa::ExplicitNoCa;
    if spec.digital_signature {
        params.key_usages.push(KeyUsagePurpose::DigitalSignature);
    }
    if spec.is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    }
    if spec.unknown_critical {
        // 2.999 is the arc reserved for examples; the content is NULL.
        let mut unknown = CustomExtension::from_oid_content(&[2, 999, 1, 5280], vec![0x05, 0x00]);
        unknown.set_criticality(true);
        params.custom_extensions.push(unknown);
    }
    params
}

pub(crate) fn purposes(eku: Eku) -> Vec<ExtendedKeyUsagePurpose> {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    match eku {
        Eku::Server => vec![ServerAuth],
        Eku::Client => vec![ClientAuth],
        Eku::Both => vec![ServerAuth, ClientAuth],
        Eku::None => Vec::new(),
    }
}
