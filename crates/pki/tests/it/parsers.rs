//! No parser panics, on noise or on real material that was damaged; text comes back as it was.

use std::sync::LazyLock;

use certus_forge::{Ca, CsrSpec, KeyType, LeafSpec};
use certus_pki::pin::verify_manager;
use certus_pki::{
    Certificate, ClusterName, Csr, Explain, IdPattern, Issuer, JoinToken, Lifetime, PrivateKey, PublicKey,
    Reason, Role, Root, San, Serial, Sha256, SpiffeId, TokenId, pem,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::world::NOW;

/// Real certificates, requests and keys, made by another implementation.
static DERS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut ders = Vec::new();
    for key_type in [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa2048] {
        let ca = Ca::root("prod");
        let leaf = ca.leaf(&LeafSpec {
            dns: vec!["web.internal".into()],
            ips: vec!["10.0.0.7".parse().unwrap()],
            unknown_critical: true,
            key_type,
            ..LeafSpec::spiffe("web-1", "spiffe://prod/worker/web-1")
        });
        let csr = certus_forge::Csr::with_key(&CsrSpec::greedy("x"), leaf.key.clone());
        ders.extend([ca.der, leaf.der, csr.der, leaf.key_pkcs8_der, leaf.key.spki_der()]);
    }
    ders
});

fn read_bytes(der: &[u8]) {
    if let Ok(certificate) = Certificate::from_der(der) {
        let _ = (certificate.identity(), certificate.common_name(), certificate.fingerprint());
        assert_eq!(Certificate::many_from_pem(&certificate.to_pem()), Ok(vec![certificate]));
    }
    let said = [
        Certificate::from_der(der).err().map(|error| error.explain()),
        Csr::read(der).err().map(|error| error.explain()),
        PrivateKey::from_pkcs8_der(der).err().map(|error| error.explain()),
        PublicKey::from_spki_der(der).err().map(|error| error.explain()),
        Issuer::from_der(der).err().map(|error| error.explain()),
        Root::from_der(der).err().map(|error| error.explain()),
    ];
    assert!(said.into_iter().flatten().all(|explanation| !explanation.message.is_empty()));
    let pin = JoinToken::new([1; 16], &Sha256::of(b"root")).pin();
    let _ = verify_manager(&[der, der], pin, NOW);
    let _ = Serial::from_be_bytes(der);
}

fn read_text(text: &str) {
    let _ = pem::decode(text);
    let _ = Certificate::many_from_pem(text);
    let _ = PrivateKey::from_pem(text);
    let _ = text.parse::<JoinToken>();
    /// What was read is written in a form that reads as the same.
    fn settles<T: std::str::FromStr + ToString + PartialEq>(text: &str) {
        if let Ok(read) = text.parse::<T>() {
            assert!(read.to_string().parse::<T>().is_ok_and(|again| again == read), "{text:?}");
        }
    }
    settles::<SpiffeId>(text);
    settles::<IdPattern>(text);
    settles::<ClusterName>(text);
    settles::<San>(text);
    settles::<Lifetime>(text);
    settles::<Serial>(text);
    settles::<Sha256>(text);
    settles::<TokenId>(text);
    settles::<Reason>(text);
}

/// Changes some bytes, and cuts or lengthens.
fn damage(mut bytes: Vec<u8>, changes: &[(Index, u8)], cut: Option<Index>, tail: &[u8]) -> Vec<u8> {
    for (place, byte) in changes {
        let place = place.index(bytes.len());
        bytes[place] = *byte;
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len()));
    }
    bytes.extend_from_slice(tail);
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(Index, u8)>> {
    vec((any::<Index>(), any::<u8>()), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn noise_is_refused_in_words(bytes in vec(any::<u8>(), 0..300), text in any::<String>()) {
        read_bytes(&bytes);
        read_text(&String::from_utf8_lossy(&bytes));
        read_text(&text);
    }

    #[test]
    fn damaged_material_does_not_panic(
        which in any::<Index>(),
        changes in changes(),
        cut in prop::option::weighted(0.2, any::<Index>()),
        tail in vec(any::<u8>(), 0..3),
        label in select(vec!["CERTIFICATE", "PRIVATE KEY", "EC PRIVATE KEY", "CERTIFICATE REQUEST"]),
    ) {
        let der = damage(which.get(&DERS).clone(), &changes, cut, &tail);
        read_bytes(&der);
        let text = pem::encode(label, &der);
        read_text(&text);
        read_text(&String::from_utf8_lossy(&damage(text.into_bytes(), &changes, cut, &tail)));
    }

    #[test]
    fn words_of_names_do_not_panic(parts in vec(select(vec![
        "spiffe://", "prod", "/", "worker", "manager", "*", "web-1", ".", ":", "[", "]", "::1", "10.0.0.7", "-",
        "_", "a", "0", "9", "d", "y", "s", "4294967295", "ü", " ", "\0", "-----BEGIN ", "-----END ", "X-----",
        "CERTIFICATE-----", "\n", "AAAA", "==", "key-compromise",
    ]), 0..12)) {
        read_text(&parts.concat());
    }

    #[test]
    fn identities_round_trip(cluster in "[a-z0-9]([a-z0-9._-]{0,48}[a-z0-9])?", role in select(Role::ALL.to_vec()),
                             id in "[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?") {
        let text = format!("spiffe://{cluster}/{role}/{id}");
        let identity: SpiffeId = text.parse().unwrap();
        prop_assert_eq!(identity.to_string(), &text[..]);
        let pattern: IdPattern = text.parse().unwrap();
        prop_assert!(pattern.matches(&identity) && pattern.to_string() == text);
    }

    #[test]
    fn numbers_round_trip(bytes in any::<[u8; 16]>(), digest in any::<[u8; 32]>(), secs in 1..u32::MAX) {
        let serial = Serial::from_random(bytes);
        prop_assert_eq!(serial.to_string().parse::<Serial>().unwrap(), serial);
        prop_assert_eq!(Serial::from_be_bytes(serial.significant()), Some(serial));
        prop_assert_eq!(Serial::from_be_bytes(serial.as_bytes()), Some(serial));
        let root = Sha256::from_bytes(digest);
        prop_assert_eq!(root.to_string().parse::<Sha256>().unwrap(), root);
        let token = JoinToken::new(bytes, &root);
        let back: JoinToken = token.reveal().parse().ok().unwrap();
        prop_assert!(back.secret() == &bytes && back.pin().matches(&root) && back.id() == token.id());
        prop_assert_eq!(token.id().to_string().parse::<TokenId>().unwrap(), token.id());
        let lifetime = Lifetime::from_secs(secs);
        prop_assert_eq!(lifetime.to_string().parse::<Lifetime>().unwrap(), lifetime);
    }

    #[test]
    fn blocks_round_trip_at_any_width(der in vec(any::<u8>(), 1..200), width in 1..100usize, crlf: bool) {
        let text = pem::encode(pem::CERTIFICATE, &der);
        let base64: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let lines: Vec<&[u8]> = base64.as_bytes().chunks(4 * width).collect();
        let lines: Vec<&str> = lines.into_iter().map(|line| std::str::from_utf8(line).unwrap()).collect();
        let text = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
        let text = if crlf { text.replace('\n', "\r\n") } else { text };
        let blocks = pem::decode(&text).unwrap();
        prop_assert_eq!(blocks.len(), 1);
        prop_assert_eq!(&blocks[0].der[..], &der[..]);
    }
}
