//! Somebody stands between the two: a proxy that ends TLS, or one that only connects.

use certus_pki::{Accept, Allow, Bundle, Epoch};
use certus_tls::{ClientCertificate, Identity, Publisher, Server, ServerOptions, Snapshot};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use zeroize::Zeroizing;

use super::*;
use crate::world::echo;
use certus_pki::Signer;

/// Ends TLS as a reverse proxy does, and passes on what is inside.
async fn ends_tls(towards: SocketAddr) -> SocketAddr {
    let (authority, key) = (Authority::new("gateway"), crate::authority::key());
    let chain = authority.chain("worker/gateway", key.public_key());
    let identity = Identity::of_any_authority(&key, chain).unwrap();
    let bundle = Bundle::of_authorities(Epoch::default(), Vec::new(), []);
    let publisher =
        Publisher::new(Snapshot::new(Some(Arc::new(identity)), Arc::new(bundle)), authority.clock());
    let mut options = ServerOptions::new(Accept::new(Allow::Anyone));
    options.client_certificate = ClientCertificate::NotAsked;
    options.alpn = vec![b"h2".to_vec()];
    options.alpn_optional = true;
    let server = Arc::new(Server::new(publisher.credentials(), options));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let _publisher = publisher;
        while let Ok((tcp, _)) = listener.accept().await {
            let server = server.clone();
            tokio::spawn(async move {
                let Ok(mut tls) = server.accept(tcp).await else { return };
                let mut onward = TcpStream::connect(towards).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut tls, &mut onward).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn where_a_proxy_ends_tls_the_session_goes_through() {
    for transport in [Transport::Tcp, Transport::H2, Transport::Ws] {
        let what = format!("{transport}");
        let (one, two) = (Agent::new().await, Agent::new().await);
        let mut spec = open(transport, shouting().await, &format!("agent:{}", two.node.agent_id()));
        spec.plaintext = true;
        let gateway = ends_tls(one.listens(spec).await).await;
        let mut peer = known(transport, one.node.agent_id(), gateway);
        // Unless both say that somebody ends TLS between them, they do not talk.
        is_refused(&what, two.dials(peer.clone()).await).await;
        two.failed_with(&what, code::E2E_FAILED).await;
        peer.intermediary = true;
        let port = two.dials(peer).await;
        assert_eq!(ask(port, b"hello").await.unwrap(), b"HELLO", "{what}");

        // Whoever is not allowed is refused through it, too.
        let three = Agent::new().await;
        let mut peer = known(transport, one.node.agent_id(), gateway);
        peer.intermediary = true;
        is_refused(&what, three.dials(peer).await).await;
        three.failed_with(&what, code::E2E_REFUSED).await;
    }
}

#[tokio::test]
async fn plaintext_at_both_ends_is_sealed_all_the_same() {
    for transport in [Transport::Tcp, Transport::H2, Transport::Ws] {
        let (one, two) = (Agent::new().await, Agent::new().await);
        let mut spec = open(transport, echo().await, &format!("agent:{}", two.node.agent_id()));
        spec.plaintext = true;
        let at = one.listens(spec).await;
        let mut peer = known(transport, one.node.agent_id(), at);
        peer.plaintext = true;
        ping(&mut carried(two.dials(peer).await).await).await.unwrap();
        // Who speaks no session is not served.
        let mut bare = TcpStream::connect(at).await.unwrap();
        bare.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = crate::soon("the end", bare.read_to_end(&mut answer)).await;
        assert!(!answer.starts_with(b"GET"), "{transport}: it was not echoed");
    }
}

/// `CONNECT`, and nothing else.
async fn http_proxy(seen: Arc<AtomicUsize>) -> SocketAddr {
    service(move |mut tcp| {
        let seen = seen.clone();
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(tcp.read_u8().await?);
            }
            let head = String::from_utf8(head).unwrap();
            let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap();
            if !head.contains("Basic dXNlcjpzZWNyZXQ=") {
                return tcp.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
            }
            let mut onward = TcpStream::connect(target).await?;
            seen.fetch_add(1, Ordering::SeqCst);
            tcp.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            tokio::io::copy_bidirectional(&mut tcp, &mut onward).await.map(drop)
        }
    })
    .await
}

#[tokio::test]
async fn a_websocket_goes_through_an_http_proxy() {
    let (one, two) = (Agent::new().await, Agent::new().await);
    let allowed = format!("agent:{}", two.node.agent_id());
    let at = one.listens(open(Transport::Ws, shouting().await, &allowed)).await;
    let seen = Arc::new(AtomicUsize::new(0));
    let proxy = http_proxy(seen.clone()).await;
    let mut peer = known(Transport::Ws, one.node.agent_id(), at);
    peer.http_proxy = Some(Zeroizing::new(format!("http://{proxy}")));
    is_refused("no credentials", two.dials(peer.clone()).await).await;
    two.failed_with("no credentials", code::HTTP_PROXY).await;
    peer.http_proxy = Some(Zeroizing::new(format!("http://user:secret@{proxy}")));
    assert!(!format!("{peer:?}").contains("secret"));
    let port = two.dials(peer).await;
    assert_eq!(ask(port, b"hello").await.unwrap(), b"HELLO");
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}
