//! `certus cert info`: what a certificate says, in words: a file's, an issued one's, or one's own.

use std::path::Path;

use certus_cadir::Access;
use certus_pki::{Certificate, Explain, Explanation, code};
use certus_wire::v1;
use serde::Serialize;

use super::Context;
use super::file_info;
use super::offline;
use super::show::{self, CertificateData, IssuedData, State};
use crate::args::Info;
use crate::terminal::Exit;

#[derive(Serialize)]
struct Report {
    certificates: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    certificate: CertificateData,
    /// What the managers' record adds; nothing for a file's.
    #[serde(skip_serializing_if = "Option::is_none")]
    issued: Option<IssuedData>,
}

pub(super) async fn run(context: &Context, info: Info) -> Result<Exit, Explanation> {
    if let Some(data_dir) = &info.data_dir {
        return of_node(context, data_dir);
    }
    match info.object.as_deref() {
        None => own(context),
        Some(object) if is_file(object) => file_info::file(context, Path::new(object), &info),
        Some(object) if crate::config::is_address(object) => file_info::server(context, object).await,
        Some(object) if context.is_offline(&info.signs) => of_ledger(context, object, &info),
        Some(object) => issued(context, object).await,
    }
}

/// A certificate that a CA in files issued, by name or serial: the file in its place.
fn of_ledger(context: &Context, object: &str, info: &Info) -> Result<Exit, Explanation> {
    let dir = offline::open(&info.signs, None, Access::Read)?;
    let account = dir.account().map_err(|error| error.explain())?;
    let found = account.find(object, show::now()).map_err(|error| error.explain())?;
    let newest = found.iter().rev().find(|issued| !issued.file.is_empty()).ok_or_else(|| {
        Explanation::new(
            code::UNKNOWN_CERTIFICATE,
            format!("`{object}` went to standard output and was not kept"),
        )
    })?;
    file_info::file(context, &dir.file(&newest.file), info)
}

/// A path is what exists, or looks like one.
fn is_file(object: &str) -> bool {
    let ends = [".pem", ".crt", ".cer", ".der", ".key", ".csr", ".crl", ".p12", ".pfx"];
    object == "-"
        || object.contains('/')
        || ends.iter().any(|end| object.ends_with(end))
        // A node may be called as a directory here is.
        || Path::new(object).metadata().is_ok_and(|what| !what.is_dir())
}

/// What a node of this machine has, read from its directory: it need not run.
fn of_node(context: &Context, data_dir: &Path) -> Result<Exit, Explanation> {
    let entries = std::fs::read_dir(data_dir.join("certs")).map_err(|error| {
        Explanation::new(code::FILE, "there is no node's data")
            .halves("the data directory of a worker or a manager", data_dir.display())
            .fact("the system says", error)
    })?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path().join("node.crt")).collect();
    files.retain(|file| file.is_file());
    files.sort();
    let mut leaves = Vec::new();
    for file in &files {
        // The leaf comes first, and its issuer follows.
        leaves.extend(offline::certificates(file)?.into_iter().take(1));
    }
    if leaves.is_empty() {
        return Err(Explanation::new(code::FILE, "this node has no certificate")
            .halves("certs/ROLE-ID/node.crt", format!("none in {}", data_dir.display())));
    }
    show_all(context, &leaves);
    Ok(Exit::Done)
}

fn own(context: &Context) -> Result<Exit, Explanation> {
    let stored = context.home.require_identity()?;
    show_all(context, &[stored.leaf]);
    Ok(Exit::Done)
}

fn show_all(context: &Context, certificates: &[Certificate]) {
    let now = show::now();
    let entry = |cert| Entry { certificate: CertificateData::of(cert), issued: None };
    let report = Report { certificates: certificates.iter().map(entry).collect() };
    let words =
        || certificates.iter().map(|cert| show::certificate(cert, now)).collect::<Vec<_>>().join("\n\n");
    context.terminal.report(&report, words);
}

async fn issued(context: &Context, name: &str) -> Result<Exit, Explanation> {
    let certs = context.managers().await?.cert(name).await?;
    let now = show::now();
    let mut entries = Vec::new();
    let mut words = Vec::new();
    for cert in &certs {
        if cert.der.is_empty() {
            return Err(unrecorded(cert));
        }
        let certificate = Certificate::from_der(&cert.der).map_err(|error| error.explain())?;
        words.push(format!("{}\n{}", show::certificate(&certificate, now), record(cert, now)));
        let issued = Some(IssuedData::of(cert, now));
        entries.push(Entry { certificate: CertificateData::of(&certificate), issued });
    }
    context.terminal.report(&Report { certificates: entries }, || words.join("\n\n"));
    Ok(Exit::Done)
}

/// A certificate of which only its name was seen, when it was revoked.
fn unrecorded(cert: &v1::Cert) -> Explanation {
    let what = "only the name of this certificate is on record: it was issued after a backup was restored";
    let told = Explanation::new(code::UNKNOWN_CERTIFICATE, what).fact("node", &cert.node);
    told.fact("revoked", cert.revoked_at.map_or_else(|| "no".to_owned(), show::rfc3339))
}

/// What the managers' record adds.
fn record(cert: &v1::Cert, now: certus_pki::UnixTime) -> String {
    let state = State::of(cert, now);
    let mut lines = vec![
        format!("  {:<11}  {}, {}", "issued", cert.how, show::at(cert.issued_at).relative_to(now)),
        format!("  {:<11}  {}", "state", state.words(cert, now)),
    ];
    if state == State::Ok {
        lines.push(format!("  {:<11}  {}", "renews", show::at(cert.renew_by).relative_to(now)));
    }
    lines.join("\n")
}
