//! `certus cluster bundle`: the roots as PEM, for clients that are not nodes.

use certus_pki::{Explanation, pem};
use serde::Serialize;

use super::Context;
use crate::terminal::Exit;

#[derive(Serialize)]
struct Report {
    cluster: String,
    epoch: String,
    roots: Vec<Root>,
}

#[derive(Serialize)]
struct Root {
    key_hash: String,
    expires_at: String,
    pem: String,
}

pub(super) async fn run(context: &Context) -> Result<Exit, Explanation> {
    let bundle = context.managers().await?.bundle().await?;
    let roots = bundle.roots().iter().map(|root| Root {
        key_hash: root.key_hash().to_string(),
        expires_at: root.not_after().to_string(),
        pem: pem::encode(pem::CERTIFICATE, root.der()),
    });
    let report =
        Report { cluster: bundle.domain(), epoch: bundle.epoch().to_string(), roots: roots.collect() };
    let text = || report.roots.iter().map(|root| root.pem.as_str()).collect::<String>();
    context.terminal.report(&report, || text().trim_end().to_owned());
    Ok(Exit::Done)
}
