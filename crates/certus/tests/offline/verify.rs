//! `cert verify` and `cert check`: exit codes, and what is said.

use crate::harness::World;

#[test]
fn the_exit_code_tells_valid_from_not_valid_from_misuse() {
    let world = World::new();
    world.run(&["tls", "init", "-o", "certs", "--hosts", "host-a=10.0.0.1"]).ok();
    world.run(&["tls", "init", "-o", "other", "--hosts", "host-a"]).ok();
    let verify = |options: &[&str]| {
        world.run(
            &[&["cert", "verify", "--ca", "certs/ca.crt"], options, &["certs/host-a/server.crt"]].concat(),
        )
    };
    let said = verify(&["--purpose", "server", "--name", "dns:host-a", "--name", "ip:10.0.0.1"]).ok();
    assert!(said.stdout.starts_with("valid   certs/host-a/server.crt"), "{}", said.stdout);
    verify(&["--purpose", "client"]).failed(1, "CT-1109");
    verify(&["--name", "dns:host-b"]).failed(1, "CT-1213");
    verify(&["--at", "2050-01-01"]).failed(1, "CT-1102");
    verify(&["--at", "2020-01-01T00:00:00Z"]).failed(1, "CT-1103");
    verify(&["--max-depth", "0"]).ok();
    verify(&["--at", "yesterday"]).failed(2, "CT-5101");
    verify(&["--name", "what is this"]).failed(2, "CT-5101");
    world.run(&["cert", "verify", "certs/host-a/server.crt"]).failed(2, "CT-5101");
    world.run(&["cert", "verify", "--ca", "nowhere", "certs/host-a/server.crt"]).failed(1, "CT-3101");
    let foreign = world.run(&["cert", "verify", "--ca", "other", "certs/host-a/server.crt"]);
    assert_eq!(foreign.code, 1, "{}", foreign.stderr);
    let text = std::fs::read_to_string(world.path("certs/host-a/server.crt")).unwrap();
    let piped = world.command(&["cert", "verify", "--ca", "certs", "-", "--json"]);
    assert_eq!(world.run_with(piped, &text).ok().json()["valid"], true);
}

#[test]
fn a_check_exits_3_and_lists_what_is_near() {
    let world = World::new();
    world.run(&["tls", "init", "-o", "certs", "--hosts", "host-a,host-b", "--days", "20"]).ok();
    let said = world.run(&["cert", "check", "--ca", "certs"]).failed_check();
    assert!(said.stdout.contains("host-a") && said.stdout.contains("3 of 4 certificates"), "{}", said.stdout);
    world.run(&["cert", "check", "--ca", "certs", "--days", "7"]).ok();
    world.run(&["cert", "check", "certs"]).failed_check();
    world.run(&["cert", "check", "certs/host-a/server.crt", "--within", "19d"]).ok();
    // A newer one in its place is what counts.
    let again = ["cert", "issue", "--role", "server", "host-a", "--ca", "certs", "--force"];
    world.run(&again).ok();
    let said = world.run(&["cert", "check", "--ca", "certs", "--json"]).failed_check().json();
    assert_eq!(said["near"].as_array().unwrap().len(), 2, "{said}");
    // What was revoked is nobody's worry any more.
    world.run(&["cert", "revoke", "host-b", "--ca", "certs"]).ok();
    let said = world.run(&["cert", "check", "--ca", "certs", "--json"]).failed_check().json();
    assert_eq!(said["near"][0]["name"], "certus-client");
}
