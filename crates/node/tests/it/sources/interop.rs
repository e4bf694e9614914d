//! What openssl makes and what it says of ours; a visible skip where it is not installed.
#![allow(clippy::print_stderr, reason = "a skip must be seen")]

use std::process::Command;

use certus_node::sources::{Development, Ephemeral};
use certus_node::system_clock;
use certus_pki::{Explain, code, pem};

use super::*;

/// Whether openssl is there; a failure where it must be.
pub(crate) fn openssl_is_there() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|dir| dir.join("openssl").is_file());
    if !there {
        let required = std::env::var_os("CERTUS_REQUIRE_INTEROP").is_some_and(|value| value == "1");
        assert!(!required, "openssl is not installed, and CERTUS_REQUIRE_INTEROP=1");
        eprintln!("SKIPPED: openssl is not installed");
    }
    there
}

#[track_caller]
pub(crate) fn shell(dir: &Path, line: &str) -> String {
    let output = Command::new("bash").args(["-c", line]).current_dir(dir).output().unwrap();
    let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned();
    assert!(output.status.success(), "{line}\n{said}");
    said
}

#[test]
fn openssl_verifies_development_certificates() {
    if !openssl_is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let now = system_clock()();
    Development::new(dir.path(), "dev-node", Some("api.test:8443"), [])
        .ok()
        .unwrap()
        .ensure(now)
        .ok()
        .unwrap();
    for check in ["-purpose sslserver -verify_hostname api.test", "-purpose sslclient -verify_ip ::1"] {
        shell(
            dir.path(),
            &format!("openssl verify -x509_strict -CAfile ca-cert.pem {check} dev-node-cert.pem"),
        );
    }
    let text = shell(dir.path(), "openssl x509 -in dev-node-cert.pem -noout -text");
    for said in ["Certus development only", "TLS Web Server Authentication", "TLS Web Client Authentication"]
    {
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn openssl_reads_an_ephemeral_certificate() {
    if !openssl_is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let material = Ephemeral::new("node-1", []).ok().unwrap().make(system_clock()()).ok().unwrap();
    let pair = material.pair().unwrap();
    put(&dir.path().join("node.crt"), &pem::encode(pem::CERTIFICATE, &pair.chain()[0]));
    shell(dir.path(), "openssl verify -partial_chain -CAfile node.crt -purpose sslserver node.crt");
}

#[test]
fn a_version_1_certificate_is_refused_with_lines_that_mend_it() {
    if !openssl_is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let run = |line: &str| shell(dir.path(), line);
    run("umask 077; openssl ecparam -name prime256v1 -genkey -noout -out ca.key");
    run("openssl req -x509 -new -nodes -key ca.key -sha256 -days 365 -out ca.crt -subj /CN=Mesh");
    run("umask 077; openssl ecparam -name prime256v1 -genkey -out node.key");
    run("openssl req -new -key node.key -out node.csr -subj /CN=node-1");
    run(
        "openssl x509 -req -in node.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out node.crt -days 365 -sha256",
    );
    let paths = FilePaths::separate(
        dir.path().join("node.crt"),
        dir.path().join("node.key"),
        Some(dir.path().join("ca.crt")),
    );
    let source = FileSource::new(paths, Needs::BOTH).ok().unwrap();
    let version = run("openssl x509 -in node.crt -noout -text");
    if version.contains("Version: 1") {
        let told = source.read(system_clock()()).err().unwrap().explain();
        assert_eq!(told.code, code::BROKEN_RULE);
        assert!(told.message.contains("version 1") && told.message.contains("no names"), "{told}");
        run(&told.hint.unwrap());
    } else {
        eprintln!("this openssl makes version 3 of it");
    }
    let material = source.read(system_clock()()).ok().unwrap();
    assert!(material.concerns(system_clock()()).is_empty());
}
