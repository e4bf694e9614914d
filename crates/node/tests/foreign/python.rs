//! Python's `websockets` and `aioquic`: the transports, spoken by implementations that are not ours.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use certus_forge::Ca;
use certus_node::Transport;
use certus_pki::{Allow, code};

use crate::program::{Program, free_port, has_module, run};
use crate::revoking::Revoking;
use crate::world::{Running, World, ask, client, converse, listener, peer};

/// A script beside this file, in the world's directory.
fn script(world: &World, name: &str, words: &[&str]) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign").join(name);
    let (mut python, [address, more @ ..]) = (Command::new("python3"), words) else { unreachable!() };
    // Written beside the script, compiled files would be in everybody's way.
    python.env("PYTHONDONTWRITEBYTECODE", "1").arg(path).arg(address).arg(world.path("")).args(more);
    python
}

fn ws_client(world: &World, node: &Running<'_>, identity: &str, what: &str) -> Command {
    ws_client_at(world, node.at(), identity, what)
}

fn ws_client_at(world: &World, at: SocketAddr, identity: &str, what: &str) -> Command {
    script(world, "ws_client.py", &[&at.to_string(), identity, what])
}

/// Listeners that let in somebody else.
fn for_another(transport: Transport, world: &World, node: &Running<'_>) {
    let mut other = listener(transport, world.echo());
    other.allow = Allow::Name("dns:another.test".parse().unwrap());
    node.reload(vec![other]);
}

#[test]
fn a_websocket_client_echoes_and_ends() {
    if !has_module("websockets") {
        return;
    }
    let world = World::new();
    let node = world.node("server", vec![listener(Transport::Ws, world.echo())], vec![]);
    let (agreed, said) = run(&mut ws_client(&world, &node, "client", "echo"));
    assert!(agreed, "{said}");
    assert_eq!(said, "speaks certus.v1\nwhole\nclosed 1000 \n");
    // Text is no data.
    let (_, said) = run(&mut ws_client(&world, &node, "client", "text"));
    assert!(said.starts_with("closed 1003"), "{said}");
}

#[test]
fn a_websocket_client_is_refused_in_words() {
    if !has_module("websockets") {
        return;
    }
    let world = World::new();
    let node = world.node("server", vec![listener(Transport::Ws, world.echo())], vec![]);
    world.pair("another", &client("another.test"));
    for (identity, what, words) in [
        ("client", "elsewhere", "status 404"),
        ("client", "other-protocol", "status 400"),
        // The alert's name is not always in what Python tells.
        ("another", "refused", "failed "),
        ("none", "refused", "failed "),
    ] {
        let (_, said) = run(&mut ws_client(&world, &node, identity, what));
        assert!(said.contains(words), "{identity} {what}: {said}");
    }
    assert_eq!(node.until_failed("is not accepted here").why.code, code::NOT_ALLOWED);
    assert_eq!(node.until_failed("no certificate").why.code, code::NO_CERTIFICATE);
}

#[test]
fn a_websocket_is_closed_with_1008_when_its_client_is_no_longer_meant() {
    if !has_module("websockets") {
        return;
    }
    let world = World::new();
    let node = world.node("server", vec![listener(Transport::Ws, world.echo())], vec![]);
    let mut python = Program::start(&mut ws_client(&world, &node, "client", "stay"));
    python.until_says("came b'here'");
    for_another(Transport::Ws, &world, &node);
    python.until_says("closed 1008");
    assert!(python.ended().1.contains("closed 1008 "));
}

#[test]
fn a_websocket_is_closed_with_1008_when_its_client_is_revoked() {
    if !has_module("websockets") {
        return;
    }
    let world = World::new();
    let node = Revoking::new(&world, listener(Transport::Ws, world.echo()));
    let mut python = Program::start(&mut ws_client_at(&world, node.at(), "client", "stay"));
    python.until_says("came b'here'");
    node.revoke();
    python.until_says("closed 1008");
    let said = python.ended().1;
    assert!(said.contains("closed 1008 ") && said.contains("revoked"), "{said}");
    // Nor does it get in again, and the node says why.
    run(&mut ws_client_at(&world, node.at(), "client", "refused"));
    assert_eq!(node.carrier.failures().last().0[0].why.code, code::REVOKED);
}

#[test]
fn a_peer_dials_a_websocket_server() {
    if !has_module("websockets") {
        return;
    }
    let world = World::new();
    let at = free_port();
    let mut python = Program::start(&mut script(&world, "ws_server.py", &[&at.to_string()]));
    python.until_says("serves");
    let mut spec = peer(Transport::Ws, at);
    spec.path = "/some/path".to_owned();
    let node = world.node("client", vec![], vec![spec]);
    let question = b"0123456789".repeat(20_000);
    assert!(ask(node.at(), &question).unwrap() == question);
    python.until_says("caller client.test /some/path certus.v1");
    python.until_says("closed 1000");
    // Who is cut does not take what came for all there is.
    assert!(converse(node.at(), b"policy", 1).is_err());
}

fn quic_client(world: &World, node: &Running<'_>, identity: &str, protocol: &str, what: &str) -> Command {
    quic_client_at(world, node.at(), identity, protocol, what)
}

fn quic_client_at(world: &World, at: SocketAddr, identity: &str, protocol: &str, what: &str) -> Command {
    script(world, "quic_client.py", &[&at.to_string(), identity, protocol, what])
}

#[test]
fn a_quic_client_opens_streams() {
    if !has_module("aioquic") {
        return;
    }
    let world = World::new();
    let node = world.node("server", vec![listener(Transport::Quic, world.echo())], vec![]);
    let (agreed, said) = run(&mut quic_client(&world, &node, "client", "certus/1", "streams"));
    assert!(agreed, "{said}");
    assert!(said.starts_with("agreed certus/1 resumed False\nanswer 0\nwhole\n"), "{said}");
    assert!(said.contains(&format!("answer {}\n", code::BAD_MESSAGE.number())), "{said}");
    assert_eq!(said.matches("answer 0\nmore b'more'\n").count(), 20, "{said}");
}

#[test]
fn a_quic_client_reads_the_code_that_fits_each_refusal() {
    if !has_module("aioquic") {
        return;
    }
    let world = World::new();
    world.written("stranger", &Ca::root("Somebody else").leaf(&client("client.test")));
    world.pair("another", &client("another.test"));
    let node = world.node("server", vec![listener(Transport::Quic, world.echo())], vec![]);
    // RFC 9001 4.8: 0x100 and the alert.
    for (identity, protocol, number) in [
        ("stranger", "certus/1", 0x100 + 48),
        ("another", "certus/1", 0x100 + 49),
        ("none", "certus/1", 0x100 + 116),
        ("client", "h3", 0x100 + 120),
    ] {
        let (_, said) = run(&mut quic_client(&world, &node, identity, protocol, "stay"));
        assert!(said.contains(&format!("ended {number:#x} ")), "{identity} {protocol}: {said}");
        assert!(!said.contains("answer"), "{said}");
    }
}

#[test]
fn a_quic_connection_is_closed_when_its_client_is_no_longer_meant() {
    if !has_module("aioquic") {
        return;
    }
    let world = World::new();
    let node = world.node("server", vec![listener(Transport::Quic, world.echo())], vec![]);
    let mut python = Program::start(&mut quic_client(&world, &node, "client", "certus/1", "stay"));
    python.until_says("answer 0");
    for_another(Transport::Quic, &world, &node);
    python.until_says("ended 0x403 ");
}

#[test]
fn a_quic_connection_is_closed_with_0x403_when_its_client_is_revoked() {
    if !has_module("aioquic") {
        return;
    }
    let world = World::new();
    let node = Revoking::new(&world, listener(Transport::Quic, world.echo()));
    let mut python = Program::start(&mut quic_client_at(&world, node.at(), "client", "certus/1", "stay"));
    python.until_says("answer 0");
    node.revoke();
    python.until_says("ended 0x403 ");
    let said = python.ended().1;
    assert!(said.contains(&code::REVOKED.to_string()), "{said}");
    // RFC 9001 4.8: 0x100 and the alert, certificate_revoked.
    let (_, again) = run(&mut quic_client_at(&world, node.at(), "client", "certus/1", "stay"));
    assert!(again.contains(&format!("ended {:#x} ", 0x100 + 44)), "{again}");
}
