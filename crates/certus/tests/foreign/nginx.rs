//! nginx before a listener, where it ends TLS, and as the server that a peer dials.

use std::fs;
use std::path::Path;

use crate::harness::{World, answers, is_reached, open, port, service, until};
use crate::judge::{Server, is_there};
use crate::stage::{self, TLS, agent, agent_id, issue, server};

/// Debian's nginx has `stream` in a file of its own.
const STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// One process without anything of this machine's configuration.
fn nginx(world: &World, port: u16, more: &str) -> Server {
    let module = if Path::new(STREAM).exists() { format!("load_module {STREAM};\n") } else { String::new() };
    let dir = world.path("nginx");
    fs::create_dir_all(&dir).unwrap();
    let config = format!(
        "{module}daemon off;\nmaster_process off;\npid nginx/pid;\nerror_log stderr info;\nevents {{}}\n{more}"
    );
    let config = world.write("nginx.conf", &config);
    let prefix = world.path("");
    server(world, &format!("nginx -p {} -c {} -e stderr", prefix.display(), config.display()), port)
}

#[test]
fn agents_meet_behind_nginx_that_ends_tls() {
    if !is_there("nginx") {
        return;
    }
    let world = stage::world();
    issue(&world, "certs", "proxy.test", &["--key-type", "rsa2048"]);
    let (proxy, listen, service) = (port(), port(), service());
    let caller = agent_id(&world, "caller");
    let listener = format!(
        "listeners:\n  - {{transport: ws, address: '127.0.0.1:{listen}', plaintext: true, forward: '127.0.0.1:{service}', allow: 'agent:{caller}'}}\n"
    );
    let (node, id) = agent(&world, "node", &listener);
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path nginx/{kind};\n"))
        .concat();
    let http = format!(
        "http {{\n{temporary}  access_log off;\n  server {{\n    listen 127.0.0.1:{proxy} ssl;\n    ssl_protocols TLSv1.2 TLSv1.3;\n    ssl_certificate certs/proxy.test.crt;\n    ssl_certificate_key certs/proxy.test.key;\n    location /certus {{\n      proxy_pass http://127.0.0.1:{listen};\n      proxy_http_version 1.1;\n      proxy_set_header Upgrade $http_upgrade;\n      proxy_set_header Connection upgrade;\n    }}\n  }}\n}}\n"
    );
    let _nginx = nginx(&world, proxy, &http);
    let (with, without, wrong) = (port(), port(), port());
    let peer = |listen: u16, id: &str, keys: &str| {
        format!(
            "  - {{id: {id}, transport: ws, address: '127.0.0.1:{proxy}', server_name: proxy.test, listen: '127.0.0.1:{listen}', intermediary: true, tls: {{ca: certs/ca.crt, strict: true, key_types: [{keys}]}}}}\n"
        )
    };
    let peers = [
        peer(with, &id, "rsa, ecdsa"),
        // nginx's certificate has an RSA key.
        peer(without, &id, "ecdsa"),
        // Somebody else than who answers behind nginx.
        peer(wrong, &caller, "rsa, ecdsa"),
    ];
    let (caller, _) = agent(&world, "caller", &format!("peers:\n{}", peers.concat()));
    let logs = || node.log() + &caller.log();
    until("the service is reached through nginx", || is_reached(with), logs);
    let mut kept = open(with);
    assert!(answers(&mut kept) && answers(&mut kept), "{}", logs());
    assert!(!is_reached(without), "{}", logs());
    assert!(!is_reached(wrong), "{}", logs());
    for code in ["CT-1121", "CT-1117"] {
        assert!(caller.log().contains(code), "not {code}: {}", caller.log());
    }
    drop(kept);
    assert_eq!((caller.end(), node.end()), (0, 0));
}

#[test]
fn a_peer_dials_nginx_that_verifies_clients() {
    if !is_there("nginx") || !is_there(STREAM) {
        return;
    }
    let world = stage::world();
    issue(&world, "certs", "db.test", &[]);
    let (listen, service) = (port(), service());
    let stream = format!(
        "stream {{\n  server {{\n    listen 127.0.0.1:{listen} ssl;\n    ssl_protocols TLSv1.3;\n    ssl_certificate certs/db.test.crt;\n    ssl_certificate_key certs/db.test.key;\n    ssl_client_certificate certs/ca.crt;\n    ssl_verify_client on;\n    proxy_pass 127.0.0.1:{service};\n  }}\n}}\n"
    );
    let _nginx = nginx(&world, listen, &stream);
    // nginx has no agent's id; its certificate says who it is.
    let id = "00".repeat(32);
    let (with, wrong) = (port(), port());
    let peer = |here: u16, name: &str| {
        format!(
            "  - {{id: {id}, transport: tcp, address: '127.0.0.1:{listen}', server_name: {name}, listen: '127.0.0.1:{here}', e2e: never}}\n"
        )
    };
    let config = format!("{TLS}peers:\n{}{}", peer(with, "db.test"), peer(wrong, "other.test"));
    let (caller, _) = agent(&world, "caller", &config);
    until("the service is reached through nginx", || is_reached(with), || caller.log());
    let mut kept = open(with);
    assert!(answers(&mut kept) && answers(&mut kept), "{}", caller.log());
    assert!(!is_reached(wrong), "{}", caller.log());
    assert!(caller.log().contains("CT-1213"), "{}", caller.log());
    drop(kept);
    assert_eq!(caller.end(), 0);
}
