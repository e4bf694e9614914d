//! The repository's files, and Rust files with comments and literals blanked out.

use std::fs;
use std::path::{Path, PathBuf};

/// Everything in the repository but build output.
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
}

/// One text file.
pub(crate) struct File {
    /// Relative to the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// For Rust: the text with comments and the contents of literals replaced by blanks, so that
    /// line numbers agree. Empty for other files.
    pub(crate) code: String,
    /// For Rust: whether each line (from 0) belongs to a test.
    tests: Vec<bool>,
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

impl Tree {
    /// Reads the repository.
    pub(crate) fn read() -> Self {
        let mut files = Vec::new();
        walk(&root(), "", &mut files);
        assert!(files.len() > 20, "the repository was not found at {}", root().display());
        Self { files }
    }

    /// The Rust files that people wrote.
    pub(crate) fn rust(&self) -> impl Iterator<Item = &File> {
        let generated = |f: &File| f.text.lines().next().is_some_and(|l| l.contains("@generated"));
        self.files.iter().filter(move |f| f.path.ends_with(".rs") && !generated(f))
    }

    /// A file that must be there.
    pub(crate) fn file(&self, path: &str) -> &File {
        let found = self.files.iter().find(|f| f.path == path);
        found.unwrap_or_else(|| panic!("{path} is missing"))
    }
}

impl File {
    fn new(path: String, text: String) -> Self {
        let code = if path.ends_with(".rs") { blank(&text) } else { String::new() };
        let tests = test_lines(&path, &code);
        Self { path, text, code, tests }
    }

    /// The crate's directory name, if the file is part of a crate's sources.
    pub(crate) fn room(&self) -> Option<&str> {
        let (room, rest) = self.path.strip_prefix("crates/")?.split_once('/')?;
        rest.starts_with("src/").then_some(room)
    }

    /// Lines of code with their numbers from 1, without those that belong to tests.
    pub(crate) fn shipped_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.code.lines().enumerate();
        lines.filter(|(i, _)| !self.tests[*i]).map(|(i, line)| (i + 1, line))
    }
}

fn walk(dir: &Path, prefix: &str, files: &mut Vec<File>) {
    const LEFT_OUT: [&str; 3] = ["target", ".git", "Cargo.lock"];
    let mut entries: Vec<_> = fs::read_dir(dir).expect("a directory").flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().into_string().expect("file names are UTF-8");
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        if LEFT_OUT.contains(&name.as_str()) {
            continue;
        }
        if entry.file_type().expect("a file type").is_dir() {
            walk(&entry.path(), &path, files);
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            files.push(File::new(path, text));
        }
    }
}

/// Replaces comments, string contents and character literals by blanks, keeping line breaks.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment or literal that starts at `at` ends; `at` itself if none starts there.
fn literal_end(chars: &[char], at: usize) -> usize {
    let next = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let find = |mut i: usize, stop: &dyn Fn(usize) -> bool| {
        while i < chars.len() && !stop(i) {
            i += if next(i) == '\\' { 2 } else { 1 };
        }
        i.min(chars.len())
    };
    let inside_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match chars[at] {
        '/' if next(at + 1) == '/' => {
            at + chars[at..].iter().position(|c| *c == '\n').unwrap_or(chars.len() - at)
        }
        '/' if next(at + 1) == '*' => block_comment_end(chars, at),
        'r' if !inside_word || chars[at - 1] == 'b' => raw_string_end(chars, at),
        '"' => (find(at + 1, &|i| next(i) == '"') + 1).min(chars.len()),
        // 'a' and '\n' are literals, 'a without a closing quote is a lifetime.
        '\'' if next(at + 1) == '\\' || (next(at + 2) == '\'' && next(at + 1) != '\'') => {
            (find(at + 1, &|i| next(i) == '\'') + 1).min(chars.len())
        }
        _ => at,
    }
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            break;
        }
    }
    i
}

fn raw_string_end(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    let open = at + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return at;
    }
    let closes = |i: usize| {
        chars[i] == '"' && chars[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    let close = (open + 1..chars.len()).find(|i| closes(*i));
    close.map_or(chars.len(), |i| i + 1 + hashes)
}

/// Which lines belong to tests: whole files by their place, else what `#[cfg(test)]` or `#[test]`
/// stands before.
fn test_lines(path: &str, code: &str) -> Vec<bool> {
    let by_place = ["/tests/", "/tests.rs", "crates/forge/", "crates/testkit/", "benches/", "fuzz/"];
    let whole = by_place.iter().any(|p| path.contains(p)) || code.contains("#![cfg(test)]");
    let mut marks = vec![whole; code.lines().count()];
    for attribute in ["#[cfg(test)]", "#[cfg(all(test", "#[test]", "#[tokio::test"] {
        for (at, _) in code.match_indices(attribute) {
            let first = line_of(code, at);
            let last = line_of(code, item_end(code, at));
            marks[first..=last].fill(true);
        }
    }
    marks
}

/// The line, from 0, that the byte at `at` stands in.
pub(crate) fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count()
}

/// The byte where the item that starts at `start` ends: its closing brace, or its semicolon.
pub(crate) fn item_end(code: &str, start: usize) -> usize {
    let (mut braces, mut others) = (0_i32, 0_i32);
    for (at, c) in code[start..].char_indices() {
        match c {
            '{' => braces += 1,
            '}' => braces -= 1,
            '(' | '[' => others += 1,
            ')' | ']' => others -= 1,
            _ => {}
        }
        if (c == '}' && braces == 0) || (c == ';' && braces == 0 && others == 0) {
            return start + at;
        }
    }
    code.len().saturating_sub(1)
}

#[test]
fn blanking_keeps_code_and_lines() {
    let text = "a(\"x // y\"); // b\nlet c = 'd'; let e: &'f str = r#\"g\"h\"#; /* i\nj */ k";
    let blanked = blank(text);
    assert_eq!(blanked.len(), text.len());
    let words: Vec<_> = blanked.split_whitespace().collect();
    let expected = ["a(", ");", "let", "c", "=", ";", "let", "e:", "&'f", "str", "=", ";", "k"];
    assert_eq!(words, expected);
    assert_eq!(blanked.lines().count(), 3);
}

#[test]
fn tests_are_told_from_shipped_code() {
    let text = "//! Doc.\nfn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";
    let file = File::new("crates/pki/src/lib.rs".into(), text.into());
    let shipped: Vec<_> = file.shipped_lines().map(|(number, _)| number).collect();
    assert_eq!(shipped, [1, 2, 7]);
}
