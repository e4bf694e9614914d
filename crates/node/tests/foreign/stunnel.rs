//! stunnel as the other end of a tunnel, on either side.

use std::net::SocketAddr;
use std::process::Command;

use certus_node::Transport;

use crate::program::{Program, free_port, is_there, until_listens};
use crate::world::{SERVER, World, ask, listener, peer};

fn stunnel(world: &World, at: SocketAddr, service: &str) -> Program {
    let config = format!("foreground = yes\npid =\nsyslog = no\n[tunnel]\naccept = {at}\n{service}\n");
    let config = world.write("stunnel.conf", &config);
    let mut server = Program::start(Command::new("stunnel").arg(config));
    until_listens(&mut server, at);
    server
}

#[test]
fn stunnel_is_either_end_of_a_tunnel() {
    if !is_there("stunnel") {
        return;
    }
    let world = World::new();
    let files = |name: &str| {
        let dir = world.path("");
        let dir = dir.display();
        format!("cert = {dir}{name}.crt\nkey = {dir}{name}.key\nCAfile = {dir}ca.crt\nverifyChain = yes")
    };
    let node = world.node("server", vec![listener(Transport::Tcp, world.echo())], vec![]);
    let at = free_port();
    let dials = format!("client = yes\nconnect = {}\n{}\ncheckHost = {SERVER}", node.at(), files("client"));
    let _client = stunnel(&world, at, &dials);
    assert_eq!(ask(at, b"there and back").unwrap(), b"there and back");

    let at = free_port();
    let _server = stunnel(&world, at, &format!("connect = {}\n{}", world.echo(), files("server")));
    let node = world.node("client", vec![], vec![peer(Transport::Tcp, at)]);
    assert_eq!(ask(node.at(), b"there and back").unwrap(), b"there and back");
}
