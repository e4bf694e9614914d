//! The token that a node joins with, from the first place that has one. It is never printed.

use std::io::Read;
use std::path::Path;

use certus_pki::{Explanation, JoinToken, code};
use zeroize::Zeroizing;

use super::Context;

/// A token has 64 digits; a file may end with white space.
const TOKEN_FILE_BYTES_MAX: u64 = 1024;

/// Where a token may be.
pub(super) struct Given<'a> {
    /// `--token`.
    pub(super) token: Option<&'a String>,
    /// `--token-file`.
    pub(super) asked: Option<&'a Path>,
    /// The same, or else the configuration's file.
    pub(super) file: Option<&'a Path>,
}

/// The token, from the first place that has one; asked for only where it is needed.
pub(super) fn read(
    context: &Context,
    given: &Given<'_>,
    has_identity: bool,
) -> Result<Option<JoinToken>, Explanation> {
    let text = if let Some(token) = given.token {
        context.terminal.note(
            "other users of this machine can read a token in the list of processes; --token-file - keeps it out",
        );
        Zeroizing::new(token.clone())
    } else if given.asked.is_none()
        && let Some(token) = std::env::var("CERTUS_TOKEN").ok().filter(|token| !token.is_empty())
    {
        Zeroizing::new(token)
    } else if let Some(file) = given.file {
        // The configuration may go on naming a file that is long gone.
        if has_identity && given.asked.is_none() && !file.exists() {
            return Ok(None);
        }
        read_token(file)?
    } else if !has_identity && context.terminal.can_ask() {
        ask()?
    } else {
        return Ok(None);
    };
    let parsed = text.parse().map_err(|error: certus_pki::token::NotAToken| {
        Explanation::new(code::NOT_A_TOKEN, error.to_string()).hint("certus token create --role worker")
    });
    parsed.map(Some)
}

fn read_token(file: &Path) -> Result<Zeroizing<String>, Explanation> {
    let cannot = |error: std::io::Error| {
        Explanation::new(code::FILE, format!("cannot read the token from {}", file.display()))
            .fact("the system says", error)
    };
    let mut text = Zeroizing::new(String::with_capacity(TOKEN_FILE_BYTES_MAX as usize + 1));
    if file == Path::new("-") {
        std::io::stdin().take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text).map_err(cannot)?;
    } else {
        let opened = std::fs::File::open(file).map_err(cannot)?;
        opened.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text).map_err(cannot)?;
    }
    Ok(text)
}

fn ask() -> Result<Zeroizing<String>, Explanation> {
    let question = inquire::Password::new("token:")
        .without_confirmation()
        .with_display_mode(inquire::PasswordDisplayMode::Hidden);
    question.prompt().map(Zeroizing::new).map_err(|error| {
        Explanation::new(code::NOT_ENROLLED, format!("no token was given: {error}"))
            .hint("--token-file FILE, or CERTUS_TOKEN")
    })
}
