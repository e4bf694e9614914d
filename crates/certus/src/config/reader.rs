//! One document while it is read: scalars to values, and mistakes with their place.
//!
//! Lines are shown only of documents that hold neither PEM nor names of the environment (I7).

use std::path::{Path, PathBuf};

use certus_pki::{Explanation, code};
use serde_saphyr::Spanned;

use super::expand;
use super::is_address;
use super::raw::{Branch, Hidden, Text, Tree};

/// One document while it is read.
pub(super) struct Reader<'a> {
    pub(super) text: &'a str,
    pub(super) path: &'a Path,
    pub(super) lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl Reader<'_> {
    /// A scalar with its names replaced.
    pub(super) fn value(&self, raw: &Text) -> Result<expand::Expanded, Explanation> {
        self.expanded(raw, &raw.value)
    }

    /// A scalar that may be a secret.
    pub(super) fn secret(&self, raw: &Hidden) -> Result<expand::Expanded, Explanation> {
        self.expanded(raw, &raw.value.0)
    }

    fn expanded<T>(&self, raw: &Spanned<T>, text: &str) -> Result<expand::Expanded, Explanation> {
        expand::expand(text, self.lookup).map_err(|error| self.wrong(raw, &error.to_string()))
    }

    /// A scalar of a type that knows how it is written.
    pub(super) fn parsed<T: std::str::FromStr>(&self, key: &str, raw: &Text) -> Result<T, Explanation>
    where
        T::Err: std::fmt::Display,
    {
        let value = self.value(raw)?;
        value.text.parse().map_err(|error: T::Err| self.unfit(key, raw, value.substituted, &error))
    }

    /// A scalar that is one of some words.
    pub(super) fn one_of<T: Copy>(
        &self,
        key: &str,
        raw: &Text,
        words: &[(&str, T)],
    ) -> Result<T, Explanation> {
        let value = self.value(raw)?;
        if let Some((_, found)) = words.iter().find(|(word, _)| *word == value.text) {
            return Ok(*found);
        }
        let expected: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let told =
            self.wrong(raw, &format!("{key}: not one of its words")).fact("expected", expected.join(", "));
        Err(if value.substituted { told } else { told.fact("came", shown(&value.text)) })
    }

    pub(super) fn flag(&self, key: &str, raw: &Text) -> Result<bool, Explanation> {
        self.one_of(key, raw, &[("true", true), ("false", false)])
    }

    pub(super) fn flag_or_not(&self, key: &str, raw: Option<&Text>) -> Result<bool, Explanation> {
        raw.map_or(Ok(false), |raw| self.flag(key, raw))
    }

    /// A number within bounds.
    pub(super) fn number(&self, key: &str, raw: &Text, least: u32, most: u32) -> Result<u32, Explanation> {
        let value = self.value(raw)?;
        match value.text.parse::<u32>() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => {
                let told = self.wrong(raw, &format!("{key}: not such a number"));
                let told = told.fact("expected", format!("{least} to {most}"));
                Err(if value.substituted { told } else { told.fact("came", shown(&value.text)) })
            }
        }
    }

    pub(super) fn address(&self, key: &str, raw: &Text) -> Result<String, Explanation> {
        let value = self.value(raw)?;
        if is_address(&value.text) {
            return Ok(value.text);
        }
        let told = self.wrong(raw, &format!("{key}: not an address"));
        let told = told.fact("expected", "HOST:PORT, as 127.0.0.1:9443 or [::1]:9443");
        Err(if value.substituted { told } else { told.fact("came", shown(&value.text)) })
    }

    /// One address, or several with commas between, as `--manager` has them.
    pub(super) fn addresses(&self, key: &str, raw: &Text) -> Result<Vec<String>, Explanation> {
        let value = self.value(raw)?;
        let several: Vec<String> = value.text.split(',').map(|one| one.trim().to_owned()).collect();
        match several.iter().all(|one| is_address(one)) {
            true => Ok(several),
            false => self.address(key, raw).map(|one| vec![one]),
        }
    }

    pub(super) fn path_of(&self, raw: &Text) -> Result<PathBuf, Explanation> {
        let value = self.value(raw)?.text;
        if value.is_empty() { Err(self.wrong(raw, "an empty path")) } else { Ok(value.into()) }
    }

    /// One word or a list of words, each expanded.
    pub(super) fn words(&self, key: &str, raw: &Tree) -> Result<Vec<(String, bool)>, Explanation> {
        let word = |tree: &Tree| match &tree.value {
            Branch::Word(word) => {
                let value = self.expanded(tree, word)?;
                Ok((value.text, value.substituted))
            }
            _ => Err(self.wrong(tree, &format!("{key}: a word is expected here"))),
        };
        match &raw.value {
            Branch::List(list) => list.iter().map(word).collect(),
            _ => word(raw).map(|one| vec![one]),
        }
    }

    /// A word of a tree, expanded.
    pub(super) fn word<'t>(&self, tree: &'t Tree, word: &'t str) -> Result<expand::Expanded, Explanation> {
        self.expanded(tree, word)
    }

    /// A value that does not fit, in words that do not repeat what came from outside.
    pub(super) fn unfit<T>(
        &self,
        key: &str,
        raw: &Spanned<T>,
        substituted: bool,
        why: &dyn std::fmt::Display,
    ) -> Explanation {
        if substituted {
            self.wrong(raw, &format!("{key}: what its name stands for is not what belongs here"))
        } else {
            self.wrong(raw, &format!("{key}: {why}"))
        }
    }

    pub(super) fn wrong<T>(&self, raw: &Spanned<T>, message: &str) -> Explanation {
        self.place(Explanation::new(code::CONFIGURATION, message), raw.referenced.line())
    }

    /// What the YAML parser does not take: syntax, unknown and missing keys, values of another shape.
    pub(super) fn not_yaml(&self, error: &serde_saphyr::Error) -> Explanation {
        let rendered = error.without_snippet().to_string();
        let message = rendered.lines().next().unwrap_or_default();
        let message = message.split(" at line ").next().unwrap_or_default();
        // The parser's own words may repeat a value; without it they are still enough.
        let printable = self.printable();
        let shown = if printable { message } else { "the document is not what is expected" };
        let shown = shown.strip_prefix("error: ").unwrap_or(shown).trim_end_matches(['.', ':']);
        let line = error.location().map_or(0, |location| location.line());
        let told = self.place(Explanation::new(code::CONFIGURATION, shown), line);
        // The known keys are ours, whatever the document holds.
        match meant(message) {
            Some(word) => told.fact("meant", word),
            None => told,
        }
    }

    /// File, line, and the line itself where the document may be shown.
    fn place(&self, mut told: Explanation, line: u64) -> Explanation {
        told.facts.insert(0, ("file".to_owned(), format!("{}, line {line}", self.path.display())));
        let shown = usize::try_from(line).ok().and_then(|line| self.text.lines().nth(line.checked_sub(1)?));
        match shown {
            Some(shown) if self.printable() && !holds_secret(shown) => told.fact("it says", shown.trim()),
            _ => told,
        }
    }

    /// Whether lines of the document may be shown.
    fn printable(&self) -> bool {
        !self.text.contains("-----BEGIN") && !self.text.contains("${") && !self.text.contains("http_proxy")
    }
}

/// A value for people: no longer than a line.
fn shown(text: &str) -> String {
    /// Longer words are no help, and may be a secret.
    const CHARS_MAX: usize = 60;
    if holds_secret(text) {
        return "a long word".to_owned();
    }
    text.chars().take(CHARS_MAX).filter(|c| !c.is_control()).collect()
}

/// Whether a line holds a word as long as a token or a key, which may have been put there by mistake.
fn holds_secret(line: &str) -> bool {
    let long = |word: &str| word.len() >= SECRET_CHARS_MIN;
    // A key's base64 has `+` and `/` in it, as paths do, but letters of both kinds and digits as well.
    let base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-');
    let mixed = |word: &str| {
        let has = |kind: fn(&char) -> bool| word.chars().any(|c| kind(&c));
        has(char::is_ascii_uppercase) && has(char::is_ascii_lowercase) && has(char::is_ascii_digit)
    };
    line.split(|c: char| !c.is_ascii_alphanumeric()).any(long)
        || line.split(|c: char| !base64(c)).any(|word| long(word) && mixed(word))
}

/// Half a token: shorter words are names, addresses and paths.
const SECRET_CHARS_MIN: usize = 32;

/// The known key next to an unknown one, from the parser's message that lists them.
fn meant(message: &str) -> Option<&str> {
    let rest = message.split_once("unknown field `").map(|(_, rest)| rest)?;
    let mut quoted = rest.split('`').step_by(2);
    let came = quoted.next()?;
    let near = quoted.map(|word| (distance(came, word), word)).min()?;
    (near.0 <= 2 && near.0 < near.1.len()).then_some(near.1)
}

/// How many letters must change, come or go.
pub(super) fn distance(one: &str, other: &str) -> usize {
    /// Keys are shorter; longer text is no misspelt one.
    const CHARS_MAX: usize = 40;
    let (one, other): (Vec<char>, Vec<char>) =
        (one.chars().take(CHARS_MAX).collect(), other.chars().take(CHARS_MAX).collect());
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (place, with) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != with);
            diagonal = row[place + 1];
            row[place + 1] = changed.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row[other.len()]
}
