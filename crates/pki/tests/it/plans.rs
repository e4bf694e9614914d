//! A plan is held against what was signed: every single difference is seen.

use certus_forge::LeafSpec;
use certus_pki::issue::PlanMismatch;
use certus_pki::{
    CaPlan, Certificate, Issuer, KeyType, LeafPlan, Lifetime, PrivateKey, Role, San, Serial, Signer, Validity,
};

use crate::world::{NOW, WEB, World, patched};

struct Bench {
    root: Issuer,
    key: PrivateKey,
    plan: LeafPlan,
}

impl Bench {
    fn new() -> Bench {
        let key = fresh();
        let plan = CaPlan::root(&"prod".parse().unwrap(), Validity::starting(NOW, Lifetime::from_days(30)));
        let root = Issuer::self_signed(&plan, Serial::from_random([1; 16]), &key).unwrap();
        let sans = ["web.internal", "*.web.internal", "10.0.0.7", "2001:db8::1"];
        let plan = LeafPlan {
            identity: WEB.parse().unwrap(),
            public_key: fresh().public_key().clone(),
            sans: sans.into_iter().map(|san| san.parse().unwrap()).collect(),
            validity: Validity::starting(NOW, Lifetime::from_days(1)),
        };
        Bench { root, key, plan }
    }

    fn sign(&self, plan: &LeafPlan) -> Vec<u8> {
        self.root.sign_leaf(plan, Serial::from_random([2; 16]), &self.key).unwrap()
    }

    /// What the plan says of a certificate that was signed by a plan changed in one place.
    fn check(&self, change: impl FnOnce(&mut LeafPlan)) -> Result<(), PlanMismatch> {
        let mut plan = self.plan.clone();
        change(&mut plan);
        self.read(&self.sign(&plan))
    }

    fn read(&self, der: &[u8]) -> Result<(), PlanMismatch> {
        self.plan.check(&Certificate::from_der(der).unwrap())
    }
}

fn fresh() -> PrivateKey {
    PrivateKey::generate(KeyType::P256).ok().unwrap()
}

#[track_caller]
fn differs(what: &str, outcome: Result<(), PlanMismatch>) {
    let mismatch = outcome.expect_err("a difference");
    assert_eq!(mismatch.what, what, "{mismatch:?}");
    assert_ne!(mismatch.expected, mismatch.came);
}

#[test]
fn what_was_planned_agrees_for_every_role_and_key_type() {
    let bench = Bench::new();
    for role in Role::ALL {
        for key_type in [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa(2048)] {
            let mut plan = bench.plan.clone();
            plan.identity.role = role;
            plan.public_key = PrivateKey::generate(key_type).ok().unwrap().public_key().clone();
            let der = bench.sign(&plan);
            assert_eq!(plan.check(&Certificate::from_der(&der).unwrap()), Ok(()), "{role} {key_type}");
        }
    }
}

#[test]
fn each_difference_of_names_key_and_times_is_seen() {
    let bench = Bench::new();
    let second = Lifetime::from_secs(1);
    differs("identity", bench.check(|p| p.identity.id = "web-2".parse().unwrap()));
    differs("identity", bench.check(|p| p.identity.role = Role::Client));
    differs("identity", bench.check(|p| p.identity.cluster = "dev".parse().unwrap()));
    differs("names", bench.check(|p| p.sans.clear()));
    differs("names", bench.check(|p| drop(p.sans.pop())));
    differs("names", bench.check(|p| p.sans.push("more.internal".parse().unwrap())));
    differs("names", bench.check(|p| p.sans.push(p.sans[0].clone())));
    differs("names", bench.check(|p| p.sans.swap(0, 1)));
    differs("names", bench.check(|p| p.sans[2] = "10.0.0.8".parse().unwrap()));
    differs("names", bench.check(|p| p.sans[0] = San::Dns("10.0.0.7".into())));
    differs("key", bench.check(|p| p.public_key = fresh().public_key().clone()));
    differs("not before", bench.check(|p| p.validity.not_before = p.validity.not_before.plus(second)));
    differs("not after", bench.check(|p| p.validity.not_after = p.validity.not_after.minus(second)));
}

#[test]
fn each_difference_of_what_no_plan_names_is_seen() {
    let bench = Bench::new();
    let der = bench.sign(&bench.plan);
    assert_eq!(bench.read(&der), Ok(()));
    let patch = |from: &[u8], to: &[u8]| bench.read(&patched(&der, from, to));
    // Key usage: nonRepudiation beside digitalSignature.
    differs("extensions", patch(&[4, 4, 3, 2, 7, 0x80], &[4, 4, 3, 2, 6, 0xc0]));
    // Extended key usage: serverAuth becomes codeSigning; clientAuth becomes a second serverAuth.
    let purpose = |last| [6, 8, 0x2b, 6, 1, 5, 5, 7, 3, last];
    differs("usage", patch(&purpose(1), &purpose(3)));
    differs("usage", patch(&purpose(2), &purpose(1)));
    // The subject's tag: UTF8String becomes PrintableString. The text is the same.
    differs("subject", patch(b"\x0c\x05web-1", b"\x13\x05web-1"));
    differs("subject", patch(b"\x0c\x05web-1", b"\x0c\x05web-2"));
    // The subject key identifier of another key.
    let hash = bench.plan.public_key.hash();
    differs("extensions", patch(&hash.as_bytes()[..20], &[7; 20]));
    // An extension's criticality: key usage becomes basic constraints' sibling without a meaning.
    differs("extensions", patch(&[6, 3, 0x55, 0x1d, 0x0f], &[6, 3, 0x55, 0x1d, 0x7f]));
}

#[test]
fn a_ca_and_a_stranger_are_not_what_was_planned() {
    let bench = Bench::new();
    let plan = CaPlan {
        common_name: "web-1".into(),
        ..CaPlan::issuer(&"prod".parse().unwrap(), "x", bench.plan.validity)
    };
    let ca =
        bench.root.sign_ca(&plan, &bench.plan.public_key, Serial::from_random([3; 16]), &bench.key).unwrap();
    differs("identity", bench.read(&ca.certificate().der));

    // The same names and key from an issuer that writes its own extensions.
    let stranger = World::new("prod");
    let leaf = stranger.leaf(&LeafSpec {
        dns: vec!["web.internal".into(), "*.web.internal".into()],
        ips: vec!["10.0.0.7".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        not_before: bench.plan.validity.not_before.secs(),
        not_after: bench.plan.validity.not_after.secs(),
        ..crate::world::web()
    });
    let certificate = Certificate::from_der(&leaf.der).unwrap();
    let plan = LeafPlan { public_key: certificate.public_key.clone(), ..bench.plan.clone() };
    differs("extensions", plan.check(&certificate));
}
