//! What is carried arrives, whole, both ways, and each direction ends on its own; on every transport.

use certus_node::{Backend, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener};

use crate::authority::Authority;
use crate::soon;
use crate::world::{End, ask, carried, echo, listener, pair, ping, service, shouting, to};

/// More than any window or buffer on the way.
const MUCH: usize = 8 << 20;

#[tokio::test]
async fn a_byte_and_megabytes_go_there_and_back() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let (one, two) = pair(&authority, transport, echo().await).await;
        ping(&mut carried(two.port()).await).await.unwrap();

        let tcp = carried(two.port()).await;
        let (mut from, mut into) = tcp.into_split();
        let much: Vec<u8> = (0..MUCH).map(|place| (place * 31 % 251) as u8).collect();
        let sent = much.clone();
        let sending = tokio::spawn(async move {
            into.write_all(&sent).await.unwrap();
            into.shutdown().await.unwrap();
        });
        let mut came = Vec::new();
        soon("all of it", from.read_to_end(&mut came)).await.unwrap();
        assert!(came == much, "{transport}: {} bytes came, or others", came.len());
        sending.await.unwrap();

        let connections = one.publisher.registry().connections();
        let known: Vec<_> = connections.iter().map(|one| one.peer.as_ref().unwrap().peer.name()).collect();
        assert!(known.iter().all(|name| *name == authority.id("worker/web-2").to_string()), "{known:?}");
        let connections = two.publisher.registry().connections();
        let known: Vec<_> = connections.iter().map(|one| one.peer.as_ref().unwrap().peer.name()).collect();
        assert!(known.iter().all(|name| *name == authority.id("worker/web-1").to_string()), "{known:?}");
    }
}

#[tokio::test]
async fn each_direction_ends_on_its_own() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        // The caller ends first.
        let (_one, two) = pair(&authority, transport, shouting().await).await;
        assert_eq!(ask(two.port(), b"hello").await.unwrap(), b"HELLO", "{transport}");
        let long = vec![b'a'; 1 << 20];
        assert_eq!(ask(two.port(), &long).await.unwrap(), vec![b'A'; 1 << 20], "{transport}");

        // The service ends first, and goes on listening.
        let (told, mut heard) = tokio::sync::mpsc::channel(1);
        let ends_first = service(move |mut tcp| {
            let told = told.clone();
            async move {
                tcp.write_all(b"all I have").await?;
                tcp.shutdown().await?;
                let mut came = Vec::new();
                tcp.read_to_end(&mut came).await?;
                told.send(came).await.unwrap();
                Ok(())
            }
        })
        .await;
        let (_one, two) = pair(&authority, transport, ends_first).await;
        let mut tcp = TcpStream::connect(two.port()).await.unwrap();
        let mut came = Vec::new();
        soon("its end", tcp.read_to_end(&mut came)).await.unwrap();
        assert_eq!(came, b"all I have", "{transport}");
        tcp.write_all(b"and I am still here").await.unwrap();
        tcp.shutdown().await.unwrap();
        assert_eq!(soon("the rest", heard.recv()).await.unwrap(), b"and I am still here", "{transport}");
    }
}

#[tokio::test]
async fn a_service_may_speak_first() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let greeting = service(|mut tcp| async move {
            tcp.write_all(b"220 hello\r\n").await?;
            let mut line = [0; 6];
            tcp.read_exact(&mut line).await?;
            tcp.write_all(b"221 bye\r\n").await
        });
        let (_one, two) = pair(&authority, transport, greeting.await).await;
        let mut tcp = TcpStream::connect(two.port()).await.unwrap();
        let mut line = [0; 11];
        soon("the greeting", tcp.read_exact(&mut line)).await.unwrap();
        assert_eq!(&line, b"220 hello\r\n", "{transport}");
        tcp.write_all(b"QUIT\r\n").await.unwrap();
        let mut rest = String::new();
        soon("its goodbye", tcp.read_to_string(&mut rest)).await.unwrap();
        assert_eq!(rest, "221 bye\r\n", "{transport}");
    }
}

#[tokio::test]
async fn many_at_once_share_connections_where_the_transport_can() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let (one, two) = pair(&authority, transport, echo().await).await;
        // The first hundred at once, and another hundred while they live.
        let mut live = Vec::new();
        for expected in [1, 2] {
            let port = two.port();
            let opening: Vec<_> = (0..100).map(|_| tokio::spawn(carried(port))).collect();
            for opened in opening {
                live.push(soon("a connection", opened).await.unwrap());
            }
            let shared = matches!(transport, Transport::H2 | Transport::Quic);
            assert_eq!(two.live(), if shared { expected } else { live.len() }, "{transport}");
            assert_eq!(one.live(), two.live(), "{transport}");
        }
        for tcp in &mut live {
            ping(tcp).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_listener_that_takes_few_streams_gets_more_connections() {
    let authority = Authority::new("prod");
    for transport in [Transport::H2, Transport::Quic] {
        let mut spec =
            listener(transport, Backend::Tcp(echo().await.to_string()), &["spiffe://prod/worker/*"]);
        spec.limits.streams = 3;
        let one = End::new(authority.publisher("worker/web-1"), vec![spec], vec![]).await;
        let peer = to(&authority, transport, "worker/web-1", one.port());
        let two = End::new(authority.publisher("worker/web-2"), vec![], vec![peer]).await;
        let port = two.port();
        let opening: Vec<_> = (0..20).map(|_| tokio::spawn(carried(port))).collect();
        let mut live = Vec::new();
        for opened in opening {
            live.push(soon("a connection", opened).await.unwrap());
        }
        assert!((7..=20).contains(&two.live()), "{transport}: {}", two.live());
        for tcp in &mut live {
            ping(tcp).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_unix_socket_is_a_service_too() {
    let authority = Authority::new("prod");
    let temp = tempfile::tempdir().unwrap();
    for transport in Transport::ALL {
        let path = temp.path().join(format!("{transport}.sock"));
        let service = UnixListener::bind(&path).unwrap();
        let spec = listener(transport, Backend::Unix(path), &["spiffe://prod/worker/*"]);
        let one = End::new(authority.publisher("worker/web-1"), vec![spec], vec![]).await;
        let peer = to(&authority, transport, "worker/web-1", one.port());
        let two = End::new(authority.publisher("worker/web-2"), vec![], vec![peer]).await;
        tokio::spawn(async move {
            let (mut unix, _) = service.accept().await.unwrap();
            let mut asked = String::new();
            unix.read_to_string(&mut asked).await.unwrap();
            unix.write_all(asked.to_uppercase().as_bytes()).await.unwrap();
        });
        assert_eq!(ask(two.port(), b"from a socket").await.unwrap(), b"FROM A SOCKET", "{transport}");
    }
}
