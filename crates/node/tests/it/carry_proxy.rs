//! Where a caller comes from, as a proxy says it and as the service is told.

use std::net::SocketAddr;

use certus_node::Transport;
use certus_node::carry::proxy_protocol::{Ends, Facts, Header, read_header};
use certus_pki::{Accept, code};
use certus_tls::{Client, ClientOptions};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::authority::Authority;
use crate::soon;
use crate::world::{End, allow, listener, ping, reaching, service, tcp};

/// A service that reads the header, hands it over, and echoes from there on.
async fn told() -> (SocketAddr, mpsc::Receiver<Header>) {
    let (tell, heard) = mpsc::channel(10);
    let address = service(move |mut tcp| {
        let tell = tell.clone();
        async move {
            let header = read_header(&mut tcp).await.map_err(std::io::Error::other)?;
            tell.send(header).await.unwrap();
            let (mut from, mut to) = tcp.split();
            tokio::io::copy(&mut from, &mut to).await.map(drop)
        }
    });
    (address.await, heard)
}

#[tokio::test]
async fn the_service_is_told_who_comes_and_where_from() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let (service, mut heard) = told().await;
        let mut spec = listener(transport, tcp(service), &["spiffe://prod/worker/*"]);
        spec.proxy_protocol.send = true;
        let one = End::new(authority.publisher("worker/web-1"), vec![spec], vec![]).await;
        let two = reaching(&authority, transport, "worker/web-2", one.port()).await;
        let mut tcp = TcpStream::connect(two.port()).await.unwrap();
        ping(&mut tcp).await.unwrap();
        let header = soon("the header", heard.recv()).await.unwrap();
        let Ends::Tcp { source, destination } = header.ends else { panic!("{transport}: {header:?}") };
        assert!(source.ip().is_loopback(), "{transport}");
        assert_eq!(destination, one.port(), "{transport}");
        let own = two.publisher.current().identity().unwrap().clone();
        assert_eq!(header.facts.spiffe_id, Some("spiffe://prod/worker/web-2".to_owned()), "{transport}");
        assert_eq!(header.facts.key_fingerprint, Some(own.leaf().key_hash().to_string()), "{transport}");
        let tls = header.facts.tls.unwrap();
        assert!(tls.verified && tls.certificate_in_session, "{transport}");
        assert_eq!(tls.version.as_deref(), Some("TLSv1.3"), "{transport}");
    }
}

#[tokio::test]
async fn a_proxy_before_a_listener_is_believed() {
    let authority = Authority::new("prod");
    let source: SocketAddr = "203.0.113.7:4711".parse().unwrap();
    let destination: SocketAddr = "192.0.2.1:443".parse().unwrap();
    let (service, mut heard) = told().await;
    let mut spec = listener(Transport::Tcp, tcp(service), &["spiffe://prod/worker/web-2"]);
    (spec.proxy_protocol.accept, spec.proxy_protocol.send) = (true, true);
    let one = End::new(authority.publisher("worker/web-1"), vec![spec], vec![]).await;
    let header = Header { ends: Ends::Tcp { source, destination }, facts: Facts::default() };

    for (id, accepted) in [("worker/web-2", true), ("worker/web-3", false)] {
        let client = authority.publisher(id);
        let options = ClientOptions::new(Accept::new(allow(&["spiffe://prod/worker/web-1"])));
        let dialler = Client::new(client.credentials(), options);
        let mut tcp = TcpStream::connect(one.port()).await.unwrap();
        tcp.write_all(&header.encode().unwrap()).await.unwrap();
        let mut tls = dialler.connect(tcp).await.unwrap();
        assert_eq!(ping(&mut tls).await.is_ok(), accepted, "{id}");
    }
    let header = soon("the header", heard.recv()).await.unwrap();
    assert_eq!(header.ends, Ends::Tcp { source, destination });
    let failure = one.failed_with("the one that is not allowed", code::NOT_ALLOWED).await;
    assert_eq!(failure.from, source.to_string(), "the source, not the proxy");

    // Who brings no header is refused, whatever else it brings.
    let mut bare = TcpStream::connect(one.port()).await.unwrap();
    bare.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a hello without a header").await.unwrap();
    one.failed_with("no header", code::PROXY_PROTOCOL).await;
}
