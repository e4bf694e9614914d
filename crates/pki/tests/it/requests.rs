//! Requests: the key is taken from them and nothing else, whoever made them.

use certus_forge::{CsrSpec, corrupt};
use certus_pki::csr::BadRequest;
use certus_pki::key::BadKey;
use certus_pki::{
    CaPlan, Certificate, Csr, Issuer, KeyType, LeafPlan, Lifetime, PrivateKey, Serial, Signer, Validity, pem,
};

use crate::openssl::Openssl;
use crate::world::NOW;

#[test]
fn a_greedy_request_gets_its_key_certified_and_nothing_it_asked_for() {
    let greedy = certus_forge::Csr::new(&CsrSpec::greedy("web-1"));
    let asked = Csr::read(&greedy.der).unwrap();
    assert_eq!(asked.public_key.spki_der(), greedy.key.spki_der());

    let key = PrivateKey::generate(KeyType::P256).ok().unwrap();
    let validity = Validity::starting(NOW, Lifetime::from_days(1));
    let root = CaPlan::root(&"prod".parse().unwrap(), validity);
    let root = Issuer::self_signed(&root, Serial::from_random([1; 16]), &key).unwrap();
    let identity = "spiffe://prod/worker/web-1".parse().unwrap();
    let plan = LeafPlan { identity, public_key: asked.public_key, sans: Vec::new(), validity };
    let der = root.sign_leaf(&plan, Serial::from_random([2; 16]), &key).unwrap();
    let certificate = Certificate::from_der(&der).unwrap();
    assert_eq!(plan.check(&certificate), Ok(()));
    assert_eq!(certificate.uris, ["spiffe://prod/worker/web-1"]);
    assert!(certificate.sans.is_empty() && !certificate.is_ca);
    assert!(!der.windows(4).any(|window| window == b"evil"));
}

#[test]
fn requests_of_the_forge_are_read_for_every_key_type() {
    use certus_forge::KeyType::{Ed25519, P256, P384, Rsa2048};
    for key_type in [P256, P384, Ed25519, Rsa2048] {
        let made = certus_forge::Csr::new(&CsrSpec { key_type, ..CsrSpec::named("web-1") });
        assert_eq!(Csr::read(&made.der).unwrap().public_key.spki_der(), made.key.spki_der());
        assert_eq!(Csr::read(&corrupt::signature(&made.der)), Err(BadRequest::NotProven));
        let renamed = corrupt::replaced(&made.der, "web-1", "web-2");
        assert_eq!(Csr::read(&renamed), Err(BadRequest::NotProven));
        for broken in [corrupt::truncated(&made.der), corrupt::trailing(&made.der)] {
            assert!(matches!(Csr::read(&broken), Err(BadRequest::Malformed { .. })));
        }
    }
}

/// The proof is by the key that is named, not by any: a request whose key was exchanged is refused.
#[test]
fn a_request_over_a_stolen_public_key_proves_nothing() {
    let victim = PrivateKey::generate(KeyType::Ed25519).ok().unwrap();
    let thief = PrivateKey::generate(KeyType::Ed25519).ok().unwrap();
    let request = Csr::make(&thief, "web-1").unwrap();
    let (theirs, ours) = (thief.public_key().spki_der(), victim.public_key().spki_der());
    let forged = crate::world::patched(&request, theirs, ours);
    assert_eq!(Csr::read(&forged), Err(BadRequest::NotProven));
}

#[test]
fn requests_that_openssl_made_are_read() {
    let Some(openssl) = Openssl::find("requests_made") else { return };
    // A curve and a digest of different strength; attributes that nobody here knows.
    for (curve, digest) in [("P-384", "-sha256"), ("P-256", "-sha384"), ("P-384", "-sha384")] {
        let curve = format!("ec_paramgen_curve:{curve}");
        let new =
            ["req", "-new", "-newkey", "ec", "-pkeyopt", &curve, "-nodes", digest, "-subj", "/C=DE/CN=x"];
        openssl.run(
            &[&new[..], &["-addext", "tlsfeature=status_request"]].concat(),
            &["-keyout", "key.pem", "-out", "csr.pem"],
        );
        let der = pem::decode(&openssl.text("csr.pem")).unwrap().remove(0).der;
        let request = Csr::read(&der).unwrap();
        let key = PrivateKey::from_pem(&openssl.text("key.pem")).ok().unwrap();
        assert_eq!(request.public_key, *key.public_key());
        assert_eq!(Csr::read(&corrupt::signature(&der)), Err(BadRequest::NotProven));
    }
    let weak = ["req", "-new", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=x", "-outform", "DER"];
    openssl.run(&weak, &["-keyout", "key.pem", "-out", "csr.der"]);
    let refused = Csr::read(&openssl.bytes("csr.der"));
    assert_eq!(refused, Err(BadRequest::Key(BadKey::NotAccepted { came: "RSA-1024".into() })));
}

#[test]
fn openssl_reads_the_requests_and_keys_we_make() {
    let Some(openssl) = Openssl::find("requests_read") else { return };
    for key_type in [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa(2048)] {
        let key = PrivateKey::generate(key_type).ok().unwrap();
        openssl.write("ours.der", &Csr::make(&key, r#"a "strange", \name + #1"#).unwrap());
        let text =
            openssl.run(&["req", "-verify", "-inform", "DER", "-noout", "-subject"], &["-in", "ours.der"]);
        assert!(text.contains("name"), "{text}");
        openssl.write("ours.key", key.to_pem().unwrap().as_bytes());
        openssl.run(&["pkey", "-pubout", "-outform", "DER"], &["-in", "ours.key", "-out", "pub.der"]);
        assert_eq!(openssl.bytes("pub.der"), key.public_key().spki_der(), "{key_type}");
    }
}
