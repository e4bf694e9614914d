//! axum, hyper and WebSockets over listeners and connectors: the peer reaches the handler.

use ::http::{Request, Version};
use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use certus_node::embed::{ListenOptions, alpn};
use certus_pki::code;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::until;

/// Says who asks.
pub(super) async fn who_asks(endpoint: &Endpoint) -> String {
    let listener =
        endpoint.listen_with("127.0.0.1:0", ListenOptions::default().alpn(alpn::HTTP)).await.unwrap();
    let address = listener.local_addr().to_string();
    let app =
        Router::new().route("/", get(|peer: PeerInfo| async move { format!("hello, {}", peer.name()) }));
    let service = app.into_make_service_with_connect_info::<PeerInfo>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

type Http = HttpClient<certus_node::embed::Connector, Empty<Bytes>>;

fn http(connector: certus_node::embed::Connector) -> Http {
    HttpClient::builder(TokioExecutor::new()).build(connector)
}

async fn ask(
    http: &Http,
    address: &str,
) -> Result<(Version, String, PeerInfo), hyper_util::client::legacy::Error> {
    let asked = Request::get(format!("https://{address}/")).body(Empty::new()).unwrap();
    let answer = soon("an answer", http.request(asked)).await?;
    let version = answer.version();
    let peer = answer.extensions().get::<PeerInfo>().unwrap().clone();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    Ok((version, String::from_utf8(body.to_vec()).unwrap(), peer))
}

#[tokio::test]
async fn an_axum_handler_knows_its_peer() {
    let site = Site::new();
    let address = who_asks(&site.endpoint("web").await).await;
    let client = site.endpoint("peer").await;
    let (version, said, server) = ask(&http(client.connector()), &address).await.unwrap();
    assert_eq!((version, said.as_str()), (Version::HTTP_11, "hello, peer.site.test"));
    assert_eq!(server.name(), "web.site.test");
    let (version, said, _) = ask(&http(client.connector().alpn(alpn::HTTP)), &address).await.unwrap();
    assert_eq!((version, said.as_str()), (Version::HTTP_2, "hello, peer.site.test"));
}

#[tokio::test]
async fn a_handler_that_was_served_otherwise_says_how_to() {
    let app = Router::new().route("/", get(|peer: PeerInfo| async move { peer.name().to_owned() }));
    let request = Request::get("/").body(axum::body::Body::empty()).unwrap();
    let answer = tower::ServiceExt::oneshot(app, request).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("into_make_service_with_connect_info"));
}

#[tokio::test]
async fn a_refusal_is_found_in_the_errors_of_hyper_and_tonic() {
    let site = Site::new();
    let nobody = TlsOptions::new(site.files("web")).allow(Allow::Any(Vec::new()));
    let address = who_asks(&built(nobody).await).await;
    let client = site.endpoint("peer").await;
    for protocols in [&[][..], alpn::WEBSOCKET, alpn::HTTP] {
        let error = ask(&http(client.connector().alpn(protocols)), &address).await.unwrap_err();
        assert_eq!(explain_error(&error).expect("a reason").code, code::PEER_REJECTED_US, "{error:?}");
    }
    let channel = tonic::transport::Channel::from_shared(format!("http://{address}")).unwrap();
    let connecting = channel.connect_with_connector(client.connector().alpn(alpn::GRPC));
    let error = soon("a refusal", connecting).await.unwrap_err();
    assert_eq!(explain_error(&error).expect("a reason").code, code::PEER_REJECTED_US, "{error:?}");
    let foreign = Site::new().endpoint("peer").await;
    let error = ask(&http(foreign.connector()), &address).await.unwrap_err();
    assert_eq!(explain_error(&error).expect("a reason").code, code::UNKNOWN_AUTHORITY, "{error:?}");
}

#[tokio::test]
async fn callers_who_stall_hold_up_nobody() {
    const STALLED: usize = 100;
    let site = Site::new();
    let web = site.endpoint("web").await;
    // Fewer places for handshakes than callers who only connect.
    let options = ListenOptions::default().alpn(alpn::HTTP).handshakes(STALLED / 2);
    let listener = web.listen_with("127.0.0.1:0", options).await.unwrap();
    let address = listener.local_addr().to_string();
    let app = Router::new().route("/", get(|| async { "served" }));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let mut silent = Vec::new();
    for place in 0..STALLED {
        let mut tcp = TcpStream::connect(&address).await.unwrap();
        if place % 4 == 0 {
            // The beginning of a ClientHello, and no more.
            tcp.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
        }
        silent.push(tcp);
    }
    let client = site.endpoint("peer").await;
    assert_eq!(ask(&http(client.connector()), &address).await.unwrap().1, "served");
    drop(silent);
}

#[tokio::test]
async fn a_full_listener_hangs_up_and_says_so() {
    let site = Site::new();
    let web = site.endpoint("web").await;
    let listener = web.listen_with("127.0.0.1:0", ListenOptions::default().connections(1)).await.unwrap();
    let echo = echo_on(listener);
    let client = site.endpoint("peer").await;
    let stream = reaches(&client, &echo).await;
    assert!(client.connector().connect(&echo.address).await.is_err());
    until("the failure is kept", || web.failures().last().1 > 0).await;
    assert_eq!(web.failures().last().0[0].why.code, code::TOO_MANY_CONNECTIONS);
    drop(stream);
    until("its place is free", || web.registry().live() == 0).await;
    soon("a place", async {
        while client.connector().connect(&echo.address).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_websocket_knows_its_peer() {
    let site = Site::new();
    let web = site.endpoint("web").await;
    let options = ListenOptions::default().alpn(alpn::WEBSOCKET);
    let mut listener = web.listen_with("127.0.0.1:0", options).await.unwrap();
    let address = listener.local_addr().to_string();
    tokio::spawn(async move {
        let stream = listener.accept().await;
        let peer = stream.peer().clone();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        socket.send(Message::text(format!("hello, {}", peer.name()))).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    });
    let client = site.endpoint("peer").await;
    let stream = client.connector().alpn(alpn::WEBSOCKET).connect(&address).await.unwrap();
    assert_eq!(stream.alpn(), Some(&b"http/1.1"[..]));
    let (mut socket, _) =
        soon("a handshake", tokio_tungstenite::client_async(format!("wss://{address}/"), stream))
            .await
            .unwrap();
    let said = soon("a message", socket.next()).await.unwrap().unwrap();
    assert_eq!(said.to_text().unwrap(), "hello, peer.site.test");
}
