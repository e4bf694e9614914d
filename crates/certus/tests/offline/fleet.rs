//! `tls init`: layout, modes, running it again, and mutual TLS with its files.

use std::process::{Command, Stdio};

use crate::harness::{World, port, until};
use crate::judge::{Server, agrees, is_there, mode};

const INIT: &[&str] = &[
    "tls",
    "init",
    "--output-dir",
    "certs",
    "--hosts",
    "host-a=127.0.0.1,host-b=192.168.1.11+alt.name,host-c,10.0.0.9,[::1]",
];

#[test]
fn the_layout_is_what_was_promised_and_keys_are_secret() {
    let world = World::new();
    let said = world.run(INIT).ok();
    assert!(said.stdout.contains("made  certs/ca.crt") && said.stdout.contains("Ed25519, CA, until 20"));
    for step in [
        "next  1  copy certs/ca.crt to every host and to the machine you work from   (/etc/certus/tls/ca.crt)",
        "2  copy certs/host-a/server.* to host-a, certs/host-b/server.* to host-b",
        "3  copy certs/client/client.* to the machine you work from",
        "4  set tls.ca, tls.cert and tls.key on each",
        "5  restart the service on each host",
        "keep certs/ca.key offline; it is only needed to make more certificates",
    ] {
        assert!(said.stdout.contains(step), "{step}\n{}", said.stdout);
    }
    assert_eq!(mode(&world.path("certs")), 0o700);
    for host in ["host-a", "host-b", "host-c", "10.0.0.9", "::1"] {
        assert_eq!(mode(&world.path(&format!("certs/{host}"))), 0o700);
        assert_eq!(mode(&world.path(&format!("certs/{host}/server.key"))), 0o600);
        assert_eq!(mode(&world.path(&format!("certs/{host}/server.crt"))), 0o644);
    }
    for secret in ["certs/ca.key", "certs/client/client.key", "certs/ca.ledger"] {
        assert_eq!(mode(&world.path(secret)), 0o600);
    }
    let info = world.run(&["cert", "info", "certs/host-b/server.crt", "--json"]).ok().json();
    let cert = &info["certificates"][0];
    assert_eq!(cert["names"], serde_json::json!(["host-b", "192.168.1.11", "alt.name"]));
    assert_eq!((cert["server"].as_bool(), cert["client"].as_bool()), (Some(true), Some(false)));
    assert_eq!(cert["subject"], "CN=host-b");
}

#[test]
fn running_it_again_overwrites_nothing_and_adds_only_new_hosts() {
    let world = World::new();
    world.run(INIT).ok();
    let read = |name: &str| std::fs::read(world.path(name)).unwrap();
    let before = [read("certs/ca.key"), read("certs/host-a/server.key"), read("certs/host-a/server.crt")];
    world.run(INIT).failed(1, "CT-4101");
    let said = world
        .run(&["tls", "init", "-o", "certs", "--hosts", "host-a,host-d=10.0.0.4", "--add-hosts", "--json"])
        .ok()
        .json();
    assert_eq!(said["made"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&said["made"][0]["name"], &said["skipped"]),
        (&"host-d".into(), &serde_json::json!(["host-a"]))
    );
    assert_eq!(said["next"][0]["action"], "copy");
    let after = [read("certs/ca.key"), read("certs/host-a/server.key"), read("certs/host-a/server.crt")];
    assert_eq!(before, after);
    world.run(&[INIT, &["--force"]].concat()).ok();
    assert_ne!(before[0], read("certs/ca.key"));
    world.run(&["cert", "verify", "--ca", "certs", "certs/host-a/server.crt"]).ok();
    // Made by the CA before, and not again.
    world.run(&["cert", "verify", "--ca", "certs", "certs/host-d/server.crt"]).failed(1, "CT-1101");
}

#[test]
fn hosts_come_from_yaml_and_wrong_ones_are_named() {
    let world = World::new();
    world.write("hosts.yaml", "hosts:\n  - name: a.example.com\n    names: [10.0.0.1]\n  - b=10.0.0.2\n");
    world.run(&["tls", "init", "-o", "certs", "--hosts-file", "hosts.yaml", "--key-type", "p256"]).ok();
    assert!(
        world.path("certs/a.example.com/server.crt").exists() && world.path("certs/b/server.crt").exists()
    );
    let said = world.run(&["tls", "init", "-o", "x", "--hosts", "ok,not a host"]).failed(1, "CT-1205");
    assert!(said.stderr.contains("not a host") && !world.path("x").exists(), "{}", said.stderr);
    world.run(&["tls", "init", "-o", "x", "--hosts", "a,A=10.0.0.1"]).failed(2, "CT-5101");
}

#[test]
fn every_key_type_is_verified_by_openssl() {
    if !is_there("openssl") {
        return;
    }
    for key_type in ["ed25519", "p256", "p384", "rsa2048"] {
        let world = World::new();
        world.run(&[INIT, &["--key-type", key_type, "--ca-days", "10000", "--days", "9000"]].concat()).ok();
        for (purpose, file) in [("sslserver", "host-a/server.crt"), ("sslclient", "client/client.crt")] {
            let line = format!("verify -x509_strict -purpose {purpose} -CAfile certs/ca.crt certs/{file}");
            agrees(&world, &line);
        }
        agrees(&world, "x509 -noout -checkip 10.0.0.9 -in certs/10.0.0.9/server.crt");
    }
}

#[test]
fn the_files_work_in_mutual_tls_unchanged() {
    if !is_there("openssl") {
        return;
    }
    let world = World::new();
    world.run(INIT).ok();
    let port = port().to_string();
    let server = Command::new("openssl")
        .args(["s_server", "-accept", &port, "-cert", "certs/host-a/server.crt"])
        .args(["-key", "certs/host-a/server.key", "-CAfile", "certs/ca.crt", "-Verify", "2"])
        .args(["-verify_return_error", "-www"])
        .current_dir(world.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _server = Server(server);
    let open = || std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok();
    until("s_server listens", open, String::new);
    let with = "-cert certs/client/client.crt -key certs/client/client.key";
    let check = "-CAfile certs/ca.crt -verify_return_error -verify_hostname host-a";
    let said = agrees(&world, &format!("s_client -connect 127.0.0.1:{port} {with} {check} -brief"));
    assert!(said.contains("Verification: OK"), "{said}");
    let served = world.run(&["cert", "info", &format!("127.0.0.1:{port}"), "--json"]).ok().json();
    assert_eq!(served["server"]["asks_for_client_certificate"], true);
    assert_eq!(served["server"]["client_authorities"][0], "CN=Certus CA");
    assert_eq!(served["certificates"][0]["subject"], "CN=host-a");
    world.run(&["cert", "check", "--days", "400", &format!("127.0.0.1:{port}")]).failed_check();
    if !is_there("curl") {
        return;
    }
    let curl = |options: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--cacert", "certs/ca.crt"]).args(options);
        curl.args(["--resolve", &format!("host-a:{port}:127.0.0.1"), &format!("https://host-a:{port}/")]);
        curl.current_dir(world.path("")).output().unwrap().status.success()
    };
    let identity = ["--cert", "certs/client/client.crt", "--key", "certs/client/client.key"];
    assert!(curl(&identity), "curl with the client's certificate");
    assert!(!curl(&[]), "curl without one");
}

impl crate::harness::Said {
    /// A check found problems.
    #[track_caller]
    pub(crate) fn failed_check(self) -> Self {
        assert_eq!(self.code, 3, "{}{}", self.stdout, self.stderr);
        self
    }
}
