//! Building: development certificates, what is missing, what contradicts itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use certus_node::embed::{SourceKind, danger};
use certus_pki::{Certificate, Explain, Lifetime, San, code, pem};

use super::*;

fn developing(dir: &TempDir, id: &str) -> certus_node::EndpointBuilder {
    Node::builder()
        .id(id)
        .name("Development node")
        .address("localhost:8443")
        .cert_dir(dir.path().join("certs"))
        .development()
}

#[tokio::test]
async fn development_certificates_are_made_once_and_serve_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let first = developing(&dir, "dev-node").build().await.unwrap();
    assert_eq!((first.id(), first.name()), (Some("dev-node"), "Development node"));
    assert_eq!(first.address(), Some("localhost:8443"));
    let mut files: Vec<_> =
        fs::read_dir(dir.path().join("certs")).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    for file in ["ca-cert.pem", "ca-key.pem", "dev-node-cert.pem", "dev-node-key.pem"] {
        assert!(files.iter().any(|name| name == file), "{file} in {files:?}");
    }
    for key in ["ca-key.pem", "dev-node-key.pem"] {
        let mode = fs::metadata(dir.path().join("certs").join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    let text = fs::read_to_string(dir.path().join("certs/dev-node-cert.pem")).unwrap();
    let leaf = Certificate::from_der(&pem::decode(&text).unwrap()[0].der).unwrap();
    for name in ["dev-node", "localhost", "127.0.0.1", "::1"] {
        assert!(leaf.sans.contains(&name.parse::<San>().unwrap()), "{name} in {:?}", leaf.sans);
    }
    assert_eq!(leaf.not_after.secs_since(leaf.not_before) / 86_400, 90);

    let again = developing(&dir, "dev-node").build().await.unwrap();
    let der = |endpoint: &Endpoint| endpoint.credentials().current().identity().unwrap().chain().to_vec();
    assert_eq!(der(&again), der(&first), "what is there is used");

    let mut echo = echo(&first).await;
    let second = developing(&dir, "second").build().await.unwrap();
    reaches(&second, &echo).await;
    let who = echo.who().await;
    assert!(who.identity().unwrap().peer.sans.contains(&"second".parse::<San>().unwrap()));
    // Mutual unless told otherwise.
    let roots = first.credentials().current().bundle().roots().to_vec();
    let bundle = Bundle::of_authorities(Epoch::default(), roots, []);
    let nobody = Publisher::new(Snapshot::new(None, Arc::new(bundle)), system_clock());
    let bare = Client::new(nobody.credentials(), ClientOptions::new(Accept::new(Allow::Anyone)));
    let refused = dial_bare(&bare, &echo.address).await.unwrap_err();
    assert_eq!(explain_error(&refused).unwrap().code, code::PEER_REJECTED_US);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_at_once_share_one_ca() {
    let dir = tempfile::tempdir().unwrap();
    let start = |id: &'static str| tokio::spawn(developing(&dir, id).build());
    let starting = ["one", "two", "three"].map(start);
    let mut ready = Vec::new();
    for one in starting {
        ready.push(soon("a development node", one).await.unwrap().unwrap());
    }
    let roots = |endpoint: &Endpoint| endpoint.credentials().current().bundle().roots().to_vec();
    assert_eq!(roots(&ready[0]), roots(&ready[1]));
    let echo = echo(&ready[2]).await;
    reaches(&ready[0], &echo).await;
    reaches(&ready[1], &echo).await;
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let wrong = |built: Result<Endpoint, certus_node::embed::EndpointError>| built.err().unwrap().explain();
    let told = wrong(Node::builder().id("web").build().await);
    assert!(told.to_string().contains("development() or tls(options)"), "{told}");
    let dir = tempfile::tempdir().unwrap();
    let told = wrong(Node::builder().cert_dir(dir.path()).development().build().await);
    assert!(told.message.contains("an id"), "{told}");
    let told = wrong(Node::builder().id("web").development().build().await);
    assert!(told.message.contains("a cert_dir"), "{told}");
    let told = wrong(Node::builder().id("../web").cert_dir(dir.path()).development().build().await);
    assert_eq!(told.code, code::BAD_NAME, "{told}");
}

#[tokio::test]
async fn options_that_contradict_each_other_are_refused() {
    let site = Site::new();
    let options = || TlsOptions::new(site.files("web"));
    let told = not_built(options().allow_expired(Lifetime::from_days(8))).await;
    assert!(told.to_string().contains("at most 7d") && told.to_string().contains("8d"), "{told}");
    for policy in [
        danger::unverified(options().required_sans(["web.site.test".parse().unwrap()])),
        danger::unverified(options().allow_expired(Lifetime::from_hours(1))),
        danger::unverified(options().allow("dns:web.site.test".parse().unwrap())),
    ] {
        assert!(not_built(policy).await.message.contains("no chain is verified"));
    }
    let told = not_built(TlsOptions::new(TlsSource::ephemeral())).await;
    assert!(told.message.contains("no authority"), "{told}");
    assert_eq!(TlsSource::ephemeral().kind(), SourceKind::Ephemeral);
}
