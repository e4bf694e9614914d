//! Conditions of a policy: any text is read or refused, and what was read prints as it is read.
#![no_main]

use certus_pki::Allow;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(allow) = text.parse::<Allow>() {
        let again = allow.to_string().parse::<Allow>().expect("what prints is read");
        assert_eq!(allow, again);
    }
});
