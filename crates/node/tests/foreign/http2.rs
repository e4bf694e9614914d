//! nghttp2's programs against a listener of many streams: it speaks HTTP/2, and says no to requests.

use std::process::Command;

use certus_node::{Mtls, Transport};
use certus_pki::Allow;

use crate::program::{is_there, run};
use crate::world::{World, ask, listener, peer};

#[test]
fn nghttp_is_answered_in_words() {
    if !is_there("nghttp") {
        return;
    }
    let world = World::new();
    let node = world.node("server", vec![listener(Transport::H2, world.echo())], vec![]);
    let mut nghttp = Command::new("nghttp");
    nghttp.args(["-v", "--timeout=50", "-H", ":method: POST", "-d"]);
    nghttp.arg(world.write("body", &"x".repeat(300_000)));
    nghttp.arg(format!("--cert={}", world.path("client.crt").display()));
    nghttp.arg(format!("--key={}", world.path("client.key").display()));
    let (_, said) = run(nghttp.arg(format!("https://{}/some/path", node.at())));
    for words in ["The negotiated protocol: h2", ":status: 405", "allow: CONNECT", "certus-message: only"] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    for never in ["PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "[ERROR]"] {
        assert!(!said.contains(never), "{never} in {said}");
    }
}

#[test]
fn two_thousand_requests_are_each_answered() {
    if !is_there("h2load") {
        return;
    }
    let world = World::new();
    // h2load has no certificates.
    let mut public = listener(Transport::H2, world.echo());
    (public.tls.mtls, public.allow) = (Mtls::Off, Allow::Anyone);
    let node = world.node("server", vec![public], vec![]);
    let address = format!("https://{}/some/path", node.at());
    let (_, said) = run(Command::new("h2load").args(["-n", "2000", "-c", "10", "-m", "50", &address]));
    assert!(said.contains("2000 total, 2000 started, 2000 done"), "{said}");
    assert!(said.contains("0 errored, 0 timeout"), "{said}");
    assert!(said.contains("status codes: 0 2xx, 0 3xx, 2000 4xx, 0 5xx"), "{said}");
    // And it still carries.
    let dialer = world.node("client", vec![], vec![peer(Transport::H2, node.at())]);
    assert_eq!(ask(dialer.at(), b"there and back").unwrap(), b"there and back");
}
