//! `certus cert issue`: a new key and a certificate for it, from a CA in files.

use certus_cadir::{Existing, Layout, LeafKey, NewLeaf, Place, Role};
use certus_pki::{AltName, Explain, Explanation, Names, Subject};
use serde::Serialize;

use super::Context;
use super::ca_init::{MadeData, leaf_data, made_words, note_shortened};
use super::offline::{self, serials};
use super::show;
use crate::args::{For, Issue};
use crate::terminal::Exit;

#[derive(Serialize)]
struct Report {
    made: Vec<MadeData>,
}

pub(super) async fn run(context: &Context, issue: Issue) -> Result<Exit, Explanation> {
    let now = show::now();
    let output = issue.output_dir.as_deref();
    let (mut dir, signing) = offline::open_to_sign(context, &issue.signs, output, now)?;
    let name = issue.object.clone().or(issue.cn.clone());
    let subject = match (&issue.subject, &name) {
        (Some(subject), _) => subject.clone(),
        (None, name) => Subject::common_name(name.as_deref().unwrap_or_default()).map_err(|e| e.explain())?,
    };
    let stem = name.or_else(|| subject.first_common_name()).unwrap_or_default();
    let role = match issue.role {
        For::Server => Role::Server,
        For::Client => Role::Client,
        For::Agent => Role::Agent,
    };
    let place = match output {
        Some(output) if !same(output, dir.path()) => Place::Dir(output.to_owned(), stem.clone()),
        _ => Place::Layout(stem.clone()),
    };
    let leaf = NewLeaf {
        role,
        subject,
        names: names(&issue, role, &stem, dir.layout())?,
        lifetime: issue.lives.asked().unwrap_or(dir.layout().leaf_lifetime()),
        key: LeafKey::New(issue.key_type.unwrap_or(signing.key_type())),
        place,
        crl_urls: issue.crl_url.clone(),
    };
    let existing = if issue.force { Existing::Replace } else { Existing::Refuse };
    let made =
        dir.issue(&signing, vec![leaf], existing, now, &mut serials()).map_err(|error| error.explain())?;
    note_shortened(context, &made);
    let named = offline::place(&issue.signs, output);
    let named = if named.is_file() { named.parent().unwrap_or(&named).to_owned() } else { named };
    let report = Report { made: made.iter().map(|leaf| leaf_data(leaf, &dir, &named)).collect() };
    context.terminal.report(&report, || made_words(&report.made));
    Ok(Exit::Done)
}

/// The names that were given, and for whoever serves its own where that can be one.
fn names(issue: &Issue, role: Role, own: &str, layout: Layout) -> Result<Names, Explanation> {
    let mut names = Vec::new();
    if role != Role::Client {
        let own = own.parse().ok().filter(|own| matches!(own, AltName::Dns(_) | AltName::Ip(_)));
        names.extend(own);
    }
    names.extend(issue.names.all().map_err(|error| error.explain())?);
    if layout == Layout::Dev {
        // What a node on a developer's machine is dialed by.
        names.extend(["localhost", "127.0.0.1", "::1"].iter().filter_map(|name| name.parse().ok()));
    }
    Names::new(names).map_err(|error| error.explain())
}

fn same(one: &std::path::Path, other: &std::path::Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
