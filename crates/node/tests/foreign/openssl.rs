//! openssl as client and server: both versions of TLS, and every refusal by the number of its alert.

use std::net::SocketAddr;
use std::process::Command;

use certus_forge::{Ca, LeafSpec};
use certus_node::Transport;
use certus_pki::code;
use certus_tls::Versions;

use crate::program::{Program, free_port, is_there, until, until_listens};
use crate::world::{SERVER, World, ask, client, converse, listener, now, old_listener, peer, server};

/// openssl's client with the files of `identity`, which stays until it is refused or dropped.
fn s_client(world: &World, at: SocketAddr, identity: Option<&str>, more: &[&str]) -> Program {
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-connect", &at.to_string(), "-servername", SERVER, "-CAfile"]);
    openssl.arg(world.path("ca.crt")).args(["-verify_return_error", "-verify_hostname", SERVER]).args(more);
    if let Some(name) = identity {
        openssl.arg("-cert").arg(world.path(&format!("{name}.crt")));
        openssl.arg("-cert_chain").arg(world.path("issuer.crt"));
        openssl.arg("-key").arg(world.path(&format!("{name}.key")));
    }
    Program::start(&mut openssl)
}

#[test]
fn s_client_is_served_over_both_versions() {
    if !is_there("openssl") {
        return;
    }
    let world = World::new();
    let node = world.node("server", vec![old_listener(Transport::Tcp, world.echo())], vec![]);
    for (option, version) in [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")] {
        let mut openssl = s_client(&world, node.at(), Some("client"), &[option]);
        openssl.until_says(&format!("New, {version}, Cipher is"));
        openssl.until_says("Verify return code: 0 (ok)");
        openssl.tell("a question\n");
        openssl.until_says("a question");
    }
    for suite in
        ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"]
    {
        let openssl = s_client(&world, node.at(), Some("client"), &["-tls1_2", "-cipher", suite]);
        assert!(openssl.finish().1.contains(&format!("New, TLSv1.2, Cipher is {suite}")));
    }
    for old in [&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..], &["-tls1_2", "-cipher", "AES128-SHA"]] {
        let (agreed, said) = s_client(&world, node.at(), Some("client"), old).finish();
        assert!(!agreed && said.contains("no peer certificate available"), "{said}");
    }
}

#[test]
fn s_client_reads_the_alert_that_fits_each_refusal() {
    if !is_there("openssl") {
        return;
    }
    let world = World::new();
    let other = Ca::root("Somebody else");
    world.written("stranger", &other.leaf(&client("client.test")));
    world.pair("expired", &LeafSpec { not_after: now() - 3600, ..client("client.test") });
    world.pair("early", &LeafSpec { not_before: now() + 3600, ..client("client.test") });
    world.pair("another", &client("another.test"));
    world.pair("wrong-purpose", &LeafSpec { eku: certus_forge::Eku::Server, ..client("client.test") });
    let refusals = [
        (Some("stranger"), 48, code::UNKNOWN_AUTHORITY),
        (Some("expired"), 45, code::EXPIRED),
        (Some("early"), 45, code::NOT_YET_VALID),
        (Some("another"), 49, code::NOT_ALLOWED),
        (Some("wrong-purpose"), 43, code::WRONG_PURPOSE),
        (None, 116, code::NO_CERTIFICATE),
    ];
    for version in ["-tls1_3", "-tls1_2"] {
        let node = world.node("server", vec![old_listener(Transport::Tcp, world.echo())], vec![]);
        for (identity, alert, code) in refusals {
            let (_, said) = s_client(&world, node.at(), identity, &[version]).ended();
            let number = format!("SSL alert number {alert}\n");
            assert!(said.contains(&number), "{version} {identity:?}: no {number}{said}");
            // The listener keeps it once the caller has had time to read the alert.
            until("the failure is kept", || {
                let (last, _) = node.node.failures().last();
                let newest = last.first().map(|failure| failure.why.code);
                if newest == Some(code) { Ok(()) } else { Err((version, identity, newest)) }
            });
        }
    }
}

#[test]
fn a_listener_of_the_newest_version_refuses_the_one_before() {
    if !is_there("openssl") {
        return;
    }
    let world = World::new();
    let node = world.node("server", vec![listener(Transport::Tcp, world.echo())], vec![]);
    let (_, said) = s_client(&world, node.at(), Some("client"), &["-tls1_2"]).ended();
    // protocol_version
    assert!(said.contains("SSL alert number 70\n"), "{said}");
}

/// openssl's server, which answers each line with its reverse, and wants a certificate below `ca`.
fn s_server(world: &World, at: SocketAddr, identity: &str, ca: &str, more: &[&str]) -> Program {
    let mut openssl = Command::new("openssl");
    openssl.args(["s_server", "-accept", &at.to_string(), "-rev", "-Verify", "3", "-verify_return_error"]);
    openssl.arg("-CAfile").arg(world.path(ca)).arg("-cert").arg(world.path(&format!("{identity}.crt")));
    openssl.arg("-cert_chain").arg(world.path("issuer.crt"));
    openssl.arg("-key").arg(world.path(&format!("{identity}.key"))).args(more);
    let mut server = Program::start(&mut openssl);
    until_listens(&mut server, at);
    server
}

#[test]
fn a_peer_dials_s_server_over_both_versions() {
    if !is_there("openssl") {
        return;
    }
    let world = World::new();
    for (option, version) in [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")] {
        let at = free_port();
        let mut openssl = s_server(&world, at, "server", "ca.crt", &[option]);
        let mut spec = peer(Transport::Tcp, at);
        spec.tls.versions = Versions::Tls12AndUp;
        let node = world.node("client", vec![], vec![spec]);
        assert_eq!(converse(node.at(), b"question\n", 9).unwrap(), b"noitseuq\n");
        openssl.until_says(version);
        openssl.until_says("CN = client.test");
    }
}

#[test]
fn a_peer_refuses_servers_and_tells_why_servers_refuse_it() {
    if !is_there("openssl") {
        return;
    }
    let world = World::new();
    let other = Ca::root("Somebody else");
    world.write("other.crt", &other.pem);
    world.written("stranger", &other.leaf(&server()));
    world.pair("expired", &LeafSpec { not_after: now() - 3600, ..server() });
    let another = LeafSpec { dns: vec!["another.test".to_owned()], ips: vec![], ..server() };
    world.pair("another", &another);
    let cases = [
        ("stranger", "ca.crt", code::UNKNOWN_AUTHORITY, "Somebody else"),
        ("expired", "ca.crt", code::EXPIRED, "not after"),
        ("another", "ca.crt", code::WRONG_NAME, "another.test"),
        ("server", "other.crt", code::PEER_REJECTED_US, "unknown_ca"),
    ];
    for (identity, ca, code, words) in cases {
        let at = free_port();
        let _openssl = s_server(&world, at, identity, ca, &["-tls1_3"]);
        let node = world.node("client", vec![], vec![peer(Transport::Tcp, at)]);
        assert!(ask(node.at(), b"question\n").is_err(), "{identity} {ca}");
        let failure = node.until_failed(words);
        assert_eq!(failure.why.code, code, "{identity} {ca}");
    }
}
