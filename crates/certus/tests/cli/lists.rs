//! Lists that are filtered, sorted and paged; one node whole; a node that is removed; rotation.

use std::fs;

use serde_json::Value;

use crate::harness::{Daemon, World, until};

fn json(world: &World, words: &[&str]) -> Value {
    world.run(&[words, &["--json"]].concat()).ok().json()
}

fn worker(world: &World, id: &str) -> Daemon {
    let token = format!("{id}.token");
    world.token(&token, &["--id", id]);
    let manager = world.manager_address();
    let words = ["worker", "start", "--manager", &manager, "--token-file", &token, "--id", id];
    let node = world.daemon(&[&words[..], &["--data-dir", id]].concat());
    node.ready(&world.path(id));
    node
}

/// The ids in a list, in its order.
fn ids(list: &Value, field: &str, key: &str) -> Vec<String> {
    let id = |one: &Value| one[key].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    list[field].as_array().unwrap().iter().map(id).collect()
}

fn certs(world: &World, options: &[&str]) -> Vec<String> {
    ids(&json(world, &[&["cert", "list"], options].concat()), "certificates", "node")
}

fn nodes(world: &World, options: &[&str]) -> Vec<String> {
    ids(&json(world, &[&["node", "list"], options].concat()), "nodes", "identity")
}

/// Every page of a list, one row each.
fn paged(world: &World, words: &[&str], field: &str, key: &str) -> Vec<String> {
    let (mut found, mut after) = (Vec::new(), None::<String>);
    loop {
        let cursor = after.iter().flat_map(|after| ["--after", after]);
        let words: Vec<&str> = words.iter().copied().chain(["--limit", "1"]).chain(cursor).collect();
        let page = json(world, &words);
        found.extend(ids(&page, field, key));
        assert_eq!(page["more"], page["next"].is_string());
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => return found,
        }
    }
}

#[test]
fn certificates_and_nodes_are_filtered_sorted_and_paged() {
    let world = World::new();
    let manager = world.manager();
    let _nodes: Vec<Daemon> = ["web-1", "web-10", "db-1"].iter().map(|id| worker(&world, id)).collect();
    let gone = worker(&world, "gone");
    assert_eq!(gone.end(), 0);

    assert_eq!(certs(&world, &["--role", "worker"]), ["db-1", "gone", "web-1", "web-10"]);
    assert_eq!(certs(&world, &["--prefix", "web-1"]), ["web-1", "web-10"]);
    assert_eq!(certs(&world, &["--prefix", "web-1", "--role", "client"]), [""; 0]);
    assert_eq!(certs(&world, &["--node", "web-1"]), ["web-1"]);
    let expires = json(&world, &["cert", "list", "--role", "worker", "--sort", "expires"]);
    let expires: Vec<&str> = expires["certificates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["expires_at"].as_str().unwrap())
        .collect();
    assert!(expires.len() == 4 && expires.is_sorted(), "{expires:?}");
    let issued = json(&world, &["cert", "list", "--sort", "issued"]);
    let issued: Vec<&str> = issued["certificates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["issued_at"].as_str().unwrap())
        .collect();
    assert!(issued.is_sorted_by(|one, next| one >= next), "{issued:?}");
    assert!(certs(&world, &["--expiring", "30d"]).is_empty());
    assert_eq!(certs(&world, &["--expiring", "100d"]).len(), 6);
    let roots = json(&world, &["cluster", "status"]);
    // The one that signs ends first; the other was signed ahead of it. Their order is that of their keys.
    let issuers = roots["issuers"].as_array().unwrap().iter();
    let issuer = issuers.min_by_key(|one| one["expires_at"].as_str().unwrap().to_owned()).unwrap();
    let issuer = issuer["key_hash"].as_str().unwrap().to_owned();
    let manager_id = roots["managers"][0].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    for name in [&issuer[..8], &manager_id] {
        assert_eq!(certs(&world, &["--issuer", name, "--role", "worker"]).len(), 4, "{name}");
    }
    world.run(&["cert", "list", "--issuer", "ffffffff"]).failed(1, "CT-2203");

    for sort in ["expires", "issued", "node"] {
        let words = ["cert", "list", "--sort", sort];
        let whole = certs(&world, &["--sort", sort]);
        assert_eq!(whole.len(), 6);
        assert_eq!(paged(&world, &words, "certificates", "node"), whole, "{sort}");
    }
    let one = ["cert", "list", "--node", "web-1", "--sort", "expires"];
    assert_eq!(paged(&world, &one, "certificates", "node"), ["web-1"]);
    assert_eq!(paged(&world, &["node", "list"], "nodes", "identity"), nodes(&world, &[]));
    let cursor = json(&world, &["cert", "list", "--limit", "1"])["next"].as_str().unwrap().to_owned();
    let said = world.run(&["cert", "list", "--sort", "node", "--after", &cursor]).failed(2, "CT-5101").stderr;
    assert!(said.contains("another order"), "{said}");
    world.run(&["cert", "list", "--after", "nonsense"]).failed(2, "CT-5101");
    let words = world.run(&["cert", "list", "--limit", "2"]).ok().stdout;
    assert!(words.starts_with("NODE") && words.contains("\n2 of 6\nmore      --after e-"), "{words}");

    assert_eq!(nodes(&world, &["--offline"]), ["gone"]);
    assert_eq!(nodes(&world, &["--connected"]), ["db-1", "web-1", "web-10"]);
    assert_eq!(nodes(&world, &["--prefix", "web-", "--role", "worker"]), ["web-1", "web-10"]);
    world.run(&["cert", "revoke", "gone"]).ok();
    assert_eq!(certs(&world, &["--revoked"]), ["gone"]);
    assert_eq!((nodes(&world, &["--revoked"]), nodes(&world, &["--active"]).len()), (vec!["gone".into()], 5));
    assert!(nodes(&world, &["--offline"]).is_empty());
    world.run(&["cert", "list", "--ca", "certs", "--role", "worker"]).failed(2, "CT-5101");
    assert_eq!(manager.end(), 0);
}

#[test]
fn a_node_is_removed_with_all_it_has_and_one_of_the_managers_is_not() {
    let world = World::new();
    let manager = world.manager();
    let (node, _other) = (worker(&world, "web-2"), worker(&world, "web-1"));
    let shown = world.run(&["node", "info", "web-2"]).ok().stdout;
    for words in
        ["  identity     spiffe://prod/worker/web-2\n", "with token ", "  connected    since ", ": ok"]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    world.run(&["node", "info", "nobody"]).failed(1, "CT-2202");
    let serial = json(&world, &["node", "info", "web-2"])["newest"]["serial"].as_str().unwrap().to_owned();
    let said = world.run(&["node", "info", &serial]).failed(1, "CT-2202").stderr;
    assert!(said.contains("certus node info worker/web-2"), "{said}");

    let said = world.run(&["node", "remove", "web-2"]).failed(2, "CT-5101").stderr;
    assert!(said.contains("certus node remove web-2 --yes"), "{said}");
    let said = world.run(&["node", "remove", "web-2", "--yes", "--wait"]).ok().stdout;
    assert!(said.starts_with("removed   web-2   1 certificate revoked   revision "), "{said}");
    assert!(said.contains("token create --role worker --id web-2 --replace"), "{said}");
    assert!(said.contains("enforced  1 of 1 connected node"), "{said}");
    assert_eq!(node.ended(), 1);
    let info = json(&world, &["node", "info", "web-2"]);
    assert_eq!((&info["revoked"], &info["reason"]), (&true.into(), &"cessation-of-operation".into()));
    assert!(info["live"].as_array().unwrap().is_empty());
    world.run(&["node", "remove", "web-2", "--yes"]).failed(1, "CT-2214");

    let managers = json(&world, &["manager", "list"]);
    let identity = managers["managers"][0]["identity"].as_str().unwrap().to_owned();
    let id = identity.rsplit('/').next().unwrap();
    for words in [&["cert", "revoke", &identity][..], &["node", "remove", &identity, "--yes"]] {
        let said = world.run(words).failed(1, "CT-2201").stderr;
        assert!(said.contains(&format!("certus manager remove {id}")), "{said}");
    }
    world.run(&["cluster", "status"]).ok();
    assert_eq!(manager.end(), 0);
}

#[test]
fn everything_is_rotated_or_one_thing() {
    let world = World::new();
    let manager = world.manager();
    let ids = ["web-1", "web-2", "web-3"];
    let running: Vec<Daemon> = ids.iter().map(|id| worker(&world, id)).collect();
    let away = worker(&world, "away");
    assert_eq!(away.end(), 0);
    let serial = |words: &[&str]| {
        let info = json(&world, &[&["cert", "info"], words].concat());
        info["certificates"][0]["serial"].as_str().unwrap().to_owned()
    };
    let id = json(&world, &["manager", "list"])["managers"][0]["identity"].as_str().unwrap().to_owned();
    let all = |world: &World| -> Vec<String> {
        [&ids[..], &["away", &id]]
            .concat()
            .iter()
            .map(|id| json(world, &["node", "info", id])["newest"]["serial"].as_str().unwrap().to_owned())
            .collect()
    };
    let before = all(&world);
    let said = json(&world, &["cert", "rotate", "--all", "--at-once", "2"]);
    for (key, expected) in [("rotated", 4), ("kept", 1), ("late", 0), ("failed", 0), ("clients", 1)] {
        assert_eq!(said[key], expected, "{key}: {said}");
    }
    let after = all(&world);
    for (place, (before, after)) in before.iter().zip(&after).enumerate() {
        assert_eq!(before == after, place == 3, "{place}: only the one that is away keeps its certificate");
    }
    let words = world.run(&["cert", "rotate", "--all"]).ok().stdout;
    assert!(words.contains("away") && words.contains("rotated   4 nodes in "), "{words}");
    // One that comes back is told, and does it.
    let away = world.daemon(&["worker", "start", "--data-dir", "away"]);
    let newest = || json(&world, &["node", "info", "away"])["newest"]["serial"].as_str().unwrap() != after[3];
    until("the one that was away renews", newest, || away.log());

    // This user's own, a node's and a manager's of this machine.
    for (what, options) in [(&[][..], &[][..]), (&["--data-dir", "web-1"], &["--data-dir", "web-1"])] {
        let before = serial(what);
        let said = json(&world, &[&["cert", "rotate"], options].concat());
        assert_ne!(said["serial"], before.as_str());
        assert_eq!(said["serial"], serial(what).as_str());
    }
    let before = serial(&["--data-dir", "m1"]);
    let said = world.run(&["cert", "rotate", "--data-dir", "m1"]).ok().stdout;
    assert!(said.starts_with(&format!("renewed   {id}   with a new key")), "{said}");
    assert_ne!(serial(&["--data-dir", "m1"]), before);
    world.run(&["cert", "rotate", "--data-dir", "nothing"]).failed(1, "CT-3104");
    world.run(&["cert", "info", "--data-dir", "nothing"]).failed(1, "CT-3101");
    let agent = world.daemon(&["agent", "start", "--data-dir", "a"]);
    agent.ready(&world.path("a"));
    world.run(&["cert", "rotate", "--data-dir", "a"]).failed(2, "CT-5101");
    world.run(&["cert", "rotate", "--all", "--node", "web-1"]).failed(2, "CT-5101");

    for node in running {
        assert_eq!(node.end(), 0);
    }
    // Asked for while it is there, and told why where there is no manager.
    assert_eq!(manager.end(), 0);
    world.run(&["cert", "rotate", "--data-dir", "away"]).failed(1, "CT-2301");
}

#[test]
fn roots_are_written_whole_and_as_other_programs_read_them() {
    let world = World::new();
    let _manager = world.manager();
    let printed = world.run(&["cluster", "bundle"]).ok().stdout;
    let said = world.run(&["cluster", "bundle", "--output", "roots.pem"]).ok().stdout;
    assert!(said.starts_with("written   roots.pem   1 root of prod"), "{said}");
    assert_eq!(fs::read_to_string(world.path("roots.pem")).unwrap(), printed);
    world.run(&["cluster", "bundle", "-o", "roots.pem"]).failed(1, "CT-4101");
    world.run(&["cluster", "bundle", "-o", "roots.pem", "--force"]).ok();
    world.run(&["cluster", "bundle", "--format", "der", "-o", "root.der"]).ok();
    let info = |file: &str| json(&world, &["cert", "info", file])["certificates"][0]["fingerprint"].clone();
    assert_eq!(info("root.der"), info("roots.pem"));
    assert_eq!(fs::read(world.path("root.der")).unwrap()[0], 0x30);
}
