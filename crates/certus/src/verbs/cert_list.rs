//! `certus cert list`: what has been issued, and how it is.

use certus_pki::{Explanation, UnixTime};
use certus_wire::v1;
use serde::Serialize;

use super::Context;
use super::show::{self, IssuedData, State};
use crate::args::List;
use crate::managers::{Managers, PAGE};
use crate::terminal::{Exit, count, table, thousands};

#[derive(Serialize)]
struct Report {
    certificates: Vec<IssuedData>,
    /// Whether the limit left some out.
    more: bool,
    /// Nodes of the cluster, each with one newest certificate.
    nodes: u64,
}

pub(super) async fn run(context: &Context, list: List) -> Result<Exit, Explanation> {
    let managers = context.managers().await?;
    let now = show::now();
    if list.unknown {
        return unknown(context, &managers.status().await?.unrecorded, now);
    }
    let (mut certs, more) = fetch(&managers, &list, now).await?;
    certs.sort_by(|one, other| (&one.node, one.issued_at).cmp(&(&other.node, other.issued_at)));
    let nodes = managers.status().await?.nodes;
    let certificates = certs.iter().map(|cert| IssuedData::of(cert, now)).collect();
    context.terminal.report(&Report { certificates, more, nodes }, || words(&list, &certs, more, nodes, now));
    Ok(Exit::Done)
}

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
fn unknown(context: &Context, seen: &[v1::UnrecordedCert], now: UnixTime) -> Result<Exit, Explanation> {
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
    Ok(Exit::Done)
}

/// Every page, or as many as the limit allows.
async fn fetch(
    managers: &Managers,
    list: &List,
    now: UnixTime,
) -> Result<(Vec<v1::Cert>, bool), Explanation> {
    let limit = list.limit.map_or(usize::MAX, |limit| limit as usize);
    let mut certs: Vec<v1::Cert> = Vec::new();
    let mut after = Vec::new();
    loop {
        let wanted = u32::try_from(limit - certs.len()).unwrap_or(PAGE).min(PAGE);
        let request = v1::ListCertsRequest {
            after,
            limit: wanted,
            node: list.node.clone(),
            expiring_before: list.expiring.map(|within| now.plus(within).secs()),
            all: list.all,
        };
        let page = managers.certs(request).await?;
        certs.extend(page.certs);
        if page.next.is_empty() || certs.len() >= limit {
            let more = !page.next.is_empty() || certs.len() > limit;
            certs.truncate(limit);
            return Ok((certs, more));
        }
        after = page.next;
    }
}

fn words(list: &List, certs: &[v1::Cert], more: bool, nodes: u64, now: UnixTime) -> String {
    let rows = certs.iter().map(|cert| {
        let state = State::of(cert, now);
        let renews = match state {
            State::Ok => show::at(cert.renew_by).relative_to(now),
            State::Overdue => {
                show::at(now.secs()).relative_to(show::at(cert.renew_by)).replace("in ", "overdue ")
            }
            State::Replaced | State::Revoked | State::Expired => "-".to_owned(),
        };
        vec![
            show::short_node(&cert.node),
            show::role(&cert.node),
            show::serial(cert).map(|serial| serial.short()).unwrap_or_default(),
            show::at(cert.not_after).relative_to(now),
            renews,
            state.words(cert, now),
        ]
    });
    let table = table(&["NODE", "ROLE", "SERIAL", "EXPIRES", "RENEWS", "STATE"], rows);
    let shown = certs.len() as u64;
    let filtered = list.node.is_some() || list.expiring.is_some() || more;
    let footer = match (list.all, filtered) {
        (false, true) => format!("{} of {}", thousands(shown), thousands(nodes)),
        (true, true) if more => format!("the first {}", thousands(shown)),
        _ => count(shown, "certificate"),
    };
    format!("{table}\n{footer}")
}
