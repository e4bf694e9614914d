//! Why a node is not let in: one error for each cause, with a code and a way on.

use std::fs;

use crate::harness::{Said, World, until};

/// Tries to join as `id` with the token in `file`; ends with an error.
fn try_join(world: &World, id: &str, file: &str) -> Said {
    let (manager, data) = (world.manager_address(), format!("data-{id}-{file}"));
    world.run(&[
        "worker",
        "start",
        "--manager",
        &manager,
        "--token-file",
        file,
        "--id",
        id,
        "--data-dir",
        &data,
    ])
}

#[test]
fn every_cause_has_its_error() {
    let world = World::new();
    let _manager = world.manager();

    let short = world.run(&["token", "create", "--role", "worker", "--ttl", "1s", "--json"]).ok().json();
    world.write("short", short["token"].as_str().unwrap());
    let good = world.token("good", &[]);
    let foreign = format!("{}{}", &good[..32], "00".repeat(16));
    world.write("foreign", &foreign);
    let said = try_join(&world, "a", "foreign").failed(1, "CT-2101").stderr;
    assert!(said.contains("expected") && said.contains("came"), "{said}");
    world.write("unknown", &format!("{}{}", "00".repeat(16), &good[32..]));
    try_join(&world, "a", "unknown").failed(1, "CT-2102");

    world.token("named", &["--id", "db-1"]);
    try_join(&world, "a", "named").failed(1, "CT-2109");

    let taken_back = world.token("taken-back", &[]);
    let listed = world.run(&["token", "list", "--json"]).ok().json();
    assert!(!listed.to_string().contains(&taken_back[..32]), "a listing shows a secret");
    let revoked = world.run(&["token", "create", "--role", "worker", "--json"]).ok().json();
    world.write("revoked", revoked["token"].as_str().unwrap());
    world.run(&["token", "revoke", revoked["id"].as_str().unwrap()]).ok();
    try_join(&world, "a", "revoked").failed(1, "CT-2108");

    let node = world.daemon(&[
        "worker",
        "start",
        "--manager",
        &world.manager_address(),
        "--token-file",
        "good",
        "--id",
        "a",
        "--data-dir",
        "a",
    ]);
    node.ready(&world.path("a"));
    let used = try_join(&world, "b", "good").failed(1, "CT-2104").stderr;
    assert!(used.contains("hint        certus token create --role worker"), "{used}");
    try_join(&world, "a", "taken-back").failed(1, "CT-2106");
    assert_eq!(node.end(), 0);

    let expired = || {
        let listed = world.run(&["token", "list", "--json"]).ok().json();
        listed["tokens"].as_array().unwrap().iter().any(|token| token["state"] == "expired")
    };
    until("the short token expires", expired, String::new);
    let said = try_join(&world, "c", "short").failed(1, "CT-2103").stderr;
    assert!(said.contains(" ago\n"), "{said}");

    // Nothing that was refused left a node behind.
    let nodes = world.run(&["node", "list", "--json"]).ok().json();
    assert_eq!(nodes["nodes"].as_array().unwrap().len(), 3);
}

#[test]
fn a_token_comes_from_a_file_standard_input_the_environment_or_an_option() {
    let world = World::new();
    let _manager = world.manager();
    let token = world.token("token", &["--uses", "4"]);
    let manager = world.manager_address();
    for (number, way) in ["file", "stdin", "environment", "option"].into_iter().enumerate() {
        let id = format!("w{number}");
        let mut words = vec!["worker", "start", "--manager", &manager, "--id", &id, "--data-dir", &id];
        match way {
            "file" => words.extend(["--token-file", "token"]),
            "stdin" => words.extend(["--token-file", "-"]),
            "option" => words.extend(["--token", &token]),
            _ => {}
        }
        let mut command = world.command(&words);
        if way == "environment" {
            command.env("CERTUS_TOKEN", &token);
        }
        if way == "stdin" {
            command.stdin(fs::File::open(world.path("token")).unwrap());
        }
        let node = world.daemon_with(command);
        node.ready(&world.path(&id));
        assert_eq!(node.log().contains("list of processes"), way == "option", "{}", node.log());
        assert_eq!(node.end(), 0, "{way}");
    }
    world.write("nonsense", "not a token\n");
    let said = try_join(&world, "x", "nonsense").failed(1, "CT-2110").stderr;
    assert!(!said.contains("not a token\n  came"), "{said}");
    let none = world.run(&["worker", "start", "--manager", &manager, "--id", "y", "--data-dir", "y"]);
    none.failed(1, "CT-3103");
}
