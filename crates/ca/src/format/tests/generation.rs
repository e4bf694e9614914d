//! The bytes of what restores and recoveries brought, and of the rows that no caller ever sees: kept apart,
//! so that every addition has a file of its own.

use certus_pki::{CertId, Epoch, Lifetime, Reason, Revocation};

use super::examples::{AT, cert, cert_record, digest};
use super::hex;
use crate::command::{Command, Reply, Settings, UnrecordedCert};
use crate::format::Document;
use crate::record::{AuditRecord, CertRecord, Event, How};
use crate::refusal::{Barred, Refusal};
use crate::tables::{AuditHead, Counters, Founding};
use crate::tests::{operator, worker};

const GOLDEN: &str = include_str!("../../../tests/golden/generation.hex");

fn checked<T: Document + PartialEq + std::fmt::Debug>(name: &str, value: &T) -> String {
    let bytes = value.encode();
    assert_eq!(T::decode(&bytes).as_ref(), Ok(value));
    format!("{name} {}\n", hex(&bytes))
}

#[test]
fn their_bytes_stay_what_they_were() {
    let (by, node, reason) = (operator(), worker("web-1"), Reason::KeyCompromise);
    let (from, to) = (Epoch { generation: 0, revision: 9 }, Epoch { generation: 1, revision: 1_795_305_601 });
    let seen = UnrecordedCert { cert: cert(), node: node.clone(), key_hash: digest(6), not_after: AT };
    let audit = |event| AuditRecord {
        number: 7,
        at: AT,
        previous: digest(8),
        by: Some(operator()),
        event,
        refused: None,
    };
    let settings =
        Settings { leaf_lifetime: Lifetime::from_days(90), issuer_lifetime: Lifetime::from_days(365) };
    let today = [
        checked("restore", &Command::Restore { made_at: AT, by: by.clone() }),
        checked("recover", &Command::Recover { by: by.clone() }),
        checked("revoke-unrecorded", &Command::RevokeUnrecorded { cert: seen, reason, by }),
        checked("restored", &Reply::Restored { epoch: to, tokens: 3 }),
        checked("recovered", &Reply::Recovered { epoch: to }),
        checked("not-on-record", &Refusal::RenewalBarred { node: node.clone(), why: Barred::NotOnRecord }),
        checked("unrecorded", &CertRecord { how: How::Unrecorded, der: Vec::new(), ..cert_record() }),
        checked("audit-restored", &audit(Event::Restored { made_at: AT, from, to, tokens: 3 })),
        checked("audit-recovered", &audit(Event::Recovered { from, to })),
        checked("audit-unrecorded", &audit(Event::UnrecordedRevoked { cert: cert(), node, reason })),
        checked("cert-name", &CertId { ..cert() }),
        checked("revocation", &Revocation { cert: cert(), at: AT, reason, not_after: AT }),
        checked("founding", &Founding { name: "prod".parse().unwrap(), settings, founded_at: AT }),
        checked("counters", &Counters { epoch: to, last_at: AT }),
        checked("audit-head", &AuditHead { count: 7, hash: digest(8) }),
    ]
    .concat();
    assert!(today == GOLDEN, "generation.hex would now be:\n{today}");
}
