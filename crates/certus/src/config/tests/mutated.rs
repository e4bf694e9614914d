//! Whatever is done to a document, it is read or refused: never a panic, never a secret in the refusal.

use super::*;

/// A generator of its own: the same documents in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        // Numerical Recipes' constants for 64 bits.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound.max(1)
    }
}

const PIECES: [&str; 24] = [
    "${",
    "}",
    "${A}",
    "${A:-b}",
    "$${",
    ":",
    "- ",
    "\n",
    "  ",
    "'",
    "\"",
    "|",
    ">",
    "[",
    "]",
    "{",
    "}",
    "&a ",
    "*a",
    "!!str ",
    "<<: ",
    "~",
    "\u{0}",
    "\u{1f600}",
];

fn documents() -> Vec<String> {
    let pki = Pki::new();
    let inline = format!(
        "agent: {{id: auto}}\ntls:\n  ca_pem: |{}\n  cert_pem: |{}\n  key_pem: |{}\n  strict: true\n  mtls: permissive\n  mtls_until: 2027-01-01\n  key_types: [rsa]\n  on_expiry: drain(3s)\nlisteners:\n  - {{transport: ws, address: 'a:1', allow: {{all: [any, {{not: 'dns:a'}}]}}, limits: {{streams: 3}}}}\n",
        block(&pki.ca),
        block(&pki.cert),
        block(&pki.key)
    );
    vec![GOOD.to_owned(), inline]
}

fn read(text: &str) {
    let lookup = |name: &str| (name == "A").then(|| "hunter2: [".to_owned());
    for node in [None, Some(For::Worker), Some(For::Agent)] {
        let told = Told { node, mtls: None };
        match Config::parse(text, Path::new("f"), &lookup, told) {
            Ok(config) => {
                show(&config, Path::new("d")).to_yaml();
                super::super::warnings(&config, certus_pki::UnixTime::from_secs(0));
            }
            Err(told) => {
                let said = format!("{told} {told:?}");
                assert!(!said.contains("hunter2"), "{said}\n{text}");
            }
        }
    }
}

#[test]
fn every_beginning_of_a_document_is_read_or_refused() {
    for document in documents() {
        for end in (0..document.len()).filter(|end| document.is_char_boundary(*end)).step_by(3) {
            read(&document[..end]);
        }
    }
}

#[test]
fn every_change_of_a_document_is_read_or_refused() {
    let mut chance = Chance(4);
    for document in documents() {
        for _ in 0..600 {
            let mut text: Vec<char> = document.chars().collect();
            for _ in 0..=chance.below(3) {
                let at = chance.below(text.len());
                match chance.below(4) {
                    0 => drop(text.remove(at)),
                    1 => text.insert(at, char::from(u8::try_from(chance.below(128)).unwrap())),
                    2 => drop(text.splice(at..at, PIECES[chance.below(PIECES.len())].chars())),
                    _ => {
                        let with = chance.below(text.len());
                        text.swap(at, with);
                    }
                }
            }
            read(&text.into_iter().collect::<String>());
        }
    }
}
