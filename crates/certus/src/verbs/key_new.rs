//! `certus key new`: a private key in a file of its own.

use certus_pki::{Explain, Explanation, PrivateKey, Signer};
use serde::Serialize;

use super::Context;
use super::offline::{self, SECRET};
use crate::args::KeyNew;
use crate::terminal::Exit;

#[derive(Serialize)]
struct Report {
    file: String,
    key_type: String,
    key_hash: String,
    encrypted: bool,
}

pub(super) async fn run(context: &Context, new: KeyNew) -> Result<Exit, Explanation> {
    let passphrase = new.passphrase_file.as_deref().map(offline::passphrase).transpose()?;
    let key = PrivateKey::generate(new.key_type).map_err(|error| error.explain())?;
    let text = match &passphrase {
        Some(passphrase) => key.to_encrypted_pem(passphrase).map(Into::into),
        None => key.to_pem(),
    };
    let text: zeroize::Zeroizing<String> = text.map_err(|error| error.explain())?;
    offline::write(context, &new.out, text.as_bytes(), SECRET, new.force)?;
    if offline::is_standard(&new.out) {
        return Ok(Exit::Done);
    }
    let report = Report {
        file: new.out.display().to_string(),
        key_type: new.key_type.to_string(),
        key_hash: key.public_key().hash().to_string(),
        encrypted: passphrase.is_some(),
    };
    context.terminal.report(&report, || {
        let kept = if report.encrypted { ", encrypted" } else { "" };
        format!("made  {}  {}{kept}, {}", report.file, report.key_type, report.key_hash)
    });
    Ok(Exit::Done)
}
