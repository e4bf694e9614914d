//! Python's websockets and aioquic as callers: they speak our transports without any code of ours.

use std::process::{Command, Stdio};

use crate::harness::{port, until};
use crate::judge::is_there;
use crate::stage::{self, TLS, agent, echo, issue, run};

const WEBSOCKET: &str = include_str!("judges/websocket.py");
const QUIC: &str = include_str!("judges/quic.py");

/// Whether Python has a module; a visible skip if not, and a failure where it must have it.
fn has_module(module: &str) -> bool {
    if !is_there("python3") {
        return false;
    }
    let mut python = Command::new("python3");
    python.args(["-c", &format!("import {module}")]).stderr(Stdio::null());
    let there = python.status().unwrap().success();
    if !there {
        let required = std::env::var_os("CERTUS_REQUIRE_INTEROP").is_some_and(|value| value == "1");
        assert!(!required, "Python has no {module}, and CERTUS_REQUIRE_INTEROP=1");
        eprintln!("SKIPPED: Python has no {module}");
    }
    there
}

/// Runs a script against a listener before an echo: with a certificate, without one, with one that is
/// not allowed, and again with the first, after all that.
fn judged(transport: &str, script: &str, echoed: &str) {
    let world = stage::world();
    issue(&world, "certs", "other.test", &[]);
    world.write("judge.py", script);
    let (listen, service) = (port(), echo());
    let listener = format!(
        "{TLS}listeners:\n  - {{transport: {transport}, address: '127.0.0.1:{listen}', forward: '127.0.0.1:{service}', allow: 'dns:caller.test'}}\n"
    );
    let (node, _) = agent(&world, "node", &listener);
    let judge = |own: &str| run(&world, &format!("python3 judge.py {listen} certs/ca.crt {own}"));
    let with = |name: &str| judge(&format!("certs/{name}.crt certs/{name}.key"));
    assert_eq!(with("caller.test"), (0, echoed.to_owned()), "{}", node.log());
    let (code, said) = judge("");
    // What the library says of the alert depends on which of its threads reads it.
    assert!(code != 0 && !said.contains("echoed"), "{code} {said}\n{}", node.log());
    until("the refusal is noted", || node.log().contains("CT-1104"), || node.log());
    let (code, said) = with("other.test");
    assert!(code != 0 && !said.contains("echoed"), "{code} {said}\n{}", node.log());
    assert_eq!(with("caller.test"), (0, echoed.to_owned()), "{}", node.log());
    assert_eq!(node.end(), 0);
}

#[test]
fn websockets_speaks_to_a_websocket_listener() {
    if has_module("websockets") {
        judged("ws", WEBSOCKET, "echoed 1000000\n");
    }
}

#[test]
fn aioquic_speaks_to_a_quic_listener() {
    if has_module("aioquic") {
        judged("quic", QUIC, "echoed 1000000\n");
    }
}
