//! A certificate in every place of a chain.
#![no_main]

use certus_pki::{Certificate, ChainQuery, Explain, Issuer, Purpose, Subject, UnixTime, verify_chain};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|der: &[u8]| {
    if let Ok(certificate) = Certificate::from_der(der) {
        let _ = certificate.identity();
        let subject = Subject::from_der(&certificate.subject_der).map(|subject| subject.to_string());
        let _ = subject.map(|text| text.parse::<Subject>());
        let _ = Issuer::from_der(der);
    }
    let (roots, between) = ([der], [der]);
    let names = [certus_pki::AltName::Dns("web.example.com".to_owned())];
    let mut query = ChainQuery::at(UnixTime::from_secs(1_767_225_600), &roots);
    (query.intermediates, query.names, query.purpose) = (&between, &names, Some(Purpose::Server));
    if let Err(rejection) = verify_chain(der, &query) {
        assert!(!rejection.explain().message.is_empty());
    }
});
