//! Long lists: printed as they come, whatever their length, as rows under headings or as one JSON document.
//!
//! Keeps no more than one page.

use std::io::Write;

use serde::Serialize;

use super::Terminal;

/// A list that is being printed.
pub(crate) struct Listing {
    terminal: Terminal,
    /// What the list is called in the document.
    name: &'static str,
    headings: &'static [&'static str],
    widths: Vec<usize>,
    shown: u64,
    /// Whoever read it has gone (`| head`).
    gone: bool,
}

impl Listing {
    /// Nothing is printed before the first page.
    pub(crate) fn new(terminal: Terminal, name: &'static str, headings: &'static [&'static str]) -> Listing {
        Listing { terminal, name, headings, widths: Vec::new(), shown: 0, gone: false }
    }

    /// Prints what came. False where nobody reads any more.
    pub(crate) fn page<T, D: Serialize>(
        &mut self,
        items: &[T],
        data: impl Fn(&T) -> D,
        row: impl Fn(&T) -> Vec<String>,
    ) -> bool {
        if self.terminal.json {
            for item in items {
                let before = if self.shown == 0 { format!("{{\n  \"{}\": [", self.name) } else { ",".into() };
                self.write(&format!("{before}\n{}", indented(&data(item), 4)));
                self.shown += 1;
            }
        } else if !items.is_empty() || self.shown == 0 {
            let text = self.rows(items.iter().map(row).collect());
            self.write(&text);
            self.shown += items.len() as u64;
        }
        !self.gone
    }

    /// How many were printed.
    pub(crate) fn shown(&self) -> u64 {
        self.shown
    }

    /// Ends it: what else the document says, or a last line.
    pub(crate) fn end<D: Serialize>(mut self, rest: &D, last: impl FnOnce() -> String) {
        if !self.terminal.json {
            if self.shown == 0 && self.widths.is_empty() {
                let text = self.rows(Vec::new());
                self.write(&text);
            }
            self.write(&format!("{}\n", last()));
            return;
        }
        let begun = if self.shown == 0 { format!("{{\n  \"{}\": []", self.name) } else { "\n  ]".to_owned() };
        let rest = indented(rest, 0);
        // `{ … }` without its brace: the document's own is open.
        let rest = rest.strip_prefix('{').map(|rest| rest.trim_start_matches('\n'));
        match rest {
            Some("}") | None => self.write(&format!("{begun}\n}}\n")),
            Some(rest) => self.write(&format!("{begun},\n{rest}\n")),
        }
    }

    /// One page as lines; columns never become narrower, so that pages stand under each other.
    fn rows(&mut self, rows: Vec<Vec<String>>) -> String {
        let first = self.widths.is_empty();
        self.widths.resize(self.headings.len(), 0);
        let heads = first.then(|| self.headings.iter().map(ToString::to_string).collect::<Vec<_>>());
        let all: Vec<Vec<String>> = heads.into_iter().chain(rows).collect();
        for row in &all {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&self.widths).map(|(cell, width)| format!("{cell:<width$}"));
            format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
        };
        all.iter().map(line).collect()
    }

    fn write(&mut self, text: &str) {
        self.gone |= std::io::stdout().lock().write_all(text.as_bytes()).is_err();
    }
}

/// A value as JSON, each line but the first of an outermost brace moved in.
fn indented<D: Serialize>(value: &D, by: usize) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_else(|error| format!("\"not JSON: {error}\""));
    let lines = text.lines().map(|line| format!("{:by$}{line}", ""));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    #[test]
    fn pages_stand_under_each_other() {
        let terminal = Terminal::new(false);
        let mut list = Listing::new(terminal, "nodes", &["NODE", "ROLE"]);
        let rows = |rows: &[[&str; 2]]| rows.iter().map(|row| row.map(ToOwned::to_owned).to_vec()).collect();
        let first = list.rows(rows(&[["long-name", "worker"], ["b", "x"]]));
        assert_eq!(first, "NODE       ROLE\nlong-name  worker\nb          x\n");
        assert_eq!(first.trim_end(), table(&["NODE", "ROLE"], rows(&[["long-name", "worker"], ["b", "x"]])));
        assert_eq!(list.rows(rows(&[["c", "y"]])), "c          y\n");
    }
}
