//! `certus dev` and its tour.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::harness::{World, until};

/// `dev` prefers the same ports everywhere: one at a time, so that two do not look for them at once.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn the_tour_observes_every_step() {
    let (_alone, world) = (alone(), World::new());
    let said = world.run(&["dev", "--tour"]).ok().stdout;
    assert_eq!(said.lines().filter(|line| line.starts_with(" ✓ ")).count(), 8, "{said}");
    assert!(said.lines().last().unwrap().starts_with("8 of 8 in "), "{said}");
    let data = world.run(&["dev", "--tour", "--json"]).ok().json();
    assert_eq!((data["observed"].as_u64(), data["of"].as_u64()), (Some(8), Some(8)));
    assert!(
        !world.path("user").exists() && !world.path("home").exists(),
        "it touched the user's directories"
    );
}

#[test]
fn dev_runs_until_it_is_told_to_end_and_leaves_nothing() {
    let (_alone, world) = (alone(), World::new());
    let dev = world.daemon(&["dev", "--json"]);
    until("dev runs", || dev.out().trim_end().ends_with('}'), || dev.log());
    let report: serde_json::Value = serde_json::from_str(&dev.out()).unwrap();
    let text = |name: &str| report[name].as_str().unwrap().to_owned();
    let home = text("home");

    let mut stream = std::net::TcpStream::connect(text("entrance")).unwrap();
    assert!(greets(&mut stream), "{}", dev.log());
    let listed = world.run(&["--home", &home, "cert", "list"]).ok().stdout;
    assert!(listed.contains("web-1") && listed.contains("web-2"), "{listed}");
    let revoked = world.run(&["--home", &home, "cert", "revoke", "web-2", "--wait"]).ok().stdout;
    assert!(revoked.contains("enforced  1 of 1"), "{revoked}");
    assert!(!greets(&mut stream), "a revoked node still gets through");

    assert_eq!(dev.end_by(rustix::process::Signal::INT), 0);
    assert!(!std::path::Path::new(&home).exists(), "{home} is still there");
    assert!(
        !world.path("user").exists() && !world.path("home").exists(),
        "it touched the user's directories"
    );
}

#[test]
fn dev_in_a_directory_goes_on_where_it_was() {
    let (_alone, world) = (alone(), World::new());
    let mut roots = Vec::new();
    for _time in 0..2 {
        let dev = world.daemon(&["dev", "--json", "--dir", "lab"]);
        until("dev runs", || dev.out().trim_end().ends_with('}'), || dev.log());
        let report: serde_json::Value = serde_json::from_str(&dev.out()).unwrap();
        let entrance = report["entrance"].as_str().unwrap();
        assert!(greets(&mut std::net::TcpStream::connect(entrance).unwrap()), "{}", dev.log());
        roots.push(report["root_key_hash"].clone());
        assert_eq!(dev.end(), 0);
    }
    assert_eq!(roots[0], roots[1]);
    assert!(world.path("lab").exists());
}

fn greets(stream: &mut std::net::TcpStream) -> bool {
    use std::io::{Read, Write};
    let mut answer = [0; 15];
    stream.set_read_timeout(Some(crate::harness::DEADLINE)).unwrap();
    let asked = stream.write_all(b"GET / HTTP/1.1\r\nHost: web-1\r\n\r\n");
    if asked.is_err() || stream.read_exact(&mut answer).is_err() || &answer != b"HTTP/1.1 200 OK" {
        return false;
    }
    let mut rest = Vec::new();
    let mut byte = [0];
    while !rest.ends_with(b"hello from web-1\n") {
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return false;
        }
        rest.push(byte[0]);
    }
    true
}
