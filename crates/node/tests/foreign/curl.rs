//! curl as client: a web service behind a listener, and what a listener of another kind answers it.

use std::net::SocketAddr;
use std::process::Command;

use certus_node::Transport;
use certus_pki::code;

use crate::program::{is_there, run};
use crate::world::{SERVER, World, listener, old_listener};

/// curl's answer from `path` at the listener, with the certificate of `identity`.
fn curl(world: &World, at: SocketAddr, identity: Option<&str>, more: &[&str]) -> (bool, String) {
    let mut curl = Command::new("curl");
    // Nothing of this machine's user, no proxy.
    curl.args(["-q", "-sS", "--max-time", "50", "--noproxy", "*", "--cacert"]).arg(world.path("ca.crt"));
    curl.args(["--resolve", &format!("{SERVER}:{}:127.0.0.1", at.port())]);
    if let Some(name) = identity {
        curl.arg("--cert").arg(world.path(&format!("{name}.crt")));
        curl.arg("--key").arg(world.path(&format!("{name}.key")));
    }
    run(curl.args(more).arg(format!("https://{SERVER}:{}/some/path", at.port())))
}

#[test]
fn curl_reaches_a_web_service_whatever_it_offers() {
    if !is_there("curl") {
        return;
    }
    let world = World::new();
    let node = world.node("server", vec![old_listener(Transport::Tcp, world.http())], vec![]);
    for offers in [
        &["--http1.1"][..],
        &["--http2"],
        &["--no-alpn"],
        &["--http2", "--tls-max", "1.2"],
        &["--http1.1", "--tlsv1.3"],
    ] {
        let more = [offers, &["-d", "a body", "-w", "\n%{http_version} %{http_code}"]].concat();
        let (agreed, said) = curl(&world, node.at(), Some("client"), &more);
        assert!(agreed, "{offers:?}\n{said}");
        assert_eq!(said, "/some/path says a body\n1.1 200", "{offers:?}");
    }
}

#[test]
fn a_large_body_arrives_whole() {
    if !is_there("curl") {
        return;
    }
    let world = World::new();
    let node = world.node("server", vec![listener(Transport::Tcp, world.http())], vec![]);
    // Two MiB is the most that the service takes.
    let body = "0123456789abcdef".repeat(100_000);
    let data = format!("@{}", world.write("body", &body).display());
    let (agreed, said) = curl(&world, node.at(), Some("client"), &["--data-binary", &data]);
    assert!(agreed && said == format!("/some/path says {body}"), "{} bytes came", said.len());
}

#[test]
fn curl_without_a_certificate_is_refused() {
    if !is_there("curl") {
        return;
    }
    let world = World::new();
    let node = world.node("server", vec![old_listener(Transport::Tcp, world.http())], vec![]);
    for version in ["1.3", "1.2"] {
        let (agreed, said) = curl(&world, node.at(), None, &["--tls-max", version]);
        assert!(!agreed && said.contains("certificate required"), "{version}\n{said}");
        assert_eq!(node.until_failed("certificate").why.code, code::NO_CERTIFICATE);
    }
}

#[test]
fn a_listener_of_many_streams_answers_curl_in_words() {
    if !is_there("curl") {
        return;
    }
    let world = World::new();
    let node = world.node("server", vec![listener(Transport::H2, world.http())], vec![]);
    let shown = ["--http2", "-D", "-", "-o", "/dev/null", "-w", "%{http_version} %{http_code}"];
    let (agreed, said) = curl(&world, node.at(), Some("client"), &shown);
    assert!(agreed, "{said}");
    for words in ["HTTP/2 405", "allow: CONNECT", "certus-message: only CONNECT is answered here", "2 405"] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    // Who speaks another protocol learns it in the handshake: no_application_protocol.
    let (agreed, said) = curl(&world, node.at(), Some("client"), &["--http1.1"]);
    assert!(!agreed && said.contains("alert no application protocol"), "{said}");
}

#[test]
fn a_websocket_listener_answers_curl_in_words() {
    if !is_there("curl") {
        return;
    }
    let world = World::new();
    let node = world.node("server", vec![listener(Transport::Ws, world.http())], vec![]);
    let (agreed, said) = curl(&world, node.at(), Some("client"), &["-i", "--http1.1"]);
    assert!(agreed && said.starts_with("HTTP/1.1 4"), "{said}");
}
