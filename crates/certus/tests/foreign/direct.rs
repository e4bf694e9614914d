//! curl and openssl as callers of a TCP listener.

use crate::harness::port;
use crate::judge::is_there;
use crate::stage::{self, TLS, agent, first_bytes, issue, run, run_with, service_once};

/// What openssl sends through the connection.
const GET: &str = "GET / HTTP/1.1\r\nHost: node.test\r\n\r\n";

#[test]
fn curl_with_a_certificate_reaches_a_service() {
    if !is_there("curl") {
        return;
    }
    let world = stage::world();
    issue(&world, "certs", "other.test", &[]);
    let (listen, service) = (port(), service_once());
    let listener = format!(
        "{TLS}listeners:\n  - {{transport: tcp, address: '127.0.0.1:{listen}', forward: '127.0.0.1:{service}', allow: 'dns:caller.test'}}\n"
    );
    let (node, _) = agent(&world, "node", &listener);
    let curl = |options: &str| {
        run(
            &world,
            &format!(
                "curl -sS --max-time 60 --cacert certs/ca.crt --resolve node.test:{listen}:127.0.0.1 {options} https://node.test:{listen}/"
            ),
        )
    };
    let with = |name: &str| format!("--cert certs/{name}.crt --key certs/{name}.key");
    // Each offers other application protocols: h2 and http/1.1, http/1.1, none.
    for alpn in ["--http2", "--http1.1", "--no-alpn"] {
        let answer = curl(&format!("{} {alpn}", with("caller.test")));
        assert_eq!(answer, (0, "hello".to_owned()), "{alpn}\n{}", node.log());
    }
    let (code, said) = curl("");
    assert!(code != 0 && said.contains("certificate required"), "{code} {said}\n{}", node.log());
    // A certificate of the same CA that is not allowed.
    let (code, said) = curl(&with("other.test"));
    assert!(code != 0 && !said.contains("hello"), "{code} {said}\n{}", node.log());
    let (code, said) = curl(&format!("{} --tls-max 1.2", with("caller.test")));
    assert!(code != 0 && said.contains("protocol version"), "{code} {said}\n{}", node.log());
    assert_eq!(curl(&with("caller.test")).1, "hello", "{}", node.log());
    assert_eq!(node.end(), 0);
}

#[test]
fn openssl_says_which_version_and_which_alert() {
    if !is_there("openssl") {
        return;
    }
    let world = stage::world();
    world.run(&["cert", "ca", "--cn", "Theirs", "-o", "theirs"]).ok();
    issue(&world, "theirs", "caller.test", &[]);
    let (new, both, service) = (port(), port(), service_once());
    let listener = |port: u16, versions: &str| {
        format!(
            "  - {{transport: tcp, address: '127.0.0.1:{port}', forward: '127.0.0.1:{service}', allow: 'dns:caller.test', tls: {{versions: '{versions}'}}}}\n"
        )
    };
    let config = format!("{TLS}listeners:\n{}{}", listener(new, "1.3"), listener(both, "1.2+"));
    let (node, _) = agent(&world, "node", &config);
    let s_client = |port: u16, dir: &str, options: &str| {
        let own = match dir {
            "" => String::new(),
            dir => format!("-cert {dir}/caller.test.crt -key {dir}/caller.test.key"),
        };
        let line = format!(
            "openssl s_client -connect 127.0.0.1:{port} -servername node.test -CAfile certs/ca.crt -verify_return_error -ign_eof {own} {options}"
        );
        run_with(&world, &line, GET).1
    };
    let says = |said: String, words: &[&str]| {
        for word in words {
            assert!(said.contains(word), "not {word}: {said}\n{}", node.log());
        }
    };
    says(s_client(new, "certs", ""), &["New, TLSv1.3", "Verify return code: 0 (ok)", "hello"]);
    says(s_client(both, "certs", ""), &["New, TLSv1.3", "hello"]);
    says(s_client(both, "certs", "-tls1_2"), &["New, TLSv1.2", "ECDHE-ECDSA-", "hello"]);
    says(s_client(new, "certs", "-tls1_2"), &["alert protocol version"]);
    // Its hello names no signature schemes, which is noticed before its version.
    says(s_client(both, "certs", "-tls1_1 -cipher ALL:@SECLEVEL=0"), &["alert handshake failure"]);
    says(s_client(both, "certs", "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA256"), &["alert handshake failure"]);
    for (port, version) in [(new, ""), (both, ""), (both, "-tls1_2")] {
        says(s_client(port, "theirs", version), &["alert unknown ca"]);
        // In TLS 1.2 too, which does not have this alert; openssl knows it all the same.
        says(s_client(port, "", version), &["alert certificate required"]);
    }
    assert_eq!(node.end(), 0);
}

#[test]
fn a_service_is_told_which_version_openssl_speaks() {
    if !is_there("openssl") {
        return;
    }
    let world = stage::world();
    let (listen, service) = (port(), first_bytes());
    let listener = format!(
        "{TLS}listeners:\n  - {{transport: tcp, address: '127.0.0.1:{listen}', forward: '127.0.0.1:{service}', allow: 'dns:caller.test', proxy_protocol: {{send: true}}, tls: {{versions: '1.2+'}}}}\n"
    );
    let (node, _) = agent(&world, "node", &listener);
    for version in ["1.2", "1.3"] {
        let option = version.replace('.', "_");
        let line = format!(
            "openssl s_client -connect 127.0.0.1:{listen} -quiet -cert certs/caller.test.crt -key certs/caller.test.key -tls{option}"
        );
        let (_, said) = run_with(&world, &line, GET);
        // PP2_SUBTYPE_SSL_VERSION is 0x21; two bytes of length follow it.
        assert!(said.contains(&format!("\u{21}\0\u{7}TLSv{version}")), "{said:?}\n{}", node.log());
    }
    assert_eq!(node.end(), 0);
}
