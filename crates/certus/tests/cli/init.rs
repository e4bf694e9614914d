//! `certus init`: by options, and by the questions on a terminal.
#![allow(clippy::print_stderr, reason = "a skip must be visible")]

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::harness::{Said, World};

const TERMINAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/terminal.py");
const DOWN: &str = "\u{1b}[B";

/// Whether Python is there; a visible skip if not, and a failure where it must be.
fn python_is_there() -> bool {
    let there = Command::new("python3").arg("--version").output().is_ok_and(|said| said.status.success());
    if !there {
        let required = std::env::var_os("CERTUS_REQUIRE_INTEROP").is_some_and(|value| value == "1");
        assert!(!required, "python3 is not installed, and CERTUS_REQUIRE_INTEROP=1");
        eprintln!("SKIPPED: python3 is not installed");
    }
    there
}

/// Runs a command on a terminal; each step waits for a text and answers it.
fn on_terminal(world: &World, words: &[&str], steps: &[(&str, &str)]) -> Said {
    let mut argv = vec![env!("CARGO_BIN_EXE_certus")];
    argv.extend(words);
    let plan = serde_json::json!({ "argv": argv, "steps": steps });
    let like = world.command(&[]);
    let mut command = Command::new("python3");
    command.arg(TERMINAL).env("TERM", "xterm").current_dir(world.path(""));
    for (name, value) in like.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    world.run_with(command, &plan.to_string())
}

#[test]
fn nobody_to_ask_is_a_wrong_command() {
    let world = World::new();
    for words in [&["init"][..], &["init", "--wizard"]] {
        let said = world.run(words).failed(2, "CT-5101");
        assert!(said.stderr.contains("--self-signed") && said.stderr.contains("--ca-key"), "{}", said.stderr);
    }
    assert!(!world.path("certus.yaml").exists());
    world.run(&["init", "--self-signed", "--ca-key", "k"]).failed(2, "CT-5101");
    world.run(&["init", "--ca-pem", "c"]).failed(2, "CT-5101");
    world.run(&["init", "--self-signed", "--address", "nowhere"]).failed(2, "CT-5101");
}

#[test]
fn a_configuration_is_written_once_and_for_its_user_alone() {
    let world = World::new();
    let made = world.run(&["init", "--self-signed", "--transport", "ws", "--cn", "web-1", "--json"]).ok();
    assert_eq!(
        (made.json()["certificates"].as_str(), made.json()["file"].as_str()),
        (Some("self_signed"), Some("certus.yaml"))
    );
    let file = world.path("certus.yaml");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let before = std::fs::read_to_string(&file).unwrap();
    world.run(&["init", "--self-signed"]).failed(1, "CT-4101");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    let checked = world.run(&["config", "check", "certus.yaml", "--json"]).ok().json();
    assert_eq!(
        (checked["role"].as_str(), checked["listeners"][0]["transport"].as_str()),
        (Some("agent"), Some("ws"))
    );
    let shown = world.run(&["config", "show", "certus.yaml", "--json"]).ok().json();
    assert_eq!(shown["configuration"]["agent"]["id"], "web-1");
    world.run(&["init", "--self-signed", "--force"]).ok();
    assert_ne!(std::fs::read_to_string(&file).unwrap(), before);
    let out = world.run(&["init", "--self-signed", "-o", "-"]).ok().stdout;
    assert!(out.contains("transport: quic"), "{out}");
}

#[test]
fn agents_of_one_ca_key_trust_each_other() {
    let world = World::new();
    world.run(&["key", "new", "--key-type", "p256", "--out", "mesh.key"]).ok();
    for (name, file) in [("web-1", "1.yaml"), ("web-2", "2.yaml")] {
        let words = ["init", "--ca-key", "mesh.key", "--cn", name, "--ip", "10.0.0.7", "-o", file, "--json"];
        let made = world.run(&words).ok().json();
        assert!(made["ca"].as_str().unwrap().starts_with("CN=Certus mesh CA "), "{made}");
        let text = std::fs::read_to_string(world.path(file)).unwrap();
        // The CA's key stays where it is.
        assert_eq!(
            (text.matches("BEGIN PRIVATE KEY").count(), text.matches("BEGIN CERTIFICATE").count()),
            (1, 2)
        );
    }
    // What one agent trusts is put beside the other's certificate.
    let (one, other) = (pems(&world, "1.yaml"), pems(&world, "2.yaml"));
    for (name, pem) in [("ca.crt", &one[0]), ("agent.crt", &other[1]), ("agent.key", &other[2])] {
        world.write(name, pem);
    }
    let words =
        ["init", "--ca-pem", "ca.crt", "--cert-pem", "agent.crt", "--key-pem", "agent.key", "-o", "3.yaml"];
    world.run(&words).ok();
    let shown = world.run(&["config", "show", "3.yaml"]).ok().stdout;
    assert!(
        shown.contains("mtls: true") && shown.contains("strict: true") && !shown.contains("BEGIN"),
        "{shown}"
    );
    world.write("agent.key", &one[2]);
    let said = world.run(&[&words[..], &["--force"]].concat());
    assert_eq!(said.code, 1, "{}", said.stderr);
}

#[test]
fn the_wizard_makes_certificates_by_the_cas_key() {
    if !python_is_there() {
        return;
    }
    let world = World::new();
    world.run(&["key", "new", "--key-type", "p256", "--out", "mesh.key"]).ok();
    let key = std::fs::read_to_string(world.path("mesh.key")).unwrap();
    let strict = format!("{DOWN}\r");
    let steps = [
        ("How do connections travel?", "\r"),
        ("Where does it listen?", "\r"),
        ("Which certificates?", strict.as_str()),
        ("Where from?", strict.as_str()),
        ("called?", "web-1\r"),
        ("then return:", key.as_str()),
        ("with commas:", "web-1.internal,10.0.0.7\r"),
    ];
    let said = on_terminal(&world, &["init", "--wizard"], &steps).ok().stdout;
    let secret = key.lines().nth(1).unwrap();
    assert!(!said.contains(secret), "the key was shown: {said}");
    let shown = world.run(&["config", "show", "certus.yaml"]).ok().stdout;
    assert!(shown.contains("strict: true") && shown.contains("id: web-1"), "{shown}");
    let cert = &pems(&world, "certus.yaml")[1];
    world.write("agent.crt", cert);
    let info = world.run(&["cert", "info", "agent.crt"]).ok().stdout;
    assert!(info.contains("web-1.internal") && info.contains("10.0.0.7"), "{info}");
}

#[test]
fn the_wizard_takes_what_is_pasted() {
    if !python_is_there() {
        return;
    }
    let world = World::new();
    world.run(&["cert", "ca", "--cn", "Mesh", "-o", "certs"]).ok();
    world.run(&["cert", "agent", "--cn", "agent-1", "-o", "certs"]).ok();
    let read = |name: &str| std::fs::read_to_string(world.path("certs").join(name)).unwrap();
    let (ca, cert, key) = (read("ca.crt"), read("agent-1.crt"), read("agent-1.key"));
    let strict = format!("{DOWN}\r");
    let paste = |ca: &str| {
        let steps = [
            ("How do connections travel?", "\r"),
            ("Where does it listen?", "\r"),
            ("Which certificates?", strict.as_str()),
            ("Where from?", "\r"),
            ("CA's certificate, from", ca),
            ("agent's certificate, from", cert.as_str()),
            ("agent's private key, from", key.as_str()),
        ];
        on_terminal(&world, &["init", "--wizard"], &steps)
    };
    world.run(&["cert", "ca", "--cn", "Other", "-o", "others"]).ok();
    let other = std::fs::read_to_string(world.path("others/ca.crt")).unwrap();
    let refused = paste(&other);
    assert_eq!(refused.code, 1, "{}", refused.stdout);
    assert!(!world.path("certus.yaml").exists());
    paste(&ca).ok();
    let [ca_pem, cert_pem, key_pem] = pems(&world, "certus.yaml");
    assert_eq!((ca_pem.trim(), cert_pem.trim(), key_pem.trim()), (ca.trim(), cert.trim(), key.trim()));
}

#[test]
fn the_wizard_can_be_left() {
    if !python_is_there() {
        return;
    }
    let world = World::new();
    let strict = format!("{DOWN}\r");
    let steps = [
        ("How do connections travel?", "\r"),
        ("Where does it listen?", "\r"),
        ("Which certificates?", strict.as_str()),
        ("Where from?", "\r"),
        ("CA's certificate, from", "-----BEGIN CERTIFICATE-----\n\u{3}"),
    ];
    let said = on_terminal(&world, &["init", "--wizard"], &steps);
    assert!(said.code == 2 && said.stdout.contains("was not pasted"), "{}", said.stdout);
    assert!(!world.path("certus.yaml").exists());
}

#[test]
fn the_one_question_leads_on() {
    if !python_is_there() {
        return;
    }
    let world = World::new();
    let said = on_terminal(&world, &["init"], &[("keep running that signs?", "\r")]).ok().stdout;
    assert!(said.contains("certus cluster init --name prod"), "{said}");
    let agent = format!("{DOWN}{DOWN}\r");
    let steps = [
        ("keep running that signs?", agent.as_str()),
        ("How do connections travel?", "\r"),
        ("Where does it listen?", "\r"),
        ("Which certificates?", "\r"),
    ];
    on_terminal(&world, &["init"], &steps).ok();
    let before = std::fs::read_to_string(world.path("certus.yaml")).unwrap();
    assert!(before.contains("id: \"auto\"") && !before.contains("tls:"), "{before}");
    let steps = [("keep running that signs?", agent.as_str()), ("Replace it?", "n\r")];
    assert_eq!(on_terminal(&world, &["init"], &steps).code, 1);
    assert_eq!(std::fs::read_to_string(world.path("certus.yaml")).unwrap(), before);
}

/// The three PEM texts of a configuration, in their order.
fn pems(world: &World, file: &str) -> [String; 3] {
    let text = std::fs::read_to_string(world.path(file)).unwrap();
    ["ca_pem", "cert_pem", "key_pem"].map(|key| {
        let (_, rest) = text.split_once(&format!("{key}: |\n")).unwrap();
        let lines = rest.lines().take_while(|line| line.starts_with("    "));
        lines.map(|line| format!("{}\n", line.trim())).collect()
    })
}
