//! Credentials in PEM: key, chain and roots, in one text or in several.
#![no_main]

use certus_node::sources::{CHAIN_MAX, Material, Needs, ROOTS_MAX, Texts, read_bundle, read_texts};
use certus_pki::{UnixTime, pem};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(material) = read_bundle(text) {
        judge(&material);
        let again = read_bundle(&written(&material)).ok().expect("what was read can be written and read");
        assert!(again.digest() == material.digest());
    }
    for texts in [
        Texts { chain: Some(text), key: Some(text), roots: Some(text), bundle: None },
        Texts { roots: Some(text), ..Texts::default() },
    ] {
        if let Ok(material) = read_texts(texts) {
            judge(&material);
        }
    }
});

fn judge(material: &Material) {
    let now = UnixTime::from_secs(1_900_000_000);
    if let Some(pair) = material.pair() {
        assert!((1..=CHAIN_MAX).contains(&pair.chain().len()));
    }
    assert!(material.roots().len() <= ROOTS_MAX);
    let _ = material.check(now, Needs::BOTH);
    let _ = material.concerns(now);
    let _ = material.expires_alarm(now, false);
}

fn written(material: &Material) -> String {
    let pair = material.pair().expect("a bundle is refused without a pair");
    let key = pair.key().to_pem().expect("a key that was read can be written");
    let chain = pair.chain().iter().map(Vec::as_slice);
    let roots = material.roots().iter().map(|root| root.der());
    let certificates: String = chain.chain(roots).map(|der| pem::encode(pem::CERTIFICATE, der)).collect();
    format!("{}{certificates}", key.as_str())
}
