//! Listeners and peers: every key is read, and what does not go together is refused.

use certus_node::{Backend, E2e, Mtls};
use certus_pki::Allow;

use super::*;

fn listener(rest: &str) -> Result<ListenerSpec, Explanation> {
    let text = format!(
        "tls: {{ca: roots.pem}}\nlisteners:\n  - transport: tcp\n    address: 127.0.0.1:9443\n{rest}\n"
    );
    parse_as(For::Agent, &text).map(|mut config| config.listeners.remove(0))
}

fn peer(rest: &str) -> Result<PeerSpec, Explanation> {
    let text = format!("tls: {{ca: roots.pem}}\npeers:\n  - id: {HEX}\n    address: 'b:9443'\n{rest}\n");
    parse_as(For::Agent, &text).map(|mut config| config.peers.remove(0))
}

fn allow(text: &str) -> Result<Allow, Explanation> {
    listener(&format!("    forward: a:1\n    allow: {text}")).map(|listener| listener.allow)
}

#[test]
fn every_key_of_a_listener_is_read() {
    let text = "listeners:
  - name: web
    transport: ws
    address: 127.0.0.1:9443
    forward: unix:/run/web.sock
    allow: any
    plaintext: true
    e2e: never
    proxy_protocol: {accept: true, send: true}
    path: /in
    limits: {connections: 5, streams: 6, handshakes: 7}
";
    let listener = parse(text).unwrap().listeners.remove(0);
    assert_eq!(listener.forward, Some(Backend::Unix("/run/web.sock".into())));
    assert!(listener.allow.is_anyone() && listener.plaintext && listener.e2e == E2e::Never);
    assert!(listener.proxy_protocol.accept && listener.proxy_protocol.send);
    let limits = listener.limits;
    assert_eq!((limits.connections, limits.streams, limits.handshakes), (5, 6, 7));
    assert_eq!((listener.name.as_str(), listener.path.as_str()), ("web", "/in"));
}

#[test]
fn every_key_of_a_peer_is_read() {
    let text = format!(
        "peers:
  - name: db
    id: agent:{HEX}
    transport: ws
    address: db:9443
    listen: 127.0.0.1:5432
    e2e: auto
    intermediary: true
    server_name: db.example.com
    http_proxy: http://ann:secret@proxy:3128
    path: /db
"
    );
    let config = parse(&text).unwrap();
    let peer = &config.peers[0];
    assert_eq!((peer.id.to_string().as_str(), peer.listen.as_deref()), (HEX, Some("127.0.0.1:5432")));
    assert_eq!(peer.http_proxy.as_ref().map(|url| url.as_str()), Some("http://ann:secret@proxy:3128"));
    assert!(peer.intermediary && peer.server_name.is_some() && peer.path == "/db");
}

#[test]
fn who_is_let_in_where_nothing_is_said() {
    assert!(listener("    forward: a:1").unwrap().allow.is_nobody());
    assert!(listener("").unwrap().allow.is_anyone());
}

#[test]
fn conditions_combine() {
    let key = "ab".repeat(32);
    for (text, shown) in [
        ("any", "any".to_owned()),
        ("dns:web.internal", "dns:web.internal".to_owned()),
        (&format!("key:{key}"), format!("key:{key}")),
        (&format!("['agent:{HEX}', 'ip:10.0.0.0/8']"), format!("agent:{HEX} or ip:10.0.0.0/8")),
        (
            "{all: ['spiffe://p/worker/*', {not: 'ip:10.0.0.7'}]}",
            "spiffe://p/worker/* and not ip:10.0.0.7".to_owned(),
        ),
        ("{not: ['dns:a', 'dns:b']}", "not (dns:a or dns:b)".to_owned()),
        ("{any: ['dns:a', {all: ['dns:b', 'dns:c']}]}", "dns:a or (dns:b and dns:c)".to_owned()),
    ] {
        assert_eq!(allow(text).unwrap().to_string(), shown, "{text}");
    }
    assert!(allow("[]").unwrap().is_nobody());
}

#[test]
fn conditions_that_are_none_are_refused() {
    for (text, word) in [
        ("somebody", "says nobody"),
        ("{al: [any]}", "combine"),
        ("{all: []}", "no conditions"),
        ("{all: any}", "takes a list"),
        ("{all: [any], any: [any]}", "not one condition"),
        ("{}", "not one condition"),
        ("plaintext", "for a while"),
        ("'agent:12'", "says nobody"),
        ("[{not: {not: {not: {not: {not: {not: {not: {not: any}}}}}}}}]", "conditions within"),
    ] {
        let told = allow(text).err().unwrap_or_else(|| panic!("{text}"));
        assert!(told.message.contains(word), "{text}: {told}");
    }
    assert!(allow("{al: [any]}").err().unwrap().facts.contains(&("meant".into(), "all".into())));
    let deep = format!("{}any{}", "{not: ".repeat(5000), "}".repeat(5000));
    assert!(allow(&deep).is_err());
    let lists = format!("{}any{}", "{any: [".repeat(8), "]}".repeat(8));
    assert!(allow(&lists).is_ok());
    let within = "{not: {not: {not: {not: {not: {not: {not: {not: any}}}}}}}}";
    assert!(allow(within).is_ok());
}

#[test]
fn what_does_not_go_together_is_refused() {
    for (text, word) in [
        ("    plaintext: true\n    tls: {strict: false}", "nothing would use"),
        ("    forward: a:1\n    e2e: never", "e2e: never"),
        ("    forward: a:1\n    e2e: never\n    tls: {strict: true}", "e2e: never"),
        ("    forward: a:1\n    e2e: never\n    plaintext: true", "e2e: never"),
        ("    forward: unix:run/a", "begin with /"),
        ("    path: /in", "only a WebSocket"),
        ("    limits: {connections: 0}", "connections"),
        ("    limits: {streams: many}", "streams"),
        ("    name: ''", "name"),
    ] {
        let told = listener(text).err().unwrap_or_else(|| panic!("{text}"));
        assert!(told.message.contains(word), "{text}: {told}");
    }
    assert!(listener("    forward: a:1\n    e2e: never\n    tls: {strict: true, mtls: true}").is_ok());
    assert!(listener("    forward: a:1\n    e2e: never\n    allow: any").is_ok());
    let plaintext = "    allow: [plaintext, any]\n    tls: {mtls: permissive, mtls_until: 2027-01-01}";
    assert!(listener(plaintext).unwrap().allow.mentions_plaintext());
    let over_quic = format!(
        "tls: {{ca: roots.pem}}\nlisteners:\n  - transport: quic\n    address: 127.0.0.1:1\n{plaintext}\n"
    );
    let told = parse_as(For::Agent, &over_quic).err().unwrap();
    assert!(told.message.contains("allow: plaintext, where QUIC"), "{told}");
    // Said of the listener it is wrong; said of the node, it is meant for the others.
    let permissive = "{ca: r.pem, mtls: permissive, mtls_until: 2027-01-01}";
    let quic = "listeners: [{transport: quic, address: 'a:1'";
    let told = parse(&format!("{quic}, tls: {permissive}}}]")).err().unwrap();
    assert!(told.message.contains("mtls: permissive, where QUIC"), "{told}");
    let config = parse(&format!("tls: {permissive}\n{quic}}}, {{transport: tcp, address: 'a:2'}}]")).unwrap();
    let [over_quic, over_tcp] = &config.listeners[..] else { panic!() };
    assert_eq!(over_quic.tls.mtls, Mtls::Required);
    assert!(matches!(over_tcp.tls.mtls, Mtls::Permissive { .. }));
    for (text, word) in [
        ("    transport: tcp\n    e2e: never", "e2e: never"),
        ("    transport: quic\n    plaintext: true", "RFC 9001"),
        ("    transport: tcp\n    http_proxy: http://p:1", "only a WebSocket"),
        ("    transport: ws\n    http_proxy: https://p:1", "not the address of a proxy"),
        ("    transport: ws\n    http_proxy: http://p", "not the address of a proxy"),
        ("    transport: ws\n    path: in", "not the path"),
    ] {
        let told = peer(text).err().unwrap_or_else(|| panic!("{text}"));
        assert!(told.message.contains(word), "{text}: {told}");
    }
    let quic = "listeners: [{transport: quic, address: 'a:1', proxy_protocol: {accept: true}}]";
    assert!(parse(quic).err().unwrap().message.contains("TCP connection's first byte"));
    let spiffe = "agent: {}\npeers: [{id: 'spiffe://p/worker/a', transport: tcp, address: 'a:1'}]";
    assert!(parse(spiffe).err().unwrap().message.contains("verified certificate"));
    let abc = "peers: [{id: abc123, transport: tcp, address: 'a:1'}]";
    assert!(parse(abc).err().unwrap().message.contains("not the id of anybody"));
}

#[test]
fn i7_a_proxys_secret_is_not_repeated() {
    let told = peer("    transport: ws\n    http_proxy: http://ann:hunter2@nowhere").err().unwrap();
    assert!(!told.to_string().contains("hunter2"), "{told}");
    let told = peer("    transport: ws\n    http_proxy: [http://ann:hunter2@p:1]").err().unwrap();
    assert!(!told.to_string().contains("hunter2"), "{told}");
}

#[test]
fn names_are_given_to_those_without() {
    let text = "listeners:
  - {transport: tcp, address: 'a:1'}
  - {transport: tcp, address: 'b:1'}
  - {transport: tcp, address: 'c:1', name: tcp-1-2}
  - {transport: h2, address: '[::1]:1'}
";
    let names: Vec<String> =
        parse(text).unwrap().listeners.into_iter().map(|listener| listener.name).collect();
    assert_eq!(names, ["tcp-1", "tcp-1-3", "tcp-1-2", "h2-1"]);
}

#[test]
fn what_may_be_an_oversight_is_said() {
    let now = "2026-11-22".parse().unwrap();
    let said = |text: &str| super::super::warnings(&parse_as(For::Agent, text).unwrap(), now).join("\n");
    let one = |rest: &str| format!("tls: {{ca: c}}\nlisteners: [{{name: web, transport: tcp, {rest}}}]");
    for (text, word) in [
        (String::new(), "nothing is carried"),
        (one("address: '127.0.0.1:1', forward: 'a:1'"), "nobody is let in"),
        (one("address: '0.0.0.0:1', plaintext: true"), "beyond this machine"),
        (one("address: '127.0.0.1:1', allow: any, e2e: never"), "open to everybody"),
        (one("address: '127.0.0.1:1', tls: {allow_expired: 1d}"), "1d after their end"),
        (
            one(
                "address: '127.0.0.1:1', allow: [any, plaintext], tls: {mtls: permissive, mtls_until: 2026-11-20}",
            ),
            "permissive no more",
        ),
        (one("address: '127.0.0.1:1', tls: {mtls: permissive, mtls_until: 2027-11-20}"), "has no plaintext"),
        (one("address: '127.0.0.1:1', forward: 'a:1', allow: ['dns:a']"), "callers show none"),
    ] {
        assert!(said(&text).contains(word), "{text}: {}", said(&text));
    }
    assert_eq!(said(&one("address: '127.0.0.1:1', plaintext: true")), "");
    let pki = Pki::new();
    let inline = format!(
        "tls:\n  key_types: ed25519\n  cert_pem: |{}\n  key_pem: |{}\n",
        block(&pki.cert),
        block(&pki.key)
    );
    let config = parse(&inline).unwrap();
    let later = super::super::warnings(&config, "2028-01-01".parse().unwrap()).join("\n");
    assert!(later.contains("the node has a certificate that ended") && later.contains("P-256"), "{later}");
}
