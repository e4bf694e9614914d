//! Keys under a passphrase, PKCS#12 and revocation lists: each side reads what the other writes.

use std::process::Command;

use certus_pki::crl::BadCrl;
use certus_pki::key::BadKey;
use certus_pki::pkcs12::{self, BadPkcs12};
use certus_pki::{
    Certificate, ChainQuery, ChainRejection, Crl, CrlPlan, KeyFacts, KeyForm, KeyType, Lifetime, Passphrase,
    PrivateKey, Reason, RevokedCert, Signer, Usage, pem, verify_chain,
};

use crate::offline::{KEY_TYPES, key, root, serial, web};
use crate::openssl::Openssl;
use crate::world::NOW;

fn secret(text: &str) -> Passphrase {
    Passphrase::new(text.to_owned())
}

#[test]
fn keys_that_openssl_wrote_are_read_in_every_form() {
    let Some(openssl) = Openssl::find("containers-keys") else { return };
    let right = secret("correct hörse");
    let plain = ["genpkey", "-algorithm"];
    for (algorithm, parameter, key_type) in [
        ("EC", "ec_paramgen_curve:P-256", KeyType::P256),
        ("EC", "ec_paramgen_curve:P-384", KeyType::P384),
        ("RSA", "rsa_keygen_bits:3072", KeyType::Rsa(3072)),
        ("ED25519", "", KeyType::Ed25519),
    ] {
        let options = if parameter.is_empty() { vec![] } else { vec!["-pkeyopt", parameter] };
        openssl.run(&plain, &[&[algorithm, "-out", "plain.pem"], options.as_slice()].concat());
        let expected = PrivateKey::from_pem(&openssl.text("plain.pem")).ok().unwrap();
        assert_eq!(expected.public_key().key_type(), key_type);
        let mut forms: Vec<Vec<&str>> = vec![
            vec!["-v2", "aes-256-cbc"],
            vec!["-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA1"],
            vec!["-v2", "aes-192-cbc", "-v2prf", "hmacWithSHA512", "-iter", "4096"],
            vec!["-v2", "des3"],
            vec!["-scrypt"],
        ];
        for form in &mut forms {
            let topk8 = [
                "pkcs8",
                "-topk8",
                "-in",
                "plain.pem",
                "-out",
                "sealed.pem",
                "-passout",
                "pass:correct hörse",
            ];
            openssl.run(&topk8, form);
            let text = openssl.text("sealed.pem");
            let opened = PrivateKey::from_pem_with(&text, Some(&right));
            assert_eq!(opened.ok().unwrap().public_key(), expected.public_key(), "{form:?}");
            let wrong = PrivateKey::from_pem_with(&text, Some(&secret("wrong"))).err();
            assert_eq!(wrong, Some(BadKey::WrongPassphrase), "{form:?}");
            assert!(matches!(KeyFacts::of_pem(&text, None).unwrap().form, KeyForm::EncryptedPkcs8 { .. }));
        }
        if algorithm != "ED25519" {
            openssl.run(&["pkey", "-traditional", "-in", "plain.pem", "-out", "old.pem"], &[]);
            let facts = KeyFacts::of_pem(&openssl.text("old.pem"), None).unwrap();
            assert_eq!(facts.key_hash, Some(expected.public_key().hash()));
            assert!(matches!(facts.form, KeyForm::Sec1 | KeyForm::Pkcs1));
            let sealed = ["-aes256", "-passout", "pass:x", "-out", "old.pem"];
            openssl.run(&["pkey", "-traditional", "-in", "plain.pem"], &sealed);
            let refused = PrivateKey::from_pem(&openssl.text("old.pem")).err();
            assert!(matches!(refused, Some(BadKey::Encryption { .. })));
        }
    }
}

#[test]
fn keys_that_we_sealed_are_opened_by_openssl() {
    let Some(openssl) = Openssl::find("containers-sealed") else { return };
    for key_type in KEY_TYPES {
        let key = key(key_type);
        openssl.write("key.pem", key.to_encrypted_pem(&secret("correct hörse")).unwrap().as_bytes());
        openssl.run(&["pkey", "-in", "key.pem", "-passin", "pass:correct hörse", "-check", "-noout"], &[]);
        let (opened, _) = openssl.ask(&["pkey", "-in", "key.pem", "-passin", "pass:wrong", "-noout"], &[]);
        assert!(!opened);
    }
}

#[test]
fn pkcs12_goes_both_ways() {
    let ca_key = key(KeyType::P256);
    let ca = root(&ca_key);
    for key_type in KEY_TYPES {
        let leaf_key = key(key_type);
        let leaf = ca.sign_cert(&web(Usage::ANY), leaf_key.public_key(), serial(2), &ca_key).unwrap();
        let chain = [Certificate::from_der(&leaf).unwrap(), ca.certificate().clone()];
        let der = pkcs12::write("web", &leaf_key, &chain, &secret("changeit")).unwrap();
        assert_eq!(pkcs12::read(&der, &secret("other")).err(), Some(BadPkcs12::WrongPassphrase));
        let (back, read) = pkcs12::read(&der, &secret("changeit")).ok().unwrap().identity().ok().unwrap();
        assert_eq!((back.public_key(), &read[..]), (leaf_key.public_key(), &chain[..]));
        let refused = pkcs12::write("web", &ca_key, &chain, &secret("changeit"));
        assert!(matches!(refused, Err(BadPkcs12::WrongKey { .. })));
        assert_eq!(pkcs12::write("web", &leaf_key, &chain, &secret("")), Err(BadPkcs12::EmptyPassphrase));
        let Some(openssl) = Openssl::find("containers-pkcs12") else { continue };
        openssl.write("ours.p12", &der);
        let said =
            openssl.run(&["pkcs12", "-in", "ours.p12", "-passin", "pass:changeit", "-nodes", "-info"], &[]);
        assert!(said.contains("AES-256-CBC") && said.contains("BEGIN PRIVATE KEY"), "{said}");
        openssl.write("leaf.crt", chain[0].to_pem().as_bytes());
        openssl.write("ca.crt", chain[1].to_pem().as_bytes());
        openssl.write("leaf.key", leaf_key.to_pem().unwrap().as_bytes());
        let export = ["pkcs12", "-export", "-in", "leaf.crt", "-inkey", "leaf.key", "-certfile", "ca.crt"];
        for older in [&[][..], &["-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"]]
        {
            let to = [&["-passout", "pass:changeit", "-out", "theirs.p12"], older].concat();
            openssl.run(&export, &to);
            let theirs = pkcs12::read(&openssl.bytes("theirs.p12"), &secret("changeit"));
            let (back, read) = theirs.ok().unwrap().identity().ok().unwrap();
            assert_eq!((back.public_key(), &read[..]), (leaf_key.public_key(), &chain[..]), "{older:?}");
        }
        openssl.run(&export, &["-passout", "pass:changeit", "-out", "theirs.p12", "-nomac"]);
        let theirs = pkcs12::read(&openssl.bytes("theirs.p12"), &secret("changeit"));
        assert_eq!(theirs.err(), Some(BadPkcs12::NoMac));
    }
}

#[test]
fn java_lists_our_keys_and_our_trusted_certificates() {
    if Command::new("keytool").arg("-help").output().is_err() {
        Openssl::skip("java", "keytool");
        return;
    }
    let Some(openssl) = Openssl::find("containers-java") else { return };
    let ca_key = key(KeyType::P256);
    let ca = root(&ca_key);
    let leaf_key = key(KeyType::Rsa(2048));
    let leaf = ca.sign_cert(&web(Usage::ANY), leaf_key.public_key(), serial(2), &ca_key).unwrap();
    let chain = [Certificate::from_der(&leaf).unwrap(), ca.certificate().clone()];
    openssl.write("key.p12", &pkcs12::write("web", &leaf_key, &chain, &secret("changeit")).unwrap());
    let trusted = [("root".to_owned(), ca.certificate().clone())];
    openssl.write("trust.p12", &pkcs12::write_trust(&trusted, &secret("changeit")).unwrap());
    for (file, entry) in [("key.p12", "PrivateKeyEntry"), ("trust.p12", "trustedCertEntry")] {
        let list = ["-list", "-storetype", "PKCS12", "-storepass", "changeit", "-keystore", file];
        let (succeeded, said) = openssl.ask_program("keytool", &list);
        assert!(succeeded && said.contains(entry), "{said}");
    }
}

#[test]
fn revocation_lists_go_both_ways() {
    let ca_key = key(KeyType::P384);
    let ca = root(&ca_key);
    let leaf = |last| ca.sign_cert(&web(Usage::SERVER), ca_key.public_key(), serial(last), &ca_key).unwrap();
    let stolen = RevokedCert { serial: serial(2), at: NOW, reason: Reason::KeyCompromise };
    let mut plan = CrlPlan {
        number: 7,
        previous: Some(6),
        this_update: NOW,
        next_update: NOW.plus(Lifetime::from_days(7)),
        revoked: vec![stolen, RevokedCert { serial: serial(3), reason: Reason::Unspecified, ..stolen }],
    };
    let der = ca.sign_crl(&plan, &ca_key).unwrap();
    let crl = Crl::from_der(&der).unwrap();
    assert_eq!((crl.number.as_deref(), crl.entries().len()), (Some("07"), 2));
    assert_eq!(crl.entry(&serial(2)), Some(&stolen));
    assert_eq!(Crl::many_from_pem(&crl.to_pem()), Ok(vec![crl.clone()]));
    let judge = |leaf: &[u8], crls: &[Crl], at| {
        let roots = [ca.certificate().der.as_slice()];
        verify_chain(leaf, &ChainQuery { crls, ..ChainQuery::at(at, &roots) })
    };
    let crls = [crl.clone()];
    assert!(matches!(judge(&leaf(2), &crls, NOW), Err(ChainRejection::Revoked { .. })));
    judge(&leaf(4), &crls, NOW).unwrap();
    let later = NOW.plus(Lifetime::from_days(8));
    let ended = judge(&leaf(4), &crls, later);
    assert!(matches!(ended, Err(ChainRejection::Crl { error: BadCrl::Ended { .. }, .. })));
    let other = root(&key(KeyType::P384)).sign_crl(&plan, &ca_key);
    assert!(other.is_err(), "another CA's key");
    plan.previous = Some(7);
    assert!(ca.sign_crl(&plan, &ca_key).is_err(), "its number does not grow");
    let Some(openssl) = Openssl::find("containers-crl") else { return };
    openssl.write("ca.crt", ca.certificate().to_pem().as_bytes());
    openssl.write("ca.crl", crl.to_pem().as_bytes());
    openssl.write("ca.key", ca_key.to_pem().unwrap().as_bytes());
    let said = openssl.run(&["crl", "-in", "ca.crl", "-CAfile", "ca.crt", "-noout", "-text"], &[]);
    assert!(said.contains("verify OK") && said.contains("Key Compromise"), "{said}");
    let at = NOW.secs().to_string();
    let verify =
        ["verify", "-x509_strict", "-crl_check", "-CRLfile", "ca.crl", "-attime", &at, "-CAfile", "ca.crt"];
    for (last, holds) in [(2, false), (4, true)] {
        openssl.write("leaf.crt", pem::encode(pem::CERTIFICATE, &leaf(last)).as_bytes());
        assert_eq!(openssl.ask(&verify, &["leaf.crt"]).0, holds);
    }
    // Theirs, by the same CA: the leaf is entered in their database and revoked.
    openssl.write("index.txt", b"");
    openssl.write("crlnumber", b"10\n");
    openssl.write(
        "ca.cnf",
        b"[ca]\ndefault_ca=c\n[c]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_md=sha256\ndefault_crl_days=30\ncrl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid\n",
    );
    let theirs = ["ca", "-config", "ca.cnf", "-keyfile", "ca.key", "-cert", "ca.crt"];
    openssl.run(&theirs, &["-revoke", "leaf.crt", "-crl_reason", "superseded"]);
    openssl.run(&theirs, &["-gencrl", "-out", "theirs.crl"]);
    let read = Crl::many_from_pem(&openssl.text("theirs.crl")).unwrap().remove(0);
    read.check_signed_by(ca.certificate()).unwrap();
    assert_eq!(read.entry(&serial(4)).map(|entry| entry.reason), Some(Reason::Superseded));
    assert_eq!(read.number.as_deref(), Some("10"));
}
