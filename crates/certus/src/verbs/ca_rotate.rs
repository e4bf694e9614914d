//! `certus ca rotate`: a change of the root, one step a call, and what to do between the steps.

use certus_cadir::{Access, CaDir, MadeAuthority, NextRoot, Phase};
use certus_pki::{Explain, Explanation, UnixTime};
use serde::Serialize;

use super::Context;
use super::ca_init::{MadeData, authority_data, made_words};
use super::offline::{self, serials};
use super::show;
use crate::args::CaRotate;
use crate::terminal::{Exit, count};

/// Of many the first are enough to see; `cert list --json` has all.
const SHOWN_MAX: usize = 20;

#[derive(Serialize)]
struct Report {
    step: &'static str,
    made: Vec<MadeData>,
    /// Certificates in use that lead to the old root.
    to_issue_again: Vec<String>,
    next: Vec<String>,
}

pub(super) async fn run(context: &Context, rotate: CaRotate) -> Result<Exit, Explanation> {
    let now = show::now();
    let named = offline::named_dir(&rotate.signs);
    let mut dir = offline::open(&rotate.signs, None, Access::Change)?;
    let next = NextRoot { key_type: rotate.key_type, lifetime: rotate.lives.asked() };
    let phase = dir.account().map_err(|error| error.explain())?.phase();
    let with = |dir: &mut CaDir, act: &mut dyn FnMut(&mut CaDir, &certus_cadir::Secrets) -> Made| {
        offline::with_secrets(context, &rotate.signs, |secrets| act(dir, secrets))
    };
    let (step, made) = if rotate.emergency {
        let made =
            with(&mut dir, &mut |dir, secrets| dir.rotate_in_emergency(&next, secrets, now, &mut serials()))?;
        ("emergency", made)
    } else if rotate.activate {
        (
            "activated",
            with(&mut dir, &mut |dir, secrets| dir.activate_rotation(secrets, now, &mut serials()))?,
        )
    } else if rotate.finish {
        dir.finish_rotation(rotate.force, now).map_err(|error| error.explain())?;
        ("finished", Vec::new())
    } else if let Some(phase) = phase {
        (phase.as_str(), Vec::new())
    } else {
        let mut prepare = |dir: &mut CaDir, secrets: &certus_cadir::Secrets| {
            dir.prepare_rotation(&next, secrets, now, &mut serials()).map(|root| vec![root])
        };
        ("prepared", with(&mut dir, &mut prepare)?)
    };
    let report = Report {
        step,
        made: made.iter().map(|ca| authority_data(ca, &dir, &named)).collect(),
        to_issue_again: old_ones(&dir, step, now)?,
        next: steps(step, &dir, &named.display().to_string()),
    };
    context.terminal.report(&report, || words(&report));
    Ok(Exit::Done)
}

type Made = Result<Vec<MadeAuthority>, certus_cadir::CaDirError>;

fn old_ones(dir: &CaDir, step: &str, now: UnixTime) -> Result<Vec<String>, Explanation> {
    if step == Phase::Prepared.as_str() || step == Phase::Finished.as_str() {
        return Ok(Vec::new());
    }
    let old = dir.below_old_root(now).map_err(|error| error.explain())?;
    Ok(old.into_iter().map(|cert| cert.name).collect())
}

fn steps(step: &str, dir: &CaDir, named: &str) -> Vec<String> {
    let layout = dir.layout();
    let bundle = format!("{named}/{}", layout.bundle());
    let again = "issue every certificate again (certus cert issue … --force) and copy it to its host";
    match step {
        "prepared" => vec![
            format!(
                "copy {bundle} to every peer in the place of its {}: it holds both roots",
                layout.root().cert
            ),
            format!("certus ca rotate --ca {named} --activate   when every peer has it"),
        ],
        "activated" => vec![
            format!("{again}, at the pace you like: both roots are trusted"),
            format!("certus ca rotate --ca {named} --finish   when nothing in use leads to the old root"),
        ],
        "emergency" => vec![
            format!("copy {named}/{} to every peer now, in the place of the old one", layout.root().cert),
            again.to_owned(),
            "restart what has the old files open".to_owned(),
        ],
        _ => vec![format!("copy {bundle} to every peer: the old root is no longer in it")],
    }
}

fn words(report: &Report) -> String {
    let mut parts = Vec::new();
    if !report.made.is_empty() {
        parts.push(made_words(&report.made));
        parts.push(String::new());
    }
    if !report.to_issue_again.is_empty() {
        let shown: Vec<&str> = report.to_issue_again.iter().take(SHOWN_MAX).map(String::as_str).collect();
        let more = if report.to_issue_again.len() > SHOWN_MAX { ", …" } else { "" };
        let certs = count(report.to_issue_again.len() as u64, "certificate");
        parts.push(format!("old   {certs} in use below the old root: {}{more}", shown.join(", ")));
    }
    let line = |(place, step): (usize, &String)| {
        let word = if place == 0 { "next" } else { "" };
        format!("{word:<4}  {}  {step}", place + 1)
    };
    parts.extend(report.next.iter().enumerate().map(line));
    parts.join("\n")
}
