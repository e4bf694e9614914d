//! Callers that mean ill, or are broken: honest ones are served all the same; on every transport.

mod silent;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use certus_node::{ListenerSpec, Transport, transports};
use certus_pki::{Accept, code};
use certus_tls::{Client, ClientOptions, Publisher, TlsStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::authority::Authority;
use crate::soon;
use crate::world::{
    End, allow, ask, carried, echo, is_refused, listener, ping, reaching, service, serving, shouting, tcp,
};

async fn limited(
    authority: &Authority,
    transport: Transport,
    forward: SocketAddr,
    limit: impl FnOnce(&mut ListenerSpec),
) -> End {
    let mut spec = listener(transport, tcp(forward), &["spiffe://prod/worker/*"]);
    limit(&mut spec);
    End::new(authority.publisher("worker/web-1"), vec![spec], vec![]).await
}

/// A client of ours, by hand.
fn by_hand(publisher: &Publisher, alpn: &[&[u8]]) -> Client {
    let mut options = ClientOptions::new(Accept::new(allow(&["spiffe://prod/worker/web-1"])));
    options.alpn = alpn.iter().map(|one| one.to_vec()).collect();
    Client::new(publisher.credentials(), options)
}

async fn h2_by_hand(publisher: &Publisher, at: SocketAddr) -> TlsStream<TcpStream> {
    by_hand(publisher, &[b"h2"]).connect(TcpStream::connect(at).await.unwrap()).await.unwrap()
}

#[tokio::test]
async fn garbage_ends_nothing_but_itself() {
    let authority = Authority::new("prod");
    let garbage: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\xff\xff\x01\x00\xff\xff",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00",
        &[0xc3; 1_200],
    ];
    for transport in Transport::ALL {
        let one = serving(&authority, transport, shouting().await).await;
        for bytes in garbage {
            if transport == Transport::Quic {
                let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                socket.send_to(bytes, one.port()).await.unwrap();
            } else {
                let mut tcp = TcpStream::connect(one.port()).await.unwrap();
                tcp.write_all(bytes).await.unwrap();
                tcp.shutdown().await.unwrap();
                let mut answer = Vec::new();
                let _ = soon("the end", tcp.read_to_end(&mut answer)).await;
            }
        }
        let two = reaching(&authority, transport, "worker/web-2", one.port()).await;
        assert_eq!(ask(two.port(), b"hello").await.unwrap(), b"HELLO", "{transport}");
    }
}

#[tokio::test]
async fn garbage_inside_tls_too() {
    let authority = Authority::new("prod");
    for transport in [Transport::H2, Transport::Ws] {
        let one = serving(&authority, transport, shouting().await).await;
        let publisher = authority.publisher("worker/web-2");
        let alpn: &[u8] = if transport == Transport::H2 { b"h2" } else { b"http/1.1" };
        for bytes in [&b"\0\0\0garbage garbage garbage"[..], &[b'a'; 100_000], b"GET /other HTTP/1.1\r\n\r\n"]
        {
            let tcp = TcpStream::connect(one.port()).await.unwrap();
            let mut tls = by_hand(&publisher, &[alpn]).connect(tcp).await.unwrap();
            let _ = tls.write_all(bytes).await;
            let mut answer = Vec::new();
            let _ = soon("the end", tls.read_to_end(&mut answer)).await;
        }
        let honest = reaching(&authority, transport, "worker/web-3", one.port()).await;
        assert_eq!(ask(honest.port(), b"hello").await.unwrap(), b"HELLO", "{transport}");
        one.live_is(&format!("{transport}"), 1 - usize::from(transport == Transport::Ws)).await;
    }
}

#[tokio::test]
async fn more_connections_than_allowed_are_refused_until_there_is_room() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let what = format!("{transport}");
        let one = limited(&authority, transport, echo().await, |spec| spec.limits.connections = 2).await;
        let mut ends = Vec::new();
        for id in ["worker/web-2", "worker/web-3", "worker/web-4"] {
            ends.push(reaching(&authority, transport, id, one.port()).await);
        }
        let (mut first, second) = (carried(ends[0].port()).await, carried(ends[1].port()).await);
        is_refused(&what, ends[2].port()).await;
        one.failed_with(&what, code::TOO_MANY_CONNECTIONS).await;
        ping(&mut first).await.unwrap();
        drop(second);
        drop(ends.remove(1));
        one.live_is(&what, 1).await;
        let served = async {
            loop {
                let mut tcp = TcpStream::connect(ends[1].port()).await.unwrap();
                if ping(&mut tcp).await.is_ok() {
                    return;
                }
            }
        };
        soon(&what, served).await;
    }
}

/// A reader that does not read stops its own sender and nobody else, and costs what the windows are.
#[tokio::test]
async fn who_does_not_read_stops_its_own_sender_only() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = sent.clone();
        let floods = service(move |mut tcp| {
            let counted = counted.clone();
            async move {
                let mut wanted = [0];
                tcp.read_exact(&mut wanted).await?;
                if wanted[0] != b'f' {
                    return tcp.write_all(&wanted).await;
                }
                loop {
                    tcp.write_all(&[7; 16 << 10]).await?;
                    counted.fetch_add(16 << 10, Ordering::SeqCst);
                }
            }
        });
        let one = serving(&authority, transport, floods.await).await;
        let two = reaching(&authority, transport, "worker/web-2", one.port()).await;
        let mut idle = TcpStream::connect(two.port()).await.unwrap();
        idle.write_all(b"f").await.unwrap();
        // Until it stands still.
        let mut before = usize::MAX;
        while sent.load(Ordering::SeqCst) != before || before == 0 {
            before = sent.load(Ordering::SeqCst);
            assert!(before < 64 << 20, "{transport}: {before} bytes for nobody");
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        ping(&mut TcpStream::connect(two.port()).await.unwrap()).await.unwrap();
        // And it gets all of it once it reads.
        let mut some = vec![0; before];
        soon(&format!("{transport}: the rest"), idle.read_exact(&mut some)).await.unwrap();
        assert!(some.iter().all(|byte| *byte == 7), "{transport}");
    }
}

#[tokio::test]
async fn rapid_resets_end_their_connection_and_no_other() {
    let authority = Authority::new("prod");
    let one = serving(&authority, Transport::H2, echo().await).await;
    let honest = reaching(&authority, Transport::H2, "worker/web-3", one.port()).await;
    let mut live = carried(honest.port()).await;
    let publisher = authority.publisher("worker/web-2");
    let tls = h2_by_hand(&publisher, one.port()).await;
    let (requests, connection) = ::h2::client::handshake(tls).await.unwrap();
    let ended = tokio::spawn(connection);
    for _ in 0..20_000 {
        let request = http::Request::builder().method("CONNECT").uri("web:1").body(()).unwrap();
        let Ok(mut requests) = requests.clone().ready().await else { break };
        match requests.send_request(request, false) {
            Ok((_answer, mut stream)) => stream.send_reset(::h2::Reason::CANCEL),
            Err(_) => break,
        }
        tokio::task::yield_now().await;
    }
    drop(requests);
    let _ = soon("its end", ended).await.unwrap();
    ping(&mut live).await.unwrap();
    one.live_is("the honest one", 1).await;
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused_and_the_others_go_on() {
    let authority = Authority::new("prod");
    let one = limited(&authority, Transport::H2, echo().await, |spec| spec.limits.streams = 2).await;
    let publisher = authority.publisher("worker/web-2");
    let tls = h2_by_hand(&publisher, one.port()).await;
    // It does not wait for what the other end says of streams.
    let mut builder = ::h2::client::Builder::new();
    let (requests, connection) =
        builder.initial_max_send_streams(100).handshake::<_, bytes::Bytes>(tls).await.unwrap();
    tokio::spawn(connection);
    let mut answers = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..20 {
        let request = http::Request::builder().method("CONNECT").uri("web:1").body(()).unwrap();
        let Ok((answer, stream)) = requests.clone().send_request(request, false) else { break };
        answers.push(answer);
        streams.push(stream);
    }
    assert!(streams.len() > 2);
    let mut accepted = 0;
    for answer in answers {
        accepted += usize::from(soon("an answer", answer).await.is_ok());
    }
    assert_eq!(accepted, 2);
    let honest = reaching(&authority, Transport::H2, "worker/web-3", one.port()).await;
    ping(&mut carried(honest.port()).await).await.unwrap();
}

#[tokio::test]
async fn a_service_that_flaps_is_nobodys_end() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let turn = AtomicUsize::new(0);
        let flapping = service(move |mut tcp| {
            let turn = turn.fetch_add(1, Ordering::SeqCst);
            async move {
                if turn.is_multiple_of(2) {
                    return tcp.set_zero_linger();
                }
                let mut byte = [0];
                tcp.read_exact(&mut byte).await?;
                tcp.write_all(&byte).await
            }
        });
        let one = serving(&authority, transport, flapping.await).await;
        let two = reaching(&authority, transport, "worker/web-2", one.port()).await;
        let mut outcomes = [0, 0];
        for _ in 0..40 {
            let mut tcp = TcpStream::connect(two.port()).await.unwrap();
            outcomes[usize::from(ping(&mut tcp).await.is_ok())] += 1;
        }
        assert_eq!(outcomes, [20, 20], "{transport}");
    }
}

#[tokio::test]
async fn abrupt_ends_and_tiny_writes_are_carried_as_they_are() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let what = format!("{transport}");
        // The service sees a reset where the caller was reset.
        let resets = Arc::new(AtomicUsize::new(0));
        let counted = resets.clone();
        let watching = service(move |mut tcp| {
            let counted = counted.clone();
            async move {
                let mut byte = [0];
                loop {
                    match tcp.read(&mut byte).await {
                        Ok(0) => return Ok(()),
                        Ok(_) => tcp.write_all(&byte).await?,
                        Err(_) => {
                            counted.fetch_add(1, Ordering::SeqCst);
                            return Ok(());
                        }
                    }
                }
            }
        });
        let one = serving(&authority, transport, watching.await).await;
        let two = reaching(&authority, transport, "worker/web-2", one.port()).await;
        for _ in 0..20 {
            let tcp = carried(two.port()).await;
            tcp.set_zero_linger().unwrap();
        }
        crate::until(&what, || resets.load(Ordering::SeqCst) == 20).await;
        let mut tiny = carried(two.port()).await;
        for _ in 0..2_000 {
            ping(&mut tiny).await.unwrap();
        }
        drop(tiny);
        drop(two);
        one.live_is(&what, 0).await;
    }
}

/// A WebSocket whose caller goes away without a word is cut, not complete.
#[tokio::test]
async fn a_websocket_that_is_cut_off_is_reset_at_the_service() {
    let authority = Authority::new("prod");
    let (tell, mut heard) = tokio::sync::mpsc::channel(1);
    let watching = service(move |mut tcp| {
        let tell = tell.clone();
        async move {
            let mut all = Vec::new();
            tell.send(tcp.read_to_end(&mut all).await.is_ok()).await.unwrap();
            Ok(())
        }
    });
    let one = serving(&authority, Transport::Ws, watching.await).await;
    let publisher = authority.publisher("worker/web-2");
    let tcp = TcpStream::connect(one.port()).await.unwrap();
    let tls = by_hand(&publisher, &[b"http/1.1"]).connect(tcp).await.unwrap();
    let mut socket = transports::ws::connect(tls, &transports::ws::Ask::new("web")).await.unwrap();
    socket.write_all(b"half of it").await.unwrap();
    socket.flush().await.unwrap();
    drop(socket);
    assert!(!soon("the end", heard.recv()).await.unwrap(), "it is not taken for complete");
}
