//! The readers of the offline toolkit: none panics on noise or on damaged material, and what they read is
//! written in a form that reads as the same.

use std::sync::LazyLock;

use certus_pki::{
    AltName, ChainQuery, Crl, CrlPlan, Csr, Explain, KeyFacts, KeyType, Lifetime, NameConstraints,
    NamePattern, Passphrase, PrivateKey, Reason, Request, RevokedCert, Signer, Subject, Subtree, Usage, pem,
    pkcs12, verify_chain,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::offline::{key, names, root, serial, web};
use crate::world::NOW;

/// Real material of every kind: a root, a leaf, a request, a list, a sealed key, a container.
static DERS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let ca_key = key(KeyType::P256);
    let ca = root(&ca_key);
    let mut plan = web(Usage::ANY);
    plan.names = names(&["*.example.com", "10.0.0.7", "ann@example.com", "spiffe://prod/worker/a"]);
    plan.crl_urls = vec!["http://crl.example.com/".into()];
    let leaf = ca.sign_cert(&plan, ca_key.public_key(), serial(2), &ca_key).unwrap();
    let mut below = certus_pki::AuthorityPlan::new("CN=i+OU=x,DC=a".parse().unwrap(), Some(0), plan.validity);
    below.constraints = NameConstraints {
        permitted: vec!["dns:example.com".parse().unwrap(), "ip:10.0.0.0/8".parse().unwrap()],
        excluded: vec!["email:example.com".parse().unwrap()],
    };
    let below = ca.sign_authority(&below, ca_key.public_key(), serial(3), &ca_key).unwrap();
    let csr = Csr::make_for(&ca_key, &plan.subject, &plan.names).unwrap();
    let revoked = RevokedCert { serial: serial(2), at: NOW, reason: Reason::Superseded };
    let crl = CrlPlan {
        number: 1,
        previous: None,
        this_update: NOW,
        next_update: NOW.plus(Lifetime::from_days(1)),
        revoked: vec![revoked],
    };
    let crl = ca.sign_crl(&crl, &ca_key).unwrap();
    vec![ca.certificate().der.clone(), leaf, below.certificate().der.clone(), csr, crl]
});

static SEALED: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let ca_key = key(KeyType::P256);
    let secret = Passphrase::new("secret".to_owned());
    let chain = [root(&ca_key).certificate().clone()];
    [ca_key.to_encrypted_der(&secret).unwrap(), pkcs12::write("a", &ca_key, &chain, &secret).unwrap()]
});

fn read_bytes(der: &[u8]) {
    let mut said = Vec::new();
    said.extend(Request::read(der).err().map(|error| error.explain()));
    said.extend(Crl::from_der(der).err().map(|error| error.explain()));
    said.extend(PrivateKey::from_der(der, None).err().map(|error| error.explain()));
    if let Ok(subject) = Subject::from_der(der) {
        assert!(Subject::from_der(subject.der()).is_ok_and(|again| again == subject));
        let _ = subject.to_string().parse::<Subject>();
    }
    // The damaged certificate in every place of a chain.
    let [root, leaf, below, ..] = &DERS[..] else { panic!("three certificates") };
    let crls: Vec<Crl> = Crl::from_der(der).into_iter().collect();
    for (leaf, between, root) in
        [(der, below.as_slice(), root.as_slice()), (leaf, der, root), (leaf, below, der)]
    {
        let (roots, between) = ([root], [between]);
        let name = ["dns:a.example.com".parse().unwrap()];
        let query =
            ChainQuery { intermediates: &between, crls: &crls, names: &name, ..ChainQuery::at(NOW, &roots) };
        said.extend(verify_chain(leaf, &query).err().map(|rejection| rejection.explain()));
    }
    assert!(said.iter().all(|explanation| !explanation.message.is_empty()));
}

fn read_text(text: &str) {
    /// What was read is written in a form that reads as the same.
    fn settles<T: std::str::FromStr + ToString + PartialEq>(text: &str) {
        if let Ok(read) = text.parse::<T>() {
            let written = read.to_string();
            assert!(written.parse::<T>().is_ok_and(|again| again == read), "{text:?} {written:?}");
        }
    }
    settles::<AltName>(text);
    settles::<Subject>(text);
    settles::<Subtree>(text);
    settles::<NamePattern>(text);
    let _ = Request::from_pem(text);
    let _ = Crl::many_from_pem(text);
    let _ = KeyFacts::of_pem(text, None);
}

fn damage(mut bytes: Vec<u8>, changes: &[(Index, u8)], cut: Option<Index>) -> Vec<u8> {
    for (place, byte) in changes {
        let place = place.index(bytes.len());
        bytes[place] = *byte;
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len()));
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(Index, u8)>> {
    vec((any::<Index>(), any::<u8>()), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn noise_is_refused_in_words(bytes in vec(any::<u8>(), 0..300), text in any::<String>()) {
        read_bytes(&bytes);
        read_text(&text);
    }

    #[test]
    fn damaged_material_does_not_panic(
        which in any::<Index>(),
        changes in changes(),
        cut in prop::option::weighted(0.2, any::<Index>()),
        label in select(vec!["X509 CRL", "CERTIFICATE REQUEST", "ENCRYPTED PRIVATE KEY", "RSA PRIVATE KEY"]),
    ) {
        let der = damage(which.get(&DERS).clone(), &changes, cut);
        read_bytes(&der);
        read_text(&pem::encode(label, &der));
    }

    #[test]
    fn words_of_names_do_not_panic(parts in vec(select(vec![
        "dns:", "ip:", "email:", "uri:", "://", "@", "*", "*.", ".", "/", "8", "10.0.0.7", "::1", "[", "]", "a", "xn--",
        "example.com", "ü", "CN", "OU", "C", "DC", "1.2.3", "=", ",", "+", "\\", "#", "#0c0161", "\\2c", " ", "\0", "\"",
    ]), 0..10)) {
        read_text(&parts.concat());
    }

    #[test]
    fn subjects_round_trip(values in vec("\\PC{1,20}", 1..5)) {
        let escaped = |value: &String| value.bytes().map(|byte| format!("\\{byte:02x}")).collect::<String>();
        let parts: Vec<String> = values.iter().map(|value| format!("OU={}", escaped(value))).collect();
        let subject: Subject = parts.join(",").parse().unwrap();
        prop_assert_eq!(subject.to_string().parse::<Subject>().unwrap(), subject);
    }
}

proptest! {
    // Opening costs on purpose.
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn damaged_secrets_are_refused(which in 0..2usize, changes in changes(), cut in prop::option::of(any::<Index>())) {
        let secret = Passphrase::new("secret".to_owned());
        let der = damage(SEALED[which].clone(), &changes, cut);
        let _ = KeyFacts::of_pem(&pem::encode(pem::ENCRYPTED_PRIVATE_KEY, &der), None);
        let _ = pkcs12::read(&der, &secret);
        let _ = PrivateKey::from_der(&der, None);
    }
}
