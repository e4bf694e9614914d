//! The document: shapes by heading, and whether a value has one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use serde_json::Value;

pub(super) struct Book {
    text: String,
    shapes: BTreeMap<String, Value>,
    seen: Mutex<BTreeSet<String>>,
}

impl Book {
    pub(super) fn read() -> Book {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/json.md");
        let text = std::fs::read_to_string(path).unwrap();
        let mut shapes = BTreeMap::new();
        for section in text.split("\n### ").skip(1) {
            let (heading, rest) = section.split_once('\n').unwrap();
            let block = rest.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
            let block = block.unwrap_or_else(|| panic!("no shape under {heading}"));
            let shape = serde_json::from_str(block).unwrap_or_else(|error| panic!("{heading}: {error}"));
            assert!(shapes.insert(heading.to_owned(), shape).is_none(), "twice: {heading}");
        }
        Book { text, shapes, seen: Mutex::default() }
    }

    /// Holds an answer against the shape under this heading.
    #[track_caller]
    pub(super) fn holds(&self, heading: &str, answer: &Value) {
        let shape = self.shapes.get(heading).unwrap_or_else(|| panic!("docs/json.md has no `{heading}`"));
        let mut wrong = Vec::new();
        self.check(shape, answer, "", &mut wrong);
        assert!(wrong.is_empty(), "{heading}:\n{}\n{answer:#}", wrong.join("\n"));
        self.seen.lock().unwrap().insert(heading.to_owned());
    }

    /// Headings that nothing was held against.
    pub(super) fn not_seen(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        self.shapes.keys().filter(|heading| !seen.contains(*heading)).cloned().collect()
    }

    /// Whether a command, spelt `certus-cert-list`, is spoken of.
    pub(super) fn names(&self, stem: &str) -> bool {
        let has_shape = self.shapes.keys().any(|heading| {
            let spelt = heading.replace(' ', "-");
            spelt == stem || spelt.starts_with(&format!("{stem}---"))
        });
        if has_shape {
            return true;
        }
        // Those that share a shape stand in the words above it: the same for `off`.
        let sibling = self.text.split("\n### ").skip(1).any(|section| {
            let heading = section.lines().next().unwrap_or_default();
            let (noun, _) = heading.rsplit_once(' ').unwrap_or_default();
            let same = section.lines().find_map(|line| line.strip_prefix("The same for "));
            let verbs = same.into_iter().flat_map(|line| line.split('`').skip(1).step_by(2));
            verbs.map(|verb| format!("{noun} {verb}").replace(' ', "-")).any(|spelt| spelt == stem)
        });
        let without = self.text.split("## No document").nth(1).and_then(|rest| rest.split("\n## ").next());
        sibling
            || without.unwrap_or_default().contains(&format!("`{}`", stem.replacen('-', " ", 2)))
            || without.unwrap_or_default().contains(&format!("`{}`", stem.replacen('-', " ", 1)))
    }

    fn check(&self, shape: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
        match shape {
            Value::String(word) => self.word(word, value, at, wrong),
            Value::Array(shape) => match value.as_array() {
                Some(items) => {
                    for (number, item) in items.iter().enumerate() {
                        self.check(&shape[0], item, &format!("{at}[{number}]"), wrong);
                    }
                }
                None => wrong.push(format!("{at}: not a list: {value}")),
            },
            Value::Object(_) => self.keys(shape, value, at, wrong),
            _ => panic!("{at}: no shape: {shape}"),
        }
    }

    fn word(&self, word: &str, value: &Value, at: &str, wrong: &mut Vec<String>) {
        let (kind, nullable) = word.strip_suffix('?').map_or((word, false), |kind| (kind, true));
        if nullable && value.is_null() {
            return;
        }
        if kind.starts_with('@') {
            let named = self.shapes.get(kind).unwrap_or_else(|| panic!("{at}: no shape {kind}"));
            self.seen.lock().unwrap().insert(kind.to_owned());
            return self.check(named, value, at, wrong);
        }
        let right = match kind {
            "any" => true,
            "string" => value.is_string(),
            "integer" => value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "time" => value.as_str().is_some_and(is_time),
            _ => panic!("{at}: no type {kind}"),
        };
        if !right {
            wrong.push(format!("{at}: not {word}: {value}"));
        }
    }

    fn keys(&self, shape: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
        let Some(found) = value.as_object() else {
            return wrong.push(format!("{at}: not a document: {value}"));
        };
        let expected = self.flat(shape);
        if let Some(each) = expected.get("*") {
            for (key, value) in found {
                self.check(each, value, &format!("{at}.{key}"), wrong);
            }
            return;
        }
        for (key, shape) in &expected {
            let (name, optional) = key.strip_suffix('?').map_or((&key[..], false), |name| (name, true));
            match found.get(name) {
                Some(value) => self.check(shape, value, &format!("{at}.{name}"), wrong),
                None if optional => {}
                None => wrong.push(format!("{at}.{name}: missing")),
            }
        }
        let known = |key: &str| expected.contains_key(key) || expected.contains_key(&format!("{key}?"));
        for key in found.keys().filter(|key| !known(key)) {
            wrong.push(format!("{at}.{key}: not written"));
        }
    }

    /// The keys of a shape, those that it takes over among them.
    fn flat(&self, shape: &Value) -> BTreeMap<String, Value> {
        let mut keys = BTreeMap::new();
        for (key, shape) in shape.as_object().unwrap() {
            if key == "..." {
                let name = shape.as_str().unwrap();
                self.seen.lock().unwrap().insert(name.to_owned());
                keys.extend(self.flat(&self.shapes[name]));
            } else {
                keys.insert(key.clone(), shape.clone());
            }
        }
        keys
    }
}

/// `2026-11-25T10:44:04Z`.
fn is_time(text: &str) -> bool {
    let pattern = "0000-00-00T00:00:00Z";
    text.len() == pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(is, like)| match like {
            b'0' => is.is_ascii_digit(),
            like => is == like,
        })
}
