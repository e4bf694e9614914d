//! openssl as the judge of the managers' listener and of the files that a node keeps.
#![allow(clippy::print_stderr, reason = "a skip must be visible")]

use std::process::{Command, Output, Stdio};

use crate::harness::World;

/// Whether openssl is there; a visible skip if not, and a failure where it must be.
fn openssl_is_there() -> bool {
    let there = Command::new("openssl").arg("version").output().is_ok();
    if !there {
        let required = std::env::var_os("CERTUS_REQUIRE_INTEROP").is_some_and(|value| value == "1");
        assert!(!required, "openssl is not installed, and CERTUS_REQUIRE_INTEROP=1");
        eprintln!("SKIPPED: openssl is not installed");
    }
    there
}

fn s_client(world: &World, options: &[&str]) -> (Output, String) {
    let address = world.manager_address();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address, "-alpn", "h2", "-brief"]).args(options);
    let output = command.current_dir(world.path("")).stdin(Stdio::null()).output().unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output, said)
}

#[test]
fn openssl_judges_the_listener_and_the_files() {
    if !openssl_is_there() {
        return;
    }
    let world = World::new();
    let _manager = world.manager();
    let roots = world.run(&["cluster", "bundle"]).ok().stdout;
    world.write("roots.pem", &roots);

    let (trusted, said) = s_client(&world, &["-CAfile", "roots.pem", "-verify_return_error"]);
    assert!(trusted.status.success() && said.contains("TLSv1.3"), "{said}");
    assert!(said.contains("Verification: OK"), "{said}");

    let (old, said) = s_client(&world, &["-CAfile", "roots.pem", "-tls1_2"]);
    assert!(!old.status.success(), "the API speaks TLS 1.2: {said}");

    let verified = Command::new("openssl")
        .args(["verify", "-CAfile", "roots.pem", "-untrusted", "home/certs/cli/node.crt"])
        .args(["-purpose", "sslclient", "home/certs/cli/node.crt"])
        .current_dir(world.path(""))
        .output()
        .unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let key = Command::new("openssl")
        .args(["pkey", "-noout", "-check", "-in", "home/certs/cli/node.key"])
        .current_dir(world.path(""))
        .output()
        .unwrap();
    assert!(key.status.success(), "{}", String::from_utf8_lossy(&key.stderr));
}
