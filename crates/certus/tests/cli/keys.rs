//! Keys at rest as operators meet them: autolock, unlock, a root that is taken offline and brought back.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use certus_pki::PrivateKey;
use certus_pki::key::Passphrase;
use rustix::process::Signal;

use crate::harness::{Daemon, Said, World, port, until};

/// How a private key that anybody can read begins.
const PLAIN: &[u8] = b"-----BEGIN PRIVATE KEY-----";

/// A cluster in `m1`, founded and not started; returns what `init` said.
fn found(world: &World, options: &[&str]) -> Said {
    let listen = format!("127.0.0.1:{}", port());
    let init = ["cluster", "init", "--name", "prod", "--data-dir", "m1", "--no-start", "--listen", &listen];
    world.run(&[&init[..], options].concat()).ok()
}

fn start(world: &World) -> Daemon {
    world.daemon(&["manager", "start", "--data-dir", "m1"])
}

/// What the manager in `m1` says at `/ready`; nothing where nobody answers.
fn readiness(world: &World) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = UnixStream::connect(world.path("m1/admin.sock")) {
        let _ = stream.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}

fn locked(world: &World, manager: &Daemon) {
    let is_locked = || {
        let answer = readiness(world);
        answer.contains("503") && answer.contains("CT-4120") && answer.contains("certus node unlock")
    };
    until("the manager says that it is locked", is_locked, || manager.log());
}

/// The content of every file under `dir`.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map_while(Result::ok) {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(contents(&entry.path())),
            kind if kind.is_file() => found.push((entry.path(), fs::read(entry.path()).unwrap())),
            _ => {}
        }
    }
    found
}

/// The files that hold a secret, as bytes or in hexadecimal digits.
fn holding(files: &[(PathBuf, Vec<u8>)], secret: &[u8]) -> Vec<PathBuf> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let has = |content: &[u8], part: &[u8]| content.windows(part.len()).any(|window| window == part);
    let holding = files.iter().filter(|(_, content)| has(content, secret) || has(content, hex.as_bytes()));
    holding.map(|(path, _)| path.clone()).collect()
}

/// Tries until the pause after a wrong key is over.
fn unlock(world: &World, key: &str) -> Said {
    let mut said = None;
    let unlocked = || {
        let tried = world
            .run_with(world.command(&["node", "unlock", "--data-dir", "m1", "--passphrase-file", "-"]), key);
        let done = tried.code == 0;
        said = Some(tried);
        done
    };
    until("the manager is unlocked", unlocked, String::new);
    said.unwrap()
}

#[test]
fn a_locked_cluster_serves_nobody_until_it_is_unlocked() {
    let world = World::new();
    let said = found(&world, &["--autolock", "--leaf-lifetime", "45s", "--json"]);
    let key = said.json()["unlock_key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("CERTUSKEY-1-") && key.len() == 64, "{key}");

    // Started with the key: no step is needed.
    world.write("unlock.key", &format!("{key}\n"));
    let with_key = ["manager", "start", "--data-dir", "m1", "--passphrase-file", "unlock.key"];
    let manager = world.daemon(&with_key);
    manager.ready(&world.path("m1"));
    assert_eq!(world.run(&["cluster", "status", "--json"]).ok().json()["autolock"], true);
    world.token("token", &["--id", "web-1"]);
    let address = world.manager_address();
    let join = ["worker", "start", "--manager", &address, "--id", "web-1", "--data-dir", "w1"];
    let worker = world.daemon(&[&join[..], &["--token-file", "token"]].concat());
    worker.ready(&world.path("w1"));
    assert_eq!(manager.end(), 0);
    let at_rest = contents(&world.path("m1"));

    let manager = start(&world);
    locked(&world, &manager);
    world.run(&["cluster", "status"]).failed(1, "CT-2301");
    world.run(&["cluster", "operator", "--data-dir", "m1"]).failed(1, "CT-2212");
    world.run(&["cluster", "autolock", "off", "--data-dir", "m1"]).failed(1, "CT-4120");
    world.run(&["node", "unlock", "--data-dir", "m1"]).failed(1, "CT-1208");
    let try_key = |key: &str| {
        let unlock = ["node", "unlock", "--data-dir", "m1", "--passphrase-file", "-"];
        world.run_with(world.command(&unlock), key)
    };
    let wrong = try_key("CERTUSKEY-1-WRONG\n").failed(1, "CT-1207");
    assert!(wrong.stderr.contains("not the unlock key of cluster prod"), "{}", wrong.stderr);
    try_key(&key).failed(1, "CT-2210");
    // Nothing was opened that a kill could break.
    manager.end_by(Signal::KILL);
    let manager = start(&world);
    locked(&world, &manager);

    let cannot_renew = || worker.log().contains("renewal failed") || worker.log().contains("CT-2301");
    until("the worker cannot renew", cannot_renew, || worker.log());
    let said = unlock(&world, &key);
    assert!(said.stdout.contains("serves"), "{}", said.stdout);
    world.run(&["cluster", "status"]).ok();
    until("the worker renewed", || worker.log().contains("renewed"), || worker.log());
    assert!(unlock(&world, &key).stdout.contains("was not locked"));

    // Now the key that was locked is seen, and it was nowhere.
    world.run(&["cluster", "autolock", "off", "--data-dir", "m1"]).ok();
    let cluster_key = fs::read(world.path("m1/manager/cluster.key")).unwrap();
    assert_eq!(cluster_key.len(), 32);
    assert_eq!(holding(&at_rest, &cluster_key), Vec::<PathBuf>::new());
    assert_eq!(holding(&at_rest, key.as_bytes()), Vec::<PathBuf>::new());
    assert_eq!(holding(&at_rest, PLAIN), Vec::<PathBuf>::new(), "the manager's own key is locked too");
    assert_eq!(holding(&contents(&world.path("m1")), PLAIN).len(), 2);
    assert!(!world.everything_said().contains(&key));
    assert!(manager.log().contains("autolock was changed at the admin socket"), "{}", manager.log());
}

#[test]
fn autolock_goes_on_is_rotated_and_goes_off_while_the_manager_runs() {
    let world = World::new();
    let manager = world.manager();
    let key_file = world.path("m1/manager/cluster.key");
    let cluster_key = fs::read(&key_file).unwrap();
    let autolock = |words: &[&str]| {
        world.run(&[&["cluster", "autolock"], words, &["--data-dir", "m1", "--json"]].concat())
    };
    assert_eq!(autolock(&["status"]).ok().json()["autolock"], false);
    for refused in [&["off"][..], &["rotate"]] {
        let said = world.run(&[&["cluster", "autolock"], refused, &["--data-dir", "m1"]].concat());
        said.failed(1, "CT-4121");
    }
    let first = autolock(&["on"]).ok().json()["unlock_key"].as_str().unwrap().to_owned();
    let now = contents(&world.path("m1"));
    assert_eq!(holding(&now, &cluster_key), Vec::<PathBuf>::new());
    assert_eq!(holding(&now, PLAIN), Vec::<PathBuf>::new());
    world.run(&["cluster", "autolock", "on", "--data-dir", "m1"]).failed(1, "CT-4101");
    let second = autolock(&["rotate"]).ok().json()["unlock_key"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    assert_eq!(autolock(&["status"]).ok().json()["autolock"], true);
    // The running manager never needed either.
    world.run(&["token", "create", "--role", "worker"]).ok();
    assert_eq!(manager.end(), 0);

    world.write("first", &first);
    world.write("second", &second);
    let started =
        |file: &str| world.run(&["manager", "start", "--data-dir", "m1", "--passphrase-file", file]);
    started("first").failed(1, "CT-1207");
    let mut command = world.command(&["manager", "start", "--data-dir", "m1"]);
    command.env("CERTUS_PASSPHRASE", &second);
    let manager = world.daemon_with(command);
    manager.ready(&world.path("m1"));

    // A passphrase of one's own is not printed.
    world.write("own", "correct horse\n");
    let own = autolock(&["rotate", "--passphrase-file", "own"]).ok();
    assert_eq!(own.json().get("unlock_key"), None);
    assert_eq!(manager.end(), 0);
    started("second").failed(1, "CT-1207");
    let manager = start(&world);
    locked(&world, &manager);
    unlock(&world, "correct horse\n");
    autolock(&["off"]).ok();
    assert_eq!(fs::read(&key_file).unwrap(), cluster_key);
    assert_eq!(manager.end(), 0);
    let manager = start(&world);
    manager.ready(&world.path("m1"));
}

#[test]
fn issuing_goes_on_while_the_root_is_offline_and_somebody_is_told_in_time() {
    let world = World::new();
    found(&world, &["--leaf-lifetime", "20s", "--issuer-lifetime", "60s"]);
    let manager = start(&world);
    manager.ready(&world.path("m1"));
    world.token("token", &["--id", "web-1"]);
    let address = world.manager_address();
    let join = ["worker", "start", "--manager", &address, "--id", "web-1", "--data-dir", "w1"];
    let worker = world.daemon(&[&join[..], &["--token-file", "token"]].concat());
    worker.ready(&world.path("w1"));

    world.write("pass", "correct horse\n");
    let root = |verb: &str, file: &str, options: &[&str]| {
        let words = ["cluster", "root", verb, file, "--data-dir", "m1", "--passphrase-file", "pass"];
        world.run(&[&words[..], options].concat())
    };
    root("take-offline", "m1/root.key", &[]).failed(2, "CT-5101");
    root("take-offline", "-", &[]).failed(2, "CT-5101");
    root("bring-online", "pass", &[]).failed(1, "CT-1202");
    assert!(world.path("m1/manager/root-data-key.sealed").exists(), "nothing was destroyed yet");
    let taken = root("take-offline", "root.key", &["--json"]).ok().json();
    assert_eq!(taken["offline"], true);
    root("take-offline", "root.key", &[]).failed(1, "CT-4101");
    root("take-offline", "again.key", &[]).failed(1, "CT-4122");

    let pem = fs::read_to_string(world.path("root.key")).unwrap();
    let inspected = ["key", "inspect", "root.key", "--passphrase-file", "pass", "--json"];
    assert_eq!(world.run(&inspected).ok().json()["key_hash"], taken["root_key_hash"]);
    openssl_reads(&world);
    no_root_key_in(&world, &pem);

    let status = || {
        // An operator's certificate lives no longer than the issuers here allow: it may have ended.
        world.run(&["cluster", "operator", "--data-dir", "m1"]).ok();
        world.run(&["cluster", "status", "--json"]).ok().json()
    };
    assert_eq!(status()["root_offline"], true);
    let rolled = || manager.log().contains("a new issuer signs");
    until("the issuer that was signed ahead takes over", rolled, || manager.log());
    let before = worker.log().matches("renewed").count();
    let renewed = || worker.log().matches("renewed").count() > before;
    until("the worker renews under it", renewed, || worker.log());
    until("the alert is in the log", || manager.log().contains("CT-4124"), || manager.log());
    assert!(status()["root_alert"].as_str().unwrap().contains("ends soon"));
    let words = world.run(&["cluster", "status"]).ok().stdout;
    assert!(words.contains("offline; issuing goes on until"), "{words}");
    assert!(words.contains("certus cluster root bring-online FILE"), "{words}");

    // Another key, another passphrase, then the right ones.
    world.run(&["key", "new", "--out", "other.key", "--passphrase-file", "pass"]).ok();
    root("bring-online", "other.key", &[]).failed(1, "CT-1201");
    let mut command = world.command(&["cluster", "root", "bring-online", "root.key", "--data-dir", "m1"]);
    command.env("CERTUS_PASSPHRASE", "battery staple");
    world.run_with(command, "").failed(1, "CT-1207");
    let ahead = manager.log().matches("an issuer is signed ahead").count();
    let brought = root("bring-online", "root.key", &["--json"]).ok().json();
    assert_eq!((&brought["offline"], &brought["root_key_hash"]), (&false.into(), &taken["root_key_hash"]));
    assert_eq!(manager.log().matches("an issuer is signed ahead").count(), ahead + 1);
    root("bring-online", "root.key", &[]).failed(1, "CT-4123");
    let after = status();
    assert_eq!((&after["root_offline"], after["root_alert"].as_str()), (&false.into(), None));
    no_root_key_in(&world, &pem);
    let said = world.everything_said();
    assert!(!said.contains("correct horse") && !said.contains("BEGIN ENCRYPTED"), "a secret was said");
}

/// Neither the number that is the root's private key, nor its document, stands in the manager's files.
fn no_root_key_in(world: &World, pem: &str) {
    let passphrase = Passphrase::new("correct horse".to_owned());
    let document =
        PrivateKey::from_pem_with(pem, Some(&passphrase)).ok().unwrap().to_pkcs8_der().ok().unwrap();
    // RFC 5915: the private number stands in an octet string of 32 bytes.
    let at = document.windows(2).position(|pair| pair == [0x04, 0x20]).unwrap() + 2;
    let files = contents(&world.path("m1"));
    assert_eq!(holding(&files, &document[at..at + 32]), Vec::<PathBuf>::new());
}

fn openssl_reads(world: &World) {
    if Command::new("openssl").arg("version").output().is_err() {
        assert!(std::env::var_os("CERTUS_REQUIRE_INTEROP").is_none(), "openssl is not installed");
        return;
    }
    let words = ["pkey", "-in", "root.key", "-passin", "file:pass", "-noout", "-check"];
    let checked = Command::new("openssl").args(words).current_dir(world.path("")).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
