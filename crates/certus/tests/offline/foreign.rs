//! CAs and certificates of other tools (cfssl, mkcert, easy-rsa), read and verified by `certus`; and what
//! cfssl reads of ours.

use std::process::Command;

use crate::harness::World;
use crate::judge::{asked, is_there};

/// Runs a line of shell in the world's directory, with nothing of this machine's user; what it wrote.
#[track_caller]
fn shell(world: &World, line: &str) -> String {
    let output = Command::new("bash")
        .args(["-euc", line])
        .current_dir(world.path(""))
        .env("HOME", world.path("user"))
        .env("CAROOT", world.path("mkcert"))
        .env("EASYRSA_PKI", world.path("easy"))
        .env("EASYRSA_BATCH", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What cfssl prints, as the files that people make of it by `cfssljson -bare`.
fn cfssljson(world: &World, name: &str, said: &str) {
    let said: serde_json::Value = serde_json::from_str(said).unwrap();
    for (part, file) in [("cert", ".pem"), ("key", "-key.pem"), ("csr", ".csr")] {
        world.write(&format!("{name}{file}"), said[part].as_str().unwrap());
    }
}

#[test]
fn cfssls_ca_and_leaf_are_accepted() {
    if !is_there("cfssl") {
        return;
    }
    let world = World::new();
    let usages = r#"["signing", "key encipherment", "server auth", "client auth"]"#;
    world.write(
        "config.json",
        &format!(r#"{{"signing": {{"default": {{"expiry": "720h", "usages": {usages}}}}}}}"#),
    );
    for (algorithm, size) in [("ecdsa", 256), ("ecdsa", 384), ("rsa", 2048)] {
        let key = format!(r#""key": {{"algo": "{algorithm}", "size": {size}}}"#);
        let names = r#""names": [{"C": "DE", "O": "Example", "OU": "Mesh"}]"#;
        world.write(
            "ca.json",
            &format!(r#"{{"CN": "Mesh CA", {key}, {names}, "ca": {{"expiry": "8760h"}}}}"#),
        );
        let hosts = r#""hosts": ["node-1", "127.0.0.1", "ann@example.com"]"#;
        world.write("node.json", &format!(r#"{{"CN": "node-1", {key}, {names}, {hosts}}}"#));
        cfssljson(&world, "ca", &shell(&world, "cfssl gencert -loglevel=5 -initca ca.json"));
        let sign = "cfssl gencert -loglevel=5 -ca ca.pem -ca-key ca-key.pem -config config.json node.json";
        cfssljson(&world, "node", &shell(&world, sign));
        for (purpose, name) in [
            ("server", "dns:node-1"),
            ("server", "ip:127.0.0.1"),
            ("client", "ip:127.0.0.1"),
            ("client", "email:ann@example.com"),
        ] {
            let verify = ["cert", "verify", "--ca", "ca.pem", "--purpose", purpose, "--name", name];
            world.run(&[&verify[..], &["node.pem"]].concat()).ok();
        }
        assert!(world.run(&["csr", "info", "node.csr"]).ok().stdout.contains("ip:127.0.0.1"));
        world.run(&["key", "inspect", "node-key.pem"]).ok();
    }
}

#[test]
fn cfssl_reads_ours() {
    if !is_there("cfssl") {
        return;
    }
    let world = World::new();
    for key_type in ["ed25519", "p256", "p384", "rsa2048"] {
        let hosts = ["--hosts", "host-a=10.0.0.1", "--key-type", key_type];
        world.run(&[&["tls", "init", "-o", key_type], &hosts[..]].concat()).ok();
        let said = shell(&world, &format!("cfssl certinfo -cert {key_type}/host-a/server.crt"));
        let read: serde_json::Value = serde_json::from_str(&said).unwrap();
        let info =
            world.run(&["cert", "info", &format!("{key_type}/host-a/server.crt"), "--json"]).ok().json();
        assert_eq!(read["sans"], info["certificates"][0]["names"]);
        assert_eq!(read["issuer"]["common_name"], "Certus CA");
    }
}

#[test]
fn mkcerts_certificates_are_accepted() {
    if !is_there("mkcert") {
        return;
    }
    let world = World::new();
    shell(&world, "mkcert -cert-file a.pem -key-file a-key.pem a.test '*.b.test' localhost 127.0.0.1 ::1");
    shell(&world, "mkcert -client -ecdsa -cert-file c.pem -key-file c-key.pem ann@example.com");
    shell(&world, "mkcert -pkcs12 -p12-file a.p12 a.test; echo changeit >p");
    let verify = |purpose: &str, name: &str, file: &str| {
        let root = ["cert", "verify", "--ca", "mkcert/rootCA.pem", "--purpose", purpose];
        world.run(&[&root[..], &["--name", name, file]].concat())
    };
    for name in ["dns:a.test", "dns:x.b.test", "dns:localhost", "ip:127.0.0.1", "ip:::1"] {
        verify("server", name, "a.pem").ok();
    }
    verify("server", "dns:b.test", "a.pem").failed(1, "CT-1213");
    verify("client", "email:ann@example.com", "c.pem").ok();
    let info = world.run(&["cert", "info", "a.p12", "--passphrase-file", "p", "--json"]).ok().json();
    assert_eq!(info["certificates"].as_array().unwrap().len(), 2);
    let info = world.run(&["cert", "info", "mkcert/rootCA.pem"]).ok();
    assert!(info.stdout.contains("path length 0"), "{}", info.stdout);
}

/// Debian keeps it out of the way.
const EASYRSA: &str = "/usr/share/easy-rsa/easyrsa";

#[test]
fn easy_rsas_certificates_are_accepted() {
    if !is_there(EASYRSA) || !is_there("openssl") {
        return;
    }
    for algorithm in ["rsa", "ec", "ed"] {
        let world = World::new();
        let names = "--subject-alt-name=DNS:vpn.example.com,IP:10.0.0.1";
        for words in [
            "init-pki",
            "--req-cn=Easy-CA build-ca nopass",
            &format!("{names} build-server-full vpn.example.com nopass"),
            "build-client-full ann nopass",
            "gen-crl",
        ] {
            let algorithm = if algorithm == "ed" { "ed --curve=ed25519" } else { algorithm };
            shell(&world, &format!("{EASYRSA} --use-algo={algorithm} {words}"));
        }
        for (purpose, name, file) in [
            ("server", "dns:vpn.example.com", "vpn.example.com"),
            ("server", "ip:10.0.0.1", "vpn.example.com"),
        ] {
            let file = format!("easy/issued/{file}.crt");
            let root = ["cert", "verify", "--ca", "easy/ca.crt", "--purpose", purpose];
            world.run(&[&root[..], &["--name", name, &file]].concat()).ok();
        }
        let ann = ["cert", "verify", "--ca", "easy/ca.crt", "--purpose", "client", "easy/issued/ann.crt"];
        world.run(&ann).ok();
        world.run(&["csr", "info", "easy/reqs/ann.req"]).ok();
        world.run(&["key", "inspect", "easy/private/ann.key"]).ok();
        world.run(&["cert", "info", "easy/crl.pem"]).ok();
        // Its revocation lists have no number, which RFC 5280 asks for.
        world.run(&[&ann[..], &["--crl", "easy/crl.pem"]].concat()).failed(1, "CT-1209");
        let (agreed, said) =
            asked(&world, "openssl", &["verify", "-CAfile", "easy/ca.crt", "easy/issued/ann.crt"]);
        assert!(agreed, "{said}");
    }
}
