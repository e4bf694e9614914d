//! What `verify_peer` says of certificates that another implementation made, sound and unsound.

use certus_forge::{Ca, CaSpec, Eku, KeyType, LeafSpec, corrupt, self_signed};
use certus_pki::cert::{BadCertificate, NoIdentity};
use certus_pki::{
    CaPlan, CertId, Certificate, Issuer, LeafPlan, Lifetime, PrivateKey, Purpose, Rejection, Serial, Signer,
    UnixTime, Validity, verify_peer,
};
use proptest::prelude::*;

use crate::world::{NOW, WEB, World, bundle, code, key_hash, resigned, revocation, web};

const BOTH: [Purpose; 2] = [Purpose::Server, Purpose::Client];

fn refused(outcome: Result<certus_pki::Peer, Rejection>) -> Rejection {
    outcome.expect_err("it is refused")
}

#[test]
fn a_sound_chain_is_accepted_on_both_sides_and_says_who_it_is() {
    let prod = World::new("prod");
    let spec = LeafSpec {
        dns: vec!["web.internal".into()],
        ips: vec!["2001:db8::1".parse().unwrap()],
        serial: Some(vec![0xff; 16]),
        not_after: NOW.secs() + 600,
        ..web()
    };
    let leaf = prod.leaf(&spec);
    for purpose in BOTH {
        let peer = verify_peer(&leaf.chain_der, &prod.bundle(), NOW, purpose).unwrap();
        assert_eq!(peer.identity, WEB.parse().ok());
        assert_eq!(peer.sans, ["web.internal".parse().unwrap(), "2001:db8::1".parse().unwrap()]);
        let serial = Serial::from_random([0xff; 16]);
        assert_eq!(peer.cert, CertId { issuer: key_hash(&prod.issuer), serial });
        assert_eq!(peer.not_after, NOW.plus(Lifetime::from_secs(600)));
        assert_eq!(peer.chain_not_after, peer.not_after);
    }
    let with_root = [&leaf.chain_der[..], std::slice::from_ref(&prod.root.der)].concat();
    let with_remains = [&leaf.chain_der[..], &[b"remains".to_vec()]].concat();
    for chain in [with_root, with_remains] {
        assert!(verify_peer(&chain, &prod.bundle(), NOW, Purpose::Server).is_ok());
    }
}

#[test]
fn leaves_of_every_key_type_are_accepted_from_issuers_of_every_key_type() {
    for ca in [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa2048] {
        let prod = World::under(Ca::root_from(&CaSpec { key_type: ca, ..CaSpec::named("prod") }));
        for key_type in [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa2048] {
            let judged = prod.judge(&LeafSpec { key_type, ..web() }, Purpose::Client);
            assert!(judged.is_ok(), "{ca:?} {key_type:?}: {judged:?}");
        }
    }
}

#[test]
fn the_chain_ends_with_its_first_to_end() {
    let end = NOW.plus(Lifetime::from_secs(60));
    let root = Ca::root_valid("prod", certus_forge::NOT_BEFORE, end.secs());
    let prod = World::under(root);
    let peer = prod.judge(&web(), Purpose::Server).unwrap();
    assert_eq!(peer.not_after.secs(), certus_forge::NOT_AFTER);
    assert_eq!(peer.chain_not_after, end);

    let prod = World::new("prod");
    let spec = CaSpec { not_after: end.secs(), pathlen: Some(0), ..CaSpec::named("short") };
    let short = prod.root.intermediate_from(&spec);
    let trust = bundle(&[&prod.root], &[&short], []);
    let peer = verify_peer(&short.leaf(&web()).chain_der, &trust, NOW, Purpose::Server).unwrap();
    assert_eq!(peer.chain_not_after, end);
}

/// One root was signed anew over its key: the chain ends with the certificate that vouched for it.
#[test]
fn of_two_roots_of_one_key_the_one_that_still_holds_counts() {
    let old = Ca::root_valid("prod", certus_forge::NOT_BEFORE, NOW.secs() - 1);
    let new = Ca::root_with_key(&CaSpec::named("prod"), old.key.clone());
    let prod = World::under(old.clone());
    let trust = bundle(&[&old, &new], &[&prod.issuer], []);
    let peer = verify_peer(&prod.leaf(&web()).chain_der, &trust, NOW, Purpose::Server).unwrap();
    assert_eq!(peer.chain_not_after.secs(), certus_forge::NOT_AFTER);
}

#[test]
fn a_foreign_root_is_named_beside_the_trusted_one() {
    let prod = World::new("prod");
    let expected = vec![key_hash(&prod.root)];
    let other = World::new("other");
    // Another cluster, one of our name, and one of our name with keys of another kind.
    let ed25519 = Ca::root_from(&CaSpec { key_type: KeyType::Ed25519, ..CaSpec::named("prod") });
    for (foreign, came) in
        [(&other, "CN=other"), (&World::new("prod"), "CN=prod"), (&World::under(ed25519), "CN=prod")]
    {
        let leaf = foreign.leaf(&web());
        let rejection = refused(verify_peer(&leaf.chain_der, &prod.bundle(), NOW, Purpose::Server));
        let named = Rejection::UnknownAuthority { came: came.into(), key: None, expected: expected.clone() };
        assert_eq!(rejection, named);
        assert_eq!(code(&rejection), 1101);
        let with_root = [&leaf.chain_der[..], std::slice::from_ref(&foreign.root.der)].concat();
        let rejection = refused(verify_peer(&with_root, &prod.bundle(), NOW, Purpose::Server));
        let (came, key) = (came.into(), Some(key_hash(&foreign.root)));
        assert_eq!(rejection, Rejection::UnknownAuthority { came, key, expected: expected.clone() });
    }
    let alone = self_signed(&web());
    let rejection = refused(verify_peer(&alone.chain_der, &prod.bundle(), NOW, Purpose::Server));
    assert!(matches!(&rejection, Rejection::UnknownAuthority { key: Some(_), .. }), "{rejection:?}");
}

/// What was appended does not vouch: not our root, not our issuer, not both.
#[test]
fn a_foreign_leaf_with_our_certificates_appended_stays_foreign() {
    let prod = World::new("prod");
    let (ours_root, ours_issuer) = (&prod.root.der, &prod.issuer.der);
    for foreign in [World::new("other"), World::new("prod")] {
        let leaf = foreign.leaf(&web());
        let theirs = &foreign.issuer.der;
        for above in [vec![ours_root], vec![theirs, ours_root], vec![ours_issuer, ours_root]] {
            let chain: Vec<&[u8]> =
                std::iter::once(&leaf.der).chain(above).map(|der| der.as_slice()).collect();
            let rejection = refused(verify_peer(&chain, &prod.bundle(), NOW, Purpose::Server));
            let Rejection::UnknownAuthority { key, .. } = &rejection else { panic!("{rejection:?}") };
            assert_eq!(*key, None, "the root that was appended is not where the chain leads");
            assert_eq!(code(&rejection), 1101);
        }
    }
}

#[test]
fn an_issuer_that_was_not_sent_is_named() {
    let prod = World::new("prod");
    let leaf = prod.leaf(&web());
    for chain in [vec![leaf.der.clone()], vec![leaf.der.clone(), prod.root.der.clone()]] {
        let rejection = refused(verify_peer(&chain, &prod.bundle(), NOW, Purpose::Server));
        let Rejection::UnknownAuthority { came, .. } = &rejection else { panic!("{rejection:?}") };
        assert_eq!(came, "CN=prod issuer 1");
    }
}

#[test]
fn times_bind_to_the_second_and_name_the_part() {
    let prod = World::new("prod");
    let (from, to) = (NOW.secs() - 10, NOW.secs() + 10);
    let leaf = prod.leaf(&LeafSpec { not_before: from, not_after: to, ..web() });
    let leaf_bundle = prod.bundle();
    let spec = CaSpec { not_before: from, not_after: to, pathlen: Some(0), ..CaSpec::named("brief") };
    let issuer = prod.root.intermediate_from(&spec);
    let issuer_bundle = bundle(&[&prod.root], &[&issuer], []);
    let under = World::under(Ca::root_valid("prod", from, to));
    let root_bundle = under.bundle();
    let cases = [
        ("the certificate", leaf.chain_der, leaf_bundle),
        ("an issuer in the chain", issuer.leaf(&web()).chain_der, issuer_bundle),
        ("the root", under.leaf(&web()).chain_der, root_bundle.clone()),
        ("the root", [under.leaf(&web()).chain_der, vec![under.root.der.clone()]].concat(), root_bundle),
    ];
    for (part, chain, trust) in cases {
        let at = |secs| verify_peer(&chain, &trust, UnixTime::from_secs(secs), Purpose::Server);
        assert!(at(from).is_ok() && at(to).is_ok(), "{part}");
        let early = refused(at(from - 1));
        let (now, not_before) = (UnixTime::from_secs(from - 1), UnixTime::from_secs(from));
        assert_eq!(early, Rejection::NotYetValid { what: part, now, not_before });
        assert_eq!(code(&early), 1103);
        let late = refused(at(to + 1));
        let (now, not_after) = (UnixTime::from_secs(to + 1), UnixTime::from_secs(to));
        assert_eq!(late, Rejection::Expired { what: part, now, not_after });
        assert_eq!(code(&late), 1102);
        assert!(at(i64::MIN).is_err() && at(i64::MAX).is_err(), "{part}");
    }
}

/// After a rotation the new root bears the name of the old: an old chain is over, not forged.
#[test]
fn an_ended_root_is_told_from_a_live_one_of_its_name() {
    let old = World::under(Ca::root_valid("prod", certus_forge::NOT_BEFORE, NOW.secs() - 1));
    let new = World::new("prod");
    let trust = bundle(&[&new.root, &old.root], &[&new.issuer, &old.issuer], []);
    let rejection = refused(verify_peer(&old.leaf(&web()).chain_der, &trust, NOW, Purpose::Server));
    let not_after = UnixTime::from_secs(NOW.secs() - 1);
    assert_eq!(rejection, Rejection::Expired { what: "the root", now: NOW, not_after });
    assert!(verify_peer(&new.leaf(&web()).chain_der, &trust, NOW, Purpose::Server).is_ok());
}

#[test]
fn the_identity_is_one_uri_of_this_cluster() {
    let prod = World::new("prod");
    let of = |uris: &[&str]| {
        let uris = uris.iter().map(|uri| (*uri).to_owned()).collect();
        let rejection = refused(prod.judge(&LeafSpec { uris, ..web() }, Purpose::Client));
        (code(&rejection), rejection)
    };
    let count = |came| (1110, Rejection::NoIdentity(NoIdentity::Count { came }));
    assert_eq!(of(&[]), count(0));
    assert_eq!(of(&[WEB, "spiffe://prod/worker/web-2"]), count(2));
    assert_eq!(of(&[WEB, WEB]), count(2));
    for uri in ["spiffe://prod", "https://prod/worker/web-1", "spiffe://prod/worker/web-1/x", "spiffe://"] {
        let (code, rejection) = of(&[uri]);
        assert!(matches!(rejection, Rejection::NoIdentity(NoIdentity::Bad(_))), "{uri}: {rejection:?}");
        assert_eq!(code, 1110);
    }
    let foreign = "spiffe://dev/worker/web-1";
    let (came, expected) = (foreign.parse().unwrap(), "prod".parse().unwrap());
    assert_eq!(of(&[foreign]), (1107, Rejection::WrongCluster { came, expected }));
}

#[test]
fn purposes_bind() {
    let prod = World::new("prod");
    let with = |eku, purpose| prod.judge(&LeafSpec { eku, ..web() }, purpose);
    for (eku, needed) in [(Eku::Client, Purpose::Server), (Eku::Server, Purpose::Client)] {
        let rejection = refused(with(eku, needed));
        assert_eq!(rejection, Rejection::WrongPurpose { needed });
        assert_eq!(code(&rejection), 1109);
    }
    assert!(with(Eku::Client, Purpose::Client).is_ok() && with(Eku::Server, Purpose::Server).is_ok());
    // RFC 5280 4.2.1.12: without the extension every purpose is meant.
    assert!(BOTH.into_iter().all(|purpose| with(Eku::None, purpose).is_ok()));
}

#[test]
fn a_client_of_ours_cannot_serve() {
    let (root, key) = root_of_ours();
    let plan = plan("spiffe://prod/client/ann");
    let leaf = root.sign_leaf(&plan, Serial::from_random([9; 16]), &key).unwrap();
    let trust = trust_in(&root);
    assert!(verify_peer(&[&leaf], &trust, NOW, Purpose::Client).is_ok());
    let rejection = refused(verify_peer(&[&leaf], &trust, NOW, Purpose::Server));
    assert_eq!(rejection, Rejection::WrongPurpose { needed: Purpose::Server });
}

#[test]
fn only_leaves_that_may_sign_are_peers() {
    let prod = World::new("prod");
    let ca = refused(prod.judge(&LeafSpec { is_ca: true, ..web() }, Purpose::Server));
    assert_eq!(ca, Rejection::NotALeaf { is_ca: true });
    assert_eq!(code(&ca), 1111);
    let issuer = refused(verify_peer(&prod.issuer.chain_der, &prod.bundle(), NOW, Purpose::Server));
    assert_eq!(issuer, Rejection::NotALeaf { is_ca: true });

    // A leaf for key agreement only.
    let (root, key) = root_of_ours();
    let leaf = root.sign_leaf(&plan(WEB), Serial::from_random([9; 16]), &key).unwrap();
    let leaf = resigned(&leaf, &key, &[4, 4, 3, 2, 7, 0x80], &[4, 4, 3, 2, 3, 0x08]);
    let rejection = refused(verify_peer(&[&leaf], &trust_in(&root), NOW, Purpose::Server));
    assert_eq!(rejection, Rejection::NotALeaf { is_ca: false });
    assert_eq!(code(&rejection), 1111);
}

#[test]
fn forged_signatures_are_seen_wherever_they_are() {
    let prod = World::new("prod");
    let leaf = prod.leaf(&web());
    let forged_leaf = vec![corrupt::signature(&leaf.der), prod.issuer.der.clone()];
    let renamed =
        vec![corrupt::replaced(&leaf.der, "/worker/web-1", "/worker/web-2"), prod.issuer.der.clone()];
    let forged_issuer = vec![leaf.der.clone(), corrupt::signature(&prod.issuer.der)];
    for chain in [forged_leaf, renamed, forged_issuer] {
        let rejection = refused(verify_peer(&chain, &prod.bundle(), NOW, Purpose::Server));
        assert_eq!(rejection, Rejection::BadSignature);
        assert_eq!(code(&rejection), 1112);
    }
}

#[test]
fn an_issuer_that_was_struck_vouches_for_nobody() {
    let prod = World::new("prod");
    let rejected = |issuer: &Ca, trust: &certus_pki::Bundle| {
        let rejection = refused(verify_peer(&issuer.leaf(&web()).chain_der, trust, NOW, Purpose::Server));
        assert_eq!(rejection, Rejection::IssuerNotActive { issuer: key_hash(issuer) });
        assert_eq!(code(&rejection), 1106);
    };
    rejected(&prod.issuer, &bundle(&[&prod.root], &[], []));
    rejected(&prod.root.intermediate("prod issuer 2", 0), &prod.bundle());
    // The root itself is not an issuer of leaves, unless it is listed.
    rejected(&prod.root, &prod.bundle());
}

#[test]
fn revocation_is_by_issuer_and_serial() {
    let prod = World::new("prod");
    let other = prod.root.intermediate("prod issuer 2", 0);
    let serial = Serial::from_random([0x80; 16]);
    let spec = LeafSpec { serial: Some(vec![0x80; 16]), ..web() };
    let trust = bundle(&[&prod.root], &[&prod.issuer, &other], [revocation(&prod.issuer, serial)]);
    let judge = |ca: &Ca, spec| verify_peer(&ca.leaf(spec).chain_der, &trust, NOW, Purpose::Client);
    let rejection = refused(judge(&prod.issuer, &spec));
    let reason = certus_pki::Reason::KeyCompromise;
    assert_eq!(rejection, Rejection::Revoked { serial, at: NOW, reason });
    assert_eq!(code(&rejection), 1105);
    assert!(judge(&other, &spec).is_ok(), "the same serial of another issuer");
    assert!(judge(&prod.issuer, &web()).is_ok(), "another serial of the same issuer");
}

#[test]
fn broken_rules_of_path_validation_are_named() {
    let prod = World::new("prod");
    let deep = prod.issuer.intermediate("below", 0);
    let trust = bundle(&[&prod.root], &[&prod.issuer, &deep], []);
    let too_deep = refused(verify_peer(&deep.leaf(&web()).chain_der, &trust, NOW, Purpose::Server));
    // Key usage, which is critical, becomes an extension that nobody knows.
    let (root, key) = root_of_ours();
    let unknown = root.sign_leaf(&plan(WEB), Serial::from_random([9; 16]), &key).unwrap();
    let unknown = resigned(&unknown, &key, &[6, 3, 0x55, 0x1d, 15], &[6, 3, 0x55, 0x1d, 127]);
    let unknown = refused(verify_peer(&[&unknown], &trust_in(&root), NOW, Purpose::Server));
    // A leaf that signs as if it were a CA.
    let leaf = prod.leaf(&web());
    let below = Ca::root_with_key(&CaSpec::named("web-1"), leaf.key.clone()).leaf(&web());
    let chain = [below.der, leaf.der, prod.issuer.der.clone()];
    let by_leaf = refused(verify_peer(&chain, &prod.bundle(), NOW, Purpose::Server));
    for (rejection, why) in [
        (too_deep, "PathLenConstraintViolated"),
        (unknown, "UnsupportedCriticalExtension"),
        (by_leaf, "EndEntityUsedAsCa"),
    ] {
        assert_eq!(rejection, Rejection::Path { why: why.into() });
        assert_eq!(code(&rejection), 1113);
    }
    // Under the arc 2.999, for which the reader of identifiers has no room.
    let unread = refused(prod.judge(&LeafSpec { unknown_critical: true, ..web() }, Purpose::Server));
    assert!(matches!(unread, Rejection::Certificate(BadCertificate::Malformed { .. })), "{unread:?}");
}

#[test]
fn what_is_no_chain_is_refused() {
    let prod = World::new("prod");
    let judge = |chain: &[Vec<u8>]| refused(verify_peer(chain, &prod.bundle(), NOW, Purpose::Server));
    assert_eq!(judge(&[]), Rejection::NoCertificate);
    assert_eq!(code(&judge(&[])), 1104);
    let nine = vec![prod.leaf(&web()).der; 9];
    assert_eq!(judge(&nine), Rejection::ChainTooLong { came: 9 });
    assert_eq!(code(&judge(&nine)), 1113);
    let leaf = prod.leaf(&web());
    for garbage in [
        Vec::new(),
        b"garbage".to_vec(),
        corrupt::truncated(&leaf.der),
        corrupt::trailing(&leaf.der),
        vec![0x30; 70_000],
    ] {
        let rejection = judge(&[garbage, prod.issuer.der.clone()]);
        assert!(matches!(rejection, Rejection::Certificate(_)), "{rejection:?}");
        assert_eq!(code(&rejection), 1113);
    }
    let rejection = judge(&[leaf.der, b"garbage".to_vec()]);
    assert!(matches!(rejection, Rejection::Path { .. }), "{rejection:?}");
}

/// Its bytes are those of the positive number 0x80…: as a name of a certificate it would stand for two.
#[test]
fn a_negative_serial_is_not_read() {
    let prod = World::new("prod");
    let leaf = prod.leaf(&LeafSpec { serial: Some([&[0x21], &[0x43; 15][..]].concat()), ..web() });
    let serial = [&[0x21], &[0x43; 15][..]].concat();
    let negative = [&[0xa1], &[0x43; 15][..]].concat();
    let read = Certificate::from_der(&crate::world::patched(&leaf.der, &serial, &negative));
    assert!(matches!(&read, Err(BadCertificate::Malformed { why }) if why.contains("negative")), "{read:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// No bit of a leaf or of its issuer may change: nothing unsigned is believed.
    #[test]
    fn a_chain_with_one_bit_changed_is_refused(place in any::<prop::sample::Index>(), bit in 0..8u8, upper: bool) {
        static CHAIN: std::sync::LazyLock<(World, Vec<Vec<u8>>)> = std::sync::LazyLock::new(|| {
            let prod = World::new("prod");
            let chain = prod.leaf(&web()).chain_der;
            (prod, chain)
        });
        let (prod, chain) = &*CHAIN;
        let mut chain = chain.clone();
        let changed = &mut chain[usize::from(upper)];
        let place = place.index(changed.len());
        changed[place] ^= 1 << bit;
        let outcome = verify_peer(&chain, &prod.bundle(), NOW, Purpose::Server);
        prop_assert!(outcome.is_err(), "byte {place}");
        code(&outcome.unwrap_err());
    }
}

fn root_of_ours() -> (Issuer, PrivateKey) {
    let key = PrivateKey::generate(certus_pki::KeyType::Ed25519).ok().unwrap();
    let validity = Validity::starting(NOW, Lifetime::from_days(30));
    let plan = CaPlan::root(&"prod".parse().unwrap(), validity);
    (Issuer::self_signed(&plan, Serial::from_random([1; 16]), &key).unwrap(), key)
}

fn plan(identity: &str) -> LeafPlan {
    let key = PrivateKey::generate(certus_pki::KeyType::P256).ok().unwrap();
    LeafPlan {
        identity: identity.parse().unwrap(),
        public_key: key.public_key().clone(),
        sans: Vec::new(),
        validity: Validity::starting(NOW, Lifetime::from_days(1)),
    }
}

fn trust_in(root: &Issuer) -> certus_pki::Bundle {
    let certificate = root.certificate();
    let issuer = certus_pki::IssuerRef { key_hash: root.key_hash(), not_after: certificate.not_after };
    let roots = vec![certus_pki::Root::from_der(&certificate.der).unwrap()];
    certus_pki::Bundle::new("prod".parse().unwrap(), certus_pki::Epoch::default(), roots, [issuer], [])
}
