//! haproxy before a listener and behind it: each tells the other who called.

use crate::harness::{World, port, until};
use crate::judge::{Server, is_there};
use crate::stage::{self, TLS, agent, run, server};

/// One process without anything of this machine's configuration.
fn haproxy(world: &World, name: &str, port: u16, proxies: &str) -> Server {
    let times = "timeout connect 30s\n  timeout client 30s\n  timeout server 30s";
    let config = format!("global\n  maxconn 100\ndefaults\n  {times}\n{proxies}");
    let config = world.write(name, &config);
    server(world, &format!("haproxy -db -f {}", config.display()), port)
}

#[test]
fn the_caller_is_told_through_haproxy_and_to_haproxy() {
    if !is_there("haproxy") || !is_there("curl") {
        return;
    }
    let world = stage::world();
    let (front, listen, behind) = (port(), port(), port());
    let _front = haproxy(
        &world,
        "front.cfg",
        front,
        &format!(
            "listen front\n  mode tcp\n  bind 127.0.0.1:{front}\n  server node 127.0.0.1:{listen} send-proxy-v2\n"
        ),
    );
    let _behind = haproxy(
        &world,
        "behind.cfg",
        behind,
        &format!(
            "frontend behind\n  mode http\n  bind 127.0.0.1:{behind} accept-proxy\n  http-request return status 200 content-type text/plain lf-string \"%[src] reached %[dst]:%[dst_port]\"\n"
        ),
    );
    let listener = format!(
        "{TLS}listeners:\n  - {{transport: tcp, address: '127.0.0.1:{listen}', forward: '127.0.0.1:{behind}', allow: 'dns:caller.test', proxy_protocol: {{accept: true, send: true}}}}\n"
    );
    let (node, _) = agent(&world, "node", &listener);
    let curl = |port: u16| {
        let own = "--cert certs/caller.test.crt --key certs/caller.test.key --interface 127.0.0.3";
        let line = format!(
            "curl -sS --max-time 60 --cacert certs/ca.crt --resolve node.test:{port}:127.0.0.1 {own} https://node.test:{port}/"
        );
        run(&world, &line)
    };
    assert_eq!(curl(front), (0, format!("127.0.0.3 reached 127.0.0.1:{front}")), "{}", node.log());
    until("it is said who called", || node.log().contains("from=127.0.0.3:"), || node.log());
    // Without a proxy before it, and so without its header.
    let (code, said) = curl(listen);
    assert!(code != 0 && !said.contains("reached"), "{code} {said}");
    until("the refusal is noted", || node.log().contains("CT-3206"), || node.log());
    assert_eq!(curl(front).0, 0, "{}", node.log());
    assert_eq!(node.end(), 0);
}
