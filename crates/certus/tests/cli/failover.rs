//! Several addresses of managers, of which not all answer.

use std::fs;
use std::net::TcpListener;

use crate::harness::{World, port};

/// Addresses at which no manager answers: nobody listens, and somebody who never speaks.
fn none_of_use() -> (String, TcpListener) {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let addresses = format!("127.0.0.1:{},{}", port(), silent.local_addr().unwrap());
    (addresses, silent)
}

#[test]
fn commands_and_workers_pass_over_managers_that_are_gone() {
    let world = World::new();
    let _manager = world.manager();
    let (gone, _silent) = none_of_use();
    let all = format!("{gone},{}", world.manager_address());
    world.run(&["--manager", &all, "cluster", "status"]).ok();
    world.token("token", &["--id", "web-1"]);
    let worker =
        ["worker", "start", "--manager", &all, "--token-file", "token", "--id", "web-1", "--data-dir", "w1"];
    let node = world.daemon(&worker);
    node.ready(&world.path("w1"));
    assert_eq!(node.end(), 0);

    // The environment and a file say it the same way; it has joined, and needs no token.
    world.write("w.yaml", &format!("id: web-1\nmanager: {gone}\n"));
    let node = world.daemon(&["worker", "start", "--data-dir", "w1", "--config", "w.yaml"]);
    node.ready(&world.path("w1"));
    // It was told of the living one when it joined.
    let listed = || world.run(&["node", "list", "--json"]).ok().json();
    let connected = || listed()["nodes"].to_string().contains("\"connected_since\":\"");
    crate::harness::until("it watches", connected, || node.log());
    assert_eq!(node.end(), 0);
    let mut command = world.command(&["cluster", "status"]);
    command.env("CERTUS_MANAGER", &all);
    world.run_with(command, "").ok();
}

#[test]
fn managers_are_listed_and_remembered() {
    let world = World::new();
    let _manager = world.manager();
    let said = world.run(&["manager", "list"]).ok().stdout;
    assert!(said.starts_with("MANAGER") && said.contains("voter") && said.ends_with("1 manager\n"), "{said}");
    let listed = world.run(&["manager", "list", "--json"]).ok().json();
    let address = world.manager_address();
    assert_eq!(listed["managers"][0]["address"], address.as_str());
    assert_eq!(listed["managers"][0]["leader"], true);
    // The address that was named is no manager's anymore; what was learned finds it.
    let path = world.path("home").join("clusters.json");
    let known = fs::read_to_string(&path).unwrap();
    let mut known: serde_json::Value = serde_json::from_str(&known).unwrap();
    assert_eq!(known["clusters"][0]["learned"][0], address.as_str());
    known["clusters"][0]["managers"][0] = format!("127.0.0.1:{}", port()).into();
    fs::write(&path, known.to_string()).unwrap();
    world.run(&["cluster", "status"]).ok();
}

#[test]
fn a_manager_is_not_removed_unasked() {
    let world = World::new();
    let said = world.run(&["manager", "remove", "m2"]).failed(2, "CT-5101").stderr;
    assert!(said.contains("certus manager remove m2 --yes"), "{said}");
    world.run(&["manager", "leave", "--data-dir", "nothing"]).failed(1, "CT-4102");
    let help = world.run(&["manager", "--help"]).ok().stdout;
    for verb in ["list", "promote", "remove", "leave", "certus manager start is the same"] {
        assert!(help.contains(verb), "{help}");
    }
}
