//! Rules about whole files: their first line, their length, what they must not mention.

use crate::source::{File, Tree, item_end, line_of};

/// Above this a file holds a second idea that wants a file of its own.
const FILE_LINES_MAX: usize = 600;
/// From here on it is listed.
const FILE_LINES_NOTED: usize = 500;
/// From here on a function is listed.
const FUNCTION_LINES_NOTED: usize = 100;

/// Rust files that do not open with `//!`.
pub(crate) fn without_module_doc(tree: &Tree) -> Vec<String> {
    let silent = tree.rust().filter(|f| !f.text.starts_with("//! "));
    silent.map(|f| format!("{}:1: opens without `//!`; say the file's job in one line", f.path)).collect()
}

/// Rust files longer than the limit.
pub(crate) fn too_long(tree: &Tree) -> Vec<String> {
    let length = |f: &File| f.text.lines().count();
    tree.rust()
        .filter(|f| length(f) > FILE_LINES_MAX)
        .map(|f| {
            let lines = length(f);
            format!("{}: {lines} lines, at most {FILE_LINES_MAX}; find the second idea", f.path)
        })
        .collect()
}

/// Long files and functions that do not fail yet.
pub(crate) fn worth_splitting(tree: &Tree) -> Vec<String> {
    let mut notes = Vec::new();
    for file in tree.rust() {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_NOTED {
            notes.push(format!("{}: {lines} lines", file.path));
        }
        for (at, _) in file.code.match_indices("fn ") {
            let first = line_of(&file.code, at);
            let lines = line_of(&file.code, item_end(&file.code, at)) - first + 1;
            if lines > FUNCTION_LINES_NOTED {
                notes.push(format!("{}:{}: a function of {lines} lines", file.path, first + 1));
            }
        }
    }
    notes
}

/// Files that mention directories of the machine they were written on.
pub(crate) fn naming_the_workplace(tree: &Tree) -> Vec<String> {
    // In two pieces, so that this file does not accuse itself.
    let places = [concat!("/wo", "rk/"), concat!("sha", "red/")];
    let mut complaints = Vec::new();
    for file in &tree.files {
        for (number, line) in file.text.lines().enumerate() {
            for place in places.iter().filter(|place| line.contains(**place)) {
                let at = number + 1;
                complaints.push(format!("{}:{at}: names `{place}`; say it without", file.path));
            }
        }
    }
    complaints
}
