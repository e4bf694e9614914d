//! Carrying over real sockets, between two ends in this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use certus_node::{Backend, Carrier, ListenerSpec, Metrics, PeerSpec, Transport};
use certus_pki::{Allow, Change};
use certus_tls::Publisher;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use crate::authority::{Authority, delta};
use crate::{soon, until};

/// A service that answers each connection with what it was sent, in capitals, once that ended.
pub(crate) async fn service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = String::new();
                tcp.read_to_string(&mut asked).await?;
                tcp.write_all(asked.to_uppercase().as_bytes()).await
            });
        }
    });
    address
}

/// A service that answers every byte at once, for connections that live long.
pub(crate) async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = tcp.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    address
}

pub(crate) fn listener(forward: Backend, allow: &[&str]) -> ListenerSpec {
    let allow = Allow::Any(allow.iter().map(|pattern| pattern.parse().unwrap()).collect());
    ListenerSpec::new("web", Transport::Tcp, "127.0.0.1:0", forward, allow)
}

pub(crate) fn peer(id: certus_pki::SpiffeId, address: SocketAddr) -> PeerSpec {
    PeerSpec::new("web", id, Transport::Tcp, address.to_string(), "127.0.0.1:0")
}

/// One end, with its credentials.
pub(crate) struct End {
    pub(crate) publisher: Publisher,
    pub(crate) carrier: Carrier,
    pub(crate) metrics: Metrics,
}

impl End {
    pub(crate) async fn new(publisher: Publisher, listeners: Vec<ListenerSpec>, peers: Vec<PeerSpec>) -> End {
        let metrics = Metrics::new();
        let means = certus_node::Means::new(publisher.credentials(), metrics.clone());
        let carrier = Carrier::start(means, listeners, peers).await.unwrap();
        End { publisher, carrier, metrics }
    }

    pub(crate) fn port(&self) -> SocketAddr {
        self.carrier.bound("web").unwrap()
    }

    fn numbers(&self) -> String {
        let mut registry = Registry::default();
        self.metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }
}

/// `web-1` serves `forward` to web-2 and web-3; `web-2` and `web-3` reach it.
async fn three(authority: &Authority, forward: SocketAddr) -> [End; 3] {
    let allow = ["spiffe://prod/worker/web-2", "spiffe://prod/worker/web-3"];
    let listener = listener(Backend::Tcp(forward.to_string()), &allow);
    let one = End::new(authority.publisher("worker/web-1"), vec![listener], vec![]).await;
    let to_one = || vec![peer(authority.id("worker/web-1"), one.port())];
    let two = End::new(authority.publisher("worker/web-2"), vec![], to_one()).await;
    let three = End::new(authority.publisher("worker/web-3"), vec![], to_one()).await;
    [one, two, three]
}

/// Sends, ends the sending side, and reads the answer: fails if half-close is not carried.
async fn ask(port: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut tcp = TcpStream::connect(port).await?;
    tcp.write_all(question).await?;
    tcp.shutdown().await?;
    let mut answer = Vec::new();
    soon("an answer", tcp.read_to_end(&mut answer)).await?;
    Ok(answer)
}

/// One byte there and back.
pub(crate) async fn ping(tcp: &mut TcpStream) -> std::io::Result<()> {
    tcp.write_all(b"x").await?;
    let mut byte = [0];
    soon("an echo", tcp.read_exact(&mut byte)).await.map(drop)
}

#[tokio::test]
async fn a_question_is_carried_and_its_end_too() {
    let authority = Authority::new("prod");
    let [_one, two, _three] = three(&authority, service().await).await;
    assert_eq!(ask(two.port(), b"hello").await.unwrap(), b"HELLO");
    let long = vec![b'a'; 1 << 20];
    assert_eq!(ask(two.port(), &long).await.unwrap(), vec![b'A'; 1 << 20]);
}

#[tokio::test]
async fn a_unix_socket_is_a_service_too() {
    let authority = Authority::new("prod");
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("service.sock");
    let service = UnixListener::bind(&path).unwrap();
    let listener = listener(Backend::Unix(path), &["spiffe://prod/worker/*"]);
    let one = End::new(authority.publisher("worker/web-1"), vec![listener], vec![]).await;
    let to_one = vec![peer(authority.id("worker/web-1"), one.port())];
    let two = End::new(authority.publisher("worker/web-2"), vec![], to_one).await;
    tokio::spawn(async move {
        let (mut unix, _) = service.accept().await.unwrap();
        unix.write_all(b"from a socket").await.unwrap();
    });
    assert_eq!(ask(two.port(), b"").await.unwrap(), b"from a socket");
}

#[tokio::test]
async fn who_is_not_allowed_is_refused_and_told() {
    let authority = Authority::new("prod");
    let [one, two, _three] = three(&authority, service().await).await;
    let to_one = || vec![peer(authority.id("worker/web-1"), one.port())];
    let four = End::new(authority.publisher("worker/web-4"), vec![], to_one()).await;
    assert!(ask(four.port(), b"hello").await.is_err());
    until("both ends counted it", || {
        one.numbers().contains(r#"handshakes_total{side="server",outcome="not_allowed"} 1"#)
            && four.numbers().contains(r#"handshakes_total{side="client",outcome="peer_rejected_us"} 1"#)
    })
    .await;
    // No allow is nobody.
    let closed = listener(Backend::Tcp("127.0.0.1:9".into()), &[]);
    let closed = End::new(authority.publisher("worker/web-5"), vec![closed], vec![]).await;
    let six = vec![peer(authority.id("worker/web-5"), closed.port())];
    let six = End::new(authority.publisher("worker/web-6"), vec![], six).await;
    assert!(ask(six.port(), b"hello").await.is_err());
    // Whoever answers as another than the peer that was meant is not talked to.
    let meant = vec![peer(authority.id("worker/web-7"), one.port())];
    let seven = End::new(authority.publisher("worker/web-2"), vec![], meant).await;
    assert!(ask(seven.port(), b"hello").await.is_err());
    until("it is counted", || {
        seven.numbers().contains(r#"handshakes_total{side="client",outcome="not_allowed"} 1"#)
    })
    .await;
    assert_eq!(ask(two.port(), b"still").await.unwrap(), b"STILL");
}

#[tokio::test]
async fn plain_text_and_another_authority_do_not_stop_a_listener() {
    let authority = Authority::new("prod");
    let [one, two, _three] = three(&authority, service().await).await;
    let other = Authority::new("prod");
    let stranger = vec![peer(other.id("worker/web-1"), one.port())];
    let stranger = End::new(other.publisher("worker/web-2"), vec![], stranger).await;
    assert!(ask(stranger.port(), b"hello").await.is_err());
    let mut plain = TcpStream::connect(one.port()).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut end = Vec::new();
    let _ = soon("the end", plain.read_to_end(&mut end)).await;
    // One that never says a word holds up nobody.
    let _silent = TcpStream::connect(one.port()).await.unwrap();
    assert_eq!(ask(two.port(), b"hello").await.unwrap(), b"HELLO");
}

#[tokio::test]
async fn i10_a_revocation_cuts_the_live_connection_it_concerns_and_no_other() {
    let authority = Authority::new("prod");
    let [one, two, three] = three(&authority, echo().await).await;
    let mut of_two = TcpStream::connect(two.port()).await.unwrap();
    let mut of_three = TcpStream::connect(three.port()).await.unwrap();
    ping(&mut of_two).await.unwrap();
    ping(&mut of_three).await.unwrap();

    let leaf = two.publisher.current().identity().unwrap().leaf().clone();
    let revoked = Change::Revoked(authority.revocation(&leaf));
    let cuts = one.publisher.apply(&delta(2, vec![revoked])).unwrap();
    assert_eq!(cuts.len(), 1);
    assert_eq!(cuts[0].peer, authority.id("worker/web-2").to_string());

    // Reset, so that nobody takes what came until then for all there is.
    let mut rest = Vec::new();
    assert!(soon("the cut", of_two.read_to_end(&mut rest)).await.is_err());
    until("it is out of the registry", || one.publisher.registry().live() == 1).await;
    ping(&mut of_three).await.unwrap();
    // Nor does it come back.
    let mut again = TcpStream::connect(two.port()).await.unwrap();
    assert!(ping(&mut again).await.is_err());
    ping(&mut of_three).await.unwrap();
}

#[tokio::test]
async fn a_service_that_is_down_ends_the_connection() {
    let authority = Authority::new("prod");
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let [_one, two, _three] = three(&authority, address).await;
    assert!(ask(two.port(), b"hello").await.is_err());
}

#[tokio::test]
async fn shutdown_lets_connections_end_and_then_ends_them() {
    let authority = Authority::new("prod");
    let [one, two, three] = three(&authority, echo().await).await;
    let mut of_two = TcpStream::connect(two.port()).await.unwrap();
    let mut of_three = TcpStream::connect(three.port()).await.unwrap();
    ping(&mut of_two).await.unwrap();
    ping(&mut of_three).await.unwrap();
    let one = Arc::new(one);
    let ending = one.clone();
    let ended = tokio::spawn(async move { ending.carrier.shutdown_within(Duration::from_secs(60)).await });
    until("the port is closed", || std::net::TcpStream::connect(one.port()).is_err()).await;
    ping(&mut of_two).await.unwrap();
    drop((of_two, of_three));
    soon("the drain", ended).await.unwrap();

    // With a limit, who stays is ended, and sees a clean end.
    let [one, two, _three] = three_of(&authority).await;
    let mut stays = TcpStream::connect(two.port()).await.unwrap();
    ping(&mut stays).await.unwrap();
    soon("the end", one.carrier.shutdown_within(Duration::ZERO)).await;
    let mut rest = Vec::new();
    soon("its end", stays.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
}

async fn three_of(authority: &Authority) -> [End; 3] {
    three(authority, echo().await).await
}
