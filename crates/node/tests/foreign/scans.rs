//! testssl.sh and sslyze at a public listener: what they find is in `findings.txt`, with why it stays,
//! or the test fails. So does a line there that nothing is found for any more.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use certus_forge::LeafSpec;
use certus_node::{Mtls, Transport};
use certus_pki::Allow;
use serde_json::Value;

use crate::program::{Program, has_module, is_there};
use crate::world::{Running, SERVER, World, now, old_listener, server};

/// The scanners' own waits add up; on a machine with much else to do they take three times as long.
const SCAN_PATIENCE: Duration = Duration::from_secs(400);

/// A listener for everybody, before a web service, with a certificate of a length that scanners accept.
fn public(world: &World) -> Running<'_> {
    let (now, day) = (now(), 86_400);
    world.pair("public", &LeafSpec { not_before: now - day, not_after: now + 89 * day, ..server() });
    let mut public = old_listener(Transport::Tcp, world.http());
    (public.tls.mtls, public.allow) = (Mtls::Off, Allow::Anyone);
    world.node("public", vec![public], vec![])
}

/// Fails unless exactly what `findings.txt` lists for this scanner was found.
#[track_caller]
fn judge(scanner: &str, found: &BTreeSet<String>, said: &str) {
    let listed = include_str!("findings.txt").lines().filter(|line| !line.starts_with('#'));
    let listed = listed.filter_map(|line| line.split_once(": ").map(|(what, _)| what));
    let listed: BTreeSet<String> =
        listed.filter_map(|what| what.strip_prefix(scanner)?.strip_prefix(' ')).map(str::to_owned).collect();
    let new: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(found).collect();
    assert!(new.is_empty(), "{scanner} finds {new:?}\n{said}");
    assert!(gone.is_empty(), "{scanner} no longer finds {gone:?}: take them out of findings.txt\n{said}");
}

#[test]
fn testssl_finds_nothing_else() {
    if !is_there("testssl") {
        return;
    }
    let world = World::new();
    let node = public(&world);
    let file = world.path("testssl.json");
    // Bounded even where this test is killed before it can stop it.
    let mut testssl = Command::new("timeout");
    testssl.args([
        "--foreground",
        "-k",
        "5",
        "390",
        "testssl",
        "--quiet",
        "--color",
        "0",
        "--warnings",
        "off",
    ]);
    testssl.args(["--nodns", "none", "--ip", "127.0.0.1", "--jsonfile"]).arg(&file);
    testssl.args(what_testssl_looks_at());
    testssl.arg("--add-ca").arg(world.path("ca.crt")).arg(format!("localhost:{}", node.at().port()));
    let (_, said) = Program::start(&mut testssl).finish_within(SCAN_PATIENCE);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}\n{said}"));
    let read: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let word = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let severe = ["MEDIUM", "HIGH", "CRITICAL", "FATAL"];
    let found = read.iter().filter(|finding| severe.contains(&word(finding, "severity").as_str()));
    judge("testssl", &found.map(|finding| word(finding, "id")).collect(), &said);
    // A scan that looked at nothing finds nothing either.
    for id in [
        "SSLv2",
        "SSLv3",
        "TLS1_2",
        "TLS1_3",
        "cert_trust",
        "cert_chain_of_trust",
        "heartbleed",
        "CCS",
        "ticketbleed",
        "ROBOT",
        "CRIME_TLS",
        "POODLE_SSL",
        "SWEET32",
        "FREAK",
        "DROWN",
        "LOGJAM",
        "BEAST",
        "LUCKY13",
    ] {
        let fine = |finding: &Value| word(finding, "id") == id && word(finding, "severity") == "OK";
        assert!(read.iter().any(fine), "{id} is not said to be fine\n{said}");
    }
}

/// Every night everything but the headers of HTTP, which are the service's; else what takes seconds.
fn what_testssl_looks_at() -> &'static [&'static str] {
    if std::env::var_os("CERTUS_WHOLE_SCANS").is_some_and(|value| value == "1") {
        return &["-p", "-s", "-f", "-S", "-P", "-E", "-U", "-c"];
    }
    // All vulnerabilities but renegotiation, which takes a minute of waiting; sslyze looks at it too.
    &[
        "--fast",
        "--protocols",
        "--server-defaults",
        "--server-preference",
        "--heartbleed",
        "--ccs-injection",
        "--ticketbleed",
        "--robot",
        "--crime",
        "--poodle",
        "--tls-fallback",
        "--sweet32",
        "--freak",
        "--drown",
        "--logjam",
        "--beast",
        "--lucky13",
    ]
}

#[test]
fn sslyze_finds_nothing_else() {
    if !has_module("sslyze") {
        return;
    }
    let world = World::new();
    let node = public(&world);
    let file = world.path("sslyze.json");
    let mut sslyze = Command::new("timeout");
    sslyze.args(["--foreground", "-k", "5", "390", "python3", "-m", "sslyze", "--sni", SERVER]);
    sslyze.args(["--mozilla_config", "intermediate", "--certinfo_ca_file"]).arg(world.path("ca.crt"));
    sslyze.arg("--json_out").arg(&file).arg(node.at().to_string());
    let (compliant, said) = Program::start(&mut sslyze).finish_within(SCAN_PATIENCE);
    assert!(compliant && said.contains("OK - Compliant."), "{said}");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}\n{said}"));
    let read: Value = serde_json::from_str(&text).unwrap();
    judge("sslyze", &of_sslyze(&read["server_scan_results"][0]["scan_result"]), &said);
}

/// What is wrong by sslyze's results, which are facts without severities.
fn of_sslyze(results: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut expect = |check: &str, field: &str, good: Value| {
        let came = &results[check]["result"][field];
        if *came != good {
            found.insert(format!("{check}.{field} is {came}"));
        }
    };
    for old in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"] {
        expect(&format!("{old}_cipher_suites"), "is_tls_version_supported", false.into());
    }
    for new in ["tls_1_2", "tls_1_3"] {
        expect(&format!("{new}_cipher_suites"), "is_tls_version_supported", true.into());
    }
    expect("tls_compression", "supports_compression", false.into());
    expect("openssl_ccs_injection", "is_vulnerable_to_ccs_injection", false.into());
    expect("heartbleed", "is_vulnerable_to_heartbleed", false.into());
    expect("robot", "robot_result", "NOT_VULNERABLE_RSA_NOT_SUPPORTED".into());
    expect("session_renegotiation", "supports_secure_renegotiation", true.into());
    expect("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos", false.into());
    expect("tls_extended_master_secret", "supports_ems_extension", true.into());
    expect("tls_fallback_scsv", "supports_fallback_scsv", true.into());
    let certificates = &results["certificate_info"]["result"]["certificate_deployments"];
    for deployment in certificates.as_array().unwrap() {
        for validation in deployment["path_validation_results"].as_array().unwrap() {
            let store = validation["trust_store"]["name"].as_str().unwrap();
            match (store, validation["was_validation_successful"] == true) {
                ("Supplied CA file", true) => {}
                ("Supplied CA file", false) => drop(found.insert("not trusted by its own CA".to_owned())),
                (_, true) => drop(found.insert(format!("trusted by {store}"))),
                (_, false) => drop(found.insert("not trusted by public stores".to_owned())),
            }
        }
        if deployment["received_chain_has_valid_order"] != true {
            found.insert("the chain is out of order".to_owned());
        }
        if deployment["leaf_certificate_signed_certificate_timestamps_count"] == 0 {
            found.insert("not in certificate transparency".to_owned());
        }
    }
    found
}
