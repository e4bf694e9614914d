//! A PKCS#12 container under a known passphrase.
#![no_main]

use certus_pki::{Passphrase, pkcs12};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|der: &[u8]| {
    let passphrase = Passphrase::new("changeit".to_owned());
    if let Ok(contents) = pkcs12::read(der, &passphrase) {
        let _ = contents.identity();
    }
});
