//! A revocation list.
#![no_main]

use certus_pki::{Certificate, Crl, UnixTime};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|der: &[u8]| {
    if let Ok(crl) = Crl::from_der(der) {
        assert!(crl.entries().all(|entry| crl.entry(&entry.serial) == Some(entry)));
        let _ = crl.check_current(UnixTime::from_secs(1_767_225_600));
        let _ = Certificate::from_der(der).map(|ca| crl.check_signed_by(&ca));
    }
});
