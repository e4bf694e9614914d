//! `certus key change-passphrase`: the same key under another passphrase, or under none.

use certus_pki::{Explain, Explanation, PrivateKey, Signer};
use serde::Serialize;
use zeroize::Zeroizing;

use super::Context;
use super::offline::{self, SECRET};
use crate::args::ChangePassphrase;
use crate::terminal::Exit;

#[derive(Serialize)]
struct Report {
    file: String,
    key_hash: String,
    encrypted: bool,
}

pub(super) async fn run(context: &Context, change: ChangePassphrase) -> Result<Exit, Explanation> {
    let old = change.passphrase_file.as_deref().map(offline::passphrase).transpose()?;
    let new = change.new_passphrase_file.as_deref().map(offline::passphrase).transpose()?;
    let text = Zeroizing::new(offline::read_text(&change.file)?);
    let key = PrivateKey::from_pem_with(&text, old.as_ref())
        .map_err(|error| error.explain().fact("file", change.file.display()))?;
    let text: Zeroizing<String> = match &new {
        Some(new) => key.to_encrypted_pem(new).map(Into::into),
        None => key.to_pem(),
    }
    .map_err(|error| error.explain())?;
    offline::write(context, &change.file, text.as_bytes(), SECRET, true)?;
    let report = Report {
        file: change.file.display().to_string(),
        key_hash: key.public_key().hash().to_string(),
        encrypted: new.is_some(),
    };
    context.terminal.report(&report, || {
        let now = if report.encrypted { "encrypted with the new passphrase" } else { "no longer encrypted" };
        format!("kept  {}  {now}", report.file)
    });
    Ok(Exit::Done)
}
