//! `certus cert info`: what a certificate says, in words: a file's, an issued one's, or one's own.

use std::path::Path;

use certus_pki::{Certificate, Explain, Explanation, code};
use certus_wire::v1;
use serde::Serialize;

use super::Context;
use super::show::{self, CertificateData, IssuedData, State};
use crate::args::Info;
use crate::terminal::Exit;

/// Larger than any bundle of certificates; what is larger is not read.
const FILE_BYTES_MAX: u64 = certus_pki::pem::TEXT_BYTES_MAX as u64;

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
    match &info.object {
        None => own(context),
        Some(object) if is_file(object) => file(context, Path::new(object)),
        Some(object) => issued(context, object).await,
    }
}

/// A path is what exists, or looks like one.
fn is_file(object: &str) -> bool {
    let ends = [".pem", ".crt", ".cer", ".der", ".key"];
    object.contains('/') || ends.iter().any(|end| object.ends_with(end)) || Path::new(object).exists()
}

fn own(context: &Context) -> Result<Exit, Explanation> {
    let stored = context.home.require_identity()?;
    show_all(context, &[stored.leaf]);
    Ok(Exit::Done)
}

fn file(context: &Context, path: &Path) -> Result<Exit, Explanation> {
    let certificates = read(path)?;
    show_all(context, &certificates);
    Ok(Exit::Done)
}

/// The certificates of a PEM file, or the one of a DER file.
fn read(path: &Path) -> Result<Vec<Certificate>, Explanation> {
    let cannot = |error: std::io::Error| {
        Explanation::new(code::FILE, format!("cannot read {}", path.display())).fact("the system says", error)
    };
    let bytes = std::fs::metadata(path).map_err(cannot)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(Explanation::new(code::OUT_OF_BOUNDS, format!("{} is too large", path.display()))
            .halves(format!("at most {FILE_BYTES_MAX} bytes"), bytes));
    }
    let bytes = zeroize::Zeroizing::new(std::fs::read(path).map_err(cannot)?);
    let certificates = match std::str::from_utf8(&bytes) {
        Ok(text) => Certificate::many_from_pem(text),
        Err(_) => Certificate::from_der(&bytes).map(|certificate| vec![certificate]),
    };
    certificates.map_err(|error| error.explain().fact("file", path.display()))
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
        let certificate = Certificate::from_der(&cert.der).map_err(|error| error.explain())?;
        words.push(format!("{}\n{}", show::certificate(&certificate, now), record(cert, now)));
        let issued = Some(IssuedData::of(cert, now));
        entries.push(Entry { certificate: CertificateData::of(&certificate), issued });
    }
    context.terminal.report(&Report { certificates: entries }, || words.join("\n\n"));
    Ok(Exit::Done)
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
