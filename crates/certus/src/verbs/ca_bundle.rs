//! `certus ca bundle`: the roots that peers are to trust, as PEM.

use certus_cadir::Access;
use certus_pki::{Certificate, Explain, Explanation};
use serde::Serialize;

use super::Context;
use super::offline;
use super::show::CertificateData;
use crate::args::Signs;
use crate::terminal::Exit;

#[derive(Serialize)]
struct Report {
    roots: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    certificate: CertificateData,
    pem: String,
}

pub(super) async fn run(context: &Context, signs: Signs) -> Result<Exit, Explanation> {
    let roots = offline::open(&signs, None, Access::Read)?.bundle().map_err(|error| error.explain())?;
    let entry = |root: &Certificate| Entry { certificate: CertificateData::of(root), pem: root.to_pem() };
    let report = Report { roots: roots.iter().map(entry).collect() };
    context.terminal.report(&report, || {
        let text: String = roots.iter().map(Certificate::to_pem).collect();
        text.trim_end().to_owned()
    });
    Ok(Exit::Done)
}
