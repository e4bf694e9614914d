//! Each artefact is what it says, in the judgement of rustls-webpki.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};

use super::*;

/// 2026-01-01T00:00:00Z, inside the default validity.
const NOW: u64 = 1_767_225_600;

static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = webpki::ALL_VERIFICATION_ALGS;

fn verify(chain: &[Vec<u8>], root: &[u8], now: u64, usage: KeyUsage) -> Result<(), Error> {
    let chain: Vec<_> = chain.iter().map(|c| CertificateDer::from(c.as_slice())).collect();
    let root = CertificateDer::from(root);
    let anchor = anchor_from_trusted_cert(&root)?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    let leaf = EndEntityCert::try_from(&chain[0])?;
    leaf.verify_for_usage(ALGORITHMS, &[anchor], &chain[1..], now, usage, None, None)?;
    Ok(())
}

fn verdict(leaf: &Leaf, ca: &Ca) -> Result<(), Error> {
    verify(&leaf.chain_der, &ca.root_der, NOW, KeyUsage::server_auth())
}

fn uri_names(der: &[u8]) -> Vec<String> {
    let der = CertificateDer::from(der);
    let leaf = EndEntityCert::try_from(&der).expect("it parses");
    leaf.valid_uri_names().map(str::to_owned).collect()
}

#[test]
fn leaves_of_every_key_type_verify_under_cas_of_every_key_type() {
    for ca_type in [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa2048] {
        let root = Ca::root_from(&CaSpec { key_type: ca_type, ..CaSpec::named("root") });
        for key_type in [KeyType::P256, KeyType::P384, KeyType::Ed25519] {
            let leaf = root.leaf(&LeafSpec { key_type, ..LeafSpec::named("leaf") });
            assert_eq!(verdict(&leaf, &root), Ok(()), "{ca_type:?} signs {key_type:?}");
        }
    }
}

#[test]
fn names_are_those_asked_for() {
    let root = Ca::root("root");
    let issuer = root.intermediate("issuer", 0);
    let leaf = issuer.leaf(&LeafSpec {
        dns: vec!["web.example".into()],
        ips: vec!["2001:db8::1".parse().expect("an address")],
        ..LeafSpec::spiffe("web-1", "spiffe://prod/worker/web-1")
    });
    assert_eq!(verdict(&leaf, &issuer), Ok(()));
    assert_eq!(uri_names(&leaf.der), ["spiffe://prod/worker/web-1"]);
    let der = CertificateDer::from(leaf.der.as_slice());
    let parsed = EndEntityCert::try_from(&der).expect("it parses");
    assert_eq!(parsed.valid_dns_names().collect::<Vec<_>>(), ["web.example"]);
    let address = rustls_pki_types::ServerName::try_from("2001:db8::1").expect("an address");
    assert_eq!(parsed.verify_is_valid_for_subject_name(&address), Ok(()));
}

#[test]
fn serials_are_set_and_differ_for_one_key() {
    let root = Ca::root("root");
    let first = root.leaf(&LeafSpec::named("a"));
    let second = root.leaf_with_key(&LeafSpec::named("a"), first.key.clone());
    let fixed = root.leaf(&LeafSpec { serial: Some(vec![7; 16]), ..LeafSpec::named("a") });
    let serial = |leaf: &Leaf| {
        let der = CertificateDer::from(leaf.der.as_slice());
        EndEntityCert::try_from(&der).expect("it parses").serial().to_vec()
    };
    assert_ne!(serial(&first), serial(&second));
    assert_eq!(serial(&fixed), [7; 16]);
}

#[test]
fn validity_is_what_was_set() {
    let root = Ca::root_valid("root", 1_000_000_000, 1_900_000_000);
    let leaf = root.leaf(&LeafSpec {
        not_before: 1_200_000_000,
        not_after: 1_300_000_000,
        ..LeafSpec::named("leaf")
    });
    let at = |now| verify(&leaf.chain_der, &root.der, now, KeyUsage::server_auth());
    assert_eq!(at(1_200_000_000), Ok(()));
    assert_eq!(at(1_300_000_000), Ok(()));
    assert!(matches!(at(1_199_999_999), Err(Error::CertNotValidYet { .. })));
    assert!(matches!(at(1_300_000_001), Err(Error::CertExpired { .. })));
}

#[test]
fn extended_key_usages_bind() {
    let root = Ca::root("root");
    let with = |eku, usage| {
        let leaf = root.leaf(&LeafSpec { eku, ..LeafSpec::named("leaf") });
        verify(&leaf.chain_der, &root.der, NOW, usage).is_ok()
    };
    assert!(with(Eku::Server, KeyUsage::server_auth()));
    assert!(!with(Eku::Server, KeyUsage::client_auth()));
    assert!(with(Eku::Client, KeyUsage::client_auth()));
    assert!(!with(Eku::Client, KeyUsage::server_auth()));
    assert!(with(Eku::Both, KeyUsage::server_auth()) && with(Eku::Both, KeyUsage::client_auth()));
    assert!(!with(Eku::None, KeyUsage::required(&[43, 6, 1, 5, 5, 7, 3, 1])));
}

#[test]
fn bad_chains_are_bad() {
    let root = Ca::root("root");
    let spec = LeafSpec::named("leaf");
    let leaf = root.leaf(&spec);

    let deep = root.intermediate("a", 0).intermediate("b", 0);
    assert!(matches!(verdict(&deep.leaf(&spec), &deep), Err(Error::PathLenConstraintViolated)));
    assert!(verdict(&leaf, &Ca::root("root")).is_err(), "same name, other key");
    assert!(verify(&self_signed(&spec).chain_der, &root.der, NOW, KeyUsage::server_auth()).is_err());

    let ca_leaf = root.leaf(&LeafSpec { is_ca: true, ..spec.clone() });
    assert_eq!(verdict(&ca_leaf, &root), Err(Error::CaUsedAsEndEntity));
    let unknown = root.leaf(&LeafSpec { unknown_critical: true, ..spec.clone() });
    assert_eq!(verdict(&unknown, &root), Err(Error::UnsupportedCriticalExtension));

    let narrow = root
        .intermediate_from(&CaSpec { permitted_dns: vec!["good.example".into()], ..CaSpec::named("narrow") });
    let named = |dns: &str| narrow.leaf(&LeafSpec { dns: vec![dns.into()], ..spec.clone() });
    assert_eq!(verdict(&named("a.good.example"), &narrow), Ok(()));
    assert_eq!(verdict(&named("a.bad.example"), &narrow), Err(Error::NameConstraintViolation));
}

#[test]
fn damage_is_the_damage_named() {
    let root = Ca::root("root");
    for key_type in [KeyType::P256, KeyType::Ed25519] {
        let root = Ca::root_from(&CaSpec { key_type, ..CaSpec::named("root") });
        let leaf = root.leaf(&LeafSpec::spiffe("web-1", "spiffe://prod/worker/web-1"));
        let judge = |der| verify(&[der], &root.der, NOW, KeyUsage::server_auth());
        let bad_signature = Err(Error::InvalidSignatureForPublicKey);
        assert_eq!(judge(corrupt::signature(&leaf.der)), bad_signature);
        let renamed = corrupt::replaced(&leaf.der, "/worker/web-1", "/worker/web-2");
        assert_eq!(uri_names(&renamed), ["spiffe://prod/worker/web-2"]);
        assert_eq!(judge(renamed), bad_signature);
    }
    let leaf = root.leaf(&LeafSpec::named("leaf"));
    for broken in [corrupt::truncated(&leaf.der), corrupt::trailing(&leaf.der)] {
        assert!(verify(&[broken], &root.der, NOW, KeyUsage::server_auth()).is_err());
    }
}

#[test]
fn a_cross_signed_root_leads_from_the_old_to_the_new() {
    let (old, new) = (Ca::root("prod"), Ca::root("prod 2"));
    let leaf = new.leaf(&LeafSpec::named("leaf"));
    let chain = [leaf.der.clone(), old.cross_sign(&new)];
    assert_eq!(verify(&chain, &old.der, NOW, KeyUsage::server_auth()), Ok(()));
    assert!(verify(&chain, &Ca::root("prod").der, NOW, KeyUsage::server_auth()).is_err());
}

#[test]
fn a_greedy_request_gets_what_it_asks_from_a_careless_ca() {
    let root = Ca::root("root");
    let csr = Csr::new(&CsrSpec::greedy("web-1"));
    let der = root.sign_as_asked(&csr);
    assert_eq!(uri_names(&der), ["spiffe://prod/manager/evil"]);
    let verdict = verify(&[der], &root.der, NOW, KeyUsage::server_auth());
    assert_eq!(verdict, Err(Error::CaUsedAsEndEntity));
}

#[test]
fn keys_travel_as_pkcs8() {
    for key_type in [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa2048] {
        let key = Key::generate(key_type);
        assert_eq!(Key::from_pkcs8_der(&key.pkcs8_der()).spki_der(), key.spki_der());
        assert!(key.pem().starts_with("-----BEGIN PRIVATE KEY-----\n"));
        assert!(!format!("{key:?}").contains("BEGIN"), "Debug shows the kind only");
    }
}
