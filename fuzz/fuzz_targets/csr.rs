//! A certificate request, its claims, and what a policy takes of them.
#![no_main]

use certus_pki::{Request, TakeNames};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|der: &[u8]| {
    if let Ok(request) = Request::read(der) {
        let allow = ["*.example.com", "10.0.0.0/8"].iter().filter_map(|text| text.parse().ok()).collect();
        let _ = TakeNames::FromRequest { allow }.names(&request.claims);
    }
});
