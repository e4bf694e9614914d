//! Every stable error code is explained in docs/troubleshooting.md, and no other.

use std::collections::BTreeSet;

use certus_pki::Code;

use crate::source::Tree;

const GUIDE: &str = "docs/troubleshooting.md";
const LIST: &str = "crates/pki/src/code.rs";

/// Codes without an entry, entries without a code, entries that stand twice, and mentions of codes
/// that do not exist.
pub(crate) fn unexplained(tree: &Tree) -> Vec<String> {
    let existing: Vec<String> = certus_pki::code::ALL.iter().map(Code::to_string).collect();
    let mut complaints = Vec::new();
    let mut explained = BTreeSet::new();
    for (number, line) in tree.file(GUIDE).text.lines().enumerate() {
        let Some(code) = line.strip_prefix("### ").and_then(|line| codes(line).pop()) else {
            continue;
        };
        let place = format!("{GUIDE}:{}", number + 1);
        if !existing.contains(&code) {
            complaints.push(format!("{place}: there is no {code}; remove its entry"));
        }
        if !explained.insert(code.clone()) {
            complaints.push(format!("{place}: {code} has two entries; join them"));
        }
    }
    for code in existing.iter().filter(|code| !explained.contains(*code)) {
        complaints.push(format!("{LIST}: {code} is not explained; add `### {code} …` to {GUIDE}"));
    }
    complaints.extend(strangers(tree, &existing));
    complaints
}

/// Mentions, in rooms and documents, of codes that do not exist.
fn strangers(tree: &Tree, existing: &[String]) -> Vec<String> {
    let mut complaints = Vec::new();
    let documents = tree.files.iter().filter(|file| file.path.ends_with(".md"));
    let sources = tree.rust().filter(|file| file.room().is_some());
    for file in documents.chain(sources).filter(|file| file.path != GUIDE) {
        for (number, line) in file.text.lines().enumerate() {
            for code in codes(line).iter().filter(|code| !existing.contains(code)) {
                let (path, number) = (&file.path, number + 1);
                complaints.push(format!("{path}:{number}: there is no {code} in {LIST}"));
            }
        }
    }
    complaints
}

/// The codes in a line, each `CT-` and four digits.
fn codes(line: &str) -> Vec<String> {
    let after = line.match_indices("CT-").map(|(at, _)| &line[at..]);
    let is_code = |rest: &&str| {
        let digits = rest[3..].bytes().take_while(u8::is_ascii_digit).count();
        digits == 4
    };
    after.filter(is_code).map(|rest| rest[..7].to_owned()).collect()
}

#[test]
fn codes_are_four_digits() {
    assert_eq!(codes("error CT-2103: see CT-11 and CT-99999"), ["CT-2103"]);
}
