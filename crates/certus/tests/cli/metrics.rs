//! `docs/metrics.md` against what daemons give, and the board and the alert rules against it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use super::harness::{World, answers, is_reached, open, port, service, until};

/// Names with their types.
type Names = BTreeMap<String, String>;

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What the page promises.
fn documented() -> Names {
    let page = fs::read_to_string(repository().join("docs/metrics.md")).unwrap();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `certus_")?.split('|').map(str::trim);
        let name = cells.next()?.trim_end_matches('`').to_owned();
        Some((format!("certus_{name}"), cells.next()?.to_owned()))
    };
    page.lines().filter_map(row).collect()
}

fn asked(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    text
}

/// What a daemon gives, as its samples are called: a counter's end in `_total`.
fn exposed(port: u16) -> Names {
    let text = asked(port);
    let family = |line: &str| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        let suffix = if kind == "counter" { "_total" } else { "" };
        Some((format!("{name}{suffix}"), kind.to_owned()))
    };
    text.lines().filter_map(family).collect()
}

/// The value of the first sample that begins so.
fn sample(port: u16, begins: &str) -> Option<f64> {
    asked(port).lines().find_map(|line| line.strip_prefix(begins)?.trim().parse().ok())
}

#[test]
fn the_page_names_what_daemons_give_and_nothing_else() {
    let world = World::new();
    let (manager_port, second_port, worker_port) = (port(), port(), port());
    let listen = format!("127.0.0.1:{}", port());
    let init = ["cluster", "init", "--name", "prod", "--data-dir", "m1", "--listen", &listen, "--no-start"];
    world.run(&init).ok();
    let manager = |dir: &str, port: u16| {
        let numbers = format!("127.0.0.1:{port}");
        let daemon = world.daemon(&["manager", "start", "--data-dir", dir, "--metrics-listen", &numbers]);
        daemon.ready(&world.path(dir));
        daemon
    };
    let _first = manager("m1", manager_port);
    let token = world.run(&["token", "create", "--role", "manager", "--id", "m2"]).ok().stdout;
    world.write("m2.token", &token);
    let address = format!("127.0.0.1:{}", port());
    let join = ["manager", "join", "--manager", &listen, "--token-file", "m2.token", "--id", "m2"];
    world.run(&[&join[..], &["--data-dir", "m2", "--listen", &address, "--no-start"]].concat()).ok();
    let _second = manager("m2", second_port);
    let _worker = worker(&world, worker_port);
    // A call that is refused, so that its code has a line: the token was used.
    let again = ["worker", "start", "--data-dir", "w2", "--id", "web-2", "--token-file", "w1.token"];
    world.run(&[&again[..], &["--manager", &listen]].concat()).failed(1, "CT-2104");

    let leads = || sample(manager_port, "certus_manager_member_behind_entries{manager=\"m2\"} ").is_some();
    until("the leader knows how far the other is", leads, || asked(manager_port));
    let clock = || {
        sample(second_port, "certus_manager_clock_offset_seconds{manager=").is_some()
            || sample(manager_port, "certus_manager_clock_offset_seconds{manager=\"m2\"} ").is_some()
    };
    until("the clocks are known", clock, || asked(manager_port));
    assert!(sample(manager_port, "certus_manager_leading ") == Some(1.0), "{}", asked(manager_port));
    assert!(sample(manager_port, "certus_manager_commit_duration_seconds_count ").unwrap() > 0.0);
    assert!(sample(manager_port, "certus_manager_store_bytes{file=\"log.redb\"} ").unwrap() > 0.0);

    let mut given = exposed(manager_port);
    given.extend(exposed(second_port));
    given.extend(exposed(worker_port));
    let documented = documented();
    let unknown: Vec<_> = given.iter().filter(|(name, kind)| documented.get(*name) != Some(kind)).collect();
    assert!(unknown.is_empty(), "not on the page, or with another type: {unknown:?}");
    let missing: BTreeSet<&str> =
        documented.keys().filter(|name| !given.contains_key(*name)).map(String::as_str).collect();
    // Somebody whose certificate ended was let in: it takes one.
    assert_eq!(missing, BTreeSet::from(["certus_expired_admitted_total"]));
}

/// A worker with all that has numbers: a service that is reached, a permissive listener, a linked peer,
/// certificates from files.
fn worker(world: &World, numbers: u16) -> super::harness::Daemon {
    let (served, local, clear) = (port(), port(), port());
    // Any certificate in files will do: the manager's is there.
    let certs = fs::read_dir(world.path("m1/certs")).unwrap().next().unwrap().unwrap().path();
    let config = format!(
        "listeners:
  - {{name: web, transport: tcp, address: '127.0.0.1:{served}', forward: '127.0.0.1:{service}',
     allow: 'spiffe://prod/worker/web-1'}}
  - {{name: open, transport: tcp, address: '127.0.0.1:{clear}', forward: '127.0.0.1:{service}',
     allow: [any, plaintext], tls: {{mtls: permissive, mtls_until: '2099-01-01'}}}}
  - {{name: files, transport: tcp, address: '127.0.0.1:{files}', forward: '127.0.0.1:{service}',
     allow: any, tls: {{cert: '{certs}/node.crt', key: '{certs}/node.key', ca: '{certs}/ca.crt'}}}}
peers:
  - {{name: self, transport: tcp, id: 'spiffe://prod/worker/web-1', address: '127.0.0.1:{served}',
     listen: '127.0.0.1:{local}'}}
  - {{name: link, transport: tcp, id: 'spiffe://prod/worker/web-1', address: '127.0.0.1:{served}'}}
",
        service = service(),
        files = port(),
        certs = certs.display(),
    );
    world.write("w1.yaml", &config);
    world.token("w1.token", &[]);
    let address = world.manager_address();
    let numbers_at = format!("127.0.0.1:{numbers}");
    let start = ["worker", "start", "--data-dir", "w1", "--id", "web-1", "--config", "w1.yaml"];
    let more = ["--manager", &address, "--token-file", "w1.token", "--metrics-listen", &numbers_at];
    let worker = world.daemon(&[&start[..], &more].concat());
    worker.ready(&world.path("w1"));
    until("the service is reached", || is_reached(local), || worker.log());
    assert!(answers(&mut open(clear)), "{}", worker.log());
    let counted =
        || sample(numbers, "certus_carried_bytes_total{side=\"client\",direction=\"back\"} ") > Some(0.0);
    until("the carried bytes are counted", counted, || asked(numbers));
    worker
}

#[test]
fn numbers_are_served_on_loopback_only() {
    let world = World::new();
    let words = ["agent", "start", "--data-dir", "a1", "--metrics-listen"];
    let said = world.run(&[&words[..], &["0.0.0.0:0"]].concat());
    said.failed(1, "CT-3104");
}

/// Every name of ours in a text, without what histograms put behind it.
fn used(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit();
    let words = text.split(|c: char| !is_part(c)).filter(|word| word.starts_with("certus_"));
    words.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}

#[test]
fn the_board_and_the_rules_use_names_of_the_page() {
    let documented = documented();
    assert!(documented.len() > 40, "{documented:?}");
    for file in ["grafana/certus.json", "prometheus/alerts.yaml", "prometheus/alerts.test.yaml"] {
        let text = fs::read_to_string(repository().join("deploy").join(file)).unwrap();
        let used = used(&text);
        assert!(used.len() > 8, "{file}: {used:?}");
        let strangers: Vec<_> = used.iter().filter(|name| !documented.contains_key(*name)).collect();
        assert!(strangers.is_empty(), "{file}: {strangers:?}");
    }
    let board = fs::read_to_string(repository().join("deploy/grafana/certus.json")).unwrap();
    let board: serde_json::Value = serde_json::from_str(&board).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let ids: BTreeSet<i64> = panels.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let place = &panel["gridPos"];
        assert!(place["x"].as_i64().unwrap() + place["w"].as_i64().unwrap() <= 24, "{panel:#}");
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{panel:#}");
    }
}
