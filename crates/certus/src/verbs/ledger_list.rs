//! `certus cert list --ca`: what a CA in files issued.

use certus_cadir::{Access, Issued, Standing};
use certus_pki::{Explain, Explanation, UnixTime, code};
use serde::Serialize;

use super::Context;
use super::offline;
use super::show;
use crate::args::List;
use crate::terminal::{Exit, count, table, thousands};

/// As many as the list of a cluster shows unless told otherwise.
const LIMIT: usize = 1000;

#[derive(Serialize)]
struct Report {
    certificates: Vec<Entry>,
    more: bool,
}

#[derive(Serialize)]
struct Entry {
    name: String,
    role: &'static str,
    serial: String,
    issuer_key_hash: String,
    names: Vec<String>,
    file: Option<String>,
    issued_at: String,
    expires_at: String,
    state: &'static str,
    revoked_at: Option<String>,
    reason: Option<String>,
}

pub(super) fn run(context: &Context, list: &List) -> Result<Exit, Explanation> {
    refuse_clusters_options(list)?;
    let now = show::now();
    let dir = offline::open(&list.signs, None, Access::Read)?;
    let account = dir.account().map_err(|error| error.explain())?;
    let before = list.expiring.map(|within| now.plus(within));
    let wanted = |(issued, standing): &(&Issued, Standing)| {
        let named = list.node.as_deref().is_none_or(|node| issued.name == node);
        let near = before.is_none_or(|before| issued.not_after < before);
        named && near && (list.all || *standing == Standing::Current)
    };
    let all = account.standings(now);
    let total = all.len();
    let mut found: Vec<_> = all.into_iter().filter(wanted).collect();
    found.sort_by(|(one, _), (other, _)| (&one.name, one.at).cmp(&(&other.name, other.at)));
    let limit = list.limit.map_or(LIMIT, |limit| limit as usize);
    let more = found.len() > limit;
    found.truncate(limit);
    let entry = |(issued, standing): &(&Issued, Standing)| {
        let revoked = account.revocation(issued);
        Entry {
            name: issued.name.clone(),
            role: issued.role.as_str(),
            serial: issued.serial.to_string(),
            issuer_key_hash: issued.issuer.to_string(),
            names: issued.names.clone(),
            file: (!issued.file.is_empty()).then(|| issued.file.clone()),
            issued_at: issued.at.to_string(),
            expires_at: issued.not_after.to_string(),
            state: standing.as_str(),
            revoked_at: revoked.map(|revoked| revoked.at.to_string()),
            reason: revoked.map(|revoked| revoked.reason.to_string()),
        }
    };
    let report = Report { certificates: found.iter().map(entry).collect(), more };
    context.terminal.report(&report, || words(&found, total, more, now));
    Ok(Exit::Done)
}

/// What a CA in files does not know of, or has no order for.
fn refuse_clusters_options(list: &List) -> Result<(), Explanation> {
    let given = [
        ("--role", list.role.is_some()),
        ("--prefix", list.prefix.is_some()),
        ("--revoked", list.revoked),
        ("--issuer", list.issuer.is_some()),
        ("--sort", list.sort.is_some()),
        ("--after", list.after.is_some()),
        ("--unknown", list.unknown),
    ];
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((option, _)) => Err(Explanation::new(
            code::USAGE,
            format!("{option} is for a cluster: a CA in files is meant here"),
        )
        .hint("without --ca, and without CERTUS_CA, the managers are asked")),
    }
}

fn words(found: &[(&Issued, Standing)], total: usize, more: bool, now: UnixTime) -> String {
    let rows = found.iter().map(|(issued, standing)| {
        vec![
            issued.name.clone(),
            issued.role.to_string(),
            issued.serial.short(),
            issued.not_after.relative_to(now),
            standing.as_str().to_owned(),
            issued.file.clone(),
        ]
    });
    let table = table(&["NAME", "ROLE", "SERIAL", "EXPIRES", "STATE", "FILE"], rows);
    let footer = match (more, found.len() == total) {
        (true, _) => format!("the first {}", thousands(found.len() as u64)),
        (false, true) => count(total as u64, "certificate"),
        (false, false) => format!("{} of {}", thousands(found.len() as u64), thousands(total as u64)),
    };
    format!("{table}\n{footer}")
}
