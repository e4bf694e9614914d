//! Life of a CA: revocation, lists, the root put away, passphrases, a change of the root.

use crate::harness::World;
use crate::judge::{agrees, is_there, mode, openssl};

fn fleet(world: &World) {
    world.run(&["tls", "init", "-o", "certs", "--hosts", "host-a,host-b"]).ok();
}

#[test]
fn what_is_revoked_stands_in_the_list_and_openssl_refuses_it() {
    let world = World::new();
    fleet(&world);
    world.run(&["cert", "revoke", "host-b", "--ca", "certs", "--reason", "key-compromise"]).ok();
    world.run(&["cert", "revoke", "host-b", "--ca", "certs"]).failed(1, "CT-2214");
    world.run(&["cert", "revoke", "host-x", "--ca", "certs"]).failed(1, "CT-2203");
    let first = world.run(&["ca", "crl", "--ca", "certs", "--json"]).ok().json();
    let second = world.run(&["ca", "crl", "--ca", "certs", "--json"]).ok().json();
    assert_eq!((&first["lists"][0]["number"], &second["lists"][0]["number"]), (&1.into(), &2.into()));
    let verify = ["cert", "verify", "--ca", "certs", "--crl", "certs/ca.crl"];
    world.run(&[&verify[..], &["certs/host-a/server.crt"]].concat()).ok();
    world.run(&[&verify[..], &["certs/host-b/server.crt"]].concat()).failed(1, "CT-1105");
    let list = world.run(&["cert", "info", "certs/ca.crl", "--json"]).ok().json();
    assert_eq!(list["revocation_lists"][0]["revoked"][0]["reason"], "key-compromise");
    let state = world.run(&["cert", "list", "--ca", "certs", "--all", "--json"]).ok().json();
    let states: Vec<&str> = state["certificates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cert| cert["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["ok", "ok", "revoked"]);
    if is_there("openssl") {
        let line = "verify -CAfile certs/ca.crt -CRLfile certs/ca.crl -crl_check certs/";
        agrees(&world, &format!("{line}host-a/server.crt"));
        let (agreed, said) = openssl(&world, &format!("{line}host-b/server.crt"));
        assert!(!agreed && said.contains("certificate revoked"), "{said}");
        agrees(&world, "crl -in certs/ca.crl -CAfile certs/ca.crt -noout");
    }
}

#[test]
fn the_roots_key_is_needed_only_for_issuers() {
    let world = World::new();
    world.run(&["ca", "init", "-o", "pki", "--cn", "Root"]).ok();
    std::fs::rename(world.path("pki/ca.key"), world.path("away.key")).unwrap();
    world.run(&["cert", "issue", "--role", "server", "a.example.com", "--ca", "pki"]).ok();
    world.run(&["cert", "revoke", "a.example.com", "--ca", "pki"]).ok();
    world.run(&["ca", "crl", "--ca", "pki"]).ok();
    world.run(&["ca", "status", "--ca", "pki"]).ok();
    let refused = world.run(&["ca", "add-issuer", "--ca", "pki"]).failed(1, "CT-4107");
    assert!(refused.stderr.contains("--ca-key"), "{}", refused.stderr);
    world.run(&["ca", "add-issuer", "--ca", "pki", "--ca-key", "away.key"]).ok();
    std::fs::remove_file(world.path("pki/intermediate.key")).unwrap();
    std::fs::remove_file(world.path("pki/intermediate-2.key")).unwrap();
    let refused = world.run(&["cert", "issue", "--role", "server", "b", "--ca", "pki"]).failed(1, "CT-4107");
    assert!(refused.stderr.contains("intermediate-2.crt: its key"), "{}", refused.stderr);
    assert!(!world.path("pki/server/b.crt").exists());
}

#[test]
fn a_cas_key_may_be_encrypted() {
    let world = World::new();
    world.write("p", "correct horse\n");
    world.write("q", "battery staple\n");
    let init = ["tls", "init", "-o", "certs", "--hosts", "a", "--passphrase-file", "p"];
    world.run(&init).ok();
    let key = std::fs::read_to_string(world.path("certs/ca.key")).unwrap();
    assert!(key.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    assert!(!std::fs::read_to_string(world.path("certs/a/server.key")).unwrap().contains("ENCRYPTED"));
    let issue = ["cert", "issue", "--role", "server", "b", "--ca", "certs"];
    world.run(&issue).failed(1, "CT-1208");
    world.run(&[&issue[..], &["--passphrase-file", "q"]].concat()).failed(1, "CT-1207");
    let mut piped = world.command(&issue);
    piped.args(["--passphrase-file", "-"]);
    world.run_with(piped, "correct horse\n").ok();
    let change = ["key", "change-passphrase", "certs/ca.key", "--passphrase-file", "p"];
    world.run(&[&change[..], &["--new-passphrase-file", "q"]].concat()).ok();
    assert_eq!(mode(&world.path("certs/ca.key")), 0o600);
    let inspected = world.run(&["key", "inspect", "certs/ca.key", "--passphrase-file", "q"]).ok();
    assert!(inspected.stdout.contains("Ed25519"), "{}", inspected.stdout);
    if is_there("openssl") {
        agrees(&world, "pkey -in certs/ca.key -passin file:q -noout");
    }
    assert!(!world.everything_said().contains("horse"));
}

#[test]
fn a_fleets_root_changes_to_the_end() {
    let world = World::new();
    world.run(&["tls", "init", "-o", "certs", "--hosts", "a"]).ok();
    world.run(&["ca", "rotate", "--ca", "certs"]).ok();
    world.run(&["ca", "rotate", "--ca", "certs", "--activate"]).ok();
    for (role, name) in [("server", "a"), ("client", "certus-client")] {
        world.run(&["cert", "issue", "--role", role, name, "--ca", "certs", "--force"]).ok();
    }
    assert!(!world.path("certs/client/certus-client.crt").exists(), "the first client keeps its files");
    world.run(&["ca", "rotate", "--ca", "certs", "--finish"]).ok();
    world.run(&["cert", "verify", "--ca", "certs/ca.crt", "certs/client/client.crt"]).ok();
}

#[test]
fn the_root_changes_with_nobody_locked_out() {
    let world = World::new();
    world.run(&["ca", "init", "-o", "pki", "--cn", "Root"]).ok();
    std::fs::copy(world.path("pki/ca.crt"), world.path("old.crt")).unwrap();
    world.run(&["cert", "issue", "--role", "server", "before", "--ca", "pki"]).ok();
    world.run(&["ca", "rotate", "--ca", "pki", "--finish"]).failed(1, "CT-2211");
    world.run(&["ca", "rotate", "--ca", "pki"]).ok();
    std::fs::copy(world.path("pki/ca-next.crt"), world.path("new.crt")).unwrap();
    let said = world.run(&["ca", "rotate", "--ca", "pki", "--activate"]).ok();
    assert!(said.stdout.contains("below the old root: before"), "{}", said.stdout);
    world.run(&["cert", "issue", "--role", "server", "after", "--ca", "pki"]).ok();
    for (roots, leaf) in
        [("old.crt", "before"), ("old.crt", "after"), ("new.crt", "after"), ("pki/ca-bundle.crt", "before")]
    {
        let leaf = format!("pki/server/{leaf}.crt");
        world.run(&["cert", "verify", "--ca", roots, "--purpose", "server", &leaf]).ok();
        if is_there("openssl") {
            agrees(&world, &format!("verify -x509_strict -CAfile {roots} -untrusted {leaf} {leaf}"));
        }
    }
    // The other bridge: what was issued before, for a peer that trusts only the new root.
    let bridged = ["--intermediates", "pki/ca-bridge-old.crt", "pki/server/before.crt"];
    world.run(&[&["cert", "verify", "--ca", "new.crt"][..], &bridged].concat()).ok();
    world.run(&["ca", "rotate", "--ca", "pki", "--finish"]).failed(1, "CT-2211");
    world.run(&["cert", "issue", "--role", "server", "before", "--ca", "pki", "--force"]).ok();
    world.run(&["ca", "rotate", "--ca", "pki", "--finish"]).ok();
    assert!(!world.path("pki/ca-old.key").exists() && !world.path("pki/ca-bridge-new.crt").exists());
    world.run(&["cert", "verify", "--ca", "pki", "pki/server/before.crt"]).ok();
    world.run(&["ca", "rotate", "--ca", "pki", "--emergency"]).failed(2, "CT-5101");
    let said = world.run(&["ca", "rotate", "--ca", "pki", "--emergency", "--yes", "--json"]).ok().json();
    assert_eq!(said["to_issue_again"].as_array().unwrap().len(), 2);
    world.run(&["cert", "verify", "--ca", "pki", "pki/server/before.crt"]).failed(1, "CT-1101");
}

#[test]
fn constraints_and_path_lengths_bind() {
    let world = World::new();
    let limits = ["--permit", "example.com,ip:10.0.0.0/8", "--exclude", "secret.example.com"];
    world.run(&[&["ca", "init", "-o", "pki", "--cn", "Root"][..], &limits].concat()).ok();
    let issue = |name: &str| world.run(&["cert", "issue", "--role", "server", name, "--ca", "pki"]);
    issue("a.example.com").ok();
    issue("10.1.2.3").ok();
    for name in ["a.example.org", "x.secret.example.com", "192.168.0.1"] {
        issue(name).failed(1, "CT-1211");
    }
    if is_there("openssl") {
        let leaf = "pki/server/a.example.com.crt";
        agrees(&world, &format!("verify -x509_strict -CAfile pki/ca.crt -untrusted {leaf} {leaf}"));
    }
    world.run(&["ca", "init", "-o", "flat", "--preset", "mesh", "--path-length", "0"]).ok();
    world.run(&["ca", "add-issuer", "--ca", "flat"]).failed(1, "CT-2211");
}

#[test]
fn another_ca_in_the_same_place_leaves_nothing_of_the_one_before() {
    let world = World::new();
    world.run(&["ca", "init", "-o", "pki", "--cn", "One"]).ok();
    world.run(&["ca", "add-issuer", "--ca", "pki"]).ok();
    world.run(&["ca", "rotate", "--ca", "pki"]).ok();
    world.run(&["ca", "init", "-o", "pki", "--preset", "mesh", "--force"]).failed(1, "CT-4101");
    std::fs::remove_file(world.path("pki/ca.crt")).unwrap();
    world.run(&["ca", "init", "-o", "pki", "--cn", "Two"]).failed(1, "CT-4101");
    world.run(&["ca", "init", "-o", "pki", "--cn", "Two", "--force"]).ok();
    world.run(&["cert", "issue", "--role", "server", "web", "--ca", "pki"]).ok();
    let info = world.run(&["cert", "info", "pki/server/web.crt", "--json"]).ok().json();
    assert_eq!(info["certificates"][0]["issuer"], "CN=Two issuer");
    world.run(&["cert", "verify", "--ca", "pki", "pki/server/web.crt"]).ok();
    assert!(!world.path("pki/intermediate-2.key").exists() && !world.path("pki/ca-next.key").exists());
}

#[test]
fn keys_and_chains_leave_as_pkcs12() {
    let world = World::new();
    fleet(&world);
    world.write("p", "secret word\n");
    let export = ["cert", "export", "certs/host-a/server.crt", "--key", "certs/host-a/server.key"];
    let into = ["--ca", "certs/ca.crt", "--passphrase-file", "p", "--out", "a.p12"];
    world.run(&[&export[..], &into].concat()).ok();
    assert_eq!(mode(&world.path("a.p12")), 0o600);
    let info = world.run(&["cert", "info", "a.p12", "--passphrase-file", "p", "--json"]).ok().json();
    assert_eq!(
        (info["certificates"].as_array().unwrap().len(), info["keys"].as_array().unwrap().len()),
        (2, 1)
    );
    world.run(&["cert", "info", "a.p12"]).failed(1, "CT-1208");
    let other = ["cert", "export", "certs/host-a/server.crt", "--key", "certs/host-b/server.key"];
    world.run(&[&other[..], &["--passphrase-file", "p", "--out", "b.p12"]].concat()).failed(1, "CT-1201");
    if is_there("openssl") {
        let said = agrees(&world, "pkcs12 -in a.p12 -passin file:p -nodes");
        assert_eq!(said.matches("BEGIN CERTIFICATE").count(), 2);
    }
}
