//! Passphrases and unlock keys: from a file, the environment or a question, never from an argument.

use std::path::Path;

use certus_pki::key::Passphrase;
use certus_pki::{Explanation, code};

use super::{Context, offline};

/// A passphrase that is known already: from `file`, else CERTUS_PASSPHRASE.
pub(super) fn given(file: Option<&Path>) -> Result<Option<Passphrase>, Explanation> {
    if let Some(file) = file {
        return offline::passphrase(file).map(Some);
    }
    let text = std::env::var("CERTUS_PASSPHRASE").unwrap_or_default();
    let passphrase = Passphrase::from_file_text(&zeroize::Zeroizing::new(text));
    Ok((!passphrase.is_empty()).then_some(passphrase))
}

/// The same; where there is none and somebody is there, they are asked.
pub(super) fn given_or_asked(
    context: &Context,
    file: Option<&Path>,
    question: &str,
) -> Result<Passphrase, Explanation> {
    match given(file)? {
        Some(passphrase) => Ok(passphrase),
        None => asked(context, question, false),
    }
}

/// A passphrase that is made up now: as above, and asked for twice.
pub(super) fn given_or_chosen(
    context: &Context,
    file: Option<&Path>,
    question: &str,
) -> Result<Passphrase, Explanation> {
    match given(file)? {
        Some(passphrase) => Ok(passphrase),
        None => asked(context, question, true),
    }
}

/// The answer to a question; `twice` where a slip would be found out too late.
pub(super) fn asked(context: &Context, question: &str, twice: bool) -> Result<Passphrase, Explanation> {
    let none = |why: &str| {
        Explanation::new(code::PASSPHRASE_NEEDED, format!("no passphrase was given: {why}"))
            .hint("--passphrase-file FILE, or CERTUS_PASSPHRASE")
    };
    if !context.terminal.can_ask() {
        return Err(none("nobody can be asked"));
    }
    let mut prompt = inquire::Password::new(question).with_display_mode(inquire::PasswordDisplayMode::Hidden);
    if !twice {
        prompt = prompt.without_confirmation();
    }
    let answer = prompt.prompt().map_err(|error| none(&error.to_string()))?;
    let passphrase = Passphrase::from_file_text(&zeroize::Zeroizing::new(answer));
    if passphrase.is_empty() { Err(none("it is empty")) } else { Ok(passphrase) }
}
