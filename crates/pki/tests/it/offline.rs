//! Certificates issued from files, held against their plans, and judged by openssl.

use certus_pki::issue::NotIssued;
use certus_pki::{
    AltName, AuthorityPlan, CertPlan, Certificate, ChainQuery, ChainRejection, Explain, Issuer, KeyType,
    Lifetime, NameConstraints, Names, PrivateKey, Purpose, Serial, Signer, Usage, Validity, pem,
    verify_chain,
};

use crate::openssl::Openssl;
use crate::world::NOW;

pub(crate) const KEY_TYPES: [KeyType; 4] =
    [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa(2048)];

pub(crate) fn key(key_type: KeyType) -> PrivateKey {
    PrivateKey::generate(key_type).ok().unwrap()
}

pub(crate) fn serial(last: u8) -> Serial {
    Serial::from_random([0x7c, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, last])
}

pub(crate) fn years(n: u32) -> Validity {
    Validity::starting(NOW, Lifetime::from_days(365 * n))
}

pub(crate) fn names(texts: &[&str]) -> Names {
    Names::new(texts.iter().map(|text| text.parse().unwrap())).unwrap()
}

pub(crate) fn root(key: &PrivateKey) -> Issuer {
    let plan = AuthorityPlan::new("CN=Root,O=Example".parse().unwrap(), None, years(10));
    Issuer::found(&plan, serial(1), key).unwrap()
}

pub(crate) fn web(usage: Usage) -> CertPlan {
    CertPlan::new("CN=web".parse().unwrap(), names(&["web.example.com", "10.0.0.7", "::1"]), usage, years(1))
}

/// What we say of a leaf below these roots at the time of these tests.
pub(crate) fn judge(
    leaf: &[u8],
    between: &[&[u8]],
    roots: &[&[u8]],
    name: Option<&str>,
) -> Result<(), ChainRejection> {
    let names: Vec<AltName> = name.iter().map(|name| name.parse().unwrap()).collect();
    let mut query = ChainQuery::at(NOW, roots);
    (query.intermediates, query.names, query.purpose) = (between, &names, Some(Purpose::Server));
    verify_chain(leaf, &query).map(|_| ())
}

#[test]
fn every_key_type_signs_every_other_and_openssl_agrees() {
    let Some(openssl) = Openssl::find("offline-keys") else { return };
    for ca_type in KEY_TYPES {
        let ca_key = key(ca_type);
        let ca = root(&ca_key);
        openssl.write("root.crt", ca.certificate().to_pem().as_bytes());
        for (place, leaf_type) in KEY_TYPES.into_iter().enumerate() {
            let leaf_key = key(leaf_type);
            let leaf =
                ca.sign_cert(&web(Usage::ANY), leaf_key.public_key(), serial(place as u8 + 2), &ca_key);
            let leaf = leaf.unwrap();
            judge(&leaf, &[], &[&ca.certificate().der], Some("web.example.com")).unwrap();
            openssl.write("leaf.crt", pem::encode(pem::CERTIFICATE, &leaf).as_bytes());
            let at = NOW.secs().to_string();
            let verify = ["verify", "-x509_strict", "-attime", &at, "-CAfile", "root.crt"];
            for purpose in ["sslserver", "sslclient"] {
                let asked = ["-purpose", purpose, "-verify_hostname", "web.example.com", "leaf.crt"];
                openssl.run(&verify, &asked);
            }
            openssl.run(&verify, &["-verify_ip", "::1", "leaf.crt"]);
            let text = openssl.run(&["x509", "-noout", "-text", "-in"], &["leaf.crt"]);
            assert!(
                text.contains("Basic Constraints: critical") && text.contains("Key Usage: critical"),
                "{text}"
            );
        }
    }
}

#[test]
fn a_chain_of_three_with_constraints_holds_and_ends_where_it_says() {
    let (root_key, issuer_key, leaf_key) = (key(KeyType::P256), key(KeyType::P384), key(KeyType::Ed25519));
    let root = root(&root_key);
    let mut plan = AuthorityPlan::new("CN=Issuer,O=Example".parse().unwrap(), Some(0), years(5));
    let sets = ["example.com", "10.0.0.0/8", "::/64", "email:example.com"];
    plan.constraints = NameConstraints {
        permitted: sets.iter().map(|set| set.parse().unwrap()).collect(),
        excluded: vec!["dns:secret.example.com".parse().unwrap()],
    };
    let issuer = root.sign_authority(&plan, issuer_key.public_key(), serial(2), &root_key).unwrap();
    let sign = |plan: &CertPlan| issuer.sign_cert(plan, leaf_key.public_key(), serial(3), &issuer_key);
    let leaf = sign(&web(Usage::SERVER)).unwrap();
    let roots = [root.certificate().der.as_slice()];
    let between = [issuer.certificate().der.as_slice()];
    judge(&leaf, &between, &roots, Some("web.example.com")).unwrap();
    let mut mail = web(Usage::ANY);
    mail.names = names(&["ann@example.com"]);
    judge(&sign(&mail).unwrap(), &between, &roots, Some("ann@example.com")).unwrap();
    for outside in ["web.example.org", "x.secret.example.com", "*.example.com", "11.0.0.1", "ann@example.org"]
    {
        let mut plan = web(Usage::SERVER);
        plan.names = names(&[outside]);
        let refused = sign(&plan);
        assert!(matches!(refused, Err(NotIssued::Outside(_))), "{outside}");
    }
    let below = AuthorityPlan::new("CN=below".parse().unwrap(), Some(0), years(1));
    let refused = issuer.sign_authority(&below, leaf_key.public_key(), serial(4), &issuer_key);
    assert!(matches!(refused, Err(NotIssued::PathTooLong { issuer: 0, asked: Some(0) })));
    if let Some(openssl) = Openssl::find("offline-chain") {
        openssl.write("root.crt", root.certificate().to_pem().as_bytes());
        openssl.write("issuer.crt", issuer.certificate().to_pem().as_bytes());
        openssl.write("leaf.crt", pem::encode(pem::CERTIFICATE, &leaf).as_bytes());
        let at = NOW.secs().to_string();
        let verify =
            ["verify", "-x509_strict", "-attime", &at, "-CAfile", "root.crt", "-untrusted", "issuer.crt"];
        openssl.run(&verify, &["leaf.crt"]);
    }
}

#[test]
fn an_end_beyond_the_cas_is_refused_with_both_halves_or_capped() {
    let ca_key = key(KeyType::P256);
    let ca = root(&ca_key);
    let mut plan = web(Usage::SERVER);
    plan.validity = years(11);
    let refused = ca.sign_cert(&plan, ca_key.public_key(), serial(2), &ca_key).unwrap_err();
    assert_eq!(refused.explain().facts.len(), 2);
    plan.validity = plan.validity.capped(&ca);
    let leaf = ca.sign_cert(&plan, ca_key.public_key(), serial(2), &ca_key).unwrap();
    assert_eq!(Certificate::from_der(&leaf).unwrap().not_after, ca.certificate().not_after);
    plan.validity.not_before = plan.validity.not_after.plus(Lifetime::from_secs(1));
    let refused = ca.sign_cert(&plan, ca_key.public_key(), serial(2), &ca_key);
    assert!(matches!(refused, Err(NotIssued::EndsBeforeItBegins { .. })));
}

#[test]
fn names_and_serials_that_make_no_sense_are_refused() {
    let ca_key = key(KeyType::P256);
    let ca = root(&ca_key);
    let nobody = CertPlan::new("".parse().unwrap(), Names::none(), Usage::SERVER, years(1));
    let sign = |plan: &CertPlan, serial| ca.sign_cert(plan, ca_key.public_key(), serial, &ca_key);
    assert_eq!(sign(&nobody, serial(2)), Err(NotIssued::Nameless));
    let zero = Serial::from_be_bytes(&[]).unwrap();
    assert_eq!(sign(&web(Usage::SERVER), zero), Err(NotIssued::Serial { came: zero }));
    let other = key(KeyType::P256);
    let refused = ca.sign_cert(&nobody, other.public_key(), serial(2), &other);
    assert!(matches!(refused, Err(NotIssued::WrongKey { .. })));
}

#[test]
fn a_leaf_without_subject_has_critical_names_and_times_past_2050_hold() {
    let ca_key = key(KeyType::P256);
    let plan = AuthorityPlan::new("CN=Long,C=DE".parse().unwrap(), None, years(60));
    let ca = Issuer::found(&plan, serial(1), &ca_key).unwrap();
    let mut plan = CertPlan::new("".parse().unwrap(), names(&["web.example.com"]), Usage::SERVER, years(50));
    plan.crl_urls = vec!["http://crl.example.com/ca.crl".into()];
    plan.issuer_urls = vec!["http://crl.example.com/ca.crt".into()];
    let leaf = ca.sign_cert(&plan, ca_key.public_key(), serial(2), &ca_key).unwrap();
    judge(&leaf, &[], &[&ca.certificate().der], Some("web.example.com")).unwrap();
    let read = Certificate::from_der(&leaf).unwrap();
    assert_eq!((read.not_before, read.not_after), (plan.validity.not_before, plan.validity.not_after));
    let Some(openssl) = Openssl::find("offline-2050") else { return };
    openssl.write("leaf.crt", pem::encode(pem::CERTIFICATE, &leaf).as_bytes());
    openssl.write("root.crt", ca.certificate().to_pem().as_bytes());
    let text = openssl.run(&["x509", "-noout", "-text", "-in"], &["leaf.crt"]);
    assert!(text.contains("Subject Alternative Name: critical"), "{text}");
    assert!(text.contains("2075 GMT") && text.contains("http://crl.example.com/ca.crl"), "{text}");
    let at = NOW.secs().to_string();
    openssl.run(&["verify", "-x509_strict", "-attime", &at, "-CAfile", "root.crt"], &["leaf.crt"]);
}

#[test]
fn a_bridge_leads_from_the_old_root_to_the_new() {
    let (old_key, new_key) = (key(KeyType::P256), key(KeyType::Ed25519));
    let old = root(&old_key);
    let plan = AuthorityPlan::new("CN=Root 2,O=Example".parse().unwrap(), None, years(20));
    let new = Issuer::found(&plan, serial(9), &new_key).unwrap();
    let bridge = old.cross_sign(new.certificate(), years(20).capped(&old), serial(3), &old_key).unwrap();
    let leaf = new.sign_cert(&web(Usage::SERVER), new_key.public_key(), serial(4), &new_key).unwrap();
    let (old, new, bridge) = (old.certificate(), new.certificate(), bridge.certificate());
    assert_eq!(bridge.subject_key_id, new.subject_key_id);
    assert_eq!(bridge.authority_key_id, old.subject_key_id);
    judge(&leaf, &[&bridge.der], &[&old.der], Some("web.example.com")).unwrap();
    judge(&leaf, &[&bridge.der], &[&new.der], Some("web.example.com")).unwrap();
    let unknown = judge(&leaf, &[], &[&old.der], None).unwrap_err();
    assert!(matches!(unknown, ChainRejection::UnknownAuthority { .. }), "{unknown}");
    let Some(openssl) = Openssl::find("offline-bridge") else { return };
    openssl.write("old.crt", old.to_pem().as_bytes());
    openssl.write("bridge.crt", bridge.to_pem().as_bytes());
    openssl.write("leaf.crt", pem::encode(pem::CERTIFICATE, &leaf).as_bytes());
    let at = NOW.secs().to_string();
    let verify = ["verify", "-x509_strict", "-attime", &at, "-CAfile", "old.crt", "-untrusted", "bridge.crt"];
    openssl.run(&verify, &["leaf.crt"]);
}
