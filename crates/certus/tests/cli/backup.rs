//! Backing a cluster up, losing it, and going on: as an operator does it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::harness::{Daemon, World, until};

const BACKUP: [&str; 7] =
    ["cluster", "backup", "prod.backup", "--data-dir", "m1", "--passphrase-file", "pass"];

fn worker(world: &World, id: &str) -> Daemon {
    world.token(&format!("token-{id}"), &[]);
    let manager = world.manager_address();
    let token = format!("token-{id}");
    let node = world.daemon(&[
        "worker",
        "start",
        "--manager",
        &manager,
        "--token-file",
        &token,
        "--id",
        id,
        "--data-dir",
        id,
    ]);
    node.ready(&world.path(id));
    node
}

fn generation(world: &World) -> u64 {
    world.run(&["cluster", "status", "--json"]).ok().json()["generation"].as_u64().unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_lost_manager_is_restored_elsewhere_and_its_workers_go_on() {
    let world = World::new();
    let manager = world.manager();
    world.write("pass", "correct horse\n");
    let first = worker(&world, "web-1");
    // A backup is made while others join, and each is whole.
    let made = std::thread::scope(|scope| {
        let joining = scope.spawn(|| [worker(&world, "web-2"), worker(&world, "web-3")]);
        let made = world.run(&[&BACKUP[..], &["--json"]].concat()).ok().json();
        drop(joining.join().unwrap());
        made
    });
    assert_eq!((made["cluster"].as_str(), made["generation"].as_u64()), (Some("prod"), Some(0)));
    for number in ["revision", "rows", "bytes", "took_ms"] {
        assert!(made[number].is_u64(), "{number}: {made}");
    }
    assert_eq!(made["sha256"].as_str().unwrap().len(), 64);
    let mode = fs::metadata(world.path("prod.backup")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    world.run(&BACKUP).failed(1, "CT-4101");

    let checked = ["cluster", "restore", "prod.backup", "--verify", "--passphrase-file", "pass"];
    let said = world.run(&checked).ok().stdout;
    for words in ["cluster   prod   generation 0, revision ", "of spiffe://prod/manager/", "certs", "whole"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let again = world.run(&[&checked[..], &["--json"]].concat()).ok().json();
    assert_eq!((&again["sha256"], &again["rows"]), (&made["sha256"], &made["rows"]));

    let late = worker(&world, "web-9");
    assert_eq!(manager.end_by(rustix::process::Signal::KILL), -1);
    let restore = ["cluster", "restore", "prod.backup", "--passphrase-file", "pass", "--data-dir"];
    world.run(&[&restore[..], &["m1"]].concat()).failed(1, "CT-4101");
    let restored = world.run(&[&restore[..], &["m2", "--json"]].concat()).ok().json();
    assert_eq!(restored["generation"], 1);
    assert!(restored["tokens_voided"].as_u64().unwrap() >= 1, "{restored}");
    let manager = world.daemon(&["manager", "start", "--data-dir", "m2"]);
    manager.ready(&world.path("m2"));
    assert_eq!(generation(&world), 1);

    let logs = |daemon: &Daemon, words: &str| daemon.log().contains(words);
    until("the worker takes the new generation", || logs(&first, "epoch=1."), || first.log());
    world.run(&["cert", "rotate", "--node", "web-1"]).ok();
    until("the worker renews", || logs(&first, "renewed, with a fresh key"), || first.log());
    // One that joined after the backup is told what to do, when it calls.
    let told = || logs(&late, "certus token create --role worker --id web-9");
    until("the late worker is told", told, || late.log());
    let said = world.run(&["cert", "list", "--unknown"]).ok().stdout;
    assert!(said.contains("web-9") && said.ends_with("1 certificate on no record\n"), "{said}");
    let unknown = world.run(&["cert", "list", "--unknown", "--json"]).ok().json();
    let serial = unknown["certificates"][0]["serial"].as_str().unwrap().to_owned();
    assert_eq!(unknown["certificates"][0]["fingerprint"].as_str().unwrap().len(), 64);
    assert!(world.run(&["cluster", "status"]).ok().stdout.contains("certus cert list --unknown"));
    world.run(&["cert", "revoke", &serial, "--wait"]).ok();
    assert!(world.run(&["cert", "list", "--unknown"]).ok().stdout.ends_with("0 certificates on no record\n"));
    world.run(&["cert", "info", &serial]).failed(1, "CT-2203");
    until("the late worker ends", || logs(&late, "CT-3109"), || late.log());
    drop(late);
    assert_eq!((first.end(), manager.end()), (0, 0));
    let said = world.everything_said();
    assert!(!said.contains("correct horse"), "the passphrase was said");
}

#[test]
fn what_is_no_whole_backup_is_refused_in_words() {
    let world = World::new();
    let _manager = world.manager();
    world.write("pass", "correct horse\n");
    world.write("wrong", "another\n");
    world.write("empty", "\n");
    world.run(&BACKUP[..5]).failed(1, "CT-1208");
    world.run(&[&BACKUP[..6], &["empty"]].concat()).failed(2, "CT-5101");
    world.run(&BACKUP).ok();
    let verify = |file: &str, pass: &str| {
        world.run(&["cluster", "restore", file, "--verify", "--passphrase-file", pass])
    };
    let said = verify("prod.backup", "wrong").failed(1, "CT-1207").stderr;
    assert!(said.contains("the passphrase does not open the backup"), "{said}");
    let bytes = fs::read(world.path("prod.backup")).unwrap();
    fs::write(world.path("cut"), &bytes[..bytes.len() - 20]).unwrap();
    let said = verify("cut", "pass").failed(1, "CT-4131").stderr;
    assert!(said.contains("the backup is cut short"), "{said}");
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    fs::write(world.path("flipped"), &flipped).unwrap();
    verify("flipped", "pass").failed(1, "CT-4131");
    let mut newer = bytes;
    newer[9] = 9;
    fs::write(world.path("newer"), &newer).unwrap();
    let said = verify("newer", "pass").failed(1, "CT-4132").stderr;
    assert!(said.contains("format 1 or older") && said.contains("hint"), "{said}");
    verify("pass", "pass").failed(1, "CT-4131");
    verify("nothing", "pass").failed(1, "CT-3101");
    let restored = world.run(&["cluster", "restore", "cut", "--passphrase-file", "pass", "--data-dir", "m3"]);
    restored.failed(1, "CT-4131");
    assert!(!world.path("m3").exists());
}

/// The binary on a disk that has no room for a file beyond 4 KiB, which it is told as an error and not by a
/// signal.
fn limited(world: &World) -> Command {
    let command = world.command(&[]);
    let mut limited = Command::new("sh");
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\"";
    limited.arg("-c").arg(script).arg(command.get_program());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited.current_dir(world.path(""));
    limited
}

#[test]
fn a_full_disk_leaves_no_half_backup() {
    let world = World::new();
    let manager = world.manager();
    world.write("pass", "correct horse\n");
    fs::create_dir(world.path("disk")).unwrap();
    let mut command = limited(&world);
    command.args(["cluster", "backup", "disk/prod.backup"]).args(&BACKUP[3..]);
    let said = world.run_with(command, "").failed(1, "CT-3101").stderr;
    assert!(said.contains("cannot write disk/prod.backup.new"), "{said}");
    assert!(names(&world.path("disk")).is_empty(), "{:?}", names(&world.path("disk")));
    // The manager is none the worse for it.
    world
        .run(&["cluster", "backup", "disk/prod.backup", "--data-dir", "m1", "--passphrase-file", "pass"])
        .ok();
    assert_eq!(names(&world.path("disk")), ["prod.backup"]);
    assert_eq!(manager.end(), 0);
    world.run(&[&BACKUP[..], &["--force"]].concat()).failed(1, "CT-2301");

    // Nor does one while restoring leave anything that would start, or that is in the way.
    let restore = ["cluster", "restore", "disk/prod.backup", "--passphrase-file", "pass", "--data-dir", "m2"];
    let mut command = limited(&world);
    command.args(restore);
    assert_eq!(world.run_with(command, "").code, 1);
    world.run(&["manager", "start", "--data-dir", "m2"]).failed(1, "CT-4102");
    world.run(&restore).ok();
    let manager = world.daemon(&["manager", "start", "--data-dir", "m2"]);
    manager.ready(&world.path("m2"));
}

#[test]
fn a_manager_that_is_alone_or_runs_is_not_recovered() {
    let world = World::new();
    let manager = world.manager();
    let recover = ["cluster", "recover", "--data-dir", "m1", "--yes"];
    world.run(&recover).failed(1, "CT-3106");
    assert_eq!(manager.end(), 0);
    let said = world.run(&recover).failed(1, "CT-4133").stderr;
    assert!(said.contains("certus manager start"), "{said}");
    world.run(&["cluster", "recover", "--data-dir", "none", "--yes"]).failed(1, "CT-4102");
    let manager = world.daemon(&["manager", "start", "--data-dir", "m1"]);
    manager.ready(&world.path("m1"));
    assert_eq!((generation(&world), manager.end()), (0, 0));
}
