//! Generations that can be used, and each reason why one cannot.

use certus_forge::{Ca, CaSpec, Eku, Leaf, LeafSpec};
use certus_pki::{Certificate, Explain, PrivateKey, Root, UnixTime, code};

use super::*;

const NOW: UnixTime = UnixTime::from_secs(1_900_000_000);

fn read(ders: &[Vec<u8>]) -> Vec<Certificate> {
    ders.iter().map(|der| Certificate::from_der(der).unwrap()).collect()
}

fn pair(leaf: &Leaf, chain: &[Vec<u8>]) -> Pair {
    Pair::new(PrivateKey::from_pem(&leaf.key_pem).ok().unwrap(), read(chain)).ok().unwrap()
}

fn material(leaf: &Leaf, root: &Ca) -> Material {
    Material::new(Some(pair(leaf, &leaf.chain_der)), vec![Root::from_der(&root.der).unwrap()])
}

fn refused(material: &Material) -> MaterialError {
    material.check(NOW, Needs::BOTH).unwrap_err()
}

fn named(cn: &str) -> LeafSpec {
    LeafSpec { dns: vec![format!("{cn}.example.com")], ..LeafSpec::named(cn) }
}

#[test]
fn a_sound_generation_is_taken_without_concerns() {
    let root = Ca::root("root");
    let leaf = root.intermediate("issuer", 0).leaf(&named("web"));
    let material = material(&leaf, &root);
    assert_eq!(material.check(NOW, Needs::BOTH), Ok(()));
    assert_eq!(material.concerns(NOW), []);
    assert_eq!(material.expires_alarm(NOW, true), None);
}

#[test]
fn what_is_needed_must_be_there() {
    let root = Ca::root("root");
    let leaf = root.leaf(&named("web"));
    let nothing = Material::new(None, Vec::new());
    assert_eq!(nothing.check(NOW, Needs::IDENTITY), Err(MaterialError::NoIdentity));
    assert_eq!(nothing.check(NOW, Needs::ROOTS), Err(MaterialError::NoRoots));
    let only_pair = Material::new(Some(pair(&leaf, &leaf.chain_der)), Vec::new());
    assert_eq!(only_pair.check(NOW, Needs::IDENTITY), Ok(()));
    assert_eq!(only_pair.check(NOW, Needs::BOTH), Err(MaterialError::NoRoots));
    let only_roots = Material::new(None, vec![Root::from_der(&root.der).unwrap()]);
    assert_eq!(only_roots.check(NOW, Needs::ROOTS), Ok(()));
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let root = Ca::root("root");
    let (one, two) = (root.leaf(&named("one")), root.leaf(&named("two")));
    let error =
        refused(&Material::new(Some(pair(&one, &two.chain_der)), vec![Root::from_der(&root.der).unwrap()]));
    assert!(matches!(&error, MaterialError::WrongKey { which, .. } if which == "CN=two"));
    assert_eq!(error.explain().code, code::KEY_MISMATCH);
}

#[test]
fn times_are_said_with_both_halves() {
    let root = Ca::root("root");
    let (before, after) = (NOW.secs() - 100, NOW.secs() + 100);
    let ended = LeafSpec { not_after: before, ..named("old") };
    let error = refused(&material(&root.leaf(&ended), &root));
    assert_eq!(error.to_string(), "CN=old expired 100 s ago");
    let facts = error.explain().facts;
    assert_eq!(facts[0], ("now".to_owned(), NOW.to_string()));
    assert_eq!(facts[1], ("not after".to_owned(), UnixTime::from_secs(before).to_string()));
    let early = LeafSpec { not_before: after, ..named("new") };
    assert_eq!(refused(&material(&root.leaf(&early), &root)).explain().code, code::NOT_YET_VALID);
}

#[test]
fn an_issuer_past_its_end_is_named() {
    let root = Ca::root("root");
    let ended = CaSpec { not_after: NOW.secs() - 1, ..CaSpec::named("issuer") };
    let leaf = root.intermediate_from(&ended).leaf(&named("web"));
    let error = refused(&material(&leaf, &root));
    assert!(matches!(&error, MaterialError::Expired { which, .. } if which == "CN=issuer"), "{error:?}");
}

#[test]
fn what_is_no_leaf_is_refused() {
    let root = Ca::root("root");
    let of = |spec: LeafSpec| refused(&material(&root.leaf(&spec), &root)).explain().code;
    assert_eq!(of(LeafSpec { is_ca: true, ..named("ca") }), code::NOT_A_LEAF);
    let usage = LeafSpec { digital_signature: false, ..named("agrees") };
    // Without any key usage a key may do everything.
    assert_eq!(material(&root.leaf(&usage), &root).check(NOW, Needs::BOTH), Ok(()));
    let none = LeafSpec { eku: Eku::None, ..named("any") };
    assert_eq!(material(&root.leaf(&none), &root).check(NOW, Needs::BOTH), Ok(()));
}

#[test]
fn a_chain_out_of_order_is_refused() {
    let root = Ca::root("root");
    let issuer = root.intermediate("issuer", 0);
    let leaf = issuer.leaf(&named("web"));
    let with = |chain: &[Vec<u8>]| {
        refused(&Material::new(Some(pair(&leaf, chain)), vec![Root::from_der(&root.der).unwrap()]))
    };
    let (own, above) = (&leaf.chain_der[0], &leaf.chain_der[1]);
    // The issuer first: its key is not the key that came.
    assert!(matches!(with(&[above.clone(), own.clone()]), MaterialError::WrongKey { .. }));
    let foreign = root.intermediate("foreign", 0);
    let error = with(&[own.clone(), foreign.der.clone()]);
    let MaterialError::Order { place, expected, came, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*place, expected.as_str(), came.as_str()), (2, "CN=issuer", "CN=foreign"));
    // Of the right name, and another key.
    let double = root.intermediate("issuer", 0);
    let error = with(&[own.clone(), double.der.clone()]);
    assert!(matches!(error, MaterialError::NotSigned { place: 2, is_ca: true, .. }), "{error:?}");
    assert_eq!(error.explain().code, code::BAD_SIGNATURE);
    // The root may stand at the end.
    let whole = [own.clone(), above.clone(), root.der.clone()];
    let whole = Material::new(Some(pair(&leaf, &whole)), vec![Root::from_der(&root.der).unwrap()]);
    assert_eq!(whole.check(NOW, Needs::BOTH), Ok(()));
}

#[test]
fn a_chain_has_a_length() {
    let root = Ca::root("root");
    let leaf = root.leaf(&named("web"));
    let key = || PrivateKey::from_pem(&leaf.key_pem).ok().unwrap();
    let long = read(&vec![leaf.der.clone(); CHAIN_MAX + 1]);
    assert_eq!(Pair::new(key(), long).err(), Some(MaterialError::ChainTooLong { came: 9 }));
    assert_eq!(Pair::new(key(), Vec::new()).err(), Some(MaterialError::EmptyChain));
}

#[test]
fn roots_that_do_not_vouch_are_a_concern_and_no_error() {
    let (ours, theirs) = (Ca::root("ours"), Ca::root("theirs"));
    let material = material(&ours.leaf(&named("web")), &theirs);
    assert_eq!(material.check(NOW, Needs::BOTH), Ok(()));
    let concerns = material.concerns(NOW);
    assert_eq!(concerns.len(), 1);
    assert_eq!(concerns[0].code, code::UNKNOWN_AUTHORITY);
}

#[test]
fn a_leaf_without_names_is_a_concern() {
    let root = Ca::root("root");
    let material = material(&root.leaf(&LeafSpec::named("web")), &root);
    assert_eq!(material.check(NOW, Needs::BOTH), Ok(()));
    assert_eq!(material.concerns(NOW)[0].code, code::WRONG_NAME);
}

#[test]
fn one_root_must_be_in_its_time() {
    let good = Ca::root("root");
    let ended = Ca::root_valid("ended", certus_forge::NOT_BEFORE, NOW.secs() - 10);
    let leaf = good.leaf(&named("web"));
    let of = |roots: &[&Ca]| {
        let roots = roots.iter().map(|root| Root::from_der(&root.der).unwrap()).collect();
        Material::new(Some(pair(&leaf, &leaf.chain_der)), roots)
    };
    assert!(matches!(refused(&of(&[&ended])), MaterialError::RootsOutOfTime { roots: 1, .. }));
    let both = of(&[&ended, &good]);
    assert_eq!(both.check(NOW, Needs::BOTH), Ok(()));
    assert_eq!(both.concerns(NOW)[0].code, code::EXPIRED);
}

#[test]
fn digests_tell_generations_apart() {
    let root = Ca::root("root");
    let (one, two) = (root.leaf(&named("web")), root.leaf(&named("web")));
    assert_eq!(material(&one, &root).digest(), material(&one, &root).digest());
    assert_ne!(material(&one, &root).digest(), material(&two, &root).digest());
    let without = Material::new(Some(pair(&one, &one.chain_der)), Vec::new());
    assert_ne!(without.digest(), material(&one, &root).digest());
}

#[test]
fn the_last_third_sounds_an_alarm() {
    let root = Ca::root("root");
    let (begin, end) = (NOW.secs(), NOW.secs() + 300);
    let spec = LeafSpec { not_before: begin, not_after: end, ..named("web") };
    let material = material(&root.leaf(&spec), &root);
    let at = |secs| material.expires_alarm(UnixTime::from_secs(begin + secs), false);
    assert_eq!(at(200), None);
    let soon = at(201).unwrap();
    assert!(soon.message.contains("ends in") && soon.hint.unwrap().contains("cannot rotate"));
    assert!(at(301).unwrap().message.contains("ended"));
}
