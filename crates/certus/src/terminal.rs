//! The terminal's one voice: results to standard output, all talk to standard error.
//!
//! Nothing else in this program writes to either. Colour never carries meaning alone.

mod list;

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

use certus_pki::{Code, Explanation, code};
use serde::Serialize;

pub(crate) use list::Listing;

/// How this run talks.
#[derive(Clone, Copy)]
pub(crate) struct Terminal {
    json: bool,
    colour: bool,
}

/// How a command ended, where it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// A check found problems, which it has printed.
    Problems,
}

impl Exit {
    /// Its number for the shell.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Problems => 3,
        }
    }

    /// The number of a failure: 2 where the command was wrong, else 1.
    pub(crate) fn failure(code: Code) -> u8 {
        if code == code::USAGE { 2 } else { 1 }
    }
}

impl Terminal {
    /// A voice that writes results as JSON or for people.
    pub(crate) fn new(json: bool) -> Terminal {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Terminal { json, colour: wanted && std::io::stderr().is_terminal() }
    }

    /// Whether results and errors are JSON.
    pub(crate) const fn json(self) -> bool {
        self.json
    }

    /// Whether a person can be asked.
    pub(crate) fn can_ask(self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// A result: lines for people.
    pub(crate) fn result(self, text: &str) {
        to_stdout(text);
    }

    /// A result as data: one JSON document.
    pub(crate) fn data<T: Serialize>(self, value: &T) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => to_stdout(&text),
            Err(error) => to_stderr(&format!("error: the result is not JSON: {error}")),
        }
    }

    /// A result either way: data where JSON was asked for, else the text.
    pub(crate) fn report<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) {
        if self.json { self.data(value) } else { self.result(&text()) }
    }

    /// A file's content instead of a file: to standard output, as it is.
    pub(crate) fn bytes(self, content: &[u8]) -> Result<(), Explanation> {
        let mut out = std::io::stdout().lock();
        out.write_all(content).and_then(|()| out.flush()).map_err(|error| {
            Explanation::new(code::FILE, "cannot write to standard output").fact("the system says", error)
        })
    }

    /// Talk: what is going on, for people.
    pub(crate) fn say(self, text: &str) {
        to_stderr(text);
    }

    /// How far long work is, on one line that the next one replaces; nothing where nobody watches.
    pub(crate) fn progress(self, text: &str) {
        let mut out = std::io::stderr().lock();
        if !self.json && out.is_terminal() {
            let _ = write!(out, "\r\u{1b}[K{text}");
            let _ = out.flush();
        }
    }

    /// Talk that should be noticed.
    pub(crate) fn note(self, text: &str) {
        to_stderr(&format!("{} {text}", self.painted("note", YELLOW)));
    }

    /// An error, in all its parts.
    pub(crate) fn error(self, told: &Explanation) {
        if self.json {
            to_stderr(&error_json(told).to_string());
        } else {
            to_stderr(&self.error_text(told));
        }
    }

    fn error_text(self, told: &Explanation) -> String {
        let mut text = format!("{} {}: {}", self.painted("error", RED), told.code, told.message);
        let hint = told.hint.iter().map(|hint| ("hint", hint.as_str()));
        let facts = told.facts.iter().map(|(label, value)| (label.as_str(), value.as_str()));
        for (label, value) in facts.chain(hint) {
            for (place, line) in value.lines().enumerate() {
                let label = if place == 0 { label } else { "" };
                let _ = write!(text, "\n  {label:<10}  {line}");
            }
        }
        text
    }

    fn painted(self, word: &str, colour: &str) -> String {
        if self.colour { format!("\u{1b}[{colour}m{word}\u{1b}[0m") } else { word.to_owned() }
    }
}

const RED: &str = "1;31";
const YELLOW: &str = "1;33";

/// `{"error": {"code", "message", "facts": [{"label", "value"}], "hint"}}`.
fn error_json(told: &Explanation) -> serde_json::Value {
    let fact = |(label, value): &(String, String)| serde_json::json!({ "label": label, "value": value });
    serde_json::json!({ "error": {
        "code": told.code.to_string(),
        "message": told.message,
        "facts": told.facts.iter().map(fact).collect::<Vec<_>>(),
        "hint": told.hint,
    }})
}

/// Rows under headings, columns apart by two blanks; numbers of columns must agree.
pub(crate) fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(comfy_table::ContentArrangement::Disabled);
    table.set_header(headings.to_vec());
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// `4212` as people read it: `4,212`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 node`, `2 nodes`.
pub(crate) fn count(number: u64, one: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {one}{s}", thousands(number))
}

/// A reader that is gone (`| head`) is no error of ours.
fn to_stdout(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn to_stderr(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_both_halves_under_each_other() {
        let told = Explanation::new(code::TOKEN_EXPIRED, "the token expired 3 h ago")
            .fact("now", "2026-11-22 14:03:10Z")
            .hint("certus token create");
        let text = Terminal { json: false, colour: false }.error_text(&told);
        let expected = "error CT-2103: the token expired 3 h ago\n  now         2026-11-22 14:03:10Z\n  hint        certus token create";
        assert_eq!(text, expected);
        assert_eq!(error_json(&told)["error"]["code"], "CT-2103");
    }

    #[test]
    fn tables_are_plain() {
        let rows = [vec!["a".into(), "worker".into()], vec!["long-name".into(), "x".into()]];
        assert_eq!(table(&["NODE", "ROLE"], rows), "NODE       ROLE\na          worker\nlong-name  x");
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!([thousands(7), thousands(4212), thousands(1_234_567)], ["7", "4,212", "1,234,567"]);
        assert_eq!([count(1, "node"), count(0, "node")], ["1 node", "0 nodes"]);
    }
}
