//! `certus ca crl`: the next revocation lists of a CA in files.

use certus_cadir::{Access, MadeList};
use certus_pki::Explanation;
use serde::Serialize;

use super::Context;
use super::offline::{self, PUBLIC};
use super::show;
use crate::args::CaCrl;
use crate::terminal::{Exit, count};

#[derive(Serialize)]
struct Report {
    lists: Vec<ListData>,
    keys_not_here: Vec<String>,
}

#[derive(Serialize)]
struct ListData {
    file: String,
    issuer: String,
    number: u64,
    revoked: u64,
    next_update: String,
}

pub(super) async fn run(context: &Context, crl: CaCrl) -> Result<Exit, Explanation> {
    let now = show::now();
    let named = offline::named_dir(&crl.signs);
    let mut dir = offline::open(&crl.signs, None, Access::Change)?;
    let (made, without) =
        offline::with_secrets(context, &crl.signs, |secrets| dir.make_lists(secrets, crl.lifetime, now))?;
    for file in &without {
        context.terminal.note(&format!("no list for {file}: its key is not here"));
    }
    if let Some(out) = &crl.out {
        let all: String = made.iter().map(|list| list.crl.to_pem()).collect();
        offline::write(context, out, all.as_bytes(), PUBLIC, true)?;
        if offline::is_standard(out) {
            return Ok(Exit::Done);
        }
    }
    let data = |list: &MadeList| ListData {
        file: named.join(&list.file).display().to_string(),
        issuer: list.ca.subject.clone(),
        number: list.number,
        revoked: list.crl.entries().len() as u64,
        next_update: now.plus(crl.lifetime).to_string(),
    };
    let report = Report { lists: made.iter().map(data).collect(), keys_not_here: without };
    context.terminal.report(&report, || {
        let width = report.lists.iter().map(|list| list.file.chars().count()).max().unwrap_or(0);
        let line = |(place, list): (usize, &ListData)| {
            let word = if place == 0 { "made" } else { "" };
            let revoked = count(list.revoked, "certificate");
            let (file, number) = (&list.file, list.number);
            format!(
                "{word:<4}  {file:<width$}  number {number}, {revoked} revoked, next due in {}",
                crl.lifetime
            )
        };
        report.lists.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
    });
    Ok(Exit::Done)
}
