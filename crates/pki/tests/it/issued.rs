//! What we issue, in the judgement of openssl and of rustls-webpki.

use certus_pki::issue::NotIssued;
use certus_pki::{
    Bundle, CaPlan, Certificate, Epoch, Explain, Issuer, IssuerRef, KeyType, LeafPlan, Lifetime, PrivateKey,
    Purpose, Root, Serial, Signer, UnixTime, Validity, verify_peer,
};

use crate::openssl::Openssl;
use crate::world::NOW;

const KEY_TYPES: [KeyType; 4] = [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa(2048)];

/// A root and an issuer of ours, both with keys of one type.
struct House {
    root: Issuer,
    issuer: Issuer,
    key: PrivateKey,
}

impl House {
    fn new(key_type: KeyType, lifetime: Lifetime) -> House {
        let cluster = "prod".parse().unwrap();
        let validity = Validity::starting(NOW, lifetime);
        let (root_key, key) = (fresh(key_type), fresh(key_type));
        let plan = CaPlan::root(&cluster, validity);
        let root = Issuer::self_signed(&plan, serial(0x7f), &root_key).unwrap();
        let plan = CaPlan::issuer(&cluster, "issuer m1", validity);
        let issuer = root.sign_ca(&plan, key.public_key(), serial(0xff), &root_key).unwrap();
        House { root, issuer, key }
    }

    fn leaf(&self, identity: &str, key: &PrivateKey, not_after: UnixTime) -> Vec<u8> {
        let plan = LeafPlan {
            identity: identity.parse().unwrap(),
            public_key: key.public_key().clone(),
            sans: ["web.internal", "10.0.0.7", "2001:db8::1"].map(|san| san.parse().unwrap()).to_vec(),
            validity: Validity { not_after, ..Validity::starting(NOW, Lifetime::from_days(1)) },
        };
        self.issuer.sign_leaf(&plan, serial(0xc3), &self.key).unwrap()
    }

    fn trust(&self) -> Bundle {
        let issuer =
            IssuerRef { key_hash: self.issuer.key_hash(), not_after: self.issuer.certificate().not_after };
        let roots = vec![Root::from_der(&self.root.certificate().der).unwrap()];
        Bundle::new("prod".parse().unwrap(), Epoch::default(), roots, [issuer], [])
    }
}

fn fresh(key_type: KeyType) -> PrivateKey {
    PrivateKey::generate(key_type).ok().unwrap()
}

fn serial(first: u8) -> Serial {
    Serial::from_random([first, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])
}

fn tomorrow() -> UnixTime {
    NOW.plus(Lifetime::from_days(1))
}

#[test]
fn openssl_and_webpki_accept_every_mix_of_key_types() {
    let Some(openssl) = Openssl::find("issued_mix") else { return };
    let leaf_keys = KEY_TYPES.map(fresh);
    let at = NOW.secs().to_string();
    for ca in KEY_TYPES {
        let house = House::new(ca, Lifetime::from_days(30));
        openssl.write("root.pem", house.root.certificate().to_pem().as_bytes());
        openssl.write("issuer.pem", house.issuer.certificate().to_pem().as_bytes());
        for key in &leaf_keys {
            let worker = house.leaf("spiffe://prod/worker/web-1", key, tomorrow());
            let client = house.leaf("spiffe://prod/client/ann", key, tomorrow());
            for (der, purpose, side, accepted) in [
                (&worker, "sslserver", Purpose::Server, true),
                (&worker, "sslclient", Purpose::Client, true),
                (&client, "sslclient", Purpose::Client, true),
                (&client, "sslserver", Purpose::Server, false),
            ] {
                let what = format!("{ca} signs {}, {purpose}", key.public_key().key_type());
                openssl.write("leaf.pem", Certificate::from_der(der).unwrap().to_pem().as_bytes());
                let verify = ["verify", "-x509_strict", "-attime", &at, "-purpose", purpose];
                let files = ["-CAfile", "root.pem", "-untrusted", "issuer.pem", "leaf.pem"];
                let (verdict, said) = openssl.ask(&verify, &files);
                assert_eq!(verdict, accepted, "{what}: {said}");
                let chain = [der, &house.issuer.certificate().der];
                let ours = verify_peer(&chain, &house.trust(), NOW, side);
                assert_eq!(ours.is_ok(), accepted, "{what}: {ours:?}");
            }
        }
    }
}

/// The lines under a heading of `openssl x509 -text`, and whether it says `critical`.
fn section<'a>(text: &'a str, heading: &str) -> (bool, &'a str) {
    let line = text.lines().position(|line| line.trim().starts_with(heading));
    let line = line.unwrap_or_else(|| panic!("no {heading} in\n{text}"));
    let mut lines = text.lines().skip(line);
    (lines.next().unwrap().contains("critical"), lines.next().unwrap().trim())
}

#[test]
fn openssl_reads_in_them_what_we_meant() {
    let Some(openssl) = Openssl::find("issued_text") else { return };
    let house = House::new(KeyType::P256, Lifetime::from_days(30));
    let leaf = house.leaf("spiffe://prod/worker/web-1", &fresh(KeyType::P256), tomorrow());
    let text = |der: &[u8]| {
        openssl.write("one.der", der);
        openssl.run(&["x509", "-inform", "DER", "-noout", "-text"], &["-in", "one.der"])
    };
    let (root, issuer) = (text(&house.root.certificate().der), text(&house.issuer.certificate().der));
    let leaf = text(&leaf);
    for (text, first) in [(&root, "7f"), (&issuer, "ff"), (&leaf, "c3")] {
        let (_, serial) = section(text, "Serial Number:");
        assert_eq!(serial, format!("{first}:02:03:04:05:06:07:08:09:0a:0b:0c:0d:0e:0f:10"), "positive");
        assert!(text.contains("Version: 3 (0x2)"));
        assert!(text.contains("Not Before: Dec 31 23:55:00 2025 GMT"), "back-dated by five minutes\n{text}");
    }
    let constraints = "X509v3 Basic Constraints:";
    assert_eq!(section(&root, constraints), (true, "CA:TRUE"));
    assert_eq!(section(&issuer, constraints), (true, "CA:TRUE, pathlen:0"));
    assert_eq!(section(&leaf, constraints), (true, "CA:FALSE"));
    for ca in [&root, &issuer] {
        assert_eq!(section(ca, "X509v3 Key Usage:"), (true, "Certificate Sign, CRL Sign"));
        assert_eq!(section(ca, "X509v3 Subject Alternative Name:"), (false, "URI:spiffe://prod"));
        assert!(!ca.contains("Extended Key Usage"));
    }
    assert_eq!(section(&leaf, "X509v3 Key Usage:"), (true, "Digital Signature"));
    let purposes = "TLS Web Server Authentication, TLS Web Client Authentication";
    assert_eq!(section(&leaf, "X509v3 Extended Key Usage:"), (false, purposes));
    let names = "URI:spiffe://prod/worker/web-1, DNS:web.internal, IP Address:10.0.0.7, \
                 IP Address:2001:DB8:0:0:0:0:0:1";
    assert_eq!(section(&leaf, "X509v3 Subject Alternative Name:"), (false, names));
    let (own, above) = ("X509v3 Subject Key Identifier:", "X509v3 Authority Key Identifier:");
    let id = |text, heading| section(text, heading).1.trim_start_matches("keyid:").to_owned();
    assert_eq!(id(&root, above), id(&root, own));
    assert_eq!(id(&issuer, above), id(&root, own));
    assert_eq!(id(&leaf, above), id(&issuer, own));
    assert_ne!(id(&leaf, own), id(&issuer, own));
}

/// A planned rotation: who trusts only the old root accepts what stands below the new one, which the old
/// one signed. openssl holds a path against its anchor's path length too.
#[test]
fn a_root_leaves_room_for_the_one_that_follows_it() {
    let Some(openssl) = Openssl::find("issued_rotation") else { return };
    let (cluster, validity) = ("prod".parse().unwrap(), Validity::starting(NOW, Lifetime::from_days(30)));
    for (path_len, accepted) in [(CaPlan::root(&cluster, validity).path_len, true), (Some(1), false)] {
        let [old_key, new_key, key] = [(); 3].map(|()| fresh(KeyType::P256));
        let plan = CaPlan { path_len, ..CaPlan::root(&cluster, validity) };
        let old = Issuer::self_signed(&plan, serial(1), &old_key).unwrap();
        let plan = CaPlan { common_name: "prod root 2".to_owned(), ..CaPlan::root(&cluster, validity) };
        let bridge = old.sign_ca(&plan, new_key.public_key(), serial(2), &old_key).unwrap();
        let root = Issuer::self_signed(&plan, serial(3), &new_key).unwrap();
        let plan = CaPlan::issuer(&cluster, "issuer m1", validity);
        let issuer = root.sign_ca(&plan, key.public_key(), serial(4), &new_key).unwrap();
        let house = House { root, issuer, key };
        let leaf = house.leaf("spiffe://prod/worker/web-1", &fresh(KeyType::P256), tomorrow());
        openssl.write("old.pem", old.certificate().to_pem().as_bytes());
        let above = bridge.certificate().to_pem() + &house.issuer.certificate().to_pem();
        openssl.write("above.pem", above.as_bytes());
        openssl.write("leaf.pem", certus_pki::pem::encode("CERTIFICATE", &leaf).as_bytes());
        let at = NOW.secs().to_string();
        let words = ["verify", "-attime", &at, "-CAfile", "old.pem", "-untrusted", "above.pem"];
        let (verified, said) = openssl.ask(&words, &["leaf.pem"]);
        assert_eq!(verified, accepted, "{said}");
        assert_eq!(said.contains("path length constraint exceeded"), !accepted, "{said}");
    }
}

#[test]
fn who_signed_a_certificate_is_told_from_who_is_named_on_it() {
    for key_type in KEY_TYPES {
        let house = House::new(key_type, Lifetime::from_days(30));
        let (root, issuer) = (house.root.certificate(), house.issuer.certificate());
        assert!(root.verify_signed_by(root) && issuer.verify_signed_by(root));
        assert!(!root.verify_signed_by(issuer) && !issuer.verify_signed_by(issuer));
        // The same names and another key.
        let other = House::new(key_type, Lifetime::from_days(30));
        assert!(!issuer.verify_signed_by(other.root.certificate()));
        let mut altered = issuer.clone();
        *altered.der.last_mut().unwrap() ^= 1;
        assert!(!altered.verify_signed_by(root));
    }
}

/// RFC 5280 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050 on.
#[test]
fn openssl_sees_the_form_of_times_change_in_2050() {
    let Some(openssl) = Openssl::find("issued_times") else { return };
    let house = House::new(KeyType::P256, Lifetime::from_days(100 * 365));
    let year_2050 = UnixTime::from_secs(2_524_608_000);
    let key = fresh(KeyType::P256);
    for (not_after, form) in [
        (year_2050.minus(Lifetime::from_secs(1)), "UTCTIME           :491231235959Z"),
        (year_2050, "GENERALIZEDTIME   :20500101000000Z"),
    ] {
        let leaf = house.leaf("spiffe://prod/worker/web-1", &key, not_after);
        openssl.write("leaf.der", &leaf);
        let said = openssl.run(&["asn1parse", "-inform", "DER"], &["-in", "leaf.der"]);
        assert!(said.contains("UTCTIME           :251231235500Z") && said.contains(form), "{said}");
        assert_eq!(Certificate::from_der(&leaf).unwrap().not_after, not_after);
    }
}

/// Names for people may hold what separates names; nothing in them becomes a second name.
#[test]
fn strange_common_names_stay_one_name() {
    let cluster = "prod".parse().unwrap();
    let validity = Validity::starting(NOW, Lifetime::from_days(1));
    let key = fresh(KeyType::P256);
    for name in [
        "plain",
        "a,O=evil",
        r"a\,O=evil",
        r"a\\,O=evil",
        "a+CN=b",
        "#0500",
        " led and trailed ",
        "a=b/c;<d>\"e\"",
        "ünï",
        "line\nbreak",
        "=",
        "\\",
    ] {
        let plan = CaPlan { common_name: name.into(), ..CaPlan::root(&cluster, validity) };
        let root = Issuer::self_signed(&plan, serial(1), &key).unwrap();
        let certificate = root.certificate();
        // SEQUENCE, SET, SEQUENCE, the identifier of the common name, UTF8String.
        let n = u8::try_from(name.len()).unwrap();
        let expected =
            [&[0x30, n + 11, 0x31, n + 9, 0x30, n + 7, 6, 3, 0x55, 4, 3, 0x0c, n], name.as_bytes()];
        assert_eq!(certificate.subject_der, expected.concat(), "{name:?}");
        assert_eq!(certificate.issuer_der, certificate.subject_der);
        assert_eq!(format!("CN={}", certificate.common_name()), certificate.subject, "{name:?}");
        let below = CaPlan::issuer(&cluster, "issuer", validity);
        let below = root.sign_ca(&below, fresh(KeyType::P256).public_key(), serial(2), &key).unwrap();
        assert_eq!(below.certificate().issuer_der, certificate.subject_der, "{name:?}");
    }
    for name in ["", &"x".repeat(65)] {
        let plan = CaPlan { common_name: name.into(), ..CaPlan::root(&cluster, validity) };
        let refused = Issuer::self_signed(&plan, serial(1), &key).unwrap_err();
        assert!(matches!(refused, NotIssued::Encoding { .. }), "{refused:?}");
    }
    let long = CaPlan::issuer(&"c".repeat(50).parse().unwrap(), &"m".repeat(64), validity);
    assert!(Issuer::self_signed(&long, serial(1), &key).is_ok());
}

#[test]
fn what_an_issuer_must_not_sign_is_refused_with_both_halves() {
    let house = House::new(KeyType::P256, Lifetime::from_days(30));
    let key = fresh(KeyType::P256);
    let plan = |not_after| LeafPlan {
        identity: "spiffe://prod/worker/web-1".parse().unwrap(),
        public_key: key.public_key().clone(),
        sans: Vec::new(),
        validity: Validity { not_before: NOW, not_after },
    };
    let end = house.issuer.certificate().not_after;
    assert!(house.issuer.sign_leaf(&plan(end), serial(1), &house.key).is_ok());
    let asked = end.plus(Lifetime::from_secs(1));
    let refused = house.issuer.sign_leaf(&plan(asked), serial(1), &house.key).unwrap_err();
    assert_eq!(refused, NotIssued::IssuerTooShort { issuer: end, asked });
    assert_eq!(refused.explain().code.number(), 2205);

    let refused = house.issuer.sign_leaf(&plan(end), serial(1), &key).unwrap_err();
    let (expected, came) = (house.issuer.key_hash(), key.public_key().hash());
    assert_eq!(refused, NotIssued::WrongKey { expected, came });

    let sans = (0..101).map(|n| format!("n{n}.internal").parse().unwrap()).collect();
    let many = LeafPlan { sans, ..plan(end) };
    let refused = house.issuer.sign_leaf(&many, serial(1), &house.key).unwrap_err();
    assert_eq!(refused, NotIssued::TooManyNames { came: 101 });

    let before = UnixTime::from_secs(-1);
    let early = LeafPlan { validity: Validity { not_before: before, not_after: end }, ..plan(end) };
    let refused = house.issuer.sign_leaf(&early, serial(1), &house.key).unwrap_err();
    assert_eq!(refused, NotIssued::Time { at: before });

    let leaf = house.issuer.sign_leaf(&plan(end), serial(1), &house.key).unwrap();
    assert_eq!(Issuer::from_der(&leaf), Err(NotIssued::NotACa));
    assert_eq!(Issuer::from_der(&leaf).unwrap_err().explain().facts.len(), 2);
}
