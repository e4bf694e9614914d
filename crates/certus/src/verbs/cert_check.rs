//! `certus cert check`: what ends soon, in a CA directory, in files, on servers. Exits 3 where something does.

use std::path::Path;

use certus_cadir::{Access, CaDir, Standing};
use certus_pki::renewal::overdue_at;
use certus_pki::{Certificate, Explain, Explanation, Lifetime, UnixTime};
use serde::Serialize;

use super::Context;
use super::offline;
use super::show;
use crate::args::CertCheck;
use crate::terminal::{Exit, count, table, thousands};

/// Of many the first, which end soonest, are enough to see; `--json` has all.
const SHOWN_MAX: usize = 100;

#[derive(Serialize)]
struct Report {
    checked: u64,
    near: Vec<Near>,
}

/// A certificate, and when it ends.
#[derive(Serialize)]
struct Near {
    place: String,
    name: String,
    serial: String,
    expires_at: String,
    expired: bool,
    #[serde(skip)]
    not_after: UnixTime,
}

/// What is looked for.
#[derive(Clone, Copy)]
enum Limit {
    Before(UnixTime),
    Due(UnixTime),
}

impl Limit {
    fn meets(self, from: UnixTime, not_after: UnixTime) -> bool {
        match self {
            Limit::Before(limit) => not_after < limit,
            Limit::Due(now) => overdue_at(from, not_after) < now,
        }
    }
}

pub(super) async fn run(context: &Context, check: CertCheck) -> Result<Exit, Explanation> {
    let now = show::now();
    let within = check.within.unwrap_or(Lifetime::from_days(check.days));
    let limit = if check.due { Limit::Due(now) } else { Limit::Before(now.plus(within)) };
    let mut looking = Looking { limit, now, checked: 0, near: Vec::new() };
    if check.objects.is_empty() {
        let named = offline::place(&check.signs, None);
        looking.directory(&offline::open(&check.signs, None, Access::Read)?, &named)?;
    }
    for object in &check.objects {
        let path = Path::new(object);
        if path.is_dir() {
            let dir = CaDir::open(path, Access::Read).map_err(|error| error.explain())?;
            looking.directory(&dir, path)?;
        } else if crate::config::is_address(object) && !path.exists() {
            let served = crate::probe::served(object).await?;
            looking.chain(object, &served.chain);
        } else {
            looking.file(path)?;
        }
    }
    let Looking { checked, mut near, .. } = looking;
    near.sort_by_key(|near| near.not_after);
    let report = Report { checked, near };
    context.terminal.report(&report, || words(&report, &check, now));
    Ok(if report.near.is_empty() { Exit::Done } else { Exit::Problems })
}

struct Looking {
    limit: Limit,
    now: UnixTime,
    checked: u64,
    near: Vec<Near>,
}

impl Looking {
    /// From the ledger: no certificate's file is read but the CAs'.
    fn directory(&mut self, dir: &CaDir, named: &Path) -> Result<(), Explanation> {
        let account = dir.account().map_err(|error| error.explain())?;
        let layout = dir.layout();
        let issuers = dir.issuers().into_iter().map(|(_, files)| files.cert);
        for file in std::iter::once(layout.root().cert).chain(issuers) {
            let all = dir.certificates(&file).map_err(|error| error.explain())?;
            self.chain(&named.join(&file).display().to_string(), &all[..1]);
        }
        for (issued, standing) in account.standings(self.now) {
            if !matches!(standing, Standing::Current | Standing::Expired) {
                continue;
            }
            self.checked += 1;
            if self.limit.meets(issued.at, issued.not_after) {
                let place =
                    if issued.file.is_empty() { issued.serial.to_string() } else { issued.file.clone() };
                self.near.push(Near {
                    place: named.join(place).display().to_string(),
                    name: issued.name.clone(),
                    serial: issued.serial.to_string(),
                    expires_at: issued.not_after.to_string(),
                    expired: issued.not_after < self.now,
                    not_after: issued.not_after,
                });
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> Result<(), Explanation> {
        let certificates = offline::certificates(path)?;
        self.chain(&offline::shown(path), &certificates);
        Ok(())
    }

    fn chain(&mut self, place: &str, certificates: &[Certificate]) {
        for certificate in certificates {
            self.checked += 1;
            if self.limit.meets(certificate.not_before, certificate.not_after) {
                self.near.push(Near {
                    place: place.to_owned(),
                    name: certificate.common_name().to_owned(),
                    serial: certificate.serial.to_string(),
                    expires_at: certificate.not_after.to_string(),
                    expired: certificate.not_after < self.now,
                    not_after: certificate.not_after,
                });
            }
        }
    }
}

fn words(report: &Report, check: &CertCheck, now: UnixTime) -> String {
    let when = match (check.due, check.within) {
        (true, _) => "past two thirds of its life".to_owned(),
        (false, Some(within)) => format!("ending within {within}"),
        (false, None) => format!("ending within {} d", check.days),
    };
    if report.near.is_empty() {
        return format!("none of {} {when}", count(report.checked, "certificate"));
    }
    let rows = report.near.iter().take(SHOWN_MAX).map(|near| {
        let state = if near.expired { "expired" } else { "ends soon" };
        vec![near.name.clone(), near.place.clone(), near.not_after.relative_to(now), state.to_owned()]
    });
    let table = table(&["NAME", "WHERE", "EXPIRES", "STATE"], rows);
    let more = report.near.len().saturating_sub(SHOWN_MAX);
    let more = if more > 0 { format!(", {} not shown", thousands(more as u64)) } else { String::new() };
    let certs = count(report.checked, "certificate");
    format!("{table}\n{} of {certs} {when}{more}", thousands(report.near.len() as u64))
}
