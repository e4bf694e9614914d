//! What came with taking the root offline: golden bytes, and that every refusal of it says what to do.

use certus_pki::{Explain, Sha256};

use super::examples::{AT, digest};
use super::{Document, hex};
use crate::command::{Command, Reply};
use crate::record::{AuditRecord, Event, RootRecord};
use crate::refusal::Refusal;
use crate::tests::{identity, operator};

const ROOTS: &str = include_str!("../../../tests/golden/roots.hex");

fn checked<T: Document + PartialEq + std::fmt::Debug>(name: &str, value: &T) -> String {
    let bytes = value.encode();
    assert_eq!(T::decode(&bytes).as_ref(), Ok(value));
    format!("{name} {}\n", hex(&bytes))
}

fn refusals(root: Sha256) -> [Refusal; 2] {
    [Refusal::RootOffline { root }, Refusal::RootOnline { root }]
}

#[test]
fn what_taking_the_root_offline_writes_is_read_for_ever() {
    let root = digest(2);
    let by = identity(certus_pki::Role::Manager, "m1");
    let audit = |event| AuditRecord {
        number: 9,
        at: AT,
        previous: digest(8),
        by: Some(operator()),
        event,
        refused: None,
    };
    let offline =
        RootRecord { key_hash: root, der: b"root".to_vec(), not_after: AT, active: true, key_sealed: vec![] };
    let today: String = [
        checked("take-root-offline", &Command::TakeRootOffline { root, by: by.clone() }),
        checked("bring-root-online", &Command::BringRootOnline { root, key_sealed: b"sealed".to_vec(), by }),
        checked("reply-root-taken-offline", &Reply::RootTakenOffline { root }),
        checked("reply-root-brought-online", &Reply::RootBroughtOnline { root }),
        checked("refusal-root-offline", &refusals(root)[0]),
        checked("refusal-root-online", &refusals(root)[1]),
        checked("audit-root-taken-offline", &audit(Event::RootTakenOffline { root })),
        checked("audit-root-brought-online", &audit(Event::RootBroughtOnline { root })),
        checked("root-offline", &offline),
    ]
    .concat();
    assert!(today == ROOTS, "roots.hex would now be:\n{today}");
}

#[test]
fn its_refusals_name_the_next_command() {
    for refusal in refusals(digest(2)) {
        let told = refusal.explain();
        assert!(told.hint.unwrap().starts_with("certus cluster root "), "{refusal:?}");
    }
}
