//! Every call, by everybody: who is let through, and who is not.

use std::sync::Arc;

use certus_forge::{Ca, CaSpec, Eku, LeafSpec};
use certus_node::{ApiError, system_clock};
use certus_pki::token::Pin;
use certus_pki::{Bundle, Code, Explain, JoinToken, PrivateKey, code};
use certus_server::api::authorise::{Need, TABLE};
use certus_testkit::cluster::{Cluster, Operator};
use certus_tls::connect_pinned;
use certus_wire::status::from_status;
use certus_wire::v1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// Makes `call` with an empty request on a channel; what it is refused with, if it is.
async fn make(channel: Channel, call: &str) -> Option<Code> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = call.parse().unwrap();
    let codec: tonic_prost::ProstCodec<v1::InfoRequest, v1::InfoReply> = tonic_prost::ProstCodec::default();
    // Every request decodes from nothing; what a call makes of it is its own affair.
    let answer = grpc.unary(tonic::Request::new(v1::InfoRequest {}), path, codec).await;
    answer.err().map(|status| from_status(&status).code)
}

/// A channel on which no certificate is shown.
async fn anonymous(cluster: &Cluster) -> Channel {
    let address = cluster.address();
    let pin = pin(cluster);
    let connect = service_fn(move |_| async move {
        let tcp = TcpStream::connect(address).await?;
        let now = system_clock()();
        let dialled = connect_pinned(tcp, pin, vec![b"h2".to_vec()], now).await;
        dialled.map(|(tls, _)| TokioIo::new(tls)).map_err(|error| std::io::Error::other(error.explain()))
    });
    Endpoint::from_static("http://certus").connect_with_connector(connect).await.unwrap()
}

fn pin(cluster: &Cluster) -> Pin {
    let root = cluster.operator().credentials().current().bundle().roots()[0].key_hash();
    JoinToken::new([0; 16], &root).pin()
}

#[tokio::test(flavor = "multi_thread")]
async fn i13_without_a_certificate_only_bootstrap_calls_are_let_through() {
    let cluster = Cluster::start().await;
    let channel = anonymous(&cluster).await;
    for (call, need) in TABLE {
        let refused = make(channel.clone(), call).await;
        let shut_out = refused == Some(code::NO_CERTIFICATE);
        assert_eq!(shut_out, *need != Need::Nothing, "{call}: {refused:?}");
    }
    assert_eq!(make(channel, "/certus.v1.Cluster/Nonsense").await, Some(code::BAD_MESSAGE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_and_each_grant_may_what_the_table_says() {
    let cluster = Cluster::start().await;
    let worker = cluster.worker("web-1").await;
    let certs = cluster.data_dir("web-1").join("certs/worker-web-1");
    let key = PrivateKey::from_pem(&std::fs::read_to_string(certs.join("node.key")).unwrap()).ok().unwrap();
    let chain =
        certus_pki::Certificate::many_from_pem(&std::fs::read_to_string(certs.join("node.crt")).unwrap());
    let chain = chain.unwrap().into_iter().map(|certificate| certificate.der).collect();
    let bundle = Bundle::clone(worker.credentials().current().bundle());
    let worker = Operator::new(&key, chain, bundle, cluster.address());

    for (who, grant) in [(&worker, certus_pki::Grant::None), (cluster.operator(), certus_pki::Grant::Admin)] {
        let channel = tonic_channel(&cluster, who).await;
        for (call, need) in TABLE {
            let refused = make(channel.clone(), call).await;
            let denied = refused == Some(code::PERMISSION_DENIED);
            let expected = match need {
                Need::Grant(needed) => grant < *needed,
                Need::Manager | Need::ManagerRole => true,
                Need::Nothing | Need::Member => false,
            };
            assert_eq!(denied, expected, "{call} by {grant}: {refused:?}");
        }
    }
}

/// A channel with `who`'s certificate.
async fn tonic_channel(cluster: &Cluster, who: &Operator) -> Channel {
    let address = cluster.address();
    let cluster_name = "prod".parse().unwrap();
    let mut options = certus_tls::ClientOptions::new(certus_pki::Accept::cluster(cluster_name));
    options.alpn = vec![b"h2".to_vec()];
    let client = Arc::new(certus_tls::Client::new(who.credentials(), options));
    let connect = service_fn(move |_| {
        let client = client.clone();
        async move {
            let tcp = TcpStream::connect(address).await?;
            let tls = client.connect(tcp).await.map_err(|error| std::io::Error::other(error.explain()))?;
            Ok::<_, std::io::Error>(TokioIo::new(tls))
        }
    });
    Endpoint::from_static("http://certus").connect_with_connector(connect).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_certificate_is_refused_in_the_handshake() {
    let cluster = Cluster::start().await;
    let foreign = Ca::root_from(&CaSpec { uris: vec!["spiffe://prod".into()], ..CaSpec::named("prod root") });
    let issuer = foreign.intermediate("prod issuer m1", 0);
    let spec = LeafSpec { eku: Eku::Both, ..LeafSpec::spiffe("cli-test", "spiffe://prod/client/cli-test") };
    let leaf = issuer.leaf(&spec);
    let key = PrivateKey::from_pkcs8_der(&leaf.key_pkcs8_der).ok().unwrap();
    let bundle = Bundle::clone(cluster.operator().credentials().current().bundle());
    let stranger = Operator::new(&key, leaf.chain_der, bundle, cluster.address());
    let refused = stranger.api().cluster(async |mut c| c.status(v1::StatusRequest {}).await).await;
    let error: ApiError = refused.err().unwrap();
    assert_eq!(error.explain().code, code::PEER_REJECTED_US, "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i13_a_worker_that_poses_as_a_manager_is_told_nothing() {
    let cluster = Cluster::start().await;
    let worker = cluster.worker("web-1").await;
    let token = cluster.token(|_| ()).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut options = certus_tls::ServerOptions::new(certus_pki::Accept::cluster("prod".parse().unwrap()));
    options.client_certificate = certus_tls::ClientCertificate::Optional;
    options.alpn = vec![b"h2".to_vec()];
    options.send_roots = true;
    let server = certus_tls::Server::new(worker.credentials(), options);
    let heard = tokio::spawn(async move {
        use tokio::io::AsyncReadExt;
        let mut heard = Vec::new();
        if let Ok(mut tls) = server.accept(listener.accept().await.unwrap().0).await {
            let _ = tls.read_to_end(&mut heard).await;
        }
        heard
    });
    let key = PrivateKey::generate(certus_pki::KeyType::P256).ok().unwrap();
    let id = "web-2".parse().unwrap();
    let joined =
        certus_node::join(&address, &token, certus_pki::Role::Worker, &id, &key, &system_clock()).await;
    assert_eq!(joined.err().unwrap().explain().code, code::NOT_A_MANAGER);
    assert_eq!(heard.await.unwrap(), b"", "nothing was sent to it, a secret least of all");
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_callers_that_say_nothing_hold_up_nobody() {
    let cluster = Cluster::start().await;
    let mut silent = Vec::new();
    for _ in 0..600 {
        silent.push(TcpStream::connect(cluster.address()).await.unwrap());
    }
    let soon = std::time::Duration::from_secs(5);
    let joined = tokio::time::timeout(soon, cluster.worker("web-1")).await;
    assert!(joined.is_ok(), "no place while {} callers are silent", silent.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_a_stranger_is_limited_in_whatever_it_calls() {
    let cluster = Cluster::start().await;
    let channel = anonymous(&cluster).await;
    let mut refused = Vec::new();
    for _ in 0..400 {
        refused.push(make(channel.clone(), "/certus.v1.Cluster/Status").await);
    }
    assert!(refused.contains(&Some(code::NO_CERTIFICATE)) && refused.contains(&Some(code::RATE_LIMITED)));
}
