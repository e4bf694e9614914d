//! pkilint on every kind of certificate and revocation list that the offline CA makes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::harness::World;
use crate::judge::{asked, is_there};

/// Its findings that are no errors: one in each line, with the reason.
const KNOWN: &str = include_str!("judges/pkilint-known.txt");

/// Everything below a directory with this ending.
fn below(dir: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            below(&entry.path(), ending, found);
        } else if entry.path().extension().is_some_and(|is| is == ending) {
            found.push(entry.path());
        }
    }
}

/// What a lint finds in a file with one object, from errors upward.
fn findings(world: &World, lint: &str, words: &[&str], file: &str) -> Vec<String> {
    let words = [&["lint", "-s", "ERROR", "-f", "JSON"], words, &[file]].concat();
    let (_, said) = asked(world, lint, &words);
    let report: serde_json::Value =
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{lint} {file}: {error}\n{said}"));
    let results = report["results"].as_array().unwrap().iter();
    let all = results.flat_map(|result| result["finding_descriptions"].as_array().unwrap());
    all.map(|one| one["message"].as_str().or(one["code"].as_str()).unwrap().to_owned()).collect()
}

/// A world with one of each kind of thing that is made.
fn one_of_each() -> World {
    let world = World::new();
    for key_type in ["ed25519", "p256", "p384", "rsa2048"] {
        let hosts = "host-a=192.168.1.10+localhost+*.wild.example.com,[::1],xn--bcher-kva.example";
        // Past 2050, where times are written otherwise.
        let days = ["--ca-days", "10000", "--days", "9500"];
        let init = ["tls", "init", "-o", key_type, "--key-type", key_type, "--hosts", hosts];
        world.run(&[&init[..], &days].concat()).ok();
    }
    let names = "spiffe://mesh/agent/agent-1,uri:https://example.com/agent,email:agent@example.com";
    let agent = ["cert", "issue", "--role", "agent", "agent-1", "--san", names, "--ca", "p256"];
    world.run(&[&agent[..], &["--crl-url", "http://crl.example.com/ca.crl"]].concat()).ok();
    world.run(&["cert", "revoke", "host-a", "--ca", "p256", "--reason", "key-compromise"]).ok();
    world.run(&["ca", "crl", "--ca", "p256"]).ok();
    world.run(&["ca", "crl", "--ca", "ed25519"]).ok();
    let limits = ["--permit", "example.com,ip:10.0.0.0/8", "--exclude", "secret.example.com"];
    let root = ["ca", "init", "-o", "pki", "--subject", "CN=Wurzel,O=Größe GmbH,OU=a,OU=b,C=DE"];
    world.run(&[&root[..], &limits, &["--path-length", "2"]].concat()).ok();
    world
        .run(&["cert", "issue", "--role", "server", "a.example.com", "--ip", "10.0.0.1", "--ca", "pki"])
        .ok();
    world.run(&["cert", "issue", "--role", "client", "ann", "--ca", "pki"]).ok();
    world.run(&["cert", "revoke", "a.example.com", "--ca", "pki"]).ok();
    world.run(&["ca", "add-issuer", "--ca", "pki"]).ok();
    world.run(&["ca", "crl", "--ca", "pki"]).ok();
    world.run(&["ca", "rotate", "--ca", "pki"]).ok();
    world
}

#[test]
fn pkilint_finds_no_error() {
    if !is_there("lint_pkix_cert") || !is_there("lint_crl") {
        return;
    }
    let world = one_of_each();
    let (mut files, mut lists, mut singles) = (Vec::new(), Vec::new(), BTreeSet::new());
    below(&world.path(""), "crt", &mut files);
    below(&world.path(""), "crl", &mut lists);
    for file in files {
        for one in std::fs::read_to_string(&file).unwrap().split_inclusive("-----END CERTIFICATE-----\n") {
            singles.insert(one[one.find("-----BEGIN").unwrap()..].to_owned());
        }
    }
    assert!(singles.len() >= 25 && lists.len() == 5, "{} {}", singles.len(), lists.len());
    let mut found = Vec::new();
    for text in &singles {
        world.write("single.pem", text);
        let said = findings(&world, "lint_pkix_cert", &[], "single.pem").into_iter();
        found.extend(said.map(|message| (message, text)));
    }
    for list in &lists {
        let file = list.to_str().unwrap();
        let said = findings(&world, "lint_crl", &["-t", "CRL", "-p", "PKIX"], file);
        assert!(said.is_empty(), "{file}: {said:?}");
    }
    let mut known: BTreeSet<&str> = KNOWN
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once('|').expect("a reason").0.trim_end())
        .collect();
    let unknown: Vec<_> = found.iter().filter(|(message, _)| !known.contains(message.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    for (message, _) in &found {
        known.remove(message.as_str());
    }
    assert!(known.is_empty(), "listed and not found: {known:?}");
}
