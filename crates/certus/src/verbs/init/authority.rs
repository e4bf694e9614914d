//! The CA of a mesh, derived from its key: agents set up apart from the same key trust each other.
//!
//! No clock and no chance go into the CA's name, serial or times, so any two copies of its certificate
//! anchor the same leaves; with an Ed25519 key they are the same bytes.

use certus_pki::{
    AltName, AuthorityPlan, CertPlan, Explain, Explanation, Issuer, KeyType, Lifetime, Names, PrivateKey,
    Serial, Signer, Subject, UnixTime, Usage, Validity, code,
};
use zeroize::Zeroizing;

/// 2025-01-01T00:00:00Z: before any of these CAs was made.
const CA_NOT_BEFORE: UnixTime = UnixTime::from_secs(1_735_689_600);
/// 2045-01-01T00:00:00Z: it cannot depend on when a copy is made, so it must last.
const CA_NOT_AFTER: UnixTime = UnixTime::from_secs(2_366_841_600);
/// What the mesh's other certificates have.
pub(super) const LEAF_LIFETIME: Lifetime = Lifetime::from_days(90);

/// The PEM texts that go into a configuration.
pub(super) struct Pems {
    pub(super) ca: String,
    pub(super) cert: String,
    pub(super) key: Zeroizing<String>,
}

/// Whom an agent's certificate is for.
pub(super) struct Asked<'a> {
    pub(super) name: &'a str,
    pub(super) names: Vec<AltName>,
    pub(super) lifetime: Lifetime,
}

/// The CA that belongs to `key`.
pub(super) fn derived(key: &PrivateKey) -> Result<Issuer, Explanation> {
    let key_type = key.public_key().key_type();
    if matches!(key_type, KeyType::Rsa(_)) {
        let told = Explanation::new(code::CONFIGURATION, "the CA of a mesh has an elliptic key");
        let told = told.halves("ECDSA or Ed25519", key_type);
        return Err(told.hint("certus key new --key-type p256 --out mesh-ca.key"));
    }
    let hash = key.public_key().hash();
    let digits: String = hash.to_string().chars().take(8).collect();
    let subject =
        Subject::common_name(&format!("Certus mesh CA {digits}")).map_err(|error| error.explain())?;
    let validity = Validity { not_before: CA_NOT_BEFORE, not_after: CA_NOT_AFTER };
    let mut serial = [0; 16];
    serial.copy_from_slice(&hash.as_bytes()[..16]);
    let plan = AuthorityPlan::new(subject, Some(0), validity);
    Issuer::found(&plan, Serial::from_random(serial), key).map_err(|error| error.explain())
}

/// A certificate over a fresh key, below the CA that belongs to `ca_key`.
pub(super) fn agent(
    ca_key: &PrivateKey,
    asked: &Asked<'_>,
    now: UnixTime,
    serial: Serial,
) -> Result<Pems, Explanation> {
    let ca = derived(ca_key)?;
    let key = PrivateKey::generate(KeyType::P256).map_err(|error| error.explain())?;
    let subject = Subject::common_name(asked.name).map_err(|error| error.explain())?;
    let names = Names::new(asked.names.iter().cloned()).map_err(|error| error.explain())?;
    let validity = Validity::starting(now, asked.lifetime).capped(&ca);
    let plan = CertPlan::new(subject, names, Usage::ANY, validity);
    let leaf = ca.sign_cert(&plan, key.public_key(), serial, ca_key).map_err(|error| error.explain())?;
    Ok(Pems {
        ca: ca.certificate().to_pem(),
        cert: certus_pki::pem::encode(certus_pki::pem::CERTIFICATE, &leaf),
        key: key.to_pem().map_err(|error| error.explain())?,
    })
}

/// Whether certificate, key and CA that came from elsewhere go together.
pub(super) fn check(pems: &Pems, now: UnixTime) -> Result<(), Explanation> {
    let chain = certus_pki::Certificate::many_from_pem(&pems.cert).map_err(|error| error.explain())?;
    let roots = certus_pki::Certificate::many_from_pem(&pems.ca).map_err(|error| error.explain())?;
    let key = PrivateKey::from_pem(&pems.key).map_err(|error| error.explain())?;
    certus_pki::chain::validate(&chain, &key, &roots, now).map(drop).map_err(|error| error.explain())
}

#[cfg(test)]
mod tests {
    use super::*;
    use certus_pki::{Certificate, ChainQuery, Purpose, verify_chain};

    fn now() -> UnixTime {
        "2026-11-22T14:03:10Z".parse().unwrap()
    }

    fn leaf(key: &PrivateKey, name: &str) -> (Certificate, Certificate) {
        let names = vec![AltName::dns(name).unwrap()];
        let asked = Asked { name, names, lifetime: LEAF_LIFETIME };
        let pems = agent(key, &asked, now(), Serial::from_random([7; 16])).unwrap();
        check(&pems, now()).unwrap();
        let read = |pem: &str| Certificate::many_from_pem(pem).unwrap().remove(0);
        (read(&pems.ca), read(&pems.cert))
    }

    #[test]
    fn agents_set_up_apart_trust_each_other() {
        for key_type in [KeyType::P256, KeyType::P384, KeyType::Ed25519] {
            let key = PrivateKey::generate(key_type).unwrap();
            let copy = PrivateKey::from_pem(&key.to_pem().unwrap()).unwrap();
            let (here, leaf_here) = leaf(&key, "web-1");
            let (there, leaf_there) = leaf(&copy, "web-2");
            assert_eq!(here.subject_der, there.subject_der);
            assert_eq!(here.serial, there.serial);
            assert_eq!(here.subject_key_id, there.subject_key_id);
            assert_eq!((here.public_key == there.public_key, here.not_after), (true, CA_NOT_AFTER));
            for (root, leaf) in [(&here, &leaf_there), (&there, &leaf_here)] {
                let roots = [root.der.as_slice()];
                for purpose in [Purpose::Server, Purpose::Client] {
                    let query = ChainQuery { purpose: Some(purpose), ..ChainQuery::at(now(), &roots) };
                    verify_chain(&leaf.der, &query).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_key_whose_signatures_do_not_vary_gives_the_same_bytes() {
        let key = PrivateKey::generate(KeyType::Ed25519).unwrap();
        let ders = [derived(&key), derived(&key)].map(|ca| ca.unwrap().certificate().der.clone());
        assert_eq!(ders[0], ders[1]);
    }

    #[test]
    fn its_times_are_what_is_said() {
        assert_eq!(CA_NOT_BEFORE.to_string(), "2025-01-01T00:00:00Z");
        assert_eq!(CA_NOT_AFTER.to_string(), "2045-01-01T00:00:00Z");
    }

    #[test]
    fn an_rsa_ca_is_refused_and_what_does_not_go_together_too() {
        let rsa = PrivateKey::generate(KeyType::Rsa(2048)).unwrap();
        assert_eq!(derived(&rsa).err().unwrap().facts[1].1, "RSA-2048");
        let asked = || Asked { name: "a", names: Vec::new(), lifetime: LEAF_LIFETIME };
        let made = || {
            let key = PrivateKey::generate(KeyType::P256).unwrap();
            agent(&key, &asked(), now(), Serial::from_random([9; 16])).unwrap()
        };
        let (one, other) = (made(), made());
        assert!(check(&Pems { ca: other.ca, ..one }, now()).is_err());
    }
}
