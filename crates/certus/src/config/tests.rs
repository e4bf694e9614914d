//! A configuration is read whole, and mistakes are named with their line.

use super::*;

mod listeners;
mod mutated;
mod schema;
mod sections;
mod seed_m;
mod shown;

const GOOD: &str = r#"
id: web-1
managers: ["${MANAGER}", "[::1]:7443"]
listeners:
  - name: web
    transport: tcp
    address: 127.0.0.1:${PORT:-9443}
    forward: "127.0.0.1:8080"
    allow: ["spiffe://prod/worker/web-2", "spiffe://prod/client/*"]
peers:
  - {name: db, id: "spiffe://prod/worker/db-1", transport: tcp, address: db.internal:9443, listen: 127.0.0.1:5432}
"#;

/// An agent's id.
const HEX: &str = "5f1c0000000000000000000000000000000000000000000000000000000000a2";

/// A CA, a certificate below it and its key, as PEM; the one is of the other's making unless `other`.
struct Pki {
    ca: String,
    cert: String,
    key: String,
}

impl Pki {
    fn new() -> Pki {
        use certus_pki::{AuthorityPlan, CertPlan, Issuer, KeyType, Lifetime, Names, PrivateKey};
        use certus_pki::{Serial, Signer, UnixTime, Usage, Validity};
        let now = UnixTime::from_secs(1_795_356_190);
        let year = Validity::starting(now, Lifetime::from_days(365));
        let (root_key, key) = (PrivateKey::generate(KeyType::P256), PrivateKey::generate(KeyType::P256));
        let (root_key, key) = (root_key.unwrap(), key.unwrap());
        let plan = AuthorityPlan::new("CN=mesh".parse().unwrap(), None, year);
        let root = Issuer::found(&plan, Serial::from_random([7; 16]), &root_key).unwrap();
        let names = Names::new(["agent-1.internal".parse().unwrap()]).unwrap();
        let plan = CertPlan::new("CN=agent-1".parse().unwrap(), names, Usage::ANY, year);
        let leaf = root.sign_cert(&plan, key.public_key(), Serial::from_random([9; 16]), &root_key).unwrap();
        Pki {
            ca: root.certificate().to_pem(),
            cert: certus_pki::pem::encode(certus_pki::pem::CERTIFICATE, &leaf),
            key: key.to_pem().unwrap().to_string(),
        }
    }
}

/// A PEM text as the block of a key that is indented by two.
fn block(pem: &str) -> String {
    pem.lines().map(|line| format!("\n    {line}")).collect()
}

fn parse_as(node: For, text: &str) -> Result<Config, Explanation> {
    let told = Told { node: Some(node), mtls: None };
    Config::parse(text, Path::new("certus.yaml"), &|_| None, told)
}

fn parse(text: &str) -> Result<Config, Explanation> {
    let lookup = |name: &str| match name {
        "MANAGER" => Some("10.0.0.7:7443".to_owned()),
        "SECRET" => Some("hunter2!".to_owned()),
        _ => None,
    };
    Config::parse(text, Path::new("certus.yaml"), &lookup, Told::default())
}

fn refused(text: &str) -> Explanation {
    parse(text).err().unwrap_or_else(|| panic!("accepted: {text}"))
}

#[test]
fn what_is_written_is_read() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.id.unwrap().as_str(), "web-1");
    assert_eq!(config.managers, ["10.0.0.7:7443", "[::1]:7443"]);
    for text in ["manager: a:1,b:2", "managers: ['a:1, b:2']", "managers: ['a:1', 'b:2']"] {
        assert_eq!(parse(text).unwrap().managers, ["a:1", "b:2"], "{text}");
    }
    assert_eq!(refused("manager: a:1,b").code, code::CONFIGURATION);
    let [listener] = &config.listeners[..] else { panic!() };
    assert_eq!(
        (listener.address.as_str(), listener.allow.to_string().matches(" or ").count()),
        ("127.0.0.1:9443", 1)
    );
    assert_eq!(config.peers[0].id.to_string(), "spiffe://prod/worker/db-1");
}

#[test]
fn an_empty_document_is_an_empty_configuration() {
    for text in ["", "# nothing yet\n", "---\n"] {
        assert!(parse(text).unwrap().listeners.is_empty());
    }
}

#[test]
fn an_unknown_key_is_an_error_with_its_line() {
    let told = refused("id: web-1\nlisteners:\n  - name: web\n    tranport: tcp\n");
    assert_eq!(told.code, code::CONFIGURATION);
    assert!(told.message.contains("tranport") && told.message.contains("transport"), "{told}");
    assert_eq!(told.facts[0].1, "certus.yaml, line 4");
    assert_eq!(told.facts[1], ("it says".into(), "tranport: tcp".into()));
}

#[test]
fn every_transport_is_read() {
    for transport in Transport::ALL {
        let config = parse(&GOOD.replacen("transport: tcp", &format!("transport: {transport}"), 1)).unwrap();
        assert_eq!(config.listeners[0].transport, transport);
    }
    let told = refused(&GOOD.replacen(" tcp", " pigeon", 1));
    assert!(told.facts.contains(&("expected".into(), "tcp, h2, ws, quic".into())), "{told}");
    assert_eq!(told.facts[0].1, "certus.yaml, line 6");
}

#[test]
fn wrong_values_are_named() {
    for (text, word) in [
        ("id: -x-", "node id"),
        ("manager: nowhere", "address"),
        ("manager: a:99999", "address"),
        ("id: ${NONE}", "NONE"),
        ("listeners: 7", "sequence"),
        ("id: [a", ""),
        ("id: a\nid: b", "id"),
    ] {
        let told = refused(text);
        assert!(told.message.contains(word), "{text}: {told}");
        assert!(told.facts[0].1.starts_with("certus.yaml, line "), "{told}");
    }
    let twice =
        GOOD.replace("peers:", "  - {name: web, transport: tcp, address: 'a:1', forward: 'b:2'}\npeers:");
    assert!(refused(&twice).message.contains("same name"));
}

#[test]
fn i7_substituted_values_and_pem_are_not_printed() {
    for text in
        ["id: ${SECRET}", "manager: ${SECRET}", "id: a\nlisteners: ${SECRET}", "data_dir: a\n'${SECRET}': b"]
    {
        assert!(!refused(text).to_string().contains("hunter2"), "{text}");
    }
    let token = "ab".repeat(32);
    assert!(!refused(&format!("token: {token}")).to_string().contains(&token));
    let pem = "id: |\n  -----BEGIN PRIVATE KEY-----\n  c2VjcmV0\nidd: c2VjcmV0\n";
    let told = refused(pem).to_string();
    assert!(!told.contains("c2VjcmV0"), "{told}");
}
