//! `certus ca status`: what a CA in files is made of, and what it issued.

use certus_cadir::{Access, Account, CaDir, Pair, Standing};
use certus_pki::key::KeyFacts;
use certus_pki::{Certificate, Explain, Explanation, UnixTime};
use serde::Serialize;

use super::Context;
use super::offline;
use super::show;
use crate::args::Signs;
use crate::terminal::{Exit, count, table, thousands};

/// What ends within this time is worth a word.
const SOON_DAYS: u32 = 30;

#[derive(Serialize)]
struct Report {
    directory: String,
    layout: &'static str,
    authorities: Vec<AuthorityData>,
    issued: u64,
    valid: u64,
    expired: u64,
    revoked: u64,
    ending_within_30_days: u64,
    rotation: Option<&'static str>,
}

#[derive(Serialize)]
struct AuthorityData {
    file: String,
    kind: &'static str,
    subject: String,
    key_type: String,
    key_hash: String,
    serial: String,
    expires_at: String,
    /// `present`, `encrypted`, `absent`, or `unreadable`.
    key: &'static str,
    last_crl_number: Option<u64>,
    #[serde(skip)]
    not_after: UnixTime,
}

pub(super) async fn run(context: &Context, signs: Signs) -> Result<Exit, Explanation> {
    let now = show::now();
    let named = offline::place(&signs, None);
    let dir = offline::open(&signs, None, Access::Read)?;
    let account = dir.account().map_err(|error| error.explain())?;
    let layout = dir.layout();
    let pairs = [("root", layout.root())]
        .into_iter()
        .chain(dir.issuers().into_iter().map(|(_, files)| ("issuer", files)))
        .chain([("next root", layout.next_root()), ("old root", layout.old_root())])
        .filter(|(_, files)| dir.has(&files.cert));
    let authorities = pairs
        .map(|(kind, files)| authority(kind, &files, &dir, &account))
        .collect::<Result<Vec<_>, Explanation>>()?;
    let standings = account.standings(now);
    let number = |wanted: Standing| standings.iter().filter(|(_, is)| *is == wanted).count() as u64;
    let soon = now.plus(certus_pki::Lifetime::from_days(SOON_DAYS));
    let ending =
        standings.iter().filter(|(cert, is)| *is == Standing::Current && cert.not_after < soon).count();
    let report = Report {
        directory: named.display().to_string(),
        layout: layout.as_str(),
        authorities,
        issued: account.leaves.len() as u64,
        valid: number(Standing::Current),
        expired: number(Standing::Expired),
        revoked: number(Standing::Revoked),
        ending_within_30_days: ending as u64,
        rotation: account.phase().map(|phase| phase.as_str()),
    };
    context.terminal.report(&report, || words(&report, now));
    Ok(Exit::Done)
}

fn authority(
    kind: &'static str,
    files: &Pair,
    dir: &CaDir,
    account: &Account,
) -> Result<AuthorityData, Explanation> {
    let all = dir.certificates(&files.cert).map_err(|error| error.explain())?;
    let certificate: &Certificate = &all[0];
    let key = match std::fs::read_to_string(dir.file(&files.key)).map(zeroize::Zeroizing::new) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "absent",
        Err(_) => "unreadable",
        Ok(text) => match KeyFacts::of_pem(&text, None) {
            Ok(facts) if facts.key_type.is_none() => "encrypted",
            Ok(_) => "present",
            Err(_) => "unreadable",
        },
    };
    Ok(AuthorityData {
        file: files.cert.clone(),
        kind,
        subject: certificate.subject.clone(),
        key_type: certificate.public_key.key_type().to_string(),
        key_hash: certificate.key_hash().to_string(),
        serial: certificate.serial.to_string(),
        expires_at: certificate.not_after.to_string(),
        key,
        last_crl_number: account.last_list(&certificate.key_hash()).map(|(number, _)| number),
        not_after: certificate.not_after,
    })
}

fn words(report: &Report, now: UnixTime) -> String {
    let rows = report.authorities.iter().map(|ca| {
        let key = match ca.key {
            "absent" => "key not here",
            "encrypted" => "key here, encrypted",
            "present" => "key here",
            _ => "key unreadable",
        };
        vec![
            ca.file.clone(),
            ca.kind.to_owned(),
            ca.subject.clone(),
            ca.key_type.clone(),
            ca.not_after.relative_to(now),
            key.to_owned(),
        ]
    });
    let mut text = format!("{} · {}\n\n", report.directory, report.layout);
    text.push_str(&table(&["FILE", "WHAT", "SUBJECT", "KEY", "ENDS", "KEY FILE"], rows));
    let mut facts = vec![format!("{} valid", thousands(report.valid))];
    for (number, what) in [
        (report.expired, "expired"),
        (report.revoked, "revoked"),
        (report.ending_within_30_days, "end within 30 d → certus cert check"),
    ] {
        if number > 0 {
            facts.push(format!("{} {what}", thousands(number)));
        }
    }
    text.push_str(&format!("\n\nissued  {}: {}", count(report.issued, "certificate"), facts.join(", ")));
    if let Some(phase) = report.rotation {
        text.push_str(&format!("\nroot    a change is going on: {phase} → certus ca rotate"));
    }
    text
}
