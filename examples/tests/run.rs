//! Every example runs, over loopback, and does what it says.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "an example is a program of its own, with a main that is not run here"
)]

#[path = "../axum_mtls.rs"]
mod axum_mtls;
#[path = "../issue_in_memory.rs"]
mod issue_in_memory;
#[path = "../quic_mtls.rs"]
mod quic_mtls;
#[path = "../tonic_mtls.rs"]
mod tonic_mtls;
#[path = "../websocket_mtls.rs"]
mod websocket_mtls;

use std::future::Future;
use std::time::Duration;

use certus_node::sources::{DEFAULT_CA, DEFAULT_CERT, DEFAULT_KEY};

/// The limit is not a measure of anything: it ends a test that hangs.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("an example that ends")
}

#[tokio::test]
async fn an_axum_handler_greets_its_peer() {
    let certs = tempfile::tempdir().unwrap();
    assert_eq!(soon(axum_mtls::run(certs.path())).await.unwrap(), "hello, shop");
}

#[tokio::test]
async fn a_tonic_handler_greets_its_peer() {
    let certs = tempfile::tempdir().unwrap();
    assert_eq!(soon(tonic_mtls::run(certs.path())).await.unwrap(), "hello, shop");
}

#[tokio::test]
async fn a_websocket_greets_its_peer_and_says_goodbye() {
    let certs = tempfile::tempdir().unwrap();
    let seen = soon(websocket_mtls::run(certs.path())).await.unwrap();
    let expected = websocket_mtls::Seen { greeting: "hello, shop".to_owned(), closed_with: Some(1008) };
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn quic_answers_every_stream_of_its_peer() {
    let certs = tempfile::tempdir().unwrap();
    let answers = soon(quic_mtls::run(certs.path())).await.unwrap();
    assert_eq!(answers, ["good morning, shop", "good night, shop"]);
}

#[test]
fn what_is_issued_in_memory_is_refused_once_revoked() {
    let now = certus_pki::UnixTime::from_secs(1_900_000_000);
    let made = issue_in_memory::run(now, issue_in_memory::random_serial).unwrap();
    assert!(made.refused.contains("was revoked"), "{}", made.refused);
    for (text, label) in [(&made.root, "CERTIFICATE"), (&made.leaf, "CERTIFICATE"), (&made.crl, "X509 CRL")] {
        assert!(text.starts_with(&format!("-----BEGIN {label}-----")), "{text}");
    }
}

#[test]
fn the_pod_names_the_variables_that_are_read() {
    let yaml = include_str!("../kubernetes/tls-secret.yaml");
    for variable in [DEFAULT_CERT, DEFAULT_KEY, DEFAULT_CA] {
        assert!(yaml.contains(&format!("- name: {variable}\n")), "{variable}");
    }
}
