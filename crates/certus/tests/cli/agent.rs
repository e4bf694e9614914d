//! Agents without a cluster: configured, started, and known to each other by their keys.

use std::net::TcpStream;

use rustix::process::Signal;

use crate::harness::{Daemon, World, answers, is_reached, open, port, service, until};

/// Starts an agent and reads its id from what it says.
fn start(world: &World, dir: &str, config: Option<&str>) -> (Daemon, String) {
    let mut words = vec!["agent", "start", "--data-dir", dir];
    words.extend(config.iter().flat_map(|config| ["--config", config]));
    let agent = world.daemon(&words);
    agent.ready(&world.path(dir));
    let id = |log: &str| {
        let at = log.find(" id=")? + 4;
        log.get(at..at + 64).filter(|id| id.bytes().all(|b| b.is_ascii_hexdigit())).map(str::to_owned)
    };
    until("the agent says its id", || id(&agent.log()).is_some(), || agent.log());
    let id = id(&agent.log()).unwrap();
    (agent, id)
}

#[test]
fn agents_reach_each_other_by_their_ids_on_every_transport() {
    let world = World::new();
    let (second, second_id) = start(&world, "a2", None);
    assert_eq!(second.end(), 0);
    let service = service();
    for transport in ["tcp", "h2", "ws", "quic"] {
        let (there, here, stranger) = (port(), port(), port());
        world.write(
            "a1.yaml",
            &format!(
                "listeners:\n  - {{transport: {transport}, address: '127.0.0.1:{there}', forward: '127.0.0.1:{service}', allow: 'agent:{second_id}'}}\n"
            ),
        );
        let (first, first_id) = start(&world, "a1", Some("a1.yaml"));
        let peer = |listen: u16, id: &str| {
            format!(
                "peers:\n  - {{id: {id}, transport: {transport}, address: '127.0.0.1:{there}', listen: '127.0.0.1:{listen}'}}\n"
            )
        };
        world.write("a2.yaml", &peer(here, &first_id));
        world.write("a3.yaml", &peer(stranger, &first_id));
        let (second, same) = start(&world, "a2", Some("a2.yaml"));
        assert_eq!(same, second_id, "the id is kept in the data directory");
        until("the service is reached", || is_reached(here), || first.log() + &second.log());
        // Somebody else's key is not let in.
        let (third, _) = start(&world, "a3", Some("a3.yaml"));
        assert!(!is_reached(stranger), "{}", first.log());
        assert_eq!((first.end(), second.end(), third.end()), (0, 0, 0), "{transport}");
    }
}

#[test]
fn told_to_reload_it_takes_what_is_right_and_says_what_it_leaves() {
    let world = World::new();
    let (first, second, service) = (port(), port(), service());
    let listener = |address: u16| {
        format!(
            "listeners:\n  - {{name: web, transport: tcp, address: '127.0.0.1:{address}', forward: '127.0.0.1:{service}', allow: any}}\n"
        )
    };
    world.write("a.yaml", &listener(first));
    let (agent, _) = start(&world, "a", Some("a.yaml"));
    let listens = |port: u16| TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(listens(first));
    let says = |words: &'static str| {
        agent.signal(Signal::HUP);
        until(words, || agent.log().contains(words), || agent.log());
    };
    world.write("a.yaml", "listeners: [");
    says("going on with the old one");
    assert!(listens(first), "{}", agent.log());

    world.write("a.yaml", &listener(second));
    says("the configuration was reloaded");
    until("the new listener listens", || listens(second), || agent.log());

    // What the agent itself is stays, and that is said.
    assert!(!agent.log().contains("going on with what was there at the start"));
    world.write("a.yaml", &format!("data_dir: elsewhere\n{}", listener(second)));
    says("going on with what was there at the start");
    assert!(agent.log().contains("data_dir"), "{}", agent.log());
    assert_eq!(agent.end(), 0);
}

#[test]
fn what_init_writes_starts() {
    let world = World::new();
    world.run(&["key", "new", "--key-type", "p256", "--out", "mesh.key"]).ok();
    let (there, here) = (port(), port());
    let service = service();
    for name in ["a1", "a2"] {
        let (file, address) =
            (format!("{name}.yaml"), format!("127.0.0.1:{}", if name == "a1" { there } else { port() }));
        let words = [
            "init",
            "--ca-key",
            "mesh.key",
            "--cn",
            name,
            "--ip",
            "127.0.0.1",
            "-o",
            &file,
            "--address",
            &address,
        ];
        world.run(&words).ok();
    }
    let text = |file: &str| std::fs::read_to_string(world.path(file)).unwrap();
    world.write(
        "a1.yaml",
        &format!("{}    forward: 127.0.0.1:{service}\n    allow: dns:a2\n", text("a1.yaml")),
    );
    let (first, first_id) = start(&world, "a1", Some("a1.yaml"));
    let peer = format!(
        "peers:\n  - {{id: {first_id}, transport: quic, address: '127.0.0.1:{there}', listen: '127.0.0.1:{here}'}}\n"
    );
    world.write("a2.yaml", &format!("{}{peer}", text("a2.yaml")));
    let (second, _) = start(&world, "a2", Some("a2.yaml"));
    until("the service is reached", || is_reached(here), || first.log() + &second.log());
    assert_eq!((first.end(), second.end()), (0, 0));
    let said = world.everything_said();
    assert!(!said.contains("PRIVATE KEY"), "{said}");
}

/// Whether callers in the clear are left is asked of the node that takes them for a while.
#[test]
fn a_node_says_whether_strict_is_safe() {
    let world = World::new();
    world.run(&["key", "new", "--key-type", "p256", "--out", "mesh.key"]).ok();
    let (there, service) = (port(), service());
    let address = format!("127.0.0.1:{there}");
    world.run(&["init", "--ca-key", "mesh.key", "--cn", "a1", "-o", "a1.yaml", "--address", &address]).ok();
    let written = std::fs::read_to_string(world.path("a1.yaml")).unwrap();
    let tls = written.split("listeners:").next().unwrap();
    let listener = |mtls: &str| {
        format!(
            "listeners:\n  - {{name: web, transport: tcp, address: '{address}', forward: '127.0.0.1:{service}', allow: ['dns:a2', plaintext], tls: {{{mtls}}}}}\n"
        )
    };
    world.write("a1.yaml", &format!("{tls}{}", listener("mtls: permissive, mtls_until: 2099-01-01")));
    let (first, _) = start(&world, "a1", Some("a1.yaml"));
    let asked = || world.run(&["node", "strict", "--data-dir", "a1"]);
    let said = asked();
    assert_eq!(said.code, 3, "{}", said.stderr);
    assert!(said.stdout.contains("no plaintext since it is watched"), "{}", said.stdout);
    let mut plain = open(there);
    assert!(answers(&mut plain));
    let said = asked();
    assert!(said.stdout.contains("1 connection in the clear here now"), "{}", said.stdout);
    drop(plain);
    let no_more = || asked().stdout.contains("no plaintext since 2");
    until("it is gone", no_more, || asked().stdout);
    let said = world.run(&["node", "strict", "--data-dir", "a1", "--json"]);
    let told = said.json();
    let web = &told["listeners"][0];
    assert_eq!((web["connections"].as_u64(), web["ready"].as_bool()), (Some(1), Some(false)), "{told}");
    assert_eq!(web["callers"][0]["from"].as_str(), Some("127.0.0.1"), "{told}");
    assert_eq!(first.end(), 0);
}
