//! The documents that meshes of agents are configured with elsewhere: each is read as it stands, and does
//! what its author expects.

use certus_node::{MaterialSpec, Mtls, PeerId, Pem};
use certus_pki::KeyPolicy;

use super::*;

fn agent(text: &str) -> Config {
    let text = text.replace("abc123...", HEX);
    let text =
        text.replace("def456...", &HEX.replace("5f", "6a")).replace("ghi789...", &HEX.replace("5f", "7b"));
    // Nobody says that it is an agent's.
    let config = parse(&text).unwrap();
    assert_eq!(config.node, For::Agent);
    config
}

fn files(dir: &str) -> MaterialSpec {
    let file = |name: &str| Some(Pem::File(format!("{dir}/{name}").into()));
    MaterialSpec { ca: file("ca.crt"), cert: file("agent.crt"), key: file("agent.key") }
}

/// TLS that authenticates nobody; the end-to-end session does.
fn is_mesh(tls: &TlsSpec) -> bool {
    !tls.strict && tls.mtls == Mtls::Off && tls.keys == KeyPolicy::elliptic()
}

#[test]
fn minimal() {
    let config = agent("listeners:\n  - transport: quic\n    address: \"0.0.0.0:4433\"\n");
    let [listener] = &config.listeners[..] else { panic!() };
    assert_eq!((listener.transport, listener.name.as_str()), (Transport::Quic, "quic-4433"));
    assert!(is_mesh(&listener.tls) && listener.allow.is_anyone() && listener.forward.is_none());
    assert!(config.tls.material.is_empty());
}

#[test]
fn development_simplest() {
    let config = agent(
        "agent:
  id: \"auto\"
  data_dir: \"./data\"

listeners:
  - transport: quic
    address: \"0.0.0.0:4433\"

# no tls
",
    );
    assert_eq!(config.data_dir.as_deref(), Some(Path::new("./data")));
    assert!(config.agent_name.is_none() && is_mesh(&config.listeners[0].tls));
}

#[test]
fn development_with_an_embedded_certificate() {
    let pki = Pki::new();
    let text = format!(
        "tls:\n  cert_pem: |{}\n  key_pem: |{}\n\nlisteners:\n  - transport: quic\n    address: \"0.0.0.0:4433\"\n",
        block(&pki.cert),
        block(&pki.key)
    );
    let config = agent(&text);
    let Some(Pem::Text(cert)) = &config.tls.material.cert else { panic!() };
    assert_eq!(cert.trim_end(), pki.cert.trim_end());
    assert!(config.tls.material.ca.is_none() && is_mesh(&config.listeners[0].tls));
    // The node's own: the listener needs none.
    assert!(config.listeners[0].tls.material.is_empty());
}

#[test]
fn production_with_strict_tls() {
    let config = agent(
        "tls:
  ca: \"/etc/mesh/certs/ca.crt\"
  cert: \"/etc/mesh/certs/agent.crt\"
  key: \"/etc/mesh/certs/agent.key\"
  strict: true
  mtls: true

listeners:
  - transport: quic
    address: \"0.0.0.0:4433\"

peers:
  - id: \"abc123...\"
    transport: quic
    address: \"peer.example.com:4433\"
",
    );
    assert_eq!(config.tls.material, files("/etc/mesh/certs"));
    assert_eq!((config.listeners[0].tls.strict, config.listeners[0].tls.mtls), (true, Mtls::Required));
    let [peer] = &config.peers[..] else { panic!() };
    assert_eq!(peer.id, PeerId::Agent(HEX.parse().unwrap()));
    assert!(peer.tls.strict && peer.listen.is_none() && peer.tls.material.is_empty());
}

#[test]
fn secrets_from_the_environment() {
    let pki = Pki::new();
    let text = "tls:
  ca_pem: \"${CA_CRT}\"
  cert_pem: \"${TLS_CRT}\"
  key_pem: \"${TLS_KEY}\"
  strict: true
  mtls: true

listeners:
  - transport: quic
    address: \"0.0.0.0:4433\"
";
    let lookup = |name: &str| match name {
        "CA_CRT" => Some(pki.ca.clone()),
        "TLS_CRT" => Some(pki.cert.clone()),
        "TLS_KEY" => Some(pki.key.clone()),
        _ => None,
    };
    let config = Config::parse(text, Path::new("certus.yaml"), &lookup, Told::default()).unwrap();
    let texts = [&config.tls.material.ca, &config.tls.material.cert, &config.tls.material.key];
    for (pem, expected) in texts.into_iter().zip([&pki.ca, &pki.cert, &pki.key]) {
        let Some(Pem::Text(text)) = pem else { panic!() };
        assert_eq!(text.as_str(), expected);
    }
    let unset = Config::parse(text, Path::new("certus.yaml"), &|_| None, Told::default()).err().unwrap();
    assert!(unset.message.contains("CA_CRT") && unset.facts[0].1 == "certus.yaml, line 2", "{unset}");
}

#[test]
fn listeners_override_field_by_field() {
    let config = agent(
        "tls:
  ca: \"./certs/ca.crt\"
  cert: \"./certs/agent.crt\"
  key: \"./certs/agent.key\"
  strict: true
  mtls: true

listeners:
  # the node's settings
  - transport: quic
    address: \"0.0.0.0:4433\"

  # nobody has to show a certificate
  - transport: h2
    address: \"0.0.0.0:8443\"
    tls:
      mtls: false

  # another certificate
  - transport: ws
    address: \"0.0.0.0:443\"
    tls:
      cert: \"./certs/public-facing.crt\"
      key: \"./certs/public-facing.key\"
      mtls: false

  # behind a proxy
  - transport: ws
    address: \"127.0.0.1:8080\"
    plaintext: true
",
    );
    assert_eq!(config.tls.material, files("./certs"));
    let [quic, h2, ws, plain] = &config.listeners[..] else { panic!() };
    assert_eq!((quic.tls.mtls, quic.tls.strict, quic.tls.material.is_empty()), (Mtls::Required, true, true));
    assert_eq!((h2.tls.mtls, h2.tls.strict, h2.tls.material.is_empty()), (Mtls::Off, true, true));
    assert_eq!(ws.tls.mtls, Mtls::Off);
    assert_eq!(ws.tls.material.cert, Some(Pem::File("./certs/public-facing.crt".into())));
    assert_eq!(ws.tls.material.key, Some(Pem::File("./certs/public-facing.key".into())));
    assert!(ws.tls.material.ca.is_none(), "the node's");
    assert!(plain.plaintext && !ws.plaintext);
    let names: Vec<&str> = config.listeners.iter().map(|listener| listener.name.as_str()).collect();
    assert_eq!(names, ["quic-4433", "h2-8443", "ws-443", "ws-8080"]);
}

#[test]
fn peers_override_field_by_field() {
    let text = "tls:
  ca: \"./certs/ca.crt\"
  cert: \"./certs/agent.crt\"
  key: \"./certs/agent.key\"
  strict: true

peers:
  # the node's CA and certificate
  - id: \"abc123...\"
    transport: quic
    address: \"192.168.1.50:4433\"

  # another CA
  - id: \"def456...\"
    transport: quic
    address: \"external.example.com:4433\"
    tls:
      ca: \"./certs/external-ca.crt\"

  # verified, whatever the node says
  - id: \"ghi789...\"
    transport: quic
    address: \"trusted.example.com:4433\"
    tls:
      strict: true
";
    let config = agent(text);
    let [first, other, strict] = &config.peers[..] else { panic!() };
    assert!(first.tls.strict && first.tls.material.is_empty());
    assert_eq!(other.tls.material.ca, Some(Pem::File("./certs/external-ca.crt".into())));
    assert!(other.tls.material.cert.is_none() && other.tls.strict);
    assert!(strict.tls.strict);
    let lax = agent(&text.replacen("  strict: true\n\npeers", "  strict: false\n\npeers", 1));
    let strict: Vec<bool> = lax.peers.iter().map(|peer| peer.tls.strict).collect();
    assert_eq!(strict, [false, false, true]);
    let names: Vec<&str> = lax.peers.iter().map(|peer| peer.name.as_str()).collect();
    assert_eq!(names, ["quic-4433", "quic-4433-2", "quic-4433-3"]);
}

#[test]
fn files_or_text_and_text_wins() {
    let from_files = "tls:\n  ca: \"./certs/ca.crt\"\n  cert: \"./certs/agent.crt\"\n  key: \"./certs/agent.key\"\n  strict: true\n";
    assert_eq!(agent(from_files).tls.material, files("./certs"));
    let pki = Pki::new();
    let inline = format!(
        "tls:\n  ca_pem: |{}\n  cert_pem: |{}\n  key_pem: |{}\n  strict: true\n",
        block(&pki.ca),
        block(&pki.cert),
        block(&pki.key)
    );
    let material = agent(&inline).tls.material;
    assert!(matches!(
        (&material.ca, &material.cert, &material.key),
        (Some(Pem::Text(_)), Some(Pem::Text(_)), Some(Pem::Text(_)))
    ));
    let both = format!("{inline}  ca: ./a\n  cert: ./b\n  key: ./c\n");
    assert_eq!(agent(&both).tls.material, material);
}
