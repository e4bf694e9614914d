//! `tls:` sections: every key is read, and what cannot be meant is refused.

use std::time::Duration;

use certus_node::{Mtls, Pem};
use certus_pki::{KeyPolicy, Lifetime};
use certus_tls::{Action, Versions};

use super::*;

const ALL: &str = "tls:
  ca: roots.pem
  strict: true
  mtls: permissive
  mtls_until: 2027-01-01T00:00:00Z
  key_types: [ecdsa, rsa3072]
  required_sans: .prod.internal
  allow_expired: 2d
  versions: 1.2+
  on_expiry: drain(30s)
  on_rotation: cut
  on_revocation: keep
  on_policy_change: drain(5m)
";

#[test]
fn every_key_is_read() {
    let tls = parse_as(For::Agent, ALL).unwrap().tls;
    let until = "2027-01-01".parse().unwrap();
    assert_eq!((tls.strict, tls.mtls), (true, Mtls::Permissive { until }));
    assert_eq!(tls.keys, KeyPolicy::of_words(["ecdsa", "rsa3072"]).unwrap());
    assert_eq!(tls.required_sans[0].to_string(), ".prod.internal");
    assert_eq!((tls.allow_expired, tls.versions), (Some(Lifetime::from_days(2)), Versions::Tls12AndUp));
    assert_eq!(tls.lifecycle.on_expiry, Action::Drain(Duration::from_secs(30)));
    assert_eq!((tls.lifecycle.on_rotation, tls.lifecycle.on_revocation), (Action::Cut, Action::Keep));
    assert_eq!(tls.lifecycle.on_policy_change, Action::Drain(Duration::from_secs(300)));
}

#[test]
fn what_a_section_leaves_out_is_the_nodes() {
    let text = format!(
        "{ALL}listeners:\n  - {{transport: tcp, address: 'a:1', tls: {{mtls: true, allow_expired: off, versions: '1.3'}}}}\n"
    );
    let config = parse_as(For::Agent, &text).unwrap();
    let tls = &config.listeners[0].tls;
    assert_eq!((tls.mtls, tls.allow_expired, tls.versions), (Mtls::Required, None, Versions::Tls13));
    assert_eq!((tls.keys, tls.lifecycle), (config.tls.keys, config.tls.lifecycle));
    assert_eq!(tls.required_sans, config.tls.required_sans);
}

#[test]
fn defaults_are_a_clusters_or_a_meshs() {
    let text = "listeners: [{transport: tcp, address: 'a:1'}]";
    let worker = parse_as(For::Worker, text).unwrap().listeners.remove(0).tls;
    assert_eq!((worker.strict, worker.mtls, worker.keys), (true, Mtls::Required, KeyPolicy::any()));
    let agent = parse_as(For::Agent, text).unwrap().listeners.remove(0).tls;
    assert_eq!((agent.strict, agent.mtls, agent.keys), (false, Mtls::Off, KeyPolicy::elliptic()));
    assert_eq!((agent.allow_expired, agent.versions), (None, Versions::Tls13));
}

/// A worker's own certificates are its cluster's, so a section of its own is told to each.
#[test]
fn a_workers_section_reaches_its_listeners() {
    let text = "tls: {ca: other.pem, cert: c, key: k}\nlisteners:\n  - {transport: tcp, address: 'a:1'}\n  - {transport: tcp, address: 'a:2', tls: {cert: d, key: l}}\n";
    let config = parse_as(For::Worker, text).unwrap();
    let file = |name: &str| Some(Pem::File(name.into()));
    let [first, second] = [0, 1].map(|at: usize| config.listeners[at].tls.material.clone());
    assert_eq!((first.ca, first.cert, first.key), (file("other.pem"), file("c"), file("k")));
    assert_eq!((second.ca, second.cert, second.key), (file("other.pem"), file("d"), file("l")));
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_line() {
    for (text, line, word) in [
        ("tls:\n  strict: true", 2, "strict: needs a ca"),
        ("tls:\n  mtls: true", 2, "mtls: needs a ca"),
        ("listeners:\n  - transport: tcp\n    address: a:1\n    tls: {mtls: true}", 4, "mtls: needs a ca"),
        (
            "peers:\n  - id: HEX\n    transport: tcp\n    address: a:1\n    tls: {strict: true}",
            5,
            "strict: needs",
        ),
        ("tls:\n  cert: a.crt", 2, "without its key"),
        ("tls:\n  key: a.key", 2, "without its certificate"),
        (
            "tls: {ca: a}\nlisteners:\n  - {transport: tcp, address: 'a:1', tls: {cert: b}}",
            3,
            "without its key",
        ),
        ("tls:\n  ca: a\n  mtls: permissive", 3, "needs mtls_until"),
        ("tls:\n  ca: a\n  mtls: sometimes", 3, "mtls"),
        ("tls:\n  strict: yes please", 2, "strict"),
        ("tls:\n  allow_expired: 8d", 2, "bridge"),
        ("tls:\n  allow_expired: true", 2, "duration"),
        ("tls:\n  versions: '1.1'", 2, "versions"),
        ("tls:\n  on_expiry: wait", 2, "on_expiry"),
        ("tls:\n  on_expiry: drain(1y)", 2, "on_expiry"),
        ("tls:\n  on_expiry: drain()", 2, "on_expiry"),
        ("tls:\n  key_types: [dsa]", 2, "dsa"),
        ("tls:\n  key_types: []", 2, "nothing"),
        ("tls:\n  required_sans: ['not a name']", 2, "pattern"),
        ("tls:\n  required_sans: {a: b}", 2, "a word is expected"),
        ("tls:\n  ca_pem: nothing", 2, "ca_pem"),
        ("listeners:\n  - {transport: tcp, address: 'a:1', tls: {mtls_until: 2027-01-01}}", 2, "mtls_until"),
    ] {
        let told = parse_as(For::Agent, &text.replace("HEX", HEX)).err().unwrap_or_else(|| panic!("{text}"));
        assert!(told.message.contains(word), "{text}: {told}");
        assert_eq!(told.facts[0].1, format!("certus.yaml, line {line}"), "{text}: {told}");
    }
}

#[test]
fn a_key_of_another_certificate_is_seen() {
    let (one, other) = (Pki::new(), Pki::new());
    let text = format!("tls:\n  cert_pem: |{}\n  key_pem: |{}\n", block(&one.cert), block(&other.key));
    let told = parse_as(For::Agent, &text).err().unwrap();
    assert!(told.message.contains("not the certificate's"), "{told}");
    assert!(told.facts.iter().any(|(label, _)| label == "came"), "{told}");
    let secret = other.key.lines().nth(1).unwrap();
    assert!(!told.to_string().contains(secret) && !format!("{told:?}").contains(secret));
}

#[test]
fn the_flag_stands_for_the_nodes_mtls() {
    let told = |mtls| Told { node: Some(For::Agent), mtls: Some(mtls) };
    let read = |text: &str, mtls| Config::parse(text, Path::new("f"), &|_| None, told(mtls));
    let text = "tls: {ca: a}\nlisteners: [{transport: tcp, address: 'a:1'}, {transport: tcp, address: 'a:2', tls: {mtls: false}}]";
    let config = read(text, MtlsWord::Required).unwrap();
    assert_eq!([0, 1].map(|at: usize| config.listeners[at].tls.mtls), [Mtls::Required, Mtls::Off]);
    assert!(read("", MtlsWord::Required).err().unwrap().message.contains("needs a ca"));
    assert!(read(text, MtlsWord::Permissive).err().unwrap().message.contains("mtls_until"));
    assert!(Config::empty(told(MtlsWord::Off)).is_ok());
}

#[test]
fn a_document_is_a_workers_or_an_agents() {
    for (text, node) in [
        ("", For::Agent),
        ("agent: {}", For::Agent),
        ("manager: a:1", For::Worker),
        ("id: web-1", For::Worker),
        ("token_file: t", For::Worker),
        (GOOD, For::Worker),
        ("listeners: [{transport: tcp, address: 'a:1', allow: {not: 'spiffe://p/worker/a'}}]", For::Worker),
        (
            "tls: {ca: c}\nlisteners: [{transport: tcp, address: 'a:1', allow: 'spiffe://p/worker/a'}]",
            For::Agent,
        ),
    ] {
        assert_eq!(parse(text).unwrap().node, node, "{text}");
    }
    assert!(parse_as(For::Worker, "agent: {id: auto}").err().unwrap().message.contains("for agents"));
    for text in [
        "id: a",
        "manager: a:1",
        "managers: ['a:1']",
        "token_file: t",
        "revocation_stale_after: 1h",
        "on_revocation_stale: closed",
    ] {
        let told = parse_as(For::Agent, text).err().unwrap();
        assert!(told.message.contains("nodes of a cluster"), "{told}");
    }
    assert_eq!(parse("agent: {id: web-1}").unwrap().agent_name.unwrap().as_str(), "web-1");
    assert!(parse("agent: {id: 'a b'}").is_err());
}

#[test]
fn stale_revocations_are_told_of_in_the_document_and_by_flags() {
    use certus_node::{OnStale, Staleness};
    let read = |text: &str| {
        let told = Told { node: Some(For::Worker), mtls: None };
        Config::parse(text, Path::new("c.yaml"), &|_| None, told).map(|config| config.staleness)
    };
    assert_eq!(read("").unwrap().0, Staleness::default());
    let config = read("revocation_stale_after: 5m\non_revocation_stale: closed").unwrap();
    let minutes = |count| certus_pki::Lifetime::from_minutes(count);
    assert_eq!(config.0, Staleness { after: minutes(5), then: OnStale::Closed });
    let told = config.told((Some("7m"), Some("open"))).unwrap();
    assert_eq!(told, Staleness { after: minutes(7), then: OnStale::Open });
    assert!(config.told((Some("19s"), None)).is_err() && config.told((None, Some("ajar"))).is_err());
    for text in ["revocation_stale_after: 19s", "revocation_stale_after: soon", "on_revocation_stale: ajar"] {
        assert!(read(text).is_err(), "{text}");
    }
}
