//! A private key in any form, encrypted or not.
#![no_main]

use certus_pki::{KeyFacts, Passphrase, PrivateKey, pem};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|der: &[u8]| {
    let _ = PrivateKey::from_der(der, None);
    // Opening costs on purpose: short inputs only, which state few rounds more often.
    if der.len() < 512 {
        let _ = PrivateKey::from_der(der, Some(&Passphrase::new("changeit".to_owned())));
    }
    for label in [pem::PRIVATE_KEY, pem::ENCRYPTED_PRIVATE_KEY, "EC PRIVATE KEY", "RSA PRIVATE KEY"] {
        let _ = KeyFacts::of_pem(&pem::encode(label, der), None);
    }
});
