//! Each source of certificates, with a connection that uses it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use certus_node::embed::danger;
use certus_pki::code;

use super::*;
use crate::authority::Authority;

#[tokio::test]
async fn a_bundle_and_texts_serve_as_files_do() {
    let site = Site::new();
    let leaf = site.root.leaf(&Site::spec("web"));
    let whole = format!("{}{}{}", leaf.key_pem, leaf.chain_pem, site.root.pem);
    crate::sources::put(&site.path("credentials.pem"), &whole);
    let bundle = built(TlsOptions::new(TlsSource::bundle(site.path("credentials.pem")))).await;
    let inline = TlsSource::inline(&leaf.chain_pem, &leaf.key_pem, &site.root.pem);
    let inline = built(TlsOptions::new(inline)).await;
    reaches(&inline, &echo(&bundle).await).await;
    reaches(&bundle, &echo(&inline).await).await;
    let [of_files, of_texts] = [&bundle, &inline].map(|endpoint| endpoint.status().unwrap().borrow().clone());
    assert!(!of_files.static_source && of_texts.static_source);
}

#[tokio::test]
async fn what_cannot_rotate_raises_an_alarm_before_it_ends() {
    let site = Site::new();
    let now = system_clock()().secs();
    let nearly = LeafSpec { not_before: now - 8_000, not_after: now + 2_000, ..Site::spec("web") };
    let leaf = site.root.leaf(&nearly);
    let inline = TlsSource::inline(&leaf.chain_pem, &leaf.key_pem, &site.root.pem);
    let endpoint = built(TlsOptions::new(inline)).await;
    let alarm = endpoint.status().unwrap().borrow().alarm.clone().unwrap();
    assert!(alarm.hint.unwrap().contains("cannot rotate"));
}

#[tokio::test]
async fn a_key_that_others_can_read_is_refused() {
    let site = Site::new();
    let source = site.files("web");
    let key = site.path("web.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let told = not_built(TlsOptions::new(source.clone())).await;
    assert_eq!(told.code, code::FILE_MODE, "{told}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(not_built(TlsOptions::new(source.clone())).await.code, code::FILE_MODE);
    built(TlsOptions::new(source).allow_group_read(true)).await;
}

#[tokio::test]
async fn variables_that_are_not_set_are_named() {
    let source = TlsSource::env_named("CERTUS_TEST_NO_CERT", "CERTUS_TEST_NO_KEY", "CERTUS_TEST_NO_CA");
    let told = not_built(TlsOptions::new(source)).await;
    assert!(told.message.contains("CERTUS_TEST_NO_CERT is not set"), "{told}");
    assert!(not_built(TlsOptions::new(TlsSource::env())).await.message.contains("CERTUS_TLS_CERT"));
}

#[test]
fn variables_hold_what_files_hold() {
    let site = Site::new();
    let leaf = site.root.leaf(&Site::spec("web"));
    let names = [
        ["CERTUS_TLS_CERT", "CERTUS_TLS_KEY", "CERTUS_TLS_CA"],
        ["OTHER_TLS_CERT", "OTHER_TLS_KEY", "OTHER_TLS_CA"],
    ];
    for [cert, key, ca] in names {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "embed::sources::an_endpoint_of_its_environment", "--ignored", "--nocapture"])
            .env(cert, &leaf.chain_pem)
            .env(key, &leaf.key_pem)
            .env(ca, &site.root.pem);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[tokio::test]
#[ignore = "a part of another test, started by it"]
async fn an_endpoint_of_its_environment() {
    let source = if std::env::var_os("OTHER_TLS_CERT").is_some() {
        TlsSource::env_named("OTHER_TLS_CERT", "OTHER_TLS_KEY", "OTHER_TLS_CA")
    } else {
        TlsSource::env()
    };
    let endpoint = built(TlsOptions::new(source)).await;
    reaches(&endpoint, &echo(&endpoint).await).await;
}

#[tokio::test]
async fn an_ephemeral_certificate_serves_callers_who_do_not_verify_it() {
    let ephemeral = TlsOptions::new(TlsSource::ephemeral()).client_certificates(NOT_ASKED);
    let server = built(ephemeral).await;
    let mut echo = echo(&server).await;
    let client = built(danger::unverified(TlsOptions::new(TlsSource::ephemeral()))).await;
    reaches(&client, &echo).await;
    assert!(echo.who().await.identity().is_none());
    let site = Site::new();
    let told = cannot_reach(&site.endpoint("web").await, &echo).await;
    assert_eq!(told.code, code::UNKNOWN_AUTHORITY);
}

#[tokio::test]
async fn a_node_of_a_cluster_lends_its_identity() {
    let authority = Authority::new("prod");
    let [one, two] = ["worker/web-1", "worker/web-2"].map(|id| authority.publisher(id));
    let server = built(TlsOptions::new(TlsSource::Cluster(one.credentials()))).await;
    let client = built(TlsOptions::new(TlsSource::Cluster(two.credentials()))).await;
    let mut echo = echo(&server).await;
    let to_web_1 = client.connector_to(authority.id("worker/web-1"));
    let mut stream = to_web_1.connect(&echo.address).await.unwrap();
    ping(&mut stream).await.unwrap();
    assert_eq!(echo.who().await.spiffe_id(), Some(&authority.id("worker/web-2")));
    assert_eq!(stream.peer().name(), "spiffe://prod/worker/web-1");
    let to_another = client.connector_to(authority.id("worker/web-3"));
    let told = to_another.connect(&echo.address).await.err().unwrap();
    assert_eq!(certus_pki::Explain::explain(&told).code, code::NOT_ALLOWED);

    // What the cluster revokes is cut here too.
    let leaf = two.current().identity().unwrap().leaf().clone();
    let revoked = certus_pki::Change::Revoked(authority.revocation(&leaf));
    let mut events = server.audit();
    one.apply(&crate::authority::delta(2, vec![revoked])).unwrap();
    assert!(ping(&mut stream).await.is_err());
    let cut = event(&mut events, AuditKind::Cut).await;
    assert_eq!((cut.why.code, cut.peer.as_str()), (code::REVOKED, "spiffe://prod/worker/web-2"));
}
