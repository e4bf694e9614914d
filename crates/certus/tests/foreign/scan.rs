//! sslyze as the judge of a public listener: what it offers, and what it withstands.

use std::fs;

use serde_json::Value;

use crate::harness::{World, port};
use crate::judge::is_there;
use crate::stage::{self, agent, issue, run, service_once};

const SUITES_OF_TLS13: [&str; 3] =
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];
/// Of TLS 1.2, behind the kind of the key.
const SUITES_OF_TLS12: [&str; 3] = ["AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256"];

/// Where the listener is not what Mozilla's "intermediate" asks of one: its authority is in no browser.
const KNOWN: [&str; 1] =
    ["certificate_path_validation: Certificate path validation failed for CN=public.test."];

/// What each scan finds, as a path into its result and the value there.
const FOUND: [(&str, &str, &str); 13] = [
    ("ssl_2_0_cipher_suites", "/is_tls_version_supported", "false"),
    ("ssl_3_0_cipher_suites", "/is_tls_version_supported", "false"),
    ("tls_1_0_cipher_suites", "/is_tls_version_supported", "false"),
    ("tls_1_1_cipher_suites", "/is_tls_version_supported", "false"),
    ("tls_compression", "/supports_compression", "false"),
    ("openssl_ccs_injection", "/is_vulnerable_to_ccs_injection", "false"),
    ("tls_fallback_scsv", "/supports_fallback_scsv", "true"),
    ("heartbleed", "/is_vulnerable_to_heartbleed", "false"),
    ("robot", "/robot_result", r#""NOT_VULNERABLE_RSA_NOT_SUPPORTED""#),
    ("session_renegotiation", "/supports_secure_renegotiation", "true"),
    ("session_renegotiation", "/is_vulnerable_to_client_renegotiation_dos", "false"),
    ("tls_extended_master_secret", "/supports_ems_extension", "true"),
    ("certificate_info", "/certificate_deployments/0/received_chain_has_valid_order", "true"),
];

/// Runs sslyze: what its scans found, and what it holds against the listener.
fn sslyze(world: &World, options: &str, port: u16) -> (Value, Vec<String>, String) {
    let (_, said) = run(world, &format!("sslyze {options} --json_out=scan.json 127.0.0.1:{port}"));
    let mut scan =
        fs::read_to_string(world.path("scan.json")).unwrap_or_else(|error| panic!("{error}: {said}"));
    // The modulus of an RSA key is too large a number for serde_json; its beginning is not.
    let mut digits = 0;
    scan.retain(|c| {
        digits = if c.is_ascii_digit() { digits + 1 } else { 0 };
        digits <= 100
    });
    let scan: Value = serde_json::from_str(&scan).unwrap();
    let against = said.lines().filter_map(|line| line.trim_start().strip_prefix("* "));
    let against = against.filter(|line| line.starts_with(|c: char| c.is_lowercase()) && line.contains(": "));
    let against = against.map(str::to_owned).collect();
    (scan["server_scan_results"][0]["scan_result"].clone(), against, said)
}

/// The suites that a version offers, in order of their names.
fn suites(found: &Value, version: &str) -> Vec<String> {
    let accepted = found[version]["result"]["accepted_cipher_suites"].as_array().unwrap();
    let mut names: Vec<_> =
        accepted.iter().map(|suite| suite["cipher_suite"]["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn sslyze_finds_no_weakness_in_a_public_listener() {
    if !is_there("sslyze") {
        return;
    }
    let world = stage::world();
    for (key_type, kind) in [("p256", "ECDSA"), ("rsa2048", "RSA")] {
        issue(&world, "certs", "public.test", &["--key-type", key_type, "--force"]);
        let (listen, service) = (port(), service_once());
        let listener = format!(
            "listeners:\n  - {{transport: tcp, address: '127.0.0.1:{listen}', forward: '127.0.0.1:{service}', allow: any, e2e: never, tls: {{cert: certs/public.test.crt, key: certs/public.test.key, mtls: false, versions: '1.2+'}}}}\n"
        );
        let (node, _) = agent(&world, "node", &listener);
        let (found, against, said) = sslyze(&world, "", listen);
        assert!(said.contains("Checking results against Mozilla"), "{said}");
        assert_eq!(against, KNOWN, "{said}");
        for (scan, path, value) in FOUND {
            let is = found[scan]["result"].pointer(path).map(Value::to_string);
            assert_eq!(is.as_deref(), Some(value), "{scan}{path}: {said}");
        }
        assert_eq!(suites(&found, "tls_1_3_cipher_suites"), SUITES_OF_TLS13);
        let old = SUITES_OF_TLS12.map(|suite| format!("TLS_ECDHE_{kind}_WITH_{suite}"));
        // The older of sslyze's two engines has no extended master secret (RFC 7627), which we want of TLS
        // 1.2: to it some of our suites look refused.
        let seen = suites(&found, "tls_1_2_cipher_suites");
        assert!(!seen.is_empty() && seen.iter().all(|suite| old.contains(suite)), "{seen:?}");
        let (found, _, said) = sslyze(&world, "--early_data --mozilla_config=disable", listen);
        let early = &found["tls_1_3_early_data"]["result"]["supports_early_data"];
        assert_eq!(early, false, "{said}\n{}", node.log());
        assert_eq!(node.end(), 0);
    }
}
