//! `certus cert verify`: whether a certificate leads to a trusted root, and if not, why.

use std::path::Path;

use certus_cadir::{Access, CaDir};
use certus_pki::chain::{ChainQuery, VerifiedChain, verify_chain};
use certus_pki::crl::Crl;
use certus_pki::{Certificate, Explain, Explanation, Purpose};
use serde::Serialize;

use super::Context;
use super::offline;
use super::show::{self, CertificateData};
use crate::args::{Side, Verify};
use crate::terminal::Exit;

#[derive(Serialize)]
struct Report {
    valid: bool,
    at: String,
    chain_expires_at: String,
    path: Vec<CertificateData>,
}

pub(super) async fn run(context: &Context, verify: Verify) -> Result<Exit, Explanation> {
    let mut chain = offline::certificates(&verify.leaf)?;
    let leaf = chain.remove(0);
    let mut roots = Vec::new();
    for ca in &verify.ca {
        roots.extend(roots_of(ca)?);
    }
    for file in &verify.intermediates {
        chain.extend(offline::certificates(file)?);
    }
    let mut crls = Vec::new();
    for file in &verify.crl {
        crls.extend(lists(file)?);
    }
    let ders = |all: &[Certificate]| all.iter().map(|cert| cert.der.clone()).collect::<Vec<_>>();
    let (roots, between) = (ders(&roots), ders(&chain));
    let roots: Vec<&[u8]> = roots.iter().map(Vec::as_slice).collect();
    let between: Vec<&[u8]> = between.iter().map(Vec::as_slice).collect();
    let at = verify.at.unwrap_or_else(show::now);
    let query = ChainQuery {
        intermediates: &between,
        crls: &crls,
        purpose: verify.purpose.map(|side| match side {
            Side::Server => Purpose::Server,
            Side::Client => Purpose::Client,
        }),
        names: &verify.name,
        max_depth: verify.max_depth,
        ..ChainQuery::at(at, &roots)
    };
    let verified = verify_chain(&leaf.der, &query)
        .map_err(|error| error.explain().fact("file", offline::shown(&verify.leaf)))?;
    let report = Report {
        valid: true,
        at: at.to_string(),
        chain_expires_at: verified.not_after.to_string(),
        path: verified.path.iter().map(CertificateData::of).collect(),
    };
    context.terminal.report(&report, || words(&verify.leaf, &verified, at));
    Ok(Exit::Done)
}

fn words(leaf: &Path, verified: &VerifiedChain, at: certus_pki::UnixTime) -> String {
    let mut lines = vec![format!("valid   {}", offline::shown(leaf))];
    for (place, cert) in verified.path.iter().enumerate() {
        let word = match place {
            0 => "is",
            last if last + 1 == verified.path.len() => "root",
            _ => "below",
        };
        lines.push(format!("{word:<6}  {}, until {}", cert.subject, cert.not_after.date()));
    }
    lines.push(format!("holds   until {}, {}", verified.not_after, verified.not_after.relative_to(at)));
    lines.join("\n")
}

/// The roots in a file, or the bundle of a CA directory.
fn roots_of(path: &Path) -> Result<Vec<Certificate>, Explanation> {
    if !path.is_dir() {
        return offline::certificates(path);
    }
    let dir = CaDir::open(path, Access::Read).map_err(|error| error.explain())?;
    dir.bundle().map_err(|error| error.explain())
}

/// The revocation lists in a file, PEM or DER.
fn lists(path: &Path) -> Result<Vec<Crl>, Explanation> {
    let bytes = offline::read(path)?;
    let lists = match std::str::from_utf8(&bytes) {
        Ok(text) if text.contains("-----BEGIN") => Crl::many_from_pem(text),
        _ => Crl::from_der(&bytes).map(|crl| vec![crl]),
    };
    lists.map_err(|error| error.explain().fact("file", offline::shown(path)))
}
