//! `certus cluster bundle`: the roots, for clients that are not nodes.

use std::path::Path;

use certus_pki::{Explanation, Root, code, pem};
use serde::Serialize;

use super::Context;
use super::offline;
use crate::args::{Bundle, BundleForm};
use crate::terminal::{Exit, count};

#[derive(Serialize)]
struct Report {
    cluster: String,
    epoch: String,
    roots: Vec<RootData>,
    /// Where they were written.
    file: Option<String>,
}

#[derive(Serialize)]
struct RootData {
    key_hash: String,
    expires_at: String,
    pem: String,
}

pub(super) async fn run(context: &Context, asked: &Bundle) -> Result<Exit, Explanation> {
    let bundle = context.managers().await?.bundle().await?;
    let roots = bundle.roots().iter().map(|root| RootData {
        key_hash: root.key_hash().to_string(),
        expires_at: root.not_after().to_string(),
        pem: pem::encode(pem::CERTIFICATE, root.der()),
    });
    let file = asked.output.as_deref().filter(|file| !offline::is_standard(file));
    let report = Report {
        cluster: bundle.domain(),
        epoch: bundle.epoch().to_string(),
        roots: roots.collect(),
        file: file.map(|file| file.display().to_string()),
    };
    let content = match asked.format {
        BundleForm::Pem => report.roots.iter().map(|root| root.pem.as_str()).collect::<String>().into_bytes(),
        BundleForm::Der => only(bundle.roots())?.to_vec(),
    };
    let Some(file) = file else {
        if context.terminal.json() {
            context.terminal.data(&report);
        } else {
            context.terminal.bytes(&content)?;
        }
        return Ok(Exit::Done);
    };
    write(context, file, &content, asked.force)?;
    let words = || {
        let roots = count(report.roots.len() as u64, "root");
        format!("written   {}   {roots} of {}", file.display(), report.cluster)
    };
    context.terminal.report(&report, words);
    Ok(Exit::Done)
}

/// Roots are public, and others are to read them.
fn write(context: &Context, file: &Path, content: &[u8], force: bool) -> Result<(), Explanation> {
    offline::write(context, file, content, offline::PUBLIC, force)
}

/// DER has no way to say two.
fn only(roots: &[Root]) -> Result<&[u8], Explanation> {
    match roots {
        [root] => Ok(root.der()),
        roots => Err(Explanation::new(
            code::USAGE,
            "a DER file holds one certificate, and there is another number",
        )
        .halves("one root", roots.len())
        .hint("--format pem")),
    }
}
