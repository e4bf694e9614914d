//! The effective configuration can be read again, and says no secret.

use super::*;

fn shown(config: &Config) -> String {
    show(config, Path::new("/var/lib/certus/agent")).to_yaml()
}

#[test]
fn what_is_shown_reads_back_to_the_same() {
    let hex = HEX;
    let rich = format!(
        "tls: {{ca: r.pem, strict: true, mtls: permissive, mtls_until: 2027-01-01, required_sans: ['.a.b'], on_expiry: drain(30s), versions: 1.2+}}
listeners:
  - {{name: '7: #x', transport: ws, address: '[::1]:1', forward: unix:/a b, path: /in, e2e: never, allow: any}}
  - {{transport: tcp, address: 'a:2', forward: 'b:1', allow: {{all: [{{any: ['dns:a', 'ip:10.0.0.0/8']}}, {{not: 'agent:{hex}'}}]}}}}
  - {{transport: tcp, address: 'a:3', allow: [any, plaintext]}}
  - {{transport: tcp, address: 'a:4', plaintext: true, forward: 'b:1'}}
peers:
  - {{id: {hex}, transport: quic, address: 'c:1', tls: {{strict: false, key_types: [rsa4096]}}, server_name: c.d}}
"
    );
    for (node, text) in [
        (For::Agent, ""),
        (For::Agent, "agent: {id: web-1, data_dir: ./d}"),
        (For::Worker, GOOD),
        (For::Agent, &rich),
    ] {
        let lookup = |name: &str| (name == "MANAGER").then(|| "10.0.0.7:7443".to_owned());
        let told = Told { node: Some(node), mtls: None };
        let config = Config::parse(text, Path::new("f"), &lookup, told).unwrap();
        let first = shown(&config);
        let again = parse_as(node, &first).unwrap_or_else(|told| panic!("{told}\n{first}"));
        assert_eq!(shown(&again), first, "{text}");
        assert_eq!(format!("{:?}", again.listeners), format!("{:?}", config.listeners));
    }
}

#[test]
fn every_default_is_filled_in() {
    let config = parse("listeners: [{transport: quic, address: '0.0.0.0:4433'}]").unwrap();
    let expected = "agent:
  id: auto
  data_dir: \"/var/lib/certus/agent\"
tls:
  strict: false
  mtls: false
  key_types: [ecdsa, ed25519]
  required_sans: []
  allow_expired: \"off\"
  versions: \"1.3\"
  on_expiry: cut
  on_rotation: keep
  on_revocation: cut
  on_policy_change: cut
listeners:
  - name: quic-4433
    transport: quic
    address: \"0.0.0.0:4433\"
    allow: any
    plaintext: false
    tls:
      strict: false
      mtls: false
      key_types: [ecdsa, ed25519]
      required_sans: []
      allow_expired: \"off\"
      versions: \"1.3\"
      on_expiry: cut
      on_rotation: keep
      on_revocation: cut
      on_policy_change: cut
    e2e: auto
    proxy_protocol:
      accept: false
      send: false
    limits:
      connections: 10000
      streams: 100
      handshakes: 512
peers: []
";
    assert_eq!(shown(&config), expected);
}

#[test]
fn i7_secrets_are_named_and_not_shown() {
    let pki = Pki::new();
    let text = format!(
        "tls:\n  ca_pem: |{}\n  cert_pem: |{}\n  key_pem: |{}\npeers:\n  - {{id: {HEX}, transport: ws, address: 'a:1', http_proxy: 'http://ann:hunter2@p:1'}}\n",
        block(&pki.ca),
        block(&pki.cert),
        block(&pki.key)
    );
    let config = parse(&text).unwrap();
    let said =
        format!("{}{}", shown(&config), serde_json::to_string(&show(&config, Path::new("d"))).unwrap());
    let body = |pem: &str| pem.lines().nth(1).unwrap().to_owned();
    for secret in [body(&pki.ca), body(&pki.key), "hunter2".to_owned(), "BEGIN".to_owned()] {
        assert!(!said.contains(&secret), "{said}");
    }
    assert!(said.contains("(inline, sha256 ") && said.contains("key_pem: \"(set)\""), "{said}");
}
