//! Every kind of key that a cluster can be founded with, by the real binary: found, join, call, renew.

use crate::harness::{World, answers, open, port, service, until};

/// Founds with these keys; two workers join, one calls the other, everything renews, and calls go on.
fn runs(root: &str, issuer: &str, shown: [&str; 2]) {
    let world = World::new();
    let listen = format!("127.0.0.1:{}", port());
    let init = ["cluster", "init", "--name", "prod", "--data-dir", "m1", "--listen", &listen, "--no-start"];
    world.run(&[&init[..], &["--root-key-type", root, "--key-type", issuer]].concat()).ok();
    let manager = world.daemon(&["manager", "start", "--data-dir", "m1"]);
    manager.ready(&world.path("m1"));
    let (listener, entrance, service) = (port(), port(), service());
    let configs = [
        format!(
            "listeners:\n  - {{name: web, transport: tcp, address: '127.0.0.1:{listener}', forward: '127.0.0.1:{service}', allow: 'spiffe://prod/worker/web-2'}}\n"
        ),
        format!(
            "peers:\n  - {{name: web, id: 'spiffe://prod/worker/web-1', transport: tcp, address: '127.0.0.1:{listener}', listen: '127.0.0.1:{entrance}'}}\n"
        ),
    ];
    let mut nodes = Vec::new();
    for (id, config) in ["web-1", "web-2"].iter().zip(&configs) {
        let (token, file) = (format!("{id}.token"), format!("{id}.yaml"));
        world.token(&token, &["--id", id]);
        world.write(&file, config);
        let words = ["worker", "start", "--manager", &listen, "--token-file", &token, "--id", id];
        let node = world.daemon(&[&words[..], &["--data-dir", id, "--config", &file]].concat());
        node.ready(&world.path(id));
        nodes.push(node);
    }
    let mut live = open(entrance);
    assert!(answers(&mut live), "{root}, {issuer}: {}", nodes[0].log());
    let said = world.run(&["cert", "rotate", "--all", "--json"]).ok().json();
    assert_eq!((said["rotated"].as_u64(), said["late"].as_u64()), (Some(3), Some(0)), "{said}");
    assert!(answers(&mut live), "{root}, {issuer}: the renewal disturbed a connection");
    let fresh = || answers(&mut open(entrance));
    until("a new connection under new certificates", fresh, || nodes[1].log());
    world.run(&["cert", "rotate"]).ok();

    let chain = world.run(&["cert", "info", &listen, "--json"]).ok().json();
    let kinds: Vec<&str> = chain["certificates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|certificate| certificate["key_type"].as_str().unwrap())
        .collect();
    // The manager's own, its issuer's, the root's.
    assert_eq!(kinds, [shown[1], shown[1], shown[0]], "{root}, {issuer}");
    // Who ends waits for those who are connected.
    drop(live);
    for node in nodes {
        assert_eq!(node.end(), 0);
    }
    assert_eq!(manager.end(), 0);
}

#[test]
fn a_cluster_of_rsa_keys() {
    runs("rsa4096", "rsa2048", ["RSA-4096", "RSA-2048"]);
}

#[test]
fn a_cluster_of_smaller_and_larger_rsa_keys() {
    runs("rsa2048", "rsa3072", ["RSA-2048", "RSA-3072"]);
}

#[test]
fn a_cluster_of_curves() {
    runs("p384", "p256", ["P-384", "P-256"]);
}

#[test]
fn a_cluster_of_an_edwards_root() {
    runs("ed25519", "p384", ["Ed25519", "P-384"]);
}

#[test]
fn a_cluster_of_edwards_issuers() {
    runs("p256", "ed25519", ["P-256", "Ed25519"]);
}

#[test]
fn other_kinds_are_refused_by_name() {
    let world = World::new();
    let init = ["cluster", "init", "--name", "prod", "--data-dir", "m1", "--no-start"];
    for kind in ["rsa1024", "secp256k1", "P-512"] {
        let said = world.run(&[&init[..], &["--root-key-type", kind]].concat()).failed(2, "CT-5101").stderr;
        assert!(said.contains(kind), "{said}");
    }
    assert!(!world.path("m1").exists());
}
