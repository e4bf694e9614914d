//! Files and addresses that are not as they should be: each is said with a code and a hint, nothing is lost,
//! and what was put right works again.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::harness::{Said, World, port};

/// A founded cluster whose manager was started once and has ended in order.
fn founded() -> World {
    let world = World::new();
    assert_eq!(world.manager().end(), 0);
    world
}

fn start(world: &World, dir: &str) -> Said {
    world.run(&["manager", "start", "--data-dir", dir])
}

/// The error has a hint.
#[track_caller]
fn hinted(said: Said) -> Said {
    assert!(said.stderr.lines().any(|line| line.starts_with("  hint ")), "no hint: {}", said.stderr);
    said
}

#[track_caller]
fn starts(world: &World, dir: &str) {
    let manager = world.daemon(&["manager", "start", "--data-dir", dir]);
    manager.ready(&world.path(dir));
    world.run(&["cluster", "status"]).ok();
    assert_eq!(manager.end(), 0);
}

fn found(dir: &Path, name: &str) -> PathBuf {
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap().map_while(Result::ok) {
            if entry.file_name() == name {
                return entry.path();
            }
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
            }
        }
    }
    panic!("no {name} in {}", dir.display());
}

/// Damages a file, sees what is said, and puts it back.
#[track_caller]
fn damaged(world: &World, file: &Path, damage: &[u8], codes: &[&str]) {
    let before = fs::read(file).unwrap();
    fs::write(file, damage).unwrap();
    let said = start(world, "m1");
    let code = said.stderr.lines().find_map(|line| line.strip_prefix("error ")).map(|line| &line[..7]);
    assert_eq!(said.code, 1, "{}: {}", file.display(), said.stderr);
    assert!(code.is_some_and(|code| codes.contains(&code)), "{}: {}", file.display(), said.stderr);
    assert!(!said.stderr.contains("panicked"), "{}: {}", file.display(), said.stderr);
    hinted(said);
    fs::write(file, before).unwrap();
}

#[test]
fn a_damaged_store_or_log_is_said_and_put_back() {
    let world = founded();
    for name in ["log.redb", "state.redb"] {
        let file = found(&world.path("m1"), name);
        let whole = fs::read(&file).unwrap();
        damaged(&world, &file, &whole[..whole.len() / 2], &["CT-4103"]);
        damaged(&world, &file, &whole[..100], &["CT-4103"]);
        damaged(&world, &file, b"not a database at all", &["CT-4103"]);
        // The header, which says which root is current.
        let mut header = whole.clone();
        header[..64].fill(0xa5);
        damaged(&world, &file, &header, &["CT-4103"]);
    }
    starts(&world, "m1");
}

/// Wherever a bit flips, the manager starts as it was, or says that its store is damaged: it never panics,
/// and never serves another cluster.
#[test]
fn flipped_bits_of_the_store_never_make_another_truth() {
    let world = founded();
    let certs = |world: &World| world.run(&["cert", "list", "--all", "--json"]).ok().stdout;
    let manager = world.daemon(&["manager", "start", "--data-dir", "m1"]);
    manager.ready(&world.path("m1"));
    let truth = certs(&world);
    assert_eq!(manager.end(), 0);
    let stores = ["log.redb", "state.redb"].map(|name| found(&world.path("m1"), name));
    let before = stores.clone().map(|file| fs::read(file).unwrap());
    let (mut refused, mut served) = (0, 0);
    for name in ["log.redb", "state.redb"] {
        let file = found(&world.path("m1"), name);
        let whole = fs::read(&file).unwrap();
        // Pages that hold something; most of the file is room.
        let pages: Vec<usize> = (0..whole.len() / 4096)
            .filter(|page| whole[page * 4096..(page + 1) * 4096].iter().any(|byte| *byte != 0))
            .collect();
        for number in 0..4 {
            let page = pages[number * (pages.len() - 1) / 3];
            let mut bytes = whole.clone();
            let place = (0..4096).map(|at| page * 4096 + at).filter(|at| whole[*at] != 0).nth(7).unwrap();
            bytes[place] ^= 0x10;
            fs::write(&file, &bytes).unwrap();
            let mut command = world.command(&["manager", "start", "--data-dir", "m1"]);
            command.env_remove("RUST_BACKTRACE");
            let manager = world.daemon_with(command);
            let socket = world.path("m1/admin.sock");
            let begin = std::time::Instant::now();
            let ready = loop {
                if crate::process::ask(&world.path("m1"), "/ready").starts_with("HTTP/1.1 200") {
                    break true;
                }
                if manager.log().contains("error CT-") {
                    break false;
                }
                assert!(begin.elapsed().as_secs() < 60, "neither: {}", manager.log());
                std::thread::sleep(std::time::Duration::from_millis(20));
            };
            let log = manager.log();
            assert!(!log.contains("panicked"), "{name} byte {place}: {log}");
            if ready {
                served += 1;
                let now = world.run(&["cert", "list", "--all", "--json"]);
                let same = now.code == 0 && now.stdout == truth;
                let said = now.stderr.contains("CT-");
                assert!(same || said, "{name} byte {place}: another truth: {} {}", now.stdout, now.stderr);
                manager.end();
            } else {
                refused += 1;
                assert_eq!(manager.ended(), 1, "{log}");
            }
            let _ = fs::remove_file(socket);
            for (file, bytes) in stores.iter().zip(&before) {
                fs::write(file, bytes).unwrap();
            }
        }
    }
    println!("{refused} refused, {served} served the same truth");
    starts(&world, "m1");
}

#[test]
fn keys_that_others_can_read_or_nobody_can_are_said() {
    let world = founded();
    for name in ["node.key", "credentials.pem"] {
        let key = found(&world.path("m1/certs"), name);
        if name == "credentials.pem" {
            fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
            hinted(start(&world, "m1").failed(1, "CT-3102"));
            fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        }
        // What only the credentials are made of is made anew.
        starts(&world, "m1");
    }
    let cluster_key = found(&world.path("m1"), "cluster.key");
    fs::set_permissions(&cluster_key, fs::Permissions::from_mode(0o640)).unwrap();
    hinted(start(&world, "m1").failed(1, "CT-3102"));
    fs::set_permissions(&cluster_key, fs::Permissions::from_mode(0o600)).unwrap();

    // Unreadable, also for root: no file at all.
    let away = cluster_key.with_extension("away");
    fs::rename(&cluster_key, &away).unwrap();
    fs::create_dir(&cluster_key).unwrap();
    fs::set_permissions(&cluster_key, fs::Permissions::from_mode(0o600)).unwrap();
    hinted(start(&world, "m1").failed(1, "CT-3101"));
    fs::remove_dir(&cluster_key).unwrap();
    // Of another cluster.
    fs::write(&cluster_key, vec![7; 32]).unwrap();
    fs::set_permissions(&cluster_key, fs::Permissions::from_mode(0o600)).unwrap();
    let said = start(&world, "m1");
    assert!(said.code == 1 && said.stderr.starts_with("error CT-"), "{}", said.stderr);
    hinted(said);
    fs::remove_file(&cluster_key).unwrap();
    fs::rename(&away, &cluster_key).unwrap();
    starts(&world, "m1");
}

#[test]
fn a_directory_that_is_anothers_or_in_use_is_said() {
    let world = World::new();
    let manager = world.manager();
    hinted(start(&world, "m1").failed(1, "CT-3106"));
    world.token("token", &["--id", "web-1"]);
    let address = world.manager_address();
    let first = ["worker", "start", "--manager", &address, "--id", "web-1", "--data-dir", "w1"];
    let worker = world.daemon(&[&first[..], &["--token-file", "token"]].concat());
    worker.ready(&world.path("w1"));
    hinted(world.run(&["worker", "start", "--data-dir", "w1"]).failed(1, "CT-3106"));
    assert_eq!(worker.end(), 0);
    // A worker's directory is no manager's, nor a manager's a worker's.
    hinted(start(&world, "w1").failed(1, "CT-4102"));
    world.token("other", &["--id", "web-2"]);
    let said = world.run(&["worker", "start", "--data-dir", "w1", "--id", "web-2"]);
    hinted(said.failed(1, "CT-3103"));
    assert_eq!(manager.end(), 0);
    world.write("again", "no token");
    for words in [
        &["worker", "start", "--data-dir", "m1", "--manager", &address][..],
        &[
            "worker",
            "start",
            "--data-dir",
            "m1",
            "--manager",
            &address,
            "--token-file",
            "again",
            "--id",
            "web-3",
        ],
        &["agent", "start", "--data-dir", "m1"],
    ] {
        hinted(world.run(words).failed(1, "CT-4101"));
    }
    starts(&world, "m1");
}

#[test]
fn a_store_of_a_newer_version_is_said_and_left_alone() {
    let world = founded();
    let file = found(&world.path("m1"), "state.redb");
    let mut whole = fs::read(&file).unwrap();
    // The row of the format: its key `state`, then its number in eight bytes.
    let places: Vec<usize> = whole
        .windows(13)
        .enumerate()
        .filter(|(_, row)| &row[..5] == b"state" && row[5..] == 2_u64.to_le_bytes())
        .map(|(place, _)| place)
        .collect();
    assert!(!places.is_empty(), "the format's row was not found");
    for place in places {
        whole[place + 5..place + 13].copy_from_slice(&9_u64.to_le_bytes());
    }
    let before = fs::read(&file).unwrap();
    fs::write(&file, &whole).unwrap();
    hinted(start(&world, "m1").failed(1, "CT-4132"));
    fs::write(&file, before).unwrap();
    starts(&world, "m1");
}

#[test]
fn a_busy_port_and_a_wrong_configuration_are_said() {
    let world = founded();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    hinted(world.run(&["manager", "start", "--data-dir", "m1", "--listen", &address]).failed(1, "CT-3104"));
    starts(&world, "m1");
    let fresh = World::new();
    for listen in [&address, "127.0.0.1:0"] {
        let init = ["cluster", "init", "--name", "prod", "--data-dir", "m1", "--listen", listen];
        hinted(fresh.run(&init).failed(1, "CT-3104"));
        assert!(!fresh.path("m1").exists() && !fresh.path("home/certs").exists(), "nothing was founded");
    }

    let free = port();
    for (text, says) in [
        ("id: web-1\nlisteners: []\ncolour: blue\n", "colour"),
        ("id: web-1\nrevocation_stale_after: 1s\n", "at least"),
        ("id: web-1\non_revocation_stale: maybe\n", "open, closed"),
        ("id: web-1\nlisteners:\n  - transport: tcp\n", "address"),
    ] {
        world.write("c.yaml", text);
        let said = world.run(&[
            "worker",
            "start",
            "--config",
            "c.yaml",
            "--data-dir",
            "w9",
            "--manager",
            "127.0.0.1:1",
        ]);
        let said = said.failed(1, "CT-5102");
        assert!(said.stderr.contains(says) && said.stderr.contains("c.yaml"), "{}", said.stderr);
    }
    let config = format!(
        "agent: {{data_dir: a1}}\nlisteners:\n  - {{name: web, transport: tcp, address: \"{address}\", forward: \"127.0.0.1:{free}\", allow: any}}\n"
    );
    world.write("a.yaml", &config);
    hinted(world.run(&["agent", "start", "--config", "a.yaml"]).failed(1, "CT-3104"));
}
