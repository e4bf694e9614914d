//! `certus key inspect`: what a private key is, without showing it.

use certus_pki::key::KeyFacts;
use certus_pki::{Explain, Explanation};
use serde::Serialize;
use zeroize::Zeroizing;

use super::Context;
use super::offline;
use crate::args::KeyInspect;
use crate::terminal::Exit;

#[derive(Serialize)]
pub(super) struct KeyData {
    file: String,
    form: String,
    key_type: Option<String>,
    key_hash: Option<String>,
}

impl KeyData {
    pub(super) fn of(facts: &KeyFacts, file: String) -> KeyData {
        KeyData {
            file,
            form: facts.form.to_string(),
            key_type: facts.key_type.map(|key_type| key_type.to_string()),
            key_hash: facts.key_hash.map(|hash| hash.to_string()),
        }
    }

    pub(super) fn words(&self) -> String {
        let mut lines = vec![format!("private key {}", self.file), format!("  form         {}", self.form)];
        match (&self.key_type, &self.key_hash) {
            (Some(key_type), Some(hash)) => lines.push(format!("  key          {key_type}, {hash}")),
            _ => lines
                .push("  key          unknown while it is encrypted; --passphrase-file opens it".to_owned()),
        }
        lines.join("\n")
    }
}

pub(super) async fn run(context: &Context, inspect: KeyInspect) -> Result<Exit, Explanation> {
    let passphrase = inspect.passphrase_file.as_deref().map(offline::passphrase).transpose()?;
    let text = Zeroizing::new(offline::read_text(&inspect.file)?);
    let shown = offline::shown(&inspect.file);
    let facts =
        KeyFacts::of_pem(&text, passphrase.as_ref()).map_err(|error| error.explain().fact("file", &shown))?;
    let data = KeyData::of(&facts, shown);
    context.terminal.report(&data, || data.words());
    Ok(Exit::Done)
}
