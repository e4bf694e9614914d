//! `certus cert export`: a key and its chain as PKCS#12, trusted certificates, or one certificate as DER.

use certus_pki::key::Passphrase;
use certus_pki::{Certificate, Explain, Explanation, PrivateKey, code, pkcs12};
use serde::Serialize;
use zeroize::Zeroizing;

use super::Context;
use super::offline::{self, PUBLIC, SECRET};
use crate::args::Export;
use crate::terminal::{Exit, count};

#[derive(Serialize)]
struct Report {
    file: String,
    certificates: u64,
    key: bool,
}

pub(super) async fn run(context: &Context, export: Export) -> Result<Exit, Explanation> {
    let mut chain = certificates(&export.cert)?;
    let (content, key, mode) = if export.der {
        chain.truncate(1);
        (Zeroizing::new(chain[0].der.clone()), false, PUBLIC)
    } else {
        let passphrase = export.passphrase_file.as_deref().map(offline::passphrase).transpose()?;
        let passphrase =
            passphrase.ok_or_else(|| Explanation::new(code::USAGE, "--passphrase-file is missing"))?;
        if let Some(ca) = &export.ca {
            chain.extend(certificates(ca)?);
        }
        let made =
            if export.trust { trust(&chain, &passphrase)? } else { identity(&export, &chain, &passphrase)? };
        (made, !export.trust, SECRET)
    };
    offline::write(context, &export.out, &content, mode, export.force)?;
    if offline::is_standard(&export.out) {
        return Ok(Exit::Done);
    }
    let report = Report { file: export.out.display().to_string(), certificates: chain.len() as u64, key };
    context.terminal.report(&report, || {
        let with = if report.key { "a key and " } else { "" };
        format!("made  {}  {with}{}", report.file, count(report.certificates, "certificate"))
    });
    Ok(Exit::Done)
}

fn identity(
    export: &Export,
    chain: &[Certificate],
    passphrase: &Passphrase,
) -> Result<Zeroizing<Vec<u8>>, Explanation> {
    let path = export.key.as_ref().ok_or_else(|| Explanation::new(code::USAGE, "--key is missing"))?;
    let opens = export.key_passphrase_file.as_deref().map(offline::passphrase).transpose()?;
    let text = Zeroizing::new(offline::read_text(path)?);
    let key = PrivateKey::from_pem_with(&text, opens.as_ref())
        .map_err(|error| error.explain().fact("file", path.display()))?;
    let name = chain[0].common_name();
    pkcs12::write(name, &key, chain, passphrase).map(Zeroizing::new).map_err(|error| error.explain())
}

fn trust(chain: &[Certificate], passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>, Explanation> {
    let named: Vec<(String, Certificate)> = chain
        .iter()
        .enumerate()
        .map(|(place, cert)| (format!("{}-{}", cert.common_name(), place + 1), cert.clone()))
        .collect();
    pkcs12::write_trust(&named, passphrase).map(Zeroizing::new).map_err(|error| error.explain())
}

fn certificates(path: &std::path::Path) -> Result<Vec<Certificate>, Explanation> {
    offline::certificates(path)
}
