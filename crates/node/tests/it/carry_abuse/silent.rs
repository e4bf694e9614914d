//! Callers that say nothing, or stop in the middle of a handshake, at each layer.

use super::*;
use crate::world::to;

/// More than there are places for handshakes, many times over.
const CROWD: usize = 300;
const PLACES: usize = 4;

/// The beginning of a TLS record that would be a hello.
const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

#[tokio::test]
async fn a_crowd_that_says_nothing_or_half_a_hello_holds_nobody_up() {
    let authority = Authority::new("prod");
    for transport in [Transport::Tcp, Transport::H2, Transport::Ws] {
        for says in [&b""[..], HALF_A_HELLO] {
            let one = limited(&authority, transport, echo().await, |spec| spec.limits.handshakes = PLACES);
            let one = one.await;
            let mut crowd = Vec::new();
            // The silent are many; each of those that hold a place costs a second of patience.
            let count = if says.is_empty() { CROWD } else { 2 * PLACES };
            for _ in 0..count {
                let mut tcp = TcpStream::connect(one.port()).await.unwrap();
                tcp.write_all(says).await.unwrap();
                crowd.push(tcp);
            }
            let two = reaching(&authority, transport, "worker/web-2", one.port()).await;
            let mut live = carried(two.port()).await;
            ping(&mut live).await.unwrap();
            drop(crowd);
        }
    }
}

#[tokio::test]
async fn a_crowd_that_fills_every_place_gives_way() {
    let authority = Authority::new("prod");
    for transport in [Transport::Tcp, Transport::H2, Transport::Ws] {
        let one = limited(&authority, transport, echo().await, |spec| spec.limits.connections = 50).await;
        let mut crowd = Vec::new();
        for _ in 0..50 {
            crowd.push(TcpStream::connect(one.port()).await.unwrap());
        }
        // They came just now, so somebody else is refused at first; then the longest silent gives way.
        let two = reaching(&authority, transport, "worker/web-2", one.port()).await;
        let served = async {
            loop {
                let mut tcp = TcpStream::connect(two.port()).await.unwrap();
                if ping(&mut tcp).await.is_ok() {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        soon(&format!("{transport}"), served).await;
        drop(crowd);
    }
}

/// Callers that TLS knows, and that then say nothing of HTTP/2 or WebSocket.
#[tokio::test]
async fn a_crowd_that_stops_after_tls_holds_nobody_up() {
    let authority = Authority::new("prod");
    for transport in [Transport::H2, Transport::Ws] {
        let one = limited(&authority, transport, echo().await, |spec| spec.limits.handshakes = PLACES).await;
        let publisher = authority.publisher("worker/web-2");
        let alpn: &[u8] = if transport == Transport::H2 { b"h2" } else { b"http/1.1" };
        let mut crowd = Vec::new();
        for _ in 0..30 {
            let tcp = TcpStream::connect(one.port()).await.unwrap();
            crowd.push(by_hand(&publisher, &[alpn]).connect(tcp).await.unwrap());
        }
        let honest = reaching(&authority, transport, "worker/web-3", one.port()).await;
        ping(&mut carried(honest.port()).await).await.unwrap();
        drop(crowd);
    }
}

/// The first datagrams of so many callers, whose owners will never be heard of again.
async fn first_datagrams(authority: &Authority, count: usize) -> Vec<Vec<u8>> {
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let towards = nobody.local_addr().unwrap();
    let mut datagrams = Vec::new();
    for _ in 0..count {
        let peer = to(authority, Transport::Quic, "worker/web-1", towards);
        let lost = End::new(authority.publisher("worker/web-9"), vec![], vec![peer]).await;
        let _local = TcpStream::connect(lost.port()).await.unwrap();
        let mut buffer = [0; 2_000];
        let (count, from) = soon("a datagram", nobody.recv_from(&mut buffer)).await.unwrap();
        // What comes next of it is of no interest.
        let _ = from;
        datagrams.push(buffer[..count].to_vec());
    }
    datagrams
}

#[tokio::test]
async fn a_crowd_of_first_datagrams_holds_nobody_up() {
    let authority = Authority::new("prod");
    let one =
        limited(&authority, Transport::Quic, echo().await, |spec| spec.limits.handshakes = PLACES).await;
    let mut sockets = Vec::new();
    for datagram in first_datagrams(&authority, 40).await {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(&datagram, one.port()).await.unwrap();
        sockets.push(socket);
    }
    let two = reaching(&authority, Transport::Quic, "worker/web-2", one.port()).await;
    ping(&mut carried(two.port()).await).await.unwrap();
}
