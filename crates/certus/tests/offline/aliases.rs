//! Every spelling of the tools before: exact expansions that do what those did.

use crate::harness::World;

#[test]
fn the_meshs_spelling_makes_its_files() {
    let world = World::new();
    world.run(&["cert", "ca", "--cn", "My Mesh CA", "-o", "certs"]).ok();
    world
        .run(&[
            "cert",
            "agent",
            "--cn",
            "agent-1",
            "--dns",
            "agent1.example.com,agent1.internal",
            "--ip",
            "192.168.1.10,10.0.0.10",
            "-o",
            "certs",
        ])
        .ok();
    let both = ["--ca", "certs/ca.crt", "--ca-key", "certs/ca.key", "--days", "180", "-o", "out"];
    world.run(&[&["cert", "agent", "--cn", "agent-2"][..], &both].concat()).ok();
    let info =
        |file: &str| world.run(&["cert", "info", file, "--json"]).ok().json()["certificates"][0].clone();
    let one = info("certs/agent-1.crt");
    let names = ["agent-1", "agent1.example.com", "agent1.internal", "192.168.1.10", "10.0.0.10"];
    assert_eq!(one["names"], serde_json::json!(names));
    assert_eq!(
        (&one["server"], &one["client"], &one["key_type"]),
        (&true.into(), &true.into(), &"P-256".into())
    );
    let two = info("out/agent-2.crt");
    assert!(world.path("out/agent-2.key").exists());
    assert_eq!(info("certs/ca.crt")["subject"], "CN=My Mesh CA");
    let days = |cert: &serde_json::Value| cert["expires_at"].as_str().unwrap()[..10].to_owned();
    assert!(days(&one) < days(&two));
    for name in ["ca", "intermediate"] {
        world.run(&["cert", "agent", "--cn", name, "-o", "certs"]).failed(1, "CT-1205");
    }
    world.run(&["cert", "ca", "--cn", "X", "--days", "730", "-o", "long"]).ok();
    assert!(days(&info("long/ca.crt")) > days(&info("certs/ca.crt")));
}

#[test]
fn the_private_cas_spelling_does_all_of_it() {
    let world = World::new();
    world.run(&["ca", "init", "-o", "pki", "--cn", "Example Root"]).ok();
    for (alias, name) in [("create-server-cert", "api.example.com"), ("create-client-cert", "ann")] {
        world.run(&["ca", alias, name, "--ca", "pki"]).ok();
    }
    world
        .run(&["cert", "verify", "--ca", "pki", "--purpose", "server", "pki/server/api.example.com.crt"])
        .ok();
    world.run(&["cert", "verify", "--ca", "pki", "--purpose", "client", "pki/client/ann.crt"]).ok();
    world.run(&["ca", "create-intermediate", "--ca", "pki"]).ok();
    assert!(world.path("pki/intermediate-2.crt").exists());
    world.run(&["key", "new", "--out", "web.key"]).ok();
    world
        .run(&[
            "csr",
            "new",
            "--key",
            "web.key",
            "--cn",
            "web",
            "--dns",
            "web.example.com",
            "--out",
            "web.csr",
        ])
        .ok();
    let signed = ["ca", "sign", "web.csr", "--role", "server", "--ca", "pki"];
    world.run(&[&signed[..], &["--dns", "web.example.com", "--out", "web.crt"]].concat()).ok();
    world.run(&["cert", "verify", "--ca", "pki", "--name", "dns:web.example.com", "web.crt"]).ok();
    world.run(&["ca", "revoke", "ann", "--ca", "pki", "--reason", "key-compromise"]).ok();
    let said =
        world.run(&["ca", "check-expiry", "--days", "91", "--ca", "pki", "--json"]).failed_check().json();
    let near: Vec<&str> =
        said["near"].as_array().unwrap().iter().map(|n| n["name"].as_str().unwrap()).collect();
    assert_eq!(near, ["api.example.com", "web"], "{said}");
    world.run(&["ca", "check-expiry", "--days", "89", "--ca", "pki"]).ok();
    world.run(&["cert", "needs-renewal", "web.crt"]).ok();
}

#[test]
fn names_are_taken_from_a_request_only_where_a_flag_says_so() {
    let world = World::new();
    world.run(&["cert", "ca", "--cn", "X", "-o", "certs"]).ok();
    world.run(&["key", "new", "--out", "k"]).ok();
    let csr =
        ["csr", "new", "--key", "k", "--cn", "web", "--san", "web.example.com,10.0.0.7", "--out", "r.csr"];
    world.run(&csr).ok();
    let sign = ["cert", "sign", "r.csr", "--role", "server", "--ca", "certs"];
    let names = |extra: &[&str]| {
        let said = world.run(&[&sign, extra].concat()).ok();
        world.write("s.crt", &said.stdout);
        world.run(&["cert", "info", "s.crt", "--json"]).ok().json()["certificates"][0]["names"].clone()
    };
    assert_eq!(names(&[]), serde_json::json!([]));
    assert_eq!(names(&["--dns", "other.example.com"]), serde_json::json!(["other.example.com"]));
    let allowed = names(&["--allow-name", "*.example.com,10.0.0.0/8"]);
    assert_eq!(allowed, serde_json::json!(["web.example.com", "10.0.0.7"]));
    world.run(&[&sign[..], &["--allow-name", "*.example.com"]].concat()).failed(1, "CT-1212");
    let text = std::fs::read_to_string(world.path("r.csr")).unwrap();
    let piped = world.command(&["cert", "sign", "-", "--role", "server", "--ca", "certs"]);
    assert!(world.run_with(piped, &text).ok().stdout.starts_with("-----BEGIN CERTIFICATE-----"));
}
