//! What other people's TLS stacks and verifiers say of the files that `tls init` makes.
//!
//! Key types: GnuTLS (3.7), Node (20), Python's ssl (3.11, with OpenSSL 3.0) and Java's JSSE (17, in TLS 1.3
//! and 1.2) take all four. Python's cryptography (48) validates paths by the web's profile alone, which has
//! no Ed25519: those are judged by its ssl only.

use crate::harness::World;
use crate::judge::{asked, is_there};

const KEY_TYPES: [&str; 4] = ["ed25519", "p256", "p384", "rsa2048"];

/// A fleet of each key type, in directories that are called like them.
fn fleets() -> World {
    let world = World::new();
    for key_type in KEY_TYPES {
        let hosts = ["--hosts", "host-a=127.0.0.1+a.example.com", "--key-type", key_type];
        world.run(&[&["tls", "init", "-o", key_type], &hosts[..]].concat()).ok();
    }
    world
}

/// A program that has to agree.
#[track_caller]
fn agrees(world: &World, program: &str, words: &[&str]) -> String {
    let (agreed, said) = asked(world, program, words);
    assert!(agreed, "{program} {words:?}\n{said}");
    said
}

/// One of the programs beside this file, in the world's directory.
fn script(world: &World, name: &str, text: &str) -> String {
    world.write(name, text);
    name.to_owned()
}

#[test]
fn pythons_ssl_shakes_hands_and_cryptography_validates() {
    if !is_there("python3") {
        return;
    }
    let world = fleets();
    let script = script(&world, "handshake.py", include_str!("judges/handshake.py"));
    for key_type in KEY_TYPES {
        let said = agrees(&world, "python3", &[&script, key_type]);
        assert!(said.contains("handshakes"), "{said}");
        if !said.contains("paths") && key_type != "ed25519" {
            eprintln!("SKIPPED: path validation by Python's cryptography, which is not installed");
        }
    }
}

#[test]
fn node_shakes_hands() {
    if !is_there("node") {
        return;
    }
    let world = fleets();
    let script = script(&world, "handshake.mjs", include_str!("judges/handshake.mjs"));
    for key_type in KEY_TYPES {
        let said = agrees(&world, "node", &[&script, key_type]);
        assert!(said.contains("handshakes"), "{said}");
    }
}

#[test]
fn gnutls_reads_and_verifies() {
    if !is_there("certtool") {
        return;
    }
    let world = fleets();
    world.run(&["tls", "init", "-o", "other", "--hosts", "host-a"]).ok();
    for key_type in KEY_TYPES {
        let root = format!("{key_type}/ca.crt");
        for (name, purpose) in
            [("host-a/server", "1.3.6.1.5.5.7.3.1"), ("client/client", "1.3.6.1.5.5.7.3.2")]
        {
            let file = format!("{key_type}/{name}.crt");
            let purpose = format!("--verify-purpose={purpose}");
            let verify = |root: &str, more: &[&str]| {
                let words = ["--verify", "--verify-profile=medium", "--load-ca-certificate", root];
                asked(&world, "certtool", &[&words[..], &["--infile", &file], more].concat())
            };
            let (agreed, said) = verify(&root, &[&purpose]);
            assert!(agreed && said.contains("Verified. The certificate is trusted."), "{file}\n{said}");
            assert!(!verify("other/ca.crt", &[&purpose]).0, "{file} by another CA");
            let said = agrees(&world, "certtool", &["--certificate-info", "--infile", &file]);
            for part in ["Subject Key Identifier", "Authority Key Identifier", "Key Purpose"] {
                assert!(said.contains(part), "{file} {part}\n{said}");
            }
        }
        let server = format!("{key_type}/host-a/server.crt");
        let words = ["--verify", "--load-ca-certificate", &root, "--infile", &server];
        agrees(&world, "certtool", &[&words[..], &["--verify-hostname=host-a"]].concat());
        assert!(!asked(&world, "certtool", &[&words[..], &["--verify-hostname=host-b"]].concat()).0);
    }
    // A chain with an intermediate, and a revocation list.
    world.run(&["ca", "init", "-o", "pki", "--cn", "Root", "--permit", "example.com"]).ok();
    world.run(&["cert", "issue", "--role", "server", "a.example.com", "--ca", "pki"]).ok();
    let words = ["--verify", "--verify-profile=medium", "--load-ca-certificate", "pki/ca.crt"];
    let leaf = ["--verify-hostname=a.example.com", "--infile", "pki/server/a.example.com.crt"];
    agrees(&world, "certtool", &[&words[..], &leaf].concat());
    world.run(&["cert", "revoke", "host-a", "--ca", "p256"]).ok();
    world.run(&["ca", "crl", "--ca", "p256"]).ok();
    let words = ["--verify-crl", "--load-ca-certificate", "p256/ca.crt", "--infile", "p256/ca.crl"];
    agrees(&world, "certtool", &words);
}

#[test]
fn java_shakes_hands_and_lists() {
    // A program in one source file needs the compiler.
    if !is_there("java") || !is_there("javac") || !is_there("keytool") {
        return;
    }
    let world = fleets();
    world.write("p", "secret word\n");
    for key_type in KEY_TYPES {
        let file = |name: &str| format!("{key_type}/{name}");
        let root = file("ca.crt");
        for (identity, name) in [("host-a/server", "server"), ("client/client", "client")] {
            let (certificate, key) = (file(&format!("{identity}.crt")), file(&format!("{identity}.key")));
            let out = file(&format!("{name}.p12"));
            let words = ["cert", "export", &certificate, "--key", &key, "--ca", &root];
            world.run(&[&words[..], &["--passphrase-file", "p", "--out", &out]].concat()).ok();
        }
        let trust = file("trust.p12");
        let words = ["cert", "export", "--trust", &root, "--passphrase-file", "p", "--out", &trust];
        world.run(&words).ok();
    }
    for (file, entry) in [("server", "PrivateKeyEntry"), ("trust", "trustedCertEntry")] {
        let file = format!("ed25519/{file}.p12");
        let said = agrees(&world, "keytool", &["-list", "-keystore", &file, "-storepass", "secret word"]);
        assert!(said.contains("contains 1 entry") && said.contains(entry), "{said}");
    }
    let script = script(&world, "Handshake.java", include_str!("judges/Handshake.java"));
    let said = agrees(&world, "java", &[&[script.as_str()], &KEY_TYPES[..]].concat());
    assert!(said.contains("handshakes"), "{said}");
}
