//! Certificate authorities: roots, intermediates, cross-signed roots.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyUsagePurpose};

use crate::{Csr, Key, KeyType, Leaf, LeafSpec, NOT_AFTER, NOT_BEFORE, leaf};

/// What a CA certificate is to say.
#[derive(Clone, Debug)]
pub struct CaSpec {
    /// The common name.
    pub name: String,
    /// URI names. Empty leaves the extension out.
    pub uris: Vec<String>,
    /// Unix seconds.
    pub not_before: i64,
    /// Unix seconds.
    pub not_after: i64,
    /// How many intermediates may follow. `None` writes no limit.
    pub pathlen: Option<u8>,
    /// DNS subtrees it may certify (name constraints). Empty leaves the extension out.
    pub permitted_dns: Vec<String>,
    /// What kind of key it gets.
    pub key_type: KeyType,
}

impl CaSpec {
    /// A P-256 CA without a path length, valid in any test.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            uris: Vec::new(),
            not_before: NOT_BEFORE,
            not_after: NOT_AFTER,
            pathlen: None,
            permitted_dns: Vec::new(),
            key_type: KeyType::P256,
        }
    }
}

/// A certificate authority: its certificate, its key, and what stands above it.
#[derive(Clone, Debug)]
pub struct Ca {
    /// Its own certificate.
    pub der: Vec<u8>,
    /// Its own certificate, as PEM.
    pub pem: String,
    /// Its private key.
    pub key: Key,
    /// Its certificate and those above it, nearest first, without the root. Empty for a root.
    pub chain_der: Vec<Vec<u8>>,
    /// The root everything here leads to.
    pub root_der: Vec<u8>,
    params: CertificateParams,
}

impl Ca {
    /// A self-signed root with a P-256 key, valid in any test.
    pub fn root(name: &str) -> Self {
        Self::root_from(&CaSpec::named(name))
    }

    /// A self-signed root valid from `not_before` to `not_after`, in Unix seconds.
    pub fn root_valid(name: &str, not_before: i64, not_after: i64) -> Self {
        Self::root_from(&CaSpec { not_before, not_after, ..CaSpec::named(name) })
    }

    /// A self-signed root as described.
    pub fn root_from(spec: &CaSpec) -> Self {
        Self::root_with_key(spec, Key::generate(spec.key_type))
    }

    /// A self-signed root as described over a key that exists already.
    pub fn root_with_key(spec: &CaSpec, key: Key) -> Self {
        let params = ca_params(spec);
        let der = params.self_signed(&key.0).expect("self-signed").der().to_vec();
        Self {
            pem: crate::pem("CERTIFICATE", &der),
            root_der: der.clone(),
            der,
            key,
            chain_der: Vec::new(),
            params,
        }
    }

    /// An intermediate with a P-256 key, valid in any test. Signs one even where this CA's own path
    /// length forbids it.
    pub fn intermediate(&self, name: &str, pathlen: u8) -> Self {
        self.intermediate_from(&CaSpec { pathlen: Some(pathlen), ..CaSpec::named(name) })
    }

    /// An intermediate as described.
    pub fn intermediate_from(&self, spec: &CaSpec) -> Self {
        let key = Key::generate(spec.key_type);
        let params = ca_params(spec);
        let der = self.sign(params.clone(), &key);
        let chain_der = std::iter::once(der.clone()).chain(self.chain_der.clone()).collect();
        Self {
            pem: crate::pem("CERTIFICATE", &der),
            der,
            key,
            chain_der,
            root_der: self.root_der.clone(),
            params,
        }
    }

    /// A leaf with a fresh key.
    pub fn leaf(&self, spec: &LeafSpec) -> Leaf {
        self.leaf_with_key(spec, Key::generate(spec.key_type))
    }

    /// A leaf over a key that exists already; `spec.key_type` is ignored.
    pub fn leaf_with_key(&self, spec: &LeafSpec, key: Key) -> Leaf {
        let der = self.sign(leaf::params(spec), &key);
        Leaf::assemble(der, key, &self.chain_der)
    }

    /// The other CA's name and key in a certificate that this CA signs: what lets a node that
    /// trusts only this root come to trust the other.
    pub fn cross_sign(&self, other: &Ca) -> Vec<u8> {
        let mut params = other.params.clone();
        params.serial_number = Some(crate::random_serial().into());
        self.sign(params, &other.key)
    }

    /// What a careless CA does: gives the request everything it asks for.
    pub fn sign_as_asked(&self, csr: &Csr) -> Vec<u8> {
        let mut params = csr.params.clone();
        params.serial_number = Some(crate::random_serial().into());
        params.not_before = crate::date(NOT_BEFORE);
        params.not_after = crate::date(NOT_AFTER);
        self.sign(params, &csr.key)
    }

    fn sign(&self, mut params: CertificateParams, key: &Key) -> Vec<u8> {
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_params(&self.params, &self.key.0);
        params.signed_by(&key.0, &issuer).expect("signed").der().to_vec()
    }
}

fn ca_params(spec: &CaSpec) -> CertificateParams {
    let permitted = |name: &String| rcgen::GeneralSubtree::DnsName(name.clone());
    let constraints = rcgen::NameConstraints {
        permitted_subtrees: spec.permitted_dns.iter().map(permitted).collect(),
        excluded_subtrees: Vec::new(),
    };
    let mut params = CertificateParams::default();
    params.serial_number = Some(crate::random_serial().into());
    params.distinguished_name = crate::common_name(&spec.name);
    params.subject_alt_names = crate::sans(&spec.uris, &[], &[]);
    params.not_before = crate::date(spec.not_before);
    params.not_after = crate::date(spec.not_after);
    params.is_ca = IsCa::Ca(match spec.pathlen {
        Some(n) => BasicConstraints::Constrained(n),
        None => BasicConstraints::Unconstrained,
    });
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = (!spec.permitted_dns.is_empty()).then_some(constraints);
    params
}
