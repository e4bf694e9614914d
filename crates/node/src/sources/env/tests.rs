//! Variables that are set, unset, empty, and half of a pair.

use certus_forge::{Ca, LeafSpec};
use certus_pki::{Explain, code, pem};

use super::*;

const NOW: UnixTime = UnixTime::from_secs(1_900_000_000);

fn read(needs: Needs, values: &[(&str, &str)]) -> Result<Material, SourceError> {
    let value = |name: &str| values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
    EnvSource::new(needs).read_from(value, NOW)
}

#[test]
fn what_is_set_is_taken_and_what_is_not_is_named() {
    let root = Ca::root("root");
    let leaf = root.leaf(&LeafSpec::named("web"));
    let ca = pem::encode(pem::CERTIFICATE, &root.der);
    let (cert, key) = ((DEFAULT_CERT, leaf.chain_pem.as_str()), (DEFAULT_KEY, leaf.key_pem.as_str()));
    let ca = (DEFAULT_CA, ca.as_str());
    let material = read(Needs::BOTH, &[cert, key, ca]).ok().unwrap();
    assert_eq!((material.pair().unwrap().chain().len(), material.roots().len()), (1, 1));
    let unset = |values: &[(&str, &str)]| match read(Needs::BOTH, values) {
        Err(SourceError::Unset { variable, empty }) => (variable, empty),
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("taken"),
    };
    assert_eq!(unset(&[cert, ca]), (DEFAULT_KEY.to_owned(), false));
    assert_eq!(unset(&[key, ca]), (DEFAULT_CERT.to_owned(), false));
    assert_eq!(unset(&[cert, key]), (DEFAULT_CA.to_owned(), false));
    assert_eq!(unset(&[cert, (DEFAULT_KEY, " \n"), ca]), (DEFAULT_KEY.to_owned(), true));
    // Half a pair is a mistake, also where none is needed.
    assert!(matches!(read(Needs::ROOTS, &[ca, cert]), Err(SourceError::Unset { .. })));
    assert!(read(Needs::ROOTS, &[ca]).is_ok());
    let wrong = read(Needs::BOTH, &[(DEFAULT_CERT, "no PEM"), key, ca]).err().unwrap().explain();
    assert_eq!(wrong.code, code::BAD_ENCODING);
    assert!(wrong.facts.iter().any(|(label, value)| label == "from" && value.contains(DEFAULT_CERT)));
}

#[test]
fn the_names_are_settable() {
    let source = EnvSource::named("A", "B", "C", Needs::IDENTITY);
    let error = source.read_from(|_| None, NOW).err().unwrap();
    assert_eq!(error.to_string(), "the environment variable A is not set");
}
