//! Killed at any moment, started twice at once, a full disk: the directory stays usable.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::World;

/// Every file of every pair that is there belongs together, and stands in the ledger.
fn is_whole(world: &World) -> usize {
    let listed =
        world.run(&["cert", "list", "--ca", "certs", "--all", "--limit", "10000", "--json"]).ok().json();
    let certificates = listed["certificates"].as_array().unwrap();
    for cert in certificates.iter().filter(|cert| cert["state"] == "ok") {
        let file = format!("certs/{}", cert["file"].as_str().unwrap());
        let said = world.run(&["cert", "info", &file, "--json"]).ok().json();
        assert_eq!(said["certificates"][0]["serial"], cert["serial"], "{file}");
        let key = file.replace(".crt", ".key");
        let key = world.run(&["key", "inspect", &key, "--json"]).ok().json();
        assert_eq!(said["certificates"][0]["key_hash"], key["key_hash"], "{file}");
    }
    let litter = |dir: &std::path::Path| {
        let entries = std::fs::read_dir(dir).unwrap().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with('.')).count()
    };
    assert_eq!(litter(&world.path("certs")), 0);
    certificates.len()
}

#[test]
fn killed_at_any_moment_it_is_usable_and_whole() {
    let world = World::new();
    world.run(&["tls", "init", "-o", "certs", "--hosts", "host-0"]).ok();
    let hosts: Vec<String> = (0..40).map(|number| format!("host-{number}")).collect();
    let hosts = hosts.join(",");
    let mut killed = 0;
    for round in 0..25u64 {
        let words = ["tls", "init", "-o", "certs", "--hosts", &hosts, "--add-hosts", "--force"];
        let mut child = world.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(round * 4000 % 90_000 + round * 500));
        killed += usize::from(child.try_wait().unwrap().is_none());
        let _ = child.kill();
        child.wait().unwrap();
        if round % 8 == 7 {
            // Whoever changes it next finishes what was decided.
            world.run(&["cert", "issue", "--role", "client", &format!("c{round}"), "--ca", "certs"]).ok();
            is_whole(&world);
        }
    }
    assert!(killed > 3, "only {killed} were killed");
    world.run(&["tls", "init", "-o", "certs", "--hosts", &hosts, "--add-hosts"]).ok();
    assert!(is_whole(&world) >= 41);
}

#[test]
fn two_at_once_do_not_disturb_each_other() {
    let world = World::new();
    world.run(&["cert", "ca", "--cn", "X", "-o", "certs"]).ok();
    let children: Vec<_> = (0..12)
        .map(|number| {
            let name = format!("agent-{number}");
            let words = ["cert", "agent", "--cn", &name, "-o", "certs"];
            world.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(is_whole(&world), 12);
}

#[test]
fn a_full_disk_changes_nothing() {
    let world = World::new();
    world.run(&["cert", "ca", "--cn", "X", "-o", "certs"]).ok();
    for number in 0..20 {
        world.run(&["cert", "agent", "--cn", &format!("a{number}"), "-o", "certs"]).ok();
    }
    let before = std::fs::read(world.path("certs/ca.ledger")).unwrap();
    // No file may grow beyond what the ledger has now: as on a full disk, its next line does not fit.
    let blocks = (before.len() / 512).max(1);
    let line = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" cert agent --cn new -o certs");
    let limited = Command::new("sh")
        .args(["-c", &line, env!("CARGO_BIN_EXE_certus")])
        .current_dir(world.path(""))
        .env("CERTUS_HOME", world.path("home"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&limited.stderr).into_owned();
    assert!(!limited.status.success() && said.contains("CT-3101"), "{said}");
    assert_eq!(std::fs::read(world.path("certs/ca.ledger")).unwrap(), before);
    assert!(!world.path("certs/new.crt").exists() && !world.path("certs/new.key").exists());
    world.run(&["cert", "agent", "--cn", "new", "-o", "certs"]).ok();
    assert_eq!(is_whole(&world), 21);
}
