//! The TLS of languages' own libraries: Node.js and Java, as client and as server.

use std::path::{Path, PathBuf};
use std::process::Command;

use certus_node::Transport;
use certus_pki::code;
use certus_tls::Versions;

use crate::program::{Program, free_port, is_there, run, until};
use crate::world::{World, ask, client, old_listener, peer};

fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign").join(name)
}

/// Both ends of one of them, over both versions. `command` takes which end, address, directory, identity
/// and version.
fn as_client_and_server(command: &dyn Fn() -> Command, sends_alerts: bool) {
    let world = World::new();
    world.pair("another", &client("another.test"));
    let node = world.node("server", vec![old_listener(Transport::Tcp, world.echo())], vec![]);
    let words = |what: &str, at: &str, identity: &str, version: &str| {
        let mut command = command();
        command.args([what, at]).arg(world.path("")).args([identity, version]);
        command
    };
    for version in ["TLSv1.3", "TLSv1.2"] {
        let at = node.at().to_string();
        let (agreed, said) = run(&mut words("client", &at, "client", version));
        assert!(agreed, "{said}");
        for words in [&format!("agreed {version}"), "came there and back"] {
            assert!(said.contains(words), "no {words:?} in {said}");
        }
        for identity in ["another", "none"] {
            let (_, said) = run(&mut words("client", &at, identity, version));
            assert!(said.contains("failed "), "{version} {identity}: {said}");
            assert!(!said.contains("came"), "{version} {identity}: {said}");
        }
        until("both failures are kept", || {
            let last = node.node.failures().last().0;
            let mut codes: Vec<_> = last.iter().take(2).map(|failure| failure.why.code).collect();
            codes.sort();
            if codes == [code::NO_CERTIFICATE, code::NOT_ALLOWED] { Ok(()) } else { Err((version, codes)) }
        });

        let at = free_port();
        let mut server = Program::start(&mut words("server", &at.to_string(), "server", version));
        server.until_says("serves");
        let dial = || {
            let mut spec = peer(Transport::Tcp, at);
            spec.tls.versions = Versions::Tls12AndUp;
            spec
        };
        let dialer = world.node("client", vec![], vec![dial()]);
        assert_eq!(ask(dialer.at(), b"there and back").unwrap(), b"there and back");
        server.until_says("client.test");
        server.until_says(version);
        let stranger = certus_forge::self_signed(&client("client.test"));
        world.written("nobody", &stranger);
        let stranger = world.node("nobody", vec![], vec![dial()]);
        assert!(ask(stranger.at(), b"question").is_err());
        server.until_says("refused");
        if sends_alerts {
            let failure = stranger.until_failed("the peer rejected our certificate");
            assert_eq!(failure.why.code, code::PEER_REJECTED_US);
        }
    }
}

#[test]
fn node_js_is_either_end() {
    if !is_there("node") {
        return;
    }
    let node = || {
        let mut node = Command::new("node");
        node.arg(beside("tls.js"));
        node
    };
    // It looks at certificates after the handshake, and hangs up on whom it does not trust.
    as_client_and_server(&node, false);
}

#[test]
fn java_is_either_end() {
    if !is_there("java") || !is_there("javac") {
        return;
    }
    let classes = tempfile::tempdir().unwrap();
    let (agreed, said) = run(Command::new("javac").arg("-d").arg(classes.path()).arg(beside("Tls.java")));
    assert!(agreed, "{said}");
    let java = || {
        let mut java = Command::new("java");
        java.arg("-cp").arg(classes.path()).arg("Tls");
        java
    };
    as_client_and_server(&java, true);
}
