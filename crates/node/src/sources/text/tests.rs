//! Bundles and separate texts, in every order and cut off anywhere.

use certus_forge::{Ca, Leaf, LeafSpec};
use certus_pki::{Explain, code};

use super::*;

fn parts() -> (Ca, Leaf) {
    let root = Ca::root("root");
    let leaf = root.intermediate("issuer", 0).leaf(&LeafSpec::named("web"));
    (root, leaf)
}

fn root_pem(root: &Ca) -> String {
    pem::encode(pem::CERTIFICATE, &root.der)
}

#[test]
fn the_key_may_come_first_or_last_and_roots_behind_the_chain() {
    let (root, leaf) = parts();
    let first = read_bundle(&format!("{}{}{}", leaf.key_pem, leaf.chain_pem, root_pem(&root))).ok().unwrap();
    let last = read_bundle(&format!("{}{}{}", leaf.chain_pem, root_pem(&root), leaf.key_pem)).ok().unwrap();
    for material in [&first, &last] {
        assert_eq!(material.pair().unwrap().chain(), leaf.chain_der);
        assert_eq!(material.roots()[0].der(), &root.der);
    }
    assert_eq!(first.digest(), last.digest());
    let without = read_bundle(&format!("{}{}", leaf.key_pem, leaf.chain_pem)).ok().unwrap();
    assert!(without.roots().is_empty());
}

#[test]
fn a_leaf_that_signed_itself_is_the_chain_and_no_root() {
    let leaf = certus_forge::self_signed(&LeafSpec::named("alone"));
    let material = read_bundle(&format!("{}{}", leaf.key_pem, leaf.pem)).ok().unwrap();
    assert_eq!(material.pair().unwrap().chain().len(), 1);
    assert!(material.roots().is_empty());
}

#[test]
fn what_is_missing_is_named() {
    let (root, leaf) = parts();
    let error = read_bundle(&leaf.chain_pem).err().unwrap();
    let MaterialError::Absent { part: Part::Bundle, expected: "private key", came } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(came, "CERTIFICATE, CERTIFICATE");
    assert!(matches!(read_bundle(&leaf.key_pem), Err(MaterialError::Absent { expected: "certificate", .. })));
    let only_ca = format!("{}{}", leaf.key_pem, root_pem(&root));
    assert_eq!(read_bundle(&only_ca).err(), Some(MaterialError::EmptyChain));
    let error = read_bundle("").err().unwrap();
    assert!(error.explain().facts.iter().any(|(_, value)| value.contains("empty")), "{error:?}");
    let two = format!("{}{}{}", leaf.key_pem, leaf.key_pem, leaf.chain_pem);
    assert!(matches!(read_bundle(&two), Err(MaterialError::Key(BadKey::NotOne { came: 2 }))));
}

#[test]
fn separate_roots_stand_in_the_place_of_the_bundles() {
    let (root, leaf) = parts();
    let other = Ca::root("other");
    let bundle = format!("{}{}{}", leaf.key_pem, leaf.chain_pem, root_pem(&root));
    let (bundle, roots) = (Some(bundle.as_str()), root_pem(&other));
    let material = read_texts(Texts { bundle, roots: Some(&roots), ..Texts::default() }).ok().unwrap();
    assert_eq!(material.roots().len(), 1);
    assert_eq!(material.roots()[0].der(), other.der);
}

#[test]
fn a_leaf_among_the_roots_is_refused_with_its_line() {
    let (root, leaf) = parts();
    let text = format!("{}{}", root_pem(&root), leaf.pem);
    let error = read_texts(Texts { roots: Some(&text), ..Texts::default() }).err().unwrap();
    let line = root_pem(&root).lines().count() + 1;
    assert!(matches!(&error, MaterialError::Certificate { line: Some(at), .. } if *at == line), "{error:?}");
    assert_eq!(error.explain().code, code::MALFORMED_CERTIFICATE);
}

#[test]
fn what_is_cut_off_is_refused_or_whole_up_to_the_cut() {
    let (root, leaf) = parts();
    let text = format!("{}{}{}", leaf.key_pem, leaf.chain_pem, root_pem(&root));
    let whole = [leaf.key_pem.len() + leaf.pem.len(), leaf.key_pem.len() + leaf.chain_pem.len(), text.len()];
    for cut in 0..text.len() {
        // Whether the last line's end is there does not matter.
        let at_end = whole.iter().any(|end| cut == *end || cut + 1 == *end);
        match read_bundle(&text[..cut]) {
            Ok(_) => assert!(at_end, "cut at {cut}"),
            Err(error) => {
                assert!(!at_end, "cut at {cut}: {error:?}");
                assert!(error.may_settle(), "cut at {cut}: {error:?}");
            }
        }
    }
}

#[test]
fn no_byte_that_flips_breaks_more_than_the_reading() {
    let (root, leaf) = parts();
    let text = format!("{}{}{}", leaf.key_pem, leaf.chain_pem, root_pem(&root));
    for at in (0..text.len()).step_by(7) {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 0x11;
        if let Ok(flipped) = String::from_utf8(bytes) {
            let _ = read_bundle(&flipped);
        }
    }
}

#[test]
fn remarks_and_parameters_between_blocks_are_passed_over() {
    let (_, leaf) = parts();
    let parameters = pem::encode("EC PARAMETERS", &[6, 0]);
    let text = format!("# ours\n{parameters}{}subject=web\n{}", leaf.key_pem, leaf.chain_pem);
    assert!(read_bundle(&text).is_ok());
}
