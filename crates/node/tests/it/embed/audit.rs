//! What is told of peers that were refused: events with fixed fields, and numbers.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use certus_node::embed::{AUDIT_TARGET, Side};
use certus_pki::code;
use prometheus_client::registry::Registry;

use super::*;
use crate::until;

/// Lines of a log, kept.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn every_refusal_is_an_event_with_fixed_fields() {
    let lines = Lines::default();
    let kept = lines.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || kept.clone()).finish();
    let _log = tracing::subscriber::set_default(subscriber);
    let (site, elsewhere) = (Site::new(), Site::new());
    let options = TlsOptions::new(site.files("web"));
    let web = Node::builder().id("web").name("orders").tls(options).build().await.unwrap();
    let (echo, mut events) = (echo(&web).await, web.audit());
    // One by one: its listener refuses what it did not issue, and the client what it did not.
    let (_kept, stranger) = elsewhere.stranger(Allow::Anyone);
    dial_bare(&stranger, &echo.address).await.unwrap_err();
    let told = event(&mut events, AuditKind::RejectedByPeer).await;
    assert_eq!((told.side, told.transport, told.why.code), (Side::Server, "tcp", code::PEER_REJECTED_US));
    let (_kept, stranger) = site.stranger(Allow::Anyone);
    dial_bare(&stranger, &echo.address).await.unwrap_err();
    let told = event(&mut events, AuditKind::Refused).await;
    assert_eq!(told.why.code, code::NO_CERTIFICATE);
    until("both are logged", || lines.text().matches(AUDIT_TARGET).count() == 2).await;
    let text = lines.text();
    let line = text.lines().filter(|line| line.contains(AUDIT_TARGET)).nth(1).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let fields = &line["fields"];
    for (field, expected) in
        [("event", "refused"), ("endpoint", "orders"), ("side", "server"), ("code", "CT-1104")]
    {
        assert_eq!(fields[field], expected, "{line}");
    }
    for field in ["remote", "peer", "transport", "expected", "came", "message"] {
        assert!(fields[field].is_string(), "{field} in {line}");
    }

    let mut registry = Registry::default();
    web.metrics().register(&mut registry);
    let mut numbers = String::new();
    prometheus_client::encoding::text::encode(&mut numbers, &registry).unwrap();
    for counted in [
        r#"certus_handshakes_total{side="server",outcome="no_certificate"} 1"#,
        r#"certus_handshakes_total{side="server",outcome="peer_rejected_us"} 1"#,
    ] {
        assert!(numbers.contains(counted), "{counted} in {numbers}");
    }
    assert_eq!(web.failures().last().1, 2);
}

#[tokio::test]
async fn a_caller_that_speaks_no_tls_is_a_failure_and_no_event() {
    let site = Site::new();
    let web = site.endpoint("web").await;
    let (echo, mut events) = (echo(&web).await, web.audit());
    let mut tcp = TcpStream::connect(&echo.address).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    until("the failure is kept", || web.failures().last().1 == 1).await;
    assert_eq!(web.failures().last().0[0].why.code, code::HANDSHAKE_FAILED);
    assert!(events.try_recv().is_err());
}
