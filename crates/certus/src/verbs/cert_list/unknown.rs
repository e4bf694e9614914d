//! `certus cert list --unknown`: certificates that call and are on no record.

use certus_pki::UnixTime;
use certus_wire::v1;
use serde::Serialize;

use super::super::Context;
use super::super::show;
use crate::terminal::{Exit, count, table};

#[derive(Serialize)]
struct Unknown {
    certificates: Vec<UnknownData>,
}

#[derive(Serialize)]
struct UnknownData {
    node: String,
    serial: String,
    fingerprint: String,
    expires_at: String,
    first_seen: String,
    last_seen: String,
    address: String,
}

/// Certificates that nobody remembers.
pub(super) fn show(context: &Context, seen: &[v1::UnrecordedCert], now: UnixTime) -> Exit {
    let serial = |cert: &v1::UnrecordedCert| {
        let id = cert.id.as_ref()?;
        certus_pki::Serial::from_be_bytes(&id.serial)
    };
    let data = |cert: &v1::UnrecordedCert| UnknownData {
        node: cert.node.clone(),
        serial: serial(cert).map(|serial| serial.to_string()).unwrap_or_default(),
        fingerprint: show::full_hash(&cert.fingerprint).map(|hash| hash.to_string()).unwrap_or_default(),
        expires_at: show::rfc3339(cert.not_after),
        first_seen: show::rfc3339(cert.first_seen),
        last_seen: show::rfc3339(cert.last_seen),
        address: cert.address.clone(),
    };
    let report = Unknown { certificates: seen.iter().map(data).collect() };
    let words = || {
        // The whole serial: it is what `cert revoke` takes, and no list has it.
        let rows = seen.iter().map(|cert| {
            vec![
                show::short_node(&cert.node),
                show::role(&cert.node),
                serial(cert).map(|serial| serial.to_string()).unwrap_or_default(),
                show::short_hash(&cert.fingerprint),
                show::at(cert.not_after).relative_to(now),
                format!("{} from {}", show::at(cert.last_seen).relative_to(now), cert.address),
            ]
        });
        let table = table(&["NODE", "ROLE", "SERIAL", "FINGERPRINT", "EXPIRES", "LAST SEEN"], rows);
        format!("{table}\n{} on no record", count(seen.len() as u64, "certificate"))
    };
    context.terminal.report(&report, words);
    Exit::Done
}
