//! A peer that was gone and is back, moved, or has several addresses is found again.

use std::net::SocketAddr;

use certus_node::Transport;
use tokio::net::UdpSocket;
use tokio::sync::watch;

use crate::authority::Authority;
use crate::soon;
use crate::world::{End, carried, echo, listener, ping, reaching, serving, tcp, to};

#[tokio::test]
async fn a_listener_that_starts_again_is_found_again() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        for gently in [true, false] {
            let what = format!("{transport}, {}", if gently { "shut down" } else { "killed" });
            let service = echo().await;
            let one = serving(&authority, transport, service).await;
            let two = reaching(&authority, transport, "worker/web-2", one.port()).await;
            let port = two.port();
            drop(carried(port).await);
            let mut spec = listener(transport, tcp(service), &["spiffe://prod/worker/*"]);
            spec.address = one.port().to_string();
            if gently {
                soon(&what, one.carrier.shutdown()).await;
            }
            drop(one);
            let publisher = authority.publisher("worker/web-1");
            let metrics = certus_node::Metrics::new();
            let again = async {
                loop {
                    let means = certus_node::Means::new(publisher.credentials(), metrics.clone());
                    match certus_node::Carrier::start(means, vec![spec.clone()], vec![]).await {
                        Ok(carrier) => return carrier,
                        Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
                    }
                }
            };
            let _again = soon(&what, again).await;
            // No kept connection stands in the way.
            let mut tcp = tokio::net::TcpStream::connect(port).await.unwrap();
            ping(&mut tcp).await.unwrap();
        }
    }
}

/// `localhost` is two addresses on many machines, and the listener has one of them.
#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let one = serving(&authority, transport, echo().await).await;
        let mut peer = to(&authority, transport, "worker/web-1", one.port());
        peer.address = format!("localhost:{}", one.port().port());
        let two = End::new(authority.publisher("worker/web-2"), vec![], vec![peer]).await;
        ping(&mut carried(two.port()).await).await.unwrap();
    }
}

/// A relay of datagrams for one caller, that can be turned to another listener.
async fn relay(towards: SocketAddr) -> (SocketAddr, watch::Sender<SocketAddr>) {
    let (front, back) =
        (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = front.local_addr().unwrap();
    let (turn, turned) = watch::channel(towards);
    tokio::spawn(async move {
        let (mut there, mut here) = ([0; 2_000], [0; 2_000]);
        let mut caller = None;
        loop {
            tokio::select! {
                came = front.recv_from(&mut there) => {
                    let Ok((count, from)) = came else { continue };
                    caller = Some(from);
                    let towards = *turned.borrow();
                    let _ = back.send_to(&there[..count], towards).await;
                }
                came = back.recv_from(&mut here) => {
                    let (Ok((count, _)), Some(caller)) = (came, caller) else { continue };
                    let _ = front.send_to(&here[..count], caller).await;
                }
            }
        }
    });
    (address, turn)
}

/// Nobody says goodbye for a listener that was killed, and the next knows nothing of its connections.
#[tokio::test]
async fn a_quic_listener_that_vanished_is_given_up_for_its_successor() {
    let authority = Authority::new("prod");
    let service = echo().await;
    let one = serving(&authority, Transport::Quic, service).await;
    let (at, turn) = relay(one.port()).await;
    let two = reaching(&authority, Transport::Quic, "worker/web-2", at).await;
    ping(&mut carried(two.port()).await).await.unwrap();
    let next = serving(&authority, Transport::Quic, service).await;
    turn.send_replace(next.port());
    ping(&mut carried(two.port()).await).await.unwrap();
    next.live_is("the successor's", 1).await;
}
