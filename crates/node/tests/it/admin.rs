//! Health, readiness and numbers, asked over the Unix socket.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use certus_node::admin::post;
use certus_pki::{Change, Directive, Lifetime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::authority::Authority;
use crate::life::{options, start};
use crate::manager::Manager;
use crate::{soon, until};

async fn get(socket: &Path, path: &str) -> (u16, String) {
    let mut unix = UnixStream::connect(socket).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
    unix.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("an answer", unix.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn a_node_tells_how_it_is() {
    let (authority, temp) = (Arc::new(Authority::new("prod")), tempfile::tempdir().unwrap());
    let mut manager = Manager::start(&authority);
    let options = options(&authority, &manager, temp.path());
    let socket = options.data_dir.join("admin.sock");
    // Left behind by a crash: nobody answers there.
    std::fs::create_dir_all(&options.data_dir).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());

    let node = start(options).await;
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(get(&socket, "/health").await, (200, "ok\n".into()));
    assert_eq!(get(&socket, "/ready").await, (200, "{\"ready\":true,\"reasons\":[]}\n".into()));
    assert_eq!(get(&socket, "/else").await.0, 404);

    until("it watches", || manager.seen(|seen| seen.resumed_from.len()) == 1).await;
    soon("a renewal", node.renew_now()).await.unwrap();
    let before = node.credentials().current().identity().unwrap().leaf().serial;
    let (status, renewed) = soon("a renewal", post(&socket, "/renew", String::new())).await.unwrap();
    let leaf = node.credentials().current().identity().unwrap().leaf().clone();
    assert!(status.is_success() && leaf.serial != before, "{renewed}");
    let renewed: serde_json::Value = serde_json::from_str(&renewed).unwrap();
    assert_eq!(renewed["serial"], leaf.serial.to_string());
    assert_eq!(renewed["expires_at"], leaf.not_after.to_string());
    let not_after = node.credentials().current().identity().unwrap().leaf().not_after.secs();
    let numbers = get(&socket, "/metrics").await.1;
    for expected in [
        format!("certus_certificate_not_after_seconds{{certificate=\"leaf\"}} {not_after}\n"),
        "certus_handshakes_total{side=\"server\",outcome=\"revoked\"} 0\n".into(),
        "certus_renewals_total{outcome=\"ok\"} 2\n".into(),
        "certus_renewals_total{outcome=\"failed\"} 0\n".into(),
        "certus_epoch_revision 1\n".into(),
        "certus_ready 1\n".into(),
        "certus_revocations_stale 0\n".into(),
    ] {
        assert!(numbers.contains(&expected), "{expected} is not in\n{numbers}");
    }

    // Nobody to tell of revocations for longer than they stay fresh: known, and not yet an end.
    manager.kill();
    let socket_numbers = async || get(&socket, "/metrics").await.1;
    soon("an alarm", async {
        while !socket_numbers().await.contains("certus_revocations_stale 1\n") {
            authority.pass(Lifetime::from_hours(2));
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    })
    .await;
    assert_eq!(get(&socket, "/ready").await.0, 200);

    manager.restart();
    let watching = manager.seen(|seen| seen.resumed_from.len());
    until("it watches again", || manager.seen(|seen| seen.resumed_from.len()) > watching).await;
    let removed = Change::Direct { node: node.identity().unwrap().clone(), directive: Directive::Removed };
    manager.commit(vec![removed]);
    soon("the removal", node.failed()).await;
    let (status, body) = get(&socket, "/ready").await;
    assert_eq!(status, 503);
    assert!(body.contains("CT-3109") && body.contains("certus token create"), "{body}");
    assert_eq!(get(&socket, "/health").await.0, 200);
    soon("the end", node.shutdown()).await;
    assert!(!socket.exists());
}
