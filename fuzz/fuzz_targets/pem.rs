//! PEM text of any kind.
#![no_main]

use certus_pki::{Certificate, Crl, KeyFacts, Request, pem};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(blocks) = pem::decode(text) {
        for block in blocks {
            let again = pem::decode(&pem::encode(&block.label, &block.der));
            assert!(again.is_ok_and(|again| again.len() <= 1));
        }
    }
    let _ = Certificate::many_from_pem(text);
    let _ = Crl::many_from_pem(text);
    let _ = Request::from_pem(text);
    let _ = KeyFacts::of_pem(text, None);
});
