//! HAProxy on either side, and the PROXY protocol in either direction.

use std::net::SocketAddr;
use std::process::Command;

use certus_node::Transport;
use certus_pki::code;

use crate::program::{Program, free_port, is_there, until_listens};
use crate::world::{CLIENT, SERVER, World, ask, converse, listener, peer};

/// HAProxy as one process in the foreground.
fn haproxy(world: &World, at: SocketAddr, sections: &str) -> Program {
    let config = format!(
        "global\n log stdout format raw local0\n\
         defaults\n mode tcp\n log global\n timeout connect 20s\n timeout client 50s\n timeout server 50s\n\
         {sections}\n"
    );
    let config = world.write("haproxy.cfg", &config);
    let mut server = Program::start(Command::new("haproxy").arg("-db").arg("-f").arg(config));
    until_listens(&mut server, at);
    server
}

/// Certificate, chain and key in one file, as HAProxy reads them.
fn together(world: &World, name: &str) -> String {
    let read = |end: &str| std::fs::read_to_string(world.path(&format!("{name}.{end}"))).unwrap();
    world.write(&format!("{name}.pem"), &(read("crt") + &read("key"))).display().to_string()
}

#[test]
fn haproxy_dials_a_listener_and_says_for_whom() {
    if !is_there("haproxy") {
        return;
    }
    let world = World::new();
    let mut spec = listener(Transport::Tcp, world.echo());
    spec.proxy_protocol.accept = true;
    let node = world.node("server", vec![spec], vec![]);
    let (at, stranger) = (free_port(), free_port());
    let ca = world.path("ca.crt");
    let to = |identity: &str| {
        format!(
            "server s {} ssl crt {} ca-file {} verify required verifyhost {SERVER} sni str({SERVER}) \
             send-proxy-v2",
            node.at(),
            together(&world, identity),
            ca.display()
        )
    };
    let sections = format!(
        "listen ours\n bind {at}\n {}\nlisten strangers\n bind {stranger}\n {}",
        to("client"),
        to("server")
    );
    let _haproxy = haproxy(&world, at, &sections);
    assert_eq!(ask(at, b"there and back").unwrap(), b"there and back");

    assert!(converse(stranger, b"question", 8).is_err());
    assert_eq!(node.until_failed("may not be used").why.code, code::WRONG_PURPOSE);

    // Without the header nothing goes.
    assert!(converse(node.at(), b"question", 8).is_err());
    assert_eq!(node.until_failed("PROXY").why.code, code::PROXY_PROTOCOL);
}

#[test]
fn haproxy_is_told_where_callers_come_from() {
    if !is_there("haproxy") {
        return;
    }
    let world = World::new();
    let at = free_port();
    let sections = format!(
        "frontend f\n bind {at} accept-proxy\n log-format \"carried for %ci:%cp to %fi:%fp end\"\n \
         default_backend b\nbackend b\n server s {}",
        world.echo()
    );
    // A bare connection is not a caller, so whether it listens is seen at another port.
    let ready = free_port();
    let sections = format!("{sections}\nlisten ready\n bind {ready}\n server s {at}");
    let mut haproxy = haproxy(&world, ready, &sections);

    let mut spec = listener(Transport::Tcp, at);
    spec.proxy_protocol.send = true;
    let node = world.node("server", vec![spec], vec![]);
    let dialer = world.node("client", vec![], vec![peer(Transport::Tcp, node.at())]);
    assert_eq!(ask(dialer.at(), b"there and back").unwrap(), b"there and back");
    haproxy.until_says(" end");
    let said = haproxy.said();
    assert!(said.contains("carried for 127.0.0.1:"), "{said}");
    assert!(said.contains(&format!("to {} end", node.at())), "{said}");
}

#[test]
fn haproxy_ends_mutual_tls_before_a_service() {
    if !is_there("haproxy") {
        return;
    }
    let world = World::new();
    let at = free_port();
    let sections = format!(
        "frontend f\n bind {at} ssl crt {} ca-file {} verify required\n \
         log-format \"%sslv %{{+Q}}[ssl_c_s_dn(CN)] end\"\n default_backend b\nbackend b\n server s {}",
        together(&world, "server"),
        world.path("ca.crt").display(),
        world.echo()
    );
    let mut haproxy = haproxy(&world, at, &sections);
    let node = world.node("client", vec![], vec![peer(Transport::Tcp, at)]);
    assert_eq!(ask(node.at(), b"there and back").unwrap(), b"there and back");
    haproxy.until_says(&format!("TLSv1.3 \"{CLIENT}\" end"));
}
