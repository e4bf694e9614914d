//! nghttp2's clients on an HTTP/2 listener: everything but CONNECT is answered in HTTP, and no load ends it.

use crate::harness::{port, until};
use crate::judge::is_there;
use crate::stage::{self, TLS, agent, echo, run};

#[test]
fn nghttp_is_told_which_method_is_answered() {
    if !is_there("nghttp") {
        return;
    }
    let world = stage::world();
    let (listen, service) = (port(), echo());
    let listener = format!(
        "{TLS}listeners:\n  - {{transport: h2, address: '127.0.0.1:{listen}', forward: '127.0.0.1:{service}', allow: 'dns:caller.test'}}\n"
    );
    let (node, _) = agent(&world, "node", &listener);
    let nghttp = |own: &str| run(&world, &format!("nghttp -nv -t 60 {own} https://127.0.0.1:{listen}/"));
    let (_, said) = nghttp("--cert=certs/caller.test.crt --key=certs/caller.test.key");
    for words in ["The negotiated protocol: h2", ":status: 405", "allow: CONNECT", "only CONNECT is answered"]
    {
        assert!(said.contains(words), "not {words}: {said}\n{}", node.log());
    }
    let (_, said) = nghttp("");
    assert!(!said.contains(":status"), "{said}");
    until("the refusal is noted", || node.log().contains("CT-1104"), || node.log());
    assert_eq!(node.end(), 0);
}

#[test]
fn h2load_does_not_end_the_listener() {
    if !is_there("h2load") || !is_there("nghttp") {
        return;
    }
    let world = stage::world();
    let (listen, service) = (port(), echo());
    let listener = format!(
        "{TLS}listeners:\n  - {{transport: h2, address: '127.0.0.1:{listen}', forward: '127.0.0.1:{service}', allow: any, e2e: never, tls: {{mtls: false}}}}\n"
    );
    let (node, _) = agent(&world, "node", &listener);
    let load = |options: &str| run(&world, &format!("h2load {options} https://127.0.0.1:{listen}/"));
    // The second opens more streams at once than the listener takes of one connection.
    for (options, requests) in [("-n 2000 -c 20 -m 50", 2000), ("-n 3000 -c 3 -m 500", 3000)] {
        let (code, said) = load(options);
        let answered = format!("0 2xx, 0 3xx, {requests} 4xx, 0 5xx");
        let all = said.contains(&answered) && said.contains(" 0 errored, 0 timeout");
        assert!(code == 0 && all, "{code} {said}\n{}", node.log());
    }
    let (_, said) = run(&world, &format!("nghttp -nv -t 60 https://127.0.0.1:{listen}/"));
    assert!(said.contains(":status: 405"), "{said}\n{}", node.log());
    assert_eq!(node.end(), 0);
}
