//! I7: no log line, no error and no result but the token's own holds a secret.

use std::fs;
use std::path::{Path, PathBuf};

use certus_pki::PrivateKey;

use crate::harness::{World, until};

#[test]
fn i7_no_secret_in_logs_or_output() {
    let world = World::new();
    let listen = format!("127.0.0.1:{}", crate::harness::port());
    world
        .run(&["cluster", "init", "--name", "prod", "--data-dir", "m1", "--listen", &listen, "--no-start"])
        .ok();
    let loud = |words: &[&str]| {
        let mut command = world.command(words);
        command.env("CERTUS_LOG", "trace");
        world.daemon_with(command)
    };
    let manager = loud(&["manager", "start", "--data-dir", "m1", "--log", "json"]);
    manager.ready(&world.path("m1"));
    let mut secrets = vec![("token", world.token("token", &["--id", "web-1"]))];
    let start = ["worker", "start", "--manager", &listen, "--id", "web-1", "--data-dir", "w1"];
    let node = loud(&[&start[..], &["--token-file", "token"]].concat());
    node.ready(&world.path("w1"));
    collect_keys(&world.path(""), &mut secrets);
    world.run(&["cert", "rotate", "--node", "web-1"]).ok();
    let renewals = || node.log().contains("renewed");
    until("web-1 renewed", renewals, || node.log());
    collect_keys(&world.path(""), &mut secrets);

    // Refusals and other people's mistakes.
    let token = secrets[0].1.clone();
    world.run(&["worker", "start", "--manager", &listen, "--id", "x", "--data-dir", "x", "--token", &token]);
    world.run(&[
        "worker",
        "start",
        "--manager",
        &listen,
        "--id",
        "x",
        "--data-dir",
        "x",
        "--token",
        &token[1..],
    ]);
    let mut said = String::new();
    for words in [
        &["cert", "list", "--all", "--json"][..],
        &["token", "list", "--json"],
        &["cert", "info", "m1/certs/manager-m1/node.key"],
        &["cert", "info", "web-1"],
        &["cluster", "status", "--json"],
        &["cert", "revoke", "web-1", "--wait"],
    ] {
        said.push_str(&world.run(words).stdout);
    }
    drop((manager, node));
    said.push_str(&world.everything_said());
    assert!(said.contains("TRACE"), "the logs are not as loud as they should be");
    assert!(secrets.len() > 8, "only {} secrets were found to look for", secrets.len());
    for (what, secret) in &secrets {
        let found = said.find(secret.as_str());
        let line = found.map(|at| said[..at].lines().count());
        assert_eq!(line, None, "a {what} is in what was said");
    }
    // The half of a token that is secret, alone.
    assert!(!said.contains(&token[..32]), "the secret half of a token is in what was said");
}

/// Every private key under `dir`, in each form it could be printed in.
fn collect_keys(dir: &Path, secrets: &mut Vec<(&'static str, String)>) {
    for path in files(dir) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        if !text.contains("-----BEGIN PRIVATE KEY-----") {
            continue;
        }
        let pem: Vec<&str> = text.lines().skip_while(|line| !line.contains("BEGIN PRIVATE")).collect();
        // The first line of a PKCS#8 key is the same for all keys of its type.
        secrets.push(("key as PEM", pem[2].to_owned()));
        let key = PrivateKey::from_pem(&text).ok().unwrap();
        let der = key.to_pkcs8_der().unwrap();
        // RFC 5915: the private number stands in an octet string of 32 bytes.
        let at = der.windows(2).position(|pair| pair == [0x04, 0x20]).unwrap() + 2;
        let secret = &der[at..at + 32];
        secrets.push(("key as hex", secret.iter().map(|byte| format!("{byte:02x}")).collect()));
        let listed: Vec<String> = secret[..8].iter().map(u8::to_string).collect();
        secrets.push(("key as a list", listed.join(", ")));
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map_while(Result::ok) {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(files(&entry.path())),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}
