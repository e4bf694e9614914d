//! nginx: its streams as server and as client of ours, and as the web server that ends TLS before a
//! listener of WebSockets.

use std::net::SocketAddr;
use std::process::Command;

use certus_forge::{KeyType, LeafSpec};
use certus_node::{ListenerSpec, MaterialSpec, Mtls, PeerId, Pem, TlsSpec, Transport};
use certus_pki::{Allow, KeyPolicy, code};

use crate::program::{Program, free_port, is_there, until, until_listens};
use crate::world::{SERVER, World, ask, converse, listen, listener, peer, server};

/// Where Debian keeps it.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

fn is_here() -> bool {
    is_there("nginx") && is_there(STREAM_MODULE)
}

/// nginx as one process in the foreground, which keeps everything in the world's directory.
fn nginx(world: &World, at: SocketAddr, body: &str) -> Program {
    let dir = world.path("");
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {}{what};\n", dir.display()))
        .concat();
    let body = body.replace("TEMPORARY", &temporary);
    let config = format!(
        "load_module {STREAM_MODULE};\ndaemon off;\nmaster_process off;\npid {0}nginx.pid;\n\
         error_log stderr info;\nevents {{}}\n{body}",
        dir.display()
    );
    let config = world.write("nginx.conf", &config);
    let mut server =
        Program::start(Command::new("nginx").args(["-e", "stderr", "-p"]).arg(&dir).arg("-c").arg(config));
    until_listens(&mut server, at);
    server
}

/// An nginx that ends mutual TLS before `to`.
fn ends_mutual_tls(world: &World, to: SocketAddr, versions: &str) -> (SocketAddr, Program) {
    let (at, dir) = (free_port(), world.path(""));
    let server = format!(
        "listen {at} ssl; proxy_pass {to}; ssl_protocols {versions};
         ssl_certificate {0}server.crt; ssl_certificate_key {0}server.key;
         ssl_client_certificate {0}ca.crt; ssl_verify_client on; ssl_verify_depth 2;",
        dir.display()
    );
    (at, nginx(world, at, &format!("stream {{ server {{ {server} }} }}")))
}

#[test]
fn a_peer_dials_nginx_that_wants_certificates() {
    if !is_here() {
        return;
    }
    for versions in ["TLSv1.3", "TLSv1.2"] {
        let world = World::new();
        let (at, _nginx) = ends_mutual_tls(&world, world.echo(), versions);
        let mut spec = peer(Transport::Tcp, at);
        spec.tls.versions = certus_tls::Versions::Tls12AndUp;
        let node = world.node("client", vec![], vec![spec]);
        assert_eq!(converse(node.at(), b"there and back", 14).unwrap(), b"there and back", "{versions}");
        // nginx asks for a certificate and hangs up when there is none: to whom it is a stranger too.
        let mut bare = peer(Transport::Tcp, at);
        bare.tls.versions = certus_tls::Versions::Tls12AndUp;
        let self_signed = certus_forge::self_signed(&LeafSpec::named("client.test"));
        world.written("nobody", &self_signed);
        let stranger = world.node("nobody", vec![], vec![bare]);
        assert!(converse(stranger.at(), b"question", 8).is_err(), "{versions}");
    }
}

#[test]
fn what_nginx_ends_is_whole() {
    if !is_here() {
        return;
    }
    let world = World::new();
    let (at, _nginx) = ends_mutual_tls(&world, world.http(), "TLSv1.3");
    let node = world.node("client", vec![], vec![peer(Transport::Tcp, at)]);
    let question = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = listen(node.at(), question).unwrap();
    assert!(answer.ends_with(b"\r\n\r\n/a says "), "{}", String::from_utf8_lossy(&answer));
    // Where we end our direction first, nginx says no goodbye (1.22), so that a reset tells of an end that
    // may have come too early.
    assert!(ask(node.at(), question).is_err());
}

#[test]
fn nginx_dials_a_listener_with_its_certificate() {
    if !is_here() {
        return;
    }
    let world = World::new();
    let node = world.node("server", vec![listener(Transport::Tcp, world.echo())], vec![]);
    let (at, dir) = (free_port(), world.path(""));
    let client = |identity: &str| {
        format!(
            "listen {at}; proxy_pass {}; proxy_ssl on; proxy_ssl_protocols TLSv1.3;
             proxy_ssl_certificate {1}{identity}.crt; proxy_ssl_certificate_key {1}{identity}.key;
             proxy_ssl_trusted_certificate {1}ca.crt; proxy_ssl_verify on; proxy_ssl_verify_depth 2;
             proxy_ssl_name {SERVER}; proxy_ssl_server_name on;",
            node.at(),
            dir.display()
        )
    };
    {
        let _nginx = nginx(&world, at, &format!("stream {{ server {{ {} }} }}", client("client")));
        for _ in 0..3 {
            assert_eq!(converse(at, b"there and back", 14).unwrap(), b"there and back");
        }
    }
    // With a certificate for servers, of the same authority.
    let _nginx = nginx(&world, at, &format!("stream {{ server {{ {} }} }}", client("server")));
    assert!(converse(at, b"question", 8).is_err());
    assert_eq!(node.until_failed("may not be used").why.code, code::WRONG_PURPOSE);
}

#[test]
fn m4_nginx_with_any_certificate_ends_tls_before_a_listener_of_websockets() {
    if !is_here() {
        return;
    }
    let world = World::new();
    // Of a kind of key that agents do not take from each other.
    world.pair("web-server", &LeafSpec { key_type: KeyType::Rsa2048, ..server() });

    let caller = world.node("client", vec![], vec![]).node.agent_id();
    let mut inner = ListenerSpec::new(
        "web",
        Transport::Ws,
        "127.0.0.1:0",
        certus_node::Backend::Tcp(world.echo().to_string()),
        Allow::Agent(caller),
    );
    (inner.plaintext, inner.tls) = (true, TlsSpec::mesh());
    let inside = world.node("server", vec![inner], vec![]);

    let (at, dir) = (free_port(), world.path(""));
    let config = format!(
        "http {{ TEMPORARY access_log off; server {{ listen {at} ssl;
         ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {1}web-server.crt; ssl_certificate_key {1}web-server.key;
         location /certus {{ proxy_pass http://{0}; proxy_http_version 1.1; proxy_read_timeout 60s;
         proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\"; }} }} }}",
        inside.at(),
        dir.display()
    );
    let _nginx = nginx(&world, at, &config);

    let dial = |strict: bool| {
        let mut spec = peer(Transport::Ws, at);
        spec.id = PeerId::Agent(inside.node.agent_id());
        spec.e2e = certus_node::E2e::Auto;
        spec.intermediary = true;
        spec.tls = TlsSpec { strict, mtls: Mtls::Off, keys: KeyPolicy::any(), ..TlsSpec::mesh() };
        spec.tls.material =
            MaterialSpec { ca: Some(Pem::File(world.path("ca.crt"))), ..MaterialSpec::default() };
        spec
    };
    // Whether or not the caller trusts the web server, the agent behind it must prove who it is.
    for strict in [true, false] {
        let node = world.restarted(0, "client", vec![], vec![dial(strict)]);
        let question = b"there and back".repeat(10_000);
        assert!(ask(node.at(), &question).unwrap() == question, "strict: {strict}");
    }
    let mut other = dial(true);
    other.id = PeerId::Agent("22".repeat(32).parse().unwrap());
    let node = world.restarted(0, "client", vec![], vec![other]);
    assert!(converse(node.at(), b"question", 8).is_err());
    until("the failure is kept", || match node.node.failures().last() {
        (_, 0) => Err("none"),
        _ => Ok(()),
    });
    // Nor is an agent let in that is not meant.
    let stranger = world.node("client", vec![], vec![dial(true)]);
    assert!(converse(stranger.at(), b"question", 8).is_err());
    inside.until_failed("is not accepted here");
}
