//! Connections alone on their socket are half-closed once they rest, before a drain cuts what is left.

use std::time::Duration;

use certus_node::{ListenerSpec, Transport};
use certus_pki::Accept;
use certus_tls::{Action, Client, ClientOptions};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::authority::Authority;
use crate::soon;
use crate::world::{End, allow, carried, echo, is_reset, listener, renewed, service, tcp, to};

const LONG: Duration = Duration::from_secs(60);
const ALONE: [Transport; 2] = [Transport::Tcp, Transport::Ws];

/// Both ends, of which one drains where its certificate is replaced.
async fn draining(
    authority: &Authority,
    transport: Transport,
    forward: std::net::SocketAddr,
    who: &str,
) -> (End, End) {
    let drain = |spec: &mut ListenerSpec| spec.tls.lifecycle.on_rotation = Action::Drain(LONG);
    let mut spec = listener(transport, tcp(forward), &["spiffe://prod/worker/*"]);
    if who == "listener" {
        drain(&mut spec);
    }
    let one = End::new(authority.publisher("worker/web-1"), vec![spec], vec![]).await;
    let mut peer = to(authority, transport, "worker/web-1", one.port());
    if who == "dialler" {
        peer.tls.lifecycle.on_rotation = Action::Drain(LONG);
    }
    let two = End::new(authority.publisher("worker/web-2"), vec![], vec![peer]).await;
    (one, two)
}

fn rotate(authority: &Authority, who: &str, (one, two): (&End, &End)) {
    let (end, id) = if who == "listener" { (one, "worker/web-1") } else { (two, "worker/web-2") };
    end.publisher.publish_identity(renewed(authority, id)).unwrap();
}

async fn ends_whole(what: &str, live: &mut TcpStream) {
    let mut rest = Vec::new();
    let read = soon(what, live.read_to_end(&mut rest)).await;
    assert!(read.is_ok() && rest.is_empty(), "{what}: {read:?}");
}

#[tokio::test]
async fn who_rests_sees_an_end_and_no_reset() {
    let one_case = |transport, who| async move {
        let (authority, what) = (Authority::new("prod"), format!("{transport}, {who}"));
        let (one, two) = draining(&authority, transport, echo().await, who).await;
        let mut live = carried(two.port()).await;
        rotate(&authority, who, (&one, &two));
        ends_whole(&what, &mut live).await;
        drop(live);
        one.live_is(&what, 0).await;
        two.live_is(&what, 0).await;
        assert!(two.last_failure().is_none() && one.last_failure().is_none(), "{what}");
    };
    let cases = ALONE.into_iter().flat_map(|over| ["listener", "dialler"].map(|who| one_case(over, who)));
    futures_util::future::join_all(cases).await;
}

/// A service that answers each connection once, when it is told to.
async fn thinking(answer: std::sync::Arc<tokio::sync::Notify>) -> std::net::SocketAddr {
    service(move |mut tcp| {
        let answer = answer.clone();
        async move {
            let mut question = [0; 8];
            tcp.read_exact(&mut question).await?;
            answer.notified().await;
            tcp.write_all(b"answer").await?;
            // Until the caller's end.
            tcp.read_to_end(&mut Vec::new()).await.map(drop)
        }
    })
    .await
}

#[tokio::test]
async fn who_waits_for_an_answer_gets_it() {
    let one_case = |transport, who| async move {
        let (authority, what) = (Authority::new("prod"), format!("{transport}, {who}"));
        let answer = std::sync::Arc::new(tokio::sync::Notify::new());
        let (one, two) = draining(&authority, transport, thinking(answer.clone()).await, who).await;
        let mut live = TcpStream::connect(two.port()).await.unwrap();
        live.write_all(b"question").await.unwrap();
        crate::until(&what, || one.live() == 1 && two.live() == 1).await;
        rotate(&authority, who, (&one, &two));
        // Longer than a connection must rest; nothing to be shown but that it goes on.
        tokio::time::sleep(Duration::from_secs(4)).await;
        answer.notify_one();
        let mut answered = Vec::new();
        soon(&what, live.read_to_end(&mut answered)).await.unwrap();
        assert_eq!(answered, b"answer", "{what}");
    };
    let cases = ALONE.into_iter().flat_map(|over| ["listener", "dialler"].map(|who| one_case(over, who)));
    futures_util::future::join_all(cases).await;
}

/// What would be lost is not taken for delivered.
#[tokio::test]
async fn who_goes_on_after_the_end_is_reset() {
    let one_case = |transport| async move {
        let (authority, what) = (Authority::new("prod"), format!("{transport}"));
        let (one, two) = draining(&authority, transport, echo().await, "listener").await;
        let mut live = carried(two.port()).await;
        rotate(&authority, "listener", (&one, &two));
        ends_whole(&what, &mut live).await;
        let refused = async {
            while live.write_all(b"another question").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon(&what, refused).await;
        one.live_is(&what, 0).await;
    };
    futures_util::future::join_all(ALONE.map(one_case)).await;
}

/// A service that does not end though its caller did: the connection is cut when the time is up.
#[tokio::test]
async fn who_does_not_end_is_cut() {
    let one_case = |transport| async move {
        let (authority, what) = (Authority::new("prod"), format!("{transport}"));
        let stubborn = service(|mut tcp| async move {
            let mut byte = [0];
            tcp.read_exact(&mut byte).await?;
            tcp.write_all(&byte).await?;
            std::future::pending().await
        });
        let mut spec = listener(transport, tcp(stubborn.await), &["spiffe://prod/worker/*"]);
        spec.tls.lifecycle.on_rotation = Action::Drain(Duration::from_secs(5));
        let one = End::new(authority.publisher("worker/web-1"), vec![spec], vec![]).await;
        let two = crate::world::reaching(&authority, transport, "worker/web-2", one.port()).await;
        let mut live = carried(two.port()).await;
        one.publisher.publish_identity(renewed(&authority, "worker/web-1")).unwrap();
        is_reset(&what, &mut live).await;
    };
    futures_util::future::join_all(ALONE.map(one_case)).await;
}

/// What a program of somebody else sees: an end, and a Close that says so.
#[tokio::test]
async fn a_websocket_that_rests_is_closed_with_1001() {
    let authority = Authority::new("prod");
    let (one, two) = draining(&authority, Transport::Ws, echo().await, "listener").await;
    let mut options = ClientOptions::new(Accept::new(allow(&["spiffe://prod/worker/web-1"])));
    options.alpn = vec![b"http/1.1".to_vec()];
    let client = Client::new(two.publisher.credentials(), options);
    let tls = client.connect(TcpStream::connect(one.port()).await.unwrap()).await.unwrap();
    let mut request = "wss://web/certus".into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "certus.v1".parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::client_async(request, tls).await.unwrap();
    one.live_is("the socket", 1).await;
    rotate(&authority, "listener", (&one, &two));
    let end = soon("the end", socket.next()).await.unwrap().unwrap();
    assert_eq!(end, Message::Binary(Default::default()));
    let Some(Ok(Message::Close(Some(close)))) = soon("the close", socket.next()).await else {
        panic!("no close")
    };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1001, "drained"));
}

/// A node that ends does not wait for those who rest, unless they stay.
#[tokio::test]
async fn a_node_that_ends_half_closes_too() {
    let one_case = |transport| async move {
        let (authority, what) = (Authority::new("prod"), format!("{transport}"));
        let (one, two) = crate::world::pair(&authority, transport, echo().await).await;
        let mut live = carried(two.port()).await;
        let ending = tokio::spawn(async move { one.carrier.shutdown_within(LONG).await });
        ends_whole(&what, &mut live).await;
        drop(live);
        soon(&what, ending).await.unwrap();
    };
    futures_util::future::join_all(ALONE.map(one_case)).await;
}
