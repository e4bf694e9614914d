//! `certus cert revoke --ca`: revokes in a CA directory; peers learn of it by the next revocation list.

use certus_cadir::Access;
use certus_pki::{Explain, Explanation, code};
use serde::Serialize;

use super::Context;
use super::offline;
use super::show;
use crate::args::Revoke;
use crate::terminal::{Exit, count};

#[derive(Serialize)]
struct Report {
    name: String,
    serials: Vec<String>,
    reason: String,
    revoked_at: String,
}

pub(super) fn run(context: &Context, revoke: &Revoke) -> Result<Exit, Explanation> {
    if revoke.wait {
        let told = "--wait is for a cluster: peers of a CA in files learn of a revocation by its list";
        return Err(
            Explanation::new(code::USAGE, told).hint("certus ca crl --ca DIR, and copy the list to them")
        );
    }
    let now = show::now();
    let mut dir = offline::open(&revoke.signs, None, Access::Change)?;
    let account = dir.account().map_err(|error| error.explain())?;
    let object = offline::object_in(&revoke.object, &dir)?;
    let certs = account.find(&object, now).map_err(|error| error.explain())?;
    dir.revoke(&certs, revoke.reason, now).map_err(|error| error.explain())?;
    let report = Report {
        name: certs.first().map(|cert| cert.name.clone()).unwrap_or_default(),
        serials: certs.iter().map(|cert| cert.serial.to_string()).collect(),
        reason: revoke.reason.to_string(),
        revoked_at: now.to_string(),
    };
    context.terminal.report(&report, || {
        let certs = count(report.serials.len() as u64, "certificate");
        let named = offline::place(&revoke.signs, None);
        format!(
            "revoked   {}   {certs}   {}\nnext      certus ca crl --ca {}   makes the list that peers must get",
            report.name,
            report.reason,
            named.display()
        )
    });
    Ok(Exit::Done)
}
