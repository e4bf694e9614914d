//! What clusters answer: each part founds its own, and runs beside the others.

use serde_json::Value;

use super::book::Book;
use crate::harness::{Daemon, World, is_reached, open, port, service, until};

fn json(world: &World, words: &[&str]) -> Value {
    let said = world.run(&[words, &["--json"]].concat());
    assert!([0, 3].contains(&said.code), "{words:?}: {}", said.stderr);
    said.json()
}

/// Founds a cluster in `m1` and starts its manager; what `init` said is held against the document.
fn found(book: &Book, world: &World, options: &[&str]) -> Daemon {
    let listen = format!("127.0.0.1:{}", port());
    let init = ["cluster", "init", "--name", "prod", "--data-dir", "m1", "--no-start", "--listen", &listen];
    book.holds("certus cluster init", &json(world, &[&init[..], &["--id", "m1"], options].concat()));
    let manager = world.daemon(&["manager", "start", "--data-dir", "m1"]);
    if options.is_empty() {
        manager.ready(&world.path("m1"));
    }
    manager
}

fn worker(world: &World, id: &str, config: &[&str]) -> Daemon {
    let token = format!("{id}.token");
    world.token(&token, &["--id", id]);
    let address = world.manager_address();
    let words = ["worker", "start", "--manager", &address, "--token-file", &token, "--id", id];
    let node = world.daemon(&[&words[..], &["--data-dir", id], config].concat());
    node.ready(&world.path(id));
    node
}

/// Nodes, certificates, tokens.
pub(super) fn nodes(book: &Book) {
    let world = World::new();
    let manager = found(book, &world, &[]);
    let ask = |heading: &str, words: &[&str]| book.holds(heading, &json(&world, words));
    let (listener, soft, entrance, service) = (port(), port(), port(), service());
    let forward = format!("transport: tcp, forward: '127.0.0.1:{service}'");
    let listeners = format!(
        "listeners:\n  - {{name: web, {forward}, address: '127.0.0.1:{listener}', allow: 'spiffe://prod/worker/web-2'}}\n  \
         - {{name: soft, {forward}, address: '127.0.0.1:{soft}', allow: [plaintext, any], tls: {{mtls: permissive, mtls_until: 2099-01-01}}}}\n"
    );
    world.write("web-1.yaml", &listeners);
    let peers = format!(
        "peers:\n  - {{name: web, id: 'spiffe://prod/worker/web-1', transport: tcp, address: '127.0.0.1:{listener}', listen: '127.0.0.1:{entrance}'}}\n"
    );
    world.write("web-2.yaml", &peers);
    let web_1 = worker(&world, "web-1", &["--config", "web-1.yaml"]);
    let web_2 = worker(&world, "web-2", &["--config", "web-2.yaml"]);
    let away = worker(&world, "away", &[]);
    assert_eq!(away.end(), 0);

    until("a call goes through", || is_reached(entrance), || web_1.log() + &web_2.log());
    assert!(is_reached(soft), "{}", web_1.log());
    // What it finds depends on this machine, and so does its exit code.
    book.holds("certus doctor", &world.run(&["doctor", "--json"]).json());
    // No TLS, where TLS is due: a failure that is kept.
    use std::io::Write;
    let _ = open(listener).write_all(b"GET / HTTP/1.1\r\n\r\n");
    let failed = || json(&world, &["node", "failures", "--data-dir", "web-1"])["total"] != 0;
    until("a failure is kept", failed, || web_1.log());
    let _live = open(entrance);
    for heading in ["failures", "connections", "strict"] {
        ask(&format!("certus node {heading}"), &["node", heading, "--data-dir", "web-1"]);
    }
    world.run(&["cert", "ca", "--cn", "Another", "-o", "another"]).ok();
    ask("certus node shadow", &["node", "shadow", "--bundle", "another/ca.crt", "--data-dir", "web-1"]);

    ask("certus cluster status", &["cluster", "status"]);
    ask("certus cluster bundle", &["cluster", "bundle"]);
    ask("certus cluster bundle", &["cluster", "bundle", "--output", "roots.pem"]);
    ask("certus token create", &["token", "create", "--role", "worker", "--id", "x"]);
    ask("certus token list", &["token", "list"]);
    let id = json(&world, &["token", "list"])["tokens"][0]["id"].as_str().unwrap().to_owned();
    ask("certus token revoke", &["token", "revoke", &id]);
    ask("certus token list", &["token", "list"]);
    ask("certus node list", &["node", "list"]);
    ask("certus node list", &["node", "list", "--limit", "1"]);
    for node in ["web-1", "away", "m1"] {
        ask("certus node info", &["node", "info", node]);
    }
    ask("certus cert list", &["cert", "list"]);
    ask("certus cert list", &["cert", "list", "--limit", "1", "--sort", "issued"]);
    let address = world.manager_address();
    for object in [&["web-1"][..], &["--data-dir", "web-1"], &[], &[&address]] {
        ask("certus cert info", &[&["cert", "info"], object].concat());
    }
    for object in [&[][..], &["--data-dir", "web-1"], &["--data-dir", "m1"]] {
        ask("certus cert rotate", &[&["cert", "rotate"], object].concat());
    }
    ask("certus cert rotate --node", &["cert", "rotate", "--node", "web-1"]);
    ask("certus cert rotate --all", &["cert", "rotate", "--all"]);
    ask("certus cert revoke", &["cert", "revoke", "web-2", "--wait"]);
    ask("certus node remove", &["node", "remove", "away", "--yes", "--wait"]);
    ask("certus cert list", &["cert", "list", "--all"]);
    ask("certus node info", &["node", "info", "away"]);
    ask("certus cluster operator", &["cluster", "operator", "--data-dir", "m1"]);

    let agent = world.daemon(&["agent", "start", "--data-dir", "a", "--json"]);
    agent.ready(&world.path("a"));
    let said = || serde_json::from_str::<Value>(&agent.out());
    until("the agent says its id", || said().is_ok(), || agent.log());
    book.holds("certus agent start", &said().unwrap());
    assert_eq!((web_1.end(), agent.end(), manager.end()), (0, 0, 0));
}

/// Keys at rest.
pub(super) fn keys(book: &Book) {
    let world = World::new();
    let manager = found(book, &world, &["--autolock"]);
    world.write("pass", "correct horse\n");
    // Its key was told above and not kept: founded anew with one of our own.
    drop(manager);
    let listen = format!("127.0.0.1:{}", port());
    let words = ["cluster", "init", "--name", "prod", "--data-dir", "m2", "--no-start", "--listen", &listen];
    let locked = ["--force", "--autolock", "--passphrase-file", "pass"];
    book.holds("certus cluster init", &json(&world, &[&words[..], &locked].concat()));
    let manager = world.daemon(&["manager", "start", "--data-dir", "m2"]);
    let unlock = || world.run(&["node", "unlock", "--data-dir", "m2", "--passphrase-file", "pass", "--json"]);
    let mut said = None;
    let unlocked = || {
        let tried = unlock();
        let done = tried.code == 0;
        said = done.then(|| tried.json());
        done
    };
    until("the manager is unlocked", unlocked, || manager.log());
    book.holds("certus node unlock", &said.unwrap());
    manager.ready(&world.path("m2"));
    for verb in ["status", "rotate", "off", "on"] {
        let said = json(&world, &["cluster", "autolock", verb, "--data-dir", "m2"]);
        book.holds("certus cluster autolock on", &said);
    }
    for verb in ["take-offline", "bring-online"] {
        let words = ["cluster", "root", verb, "root.key", "--data-dir", "m2", "--passphrase-file", "pass"];
        book.holds("certus cluster root take-offline", &json(&world, &words));
    }
    assert_eq!(manager.end(), 0);
}

/// A backup, what is in it, and who is unknown after it.
pub(super) fn backups(book: &Book) {
    let world = World::new();
    let manager = found(book, &world, &[]);
    let ask = |heading: &str, words: &[&str]| book.holds(heading, &json(&world, words));
    world.write("pass", "correct horse\n");
    let backup = ["cluster", "backup", "b", "--data-dir", "m1", "--passphrase-file", "pass"];
    ask("certus cluster backup", &backup);
    let late = worker(&world, "late", &[]);
    assert_eq!(manager.end(), 0);
    let restore = ["cluster", "restore", "b", "--passphrase-file", "pass"];
    ask("certus cluster restore --verify", &[&restore[..], &["--verify"]].concat());
    ask("certus cluster restore", &[&restore[..], &["--data-dir", "m2"]].concat());
    let manager = world.daemon(&["manager", "start", "--data-dir", "m2"]);
    manager.ready(&world.path("m2"));
    let unknown = || json(&world, &["cert", "list", "--unknown"]);
    until("the late one called", || !unknown()["certificates"].as_array().unwrap().is_empty(), || late.log());
    book.holds("certus cert list --unknown", &unknown());
    assert_eq!(manager.end(), 0);
}

/// Managers that join, are promoted, leave, are removed and lost.
pub(super) fn managers(book: &Book) {
    let world = World::new();
    let first = found(book, &world, &[]);
    let ask = |heading: &str, words: &[&str]| book.holds(heading, &json(&world, words));
    let address = world.manager_address();
    let joined = |id: &str, options: &[&str]| {
        let (token, listen) = (format!("{id}.token"), format!("127.0.0.1:{}", port()));
        let made = world.run(&["token", "create", "--role", "manager", "--id", id]).ok();
        world.write(&token, &made.stdout);
        let words = ["manager", "join", "--manager", &address, "--token-file", &token, "--data-dir", id];
        let words = [&words[..], &["--id", id, "--listen", &listen, "--no-start"], options].concat();
        book.holds("certus manager join", &json(&world, &words));
        let manager = world.daemon(&["manager", "start", "--data-dir", id]);
        manager.ready(&world.path(id));
        manager
    };
    let vote = |id: &str| {
        let listed = json(&world, &["manager", "list"]);
        let managers = listed["managers"].as_array().unwrap().clone();
        let ends = format!("/{id}");
        let of = managers.iter().find(|one| one["identity"].as_str().unwrap().ends_with(&ends));
        of.is_some_and(|manager| manager["voter"] == true)
    };
    let second = joined("m2", &["--learner"]);
    ask("certus manager promote", &["manager", "promote", "m2"]);
    until("m2 votes", || vote("m2"), || first.log());
    ask("certus manager list", &["manager", "list"]);
    ask("certus node info", &["node", "info", "m2"]);
    let refused = world.run(&["cert", "revoke", "m2"]).failed(1, "CT-2201").stderr;
    assert!(refused.contains("hint        certus manager remove m2"), "{refused}");
    world.run(&["node", "remove", "m2", "--yes"]).failed(1, "CT-2201");
    ask("certus manager leave", &["manager", "leave", "--data-dir", "m2"]);
    assert_eq!(second.ended(), 0);
    let third = joined("m3", &[]);
    until("m3 votes", || vote("m3"), || first.log());
    ask("certus manager remove", &["manager", "remove", "m3", "--yes"]);
    drop(third);
    let fourth = joined("m4", &[]);
    until("m4 votes", || vote("m4"), || first.log());
    drop(fourth);
    assert_eq!(first.end(), 0);
    ask("certus cluster recover", &["cluster", "recover", "--data-dir", "m1", "--yes"]);
}
