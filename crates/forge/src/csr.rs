//! Certificate signing requests, also those that ask for more than they should get.

use std::net::IpAddr;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyUsagePurpose};

use crate::{Eku, Key, KeyType, leaf};

/// What a request asks for. A CA that takes more than the public key from it is careless.
#[derive(Clone, Debug)]
pub struct CsrSpec {
    /// The common name.
    pub cn: String,
    /// URI names asked for.
    pub uris: Vec<String>,
    /// DNS names asked for.
    pub dns: Vec<String>,
    /// IP addresses asked for.
    pub ips: Vec<IpAddr>,
    /// Extended key usages asked for.
    pub eku: Eku,
    /// Asks for `CA:TRUE` and `keyCertSign`.
    pub ask_ca: bool,
    /// What kind of key it gets.
    pub key_type: KeyType,
}

impl CsrSpec {
    /// A plain P-256 request that asks for no extension.
    pub fn named(cn: &str) -> Self {
        Self {
            cn: cn.to_owned(),
            uris: Vec::new(),
            dns: Vec::new(),
            ips: Vec::new(),
            eku: Eku::None,
            ask_ca: false,
            key_type: KeyType::P256,
        }
    }

    /// A request that asks for everything: to be a CA, for both ends, under foreign names.
    pub fn greedy(cn: &str) -> Self {
        Self {
            uris: vec!["spiffe://prod/manager/evil".into()],
            dns: vec!["evil.example".into(), "*.example".into()],
            ips: vec![IpAddr::from([203, 0, 113, 66])],
            eku: Eku::Both,
            ask_ca: true,
            ..Self::named(cn)
        }
    }
}

/// A request and the key it proves.
#[derive(Clone, Debug)]
pub struct Csr {
    /// PKCS #10 DER.
    pub der: Vec<u8>,
    /// The same as PEM.
    pub pem: String,
    /// The private key whose possession it proves.
    pub key: Key,
    pub(crate) params: CertificateParams,
}

impl Csr {
    /// A request with a fresh key.
    pub fn new(spec: &CsrSpec) -> Self {
        Self::with_key(spec, Key::generate(spec.key_type))
    }

    /// A request for a key that exists already; `spec.key_type` is ignored.
    pub fn with_key(spec: &CsrSpec, key: Key) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = crate::common_name(&spec.cn);
        params.subject_alt_names = crate::sans(&spec.uris, &spec.dns, &spec.ips);
        params.extended_key_usages = leaf::purposes(spec.eku);
        if spec.ask_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        }
        let der = params.serialize_request(&key.0).expect("a request").der().to_vec();
        Self { pem: crate::pem("CERTIFICATE REQUEST", &der), der, key, params }
    }
}
