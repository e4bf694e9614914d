//! Disks that are full or cannot be written: daemons say so, lose nothing, and are back when there is room.

use std::fs;
use std::path::Path;

use crate::harness::{World, port, until};
use crate::process::Small;

/// A manager's data on a small disk of its own; the rest of the world is elsewhere.
fn founded_on(world: &World, disk: &Path) -> String {
    let (dir, listen) = (disk.join("m1").display().to_string(), format!("127.0.0.1:{}", port()));
    let found = ["cluster", "init", "--name", "prod", "--listen", &listen, "--no-start", "--data-dir", &dir];
    world.run(&found).ok();
    dir
}

#[test]
fn a_manager_on_a_full_disk_says_so_loses_nothing_and_comes_back() {
    let world = World::new();
    let Some(disk) = Small::mount(&world.path("disk"), 24 << 10) else { return };
    let dir = founded_on(&world, &world.path("disk"));
    let start = ["manager", "start", "--data-dir", &dir];
    let manager = world.daemon(&start);
    manager.ready(Path::new(&dir));
    let mut answered = Vec::new();
    answered.push(world.token("first", &[]));
    let ballast = disk.fill();

    // Sooner or later a change needs room. What is answered is kept; what is not is an error in words.
    let mut refused = None;
    for number in 0..600 {
        let said = world.run(&["token", "create", "--role", "worker", "--id", &format!("w-{number}")]);
        if said.code != 0 {
            refused = Some(said);
            break;
        }
        answered.push(said.stdout.trim_end().to_owned());
    }
    let refused = refused.expect("a full disk is noticed");
    assert!(refused.stderr.contains("error CT-"), "{}", refused.stderr);
    println!("{} tokens before the disk was full; then: {}", answered.len(), refused.stderr.trim());
    assert_eq!(manager.ended(), 1, "it stops, so that nothing is lost");
    let log = world.everything_said();
    assert!(log.contains("CT-4103") && log.contains("free or repair the disk"), "{log}");

    // Still full: words, not a panic.
    let again = world.run(&start);
    if again.code != 0 {
        assert!(again.stderr.contains("error CT-") && again.stderr.contains("  hint "), "{}", again.stderr);
        assert!(!again.stderr.contains("panicked"), "{}", again.stderr);
    }
    fs::remove_file(ballast).unwrap();
    let manager = world.daemon(&start);
    manager.ready(Path::new(&dir));
    let listed = world.run(&["token", "list", "--json"]).ok().json();
    let known = listed["tokens"].as_array().unwrap().len();
    assert!(known >= answered.len(), "{known} of {} tokens are on record (I4)", answered.len());
    assert_eq!(manager.end(), 0);
}

#[test]
fn a_manager_on_a_disk_that_cannot_be_written_says_so_and_comes_back() {
    let world = World::new();
    let Some(disk) = Small::mount(&world.path("disk"), 64 << 10) else { return };
    let dir = founded_on(&world, &world.path("disk"));
    let start = ["manager", "start", "--data-dir", &dir];
    assert_eq!(
        {
            let m = world.daemon(&start);
            m.ready(Path::new(&dir));
            m.end()
        },
        0
    );
    disk.remount("ro");
    let said = world.run(&start);
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert!(said.stderr.starts_with("error CT-") || said.stderr.contains("\nerror CT-"), "{}", said.stderr);
    assert!(
        said.stderr.contains("  hint ") && said.stderr.to_lowercase().contains("read-only"),
        "{}",
        said.stderr
    );
    disk.remount("rw");
    let manager = world.daemon(&start);
    manager.ready(Path::new(&dir));
    world.run(&["cluster", "status"]).ok();
    assert_eq!(manager.end(), 0);
}

/// I9: a node whose disk is full goes on with what it has, enforces what it is told, and keeps it later.
#[test]
fn i9_a_worker_on_a_full_disk_goes_on_and_renews_when_there_is_room() {
    let world = World::new();
    let Some(disk) = Small::mount(&world.path("disk"), 4 << 10) else { return };
    let manager = world.manager();
    let address = world.manager_address();
    let dir = world.path("disk/w1");
    let data_dir = dir.display().to_string();
    world.token("token", &["--id", "web-1"]);
    let start = ["worker", "start", "--manager", &address, "--id", "web-1", "--data-dir", &data_dir];
    let worker = world.daemon(&[&start[..], &["--token-file", "token"]].concat());
    worker.ready(&dir);
    let ballast = disk.fill();
    world.run(&["cert", "rotate", "--node", "web-1"]).ok();
    until("the renewal fails in words", || worker.log().contains("renewal failed"), || worker.log());
    assert!(worker.log().contains("CT-3101"), "{}", worker.log());
    worker.ready(&dir);
    // A revocation of somebody else is in force all the same.
    world.token("other", &["--id", "web-2"]);
    let other = [
        "worker",
        "start",
        "--manager",
        &address,
        "--id",
        "web-2",
        "--data-dir",
        "w2",
        "--token-file",
        "other",
    ];
    let other = world.daemon(&other);
    other.ready(&world.path("w2"));
    world.run(&["cert", "revoke", "web-2", "--wait"]).ok();
    until("it is in force", || worker.log().contains("a change of trust is in force"), || worker.log());
    fs::remove_file(ballast).unwrap();
    until("it renews by itself", || worker.log().contains("renewed, with a fresh key"), || worker.log());
    assert_eq!(worker.end(), 0);
    assert_eq!(manager.end(), 0);
}
