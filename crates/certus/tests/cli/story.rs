//! The main story by hand: found, join, call, look, renew, revoke, start again, end.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Daemon, World, answers, is_reached, open, port, service, until};

struct Cluster {
    world: World,
    manager: Daemon,
    web_1: Daemon,
    web_2: Daemon,
    entrance: u16,
}

fn cluster() -> Cluster {
    let world = World::new();
    let (listener, entrance, service) = (port(), port(), service());
    let manager = world.manager();
    let configs = [
        format!(
            "listeners:\n  - name: web\n    transport: tcp\n    address: 127.0.0.1:{listener}\n    \
             forward: 127.0.0.1:{service}\n    allow: [\"spiffe://prod/worker/web-2\"]\n"
        ),
        format!(
            "peers:\n  - name: web\n    id: \"spiffe://prod/worker/web-1\"\n    transport: tcp\n    \
             address: 127.0.0.1:{listener}\n    listen: 127.0.0.1:{entrance}\n"
        ),
    ];
    let mut workers = Vec::new();
    for (number, config) in configs.iter().enumerate() {
        let (id, data) = (format!("web-{}", number + 1), format!("w{}", number + 1));
        world.token(&format!("{id}.token"), &["--id", &id]);
        world.write(&format!("{id}.yaml"), config);
        let worker = start(&world, number + 1, true);
        worker.ready(&world.path(&data));
        workers.push(worker);
    }
    let (web_2, web_1) = (workers.pop().unwrap(), workers.pop().unwrap());
    Cluster { world, manager, web_1, web_2, entrance }
}

fn start(world: &World, number: usize, first_time: bool) -> Daemon {
    let (id, data) = (format!("web-{number}"), format!("w{number}"));
    let (config, token) = (format!("{id}.yaml"), format!("{id}.token"));
    let address = world.manager_address();
    let mut words = vec!["worker", "start", "--data-dir", &data, "--config", &config];
    if first_time {
        words.extend(["--manager", &address, "--token-file", &token, "--id", &id]);
    }
    world.daemon(&words)
}

#[test]
fn the_story_by_hand() {
    let Cluster { world, manager, web_1, web_2, entrance } = cluster();
    let mut live = open(entrance);
    assert!(answers(&mut live), "{}", web_1.log());

    looks(&world);
    keys_are_private(&world);
    let before = newest_serial(&world, "web-1");
    let said = world.run(&["cert", "rotate", "--node", "web-1"]).ok();
    assert!(said.stdout.starts_with("told      web-1"), "{}", said.stdout);
    until("web-1 has a new certificate", || newest_serial(&world, "web-1") != before, || web_1.log());
    assert!(answers(&mut live), "the connection of before was disturbed");

    drop(live);

    // Without the token, and without the manager's address: both are remembered.
    assert_eq!(web_1.end(), 0);
    let web_1 = start(&world, 1, false);
    web_1.ready(&world.path("w1"));
    until("the carrier is back", || is_reached(entrance), || web_2.log());

    let mut live = open(entrance);
    assert!(answers(&mut live));
    revokes(&world);
    let mut rest = Vec::new();
    let _ = live.read_to_end(&mut rest);
    assert!(!is_reached(entrance), "a revoked node still gets through");

    for daemon in [web_1, web_2] {
        let log = daemon.log();
        assert_eq!(daemon.end_or_ended(), 0, "{log}");
    }
    assert_eq!(manager.end(), 0);
}

impl Daemon {
    /// A node that was revoked may have ended by itself already: with an error, as it should.
    fn end_or_ended(self) -> i32 {
        let removed = self.log().contains("CT-3109");
        if removed {
            let code = self.ended();
            return if code == 1 { 0 } else { code };
        }
        self.end()
    }
}

/// What `status`, `cert list` and `cert info` show, for people and as data.
fn looks(world: &World) {
    let status = world.run(&["cluster", "status", "--json"]).ok().json();
    assert_eq!((status["cluster"].as_str(), status["nodes"].as_u64()), (Some("prod"), Some(4)));
    let listed = world.run(&["cert", "list"]).ok().stdout;
    assert!(listed.starts_with("NODE"), "{listed}");
    for word in ["web-1", "web-2", "worker", "in 60 d", "ok", "4 certificates"] {
        assert!(listed.contains(word), "no {word} in\n{listed}");
    }
    let expiring = world.run(&["cert", "list", "--expiring", "30d"]).ok().stdout;
    assert!(expiring.trim_end().ends_with("0 of 4"), "{expiring}");
    let first = world.run(&["cert", "list", "--limit", "1", "--json"]).ok().json();
    assert_eq!((first["certificates"].as_array().unwrap().len(), first["more"].as_bool()), (1, Some(true)));

    let by_node = world.run(&["cert", "info", "web-1", "--json"]).ok().json();
    let serial = by_node["certificates"][0]["serial"].as_str().unwrap().to_owned();
    let by_serial = world.run(&["cert", "info", &serial, "--json"]).ok().json();
    let by_file = world.run(&["cert", "info", "w1/certs/worker-web-1/node.crt", "--json"]).ok().json();
    for other in [&by_serial, &by_file] {
        assert_eq!(other["certificates"][0]["fingerprint"], by_node["certificates"][0]["fingerprint"]);
    }
    let words = world.run(&["cert", "info", &serial]).ok().stdout;
    assert!(words.contains("spiffe://prod/worker/web-1") && words.contains("both sides"), "{words}");
    let own = world.run(&["cert", "info"]).ok().stdout;
    assert!(own.contains("spiffe://prod/client/cli-ann-") && own.contains("dialing only"), "{own}");
    let nodes = world.run(&["node", "list", "--json"]).ok().json();
    assert_eq!(nodes["nodes"].as_array().unwrap().len(), 4);
    let bundle = world.run(&["cluster", "bundle"]).ok().stdout;
    assert!(bundle.starts_with("-----BEGIN CERTIFICATE-----"), "{bundle}");
    world.run(&["cert", "info", "nobody"]).failed(1, "CT-2202");
}

/// Keys are 0600 in directories of 0700, whatever the user's umask.
fn keys_are_private(world: &World) {
    let mode = |path: &str| fs::metadata(world.path(path)).unwrap().permissions().mode() & 0o777;
    for dir in ["w1/certs/worker-web-1", "m1/certs", "m1/manager", "home/certs/cli"] {
        assert_eq!(mode(dir), 0o700, "{dir}");
    }
    for entry in fs::read_dir(world.path("w1/certs/worker-web-1")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
}

fn newest_serial(world: &World, node: &str) -> String {
    let listed = world.run(&["cert", "list", "--node", node, "--json"]).ok().json();
    listed["certificates"][0]["serial"].as_str().unwrap().to_owned()
}

fn revokes(world: &World) {
    let said = world.run(&["cert", "revoke", "web-2", "--reason", "key-compromise", "--wait"]).ok().stdout;
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("revoked   web-2   1 certificate   revision "), "{said}");
    assert!(lines[1].starts_with("enforced  1 of 1 connected node in "), "{said}");
    assert!(lines[2].starts_with("cut       ") && lines[2].contains(" after "), "{said}");
    let all = world.run(&["cert", "list", "--all", "--node", "web-2", "--json"]).ok().json();
    assert_eq!(all["certificates"][0]["state"], "revoked");
    assert_eq!(all["certificates"][0]["reason"], "key-compromise");
}

#[test]
fn what_is_there_is_not_founded_over() {
    let world = World::new();
    let listen = format!("127.0.0.1:{}", port());
    let init = |data: &'static str, home: &'static str| {
        world.run(&[
            "--home",
            home,
            "cluster",
            "init",
            "--name",
            "prod",
            "--data-dir",
            data,
            "--listen",
            &listen,
            "--no-start",
        ])
    };
    let first = init("m1", "home").ok();
    assert!(first.stdout.starts_with("founded   prod   root "), "{}", first.stdout);
    let identity = init("m2", "home").failed(1, "CT-4101").stderr;
    assert!(identity.contains("spiffe://prod/client/cli-ann-") && identity.contains("--force"), "{identity}");
    assert!(!world.path("m2").join("manager").exists(), "it founded before it refused");
    // The cluster comes first: with --force its operator's identity could be replaced.
    let both = init("m1", "home").failed(1, "CT-4101").stderr;
    assert!(both.contains("m1/manager exists") && !both.contains("--force"), "{both}");
    let data = init("m1", "other").failed(1, "CT-4101").stderr;
    assert!(data.contains("certus manager start"), "{data}");
    world.run(&["manager", "start", "--data-dir", "m3"]).failed(1, "CT-4102");
    let short = ["cluster", "init", "--name", "x", "--home", "h", "--data-dir", "m4", "--no-start"];
    let short = [&short[..], &["--leaf-lifetime", "200d", "--issuer-lifetime", "365d"]].concat();
    world.run(&short).failed(1, "CT-2205");
}

#[test]
fn init_goes_on_as_the_first_manager() {
    let world = World::new();
    let listen = format!("127.0.0.1:{}", port());
    let manager =
        world.daemon(&["cluster", "init", "--name", "prod", "--data-dir", "m1", "--listen", &listen]);
    manager.ready(&world.path("m1"));
    assert!(manager.out().contains(&listen), "{}", manager.out());
    world.run(&["cluster", "status"]).ok();
    let again = world.run(&["manager", "start", "--data-dir", "m1"]);
    assert!(again.code == 1 && again.stderr.contains("another process runs on"), "{}", again.stderr);
    assert_eq!(manager.end(), 0);
    let gone = world.run(&["cluster", "status"]).failed(1, "CT-2301").stderr;
    assert!(gone.contains(&listen), "{gone}");
}
