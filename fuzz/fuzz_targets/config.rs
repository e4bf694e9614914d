//! The configuration: any text is read or refused, for each kind of node; what was read can be shown, and
//! no refusal repeats what came from the environment.
#![no_main]

use std::path::Path;

use certus_pki::UnixTime;
use libfuzzer_sys::fuzz_target;

// The reader belongs to the binary, and needs nothing of it.
#[path = "../../crates/certus/src"]
#[allow(dead_code, unused_imports)]
mod certus {
    pub(crate) mod config;
}
use certus::config::{Config, For, MtlsWord, Told, show, warnings};

/// What `${A}` stands for. Nobody's text holds it by chance.
const SECRET: &str = "hunter2: [not to be told";

fuzz_target!(|text: &str| {
    if text.contains(SECRET) {
        return;
    }
    let lookup = |name: &str| (name == "A").then(|| SECRET.to_owned());
    for node in [None, Some(For::Worker), Some(For::Agent)] {
        for mtls in [None, Some(MtlsWord::Permissive)] {
            match Config::parse(text, Path::new("f"), &lookup, Told { node, mtls }) {
                Ok(config) => {
                    let _ = show(&config, Path::new("d")).to_yaml();
                    let _ = warnings(&config, UnixTime::from_secs(1_900_000_000));
                }
                Err(told) => {
                    let said = format!("{told} {told:?}");
                    assert!(!said.contains(SECRET), "{said}");
                }
            }
        }
    }
});
