//! Attempts to connect, without end: dropped, reset, garbage, half a hello, strangers. They cost what few
//! of them cost, and whoever is let in is served meanwhile.
//!
//! The whole siege: CERTUS_ATTEMPTS=100000 cargo test -p certus-node --test it attempts -- --nocapture

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use certus_pki::{Accept, Bundle, Epoch, Root};
use certus_tls::{Client, ClientOptions, Publisher, Snapshot};
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use super::*;

/// On each transport, unless `CERTUS_ATTEMPTS` says otherwise.
const ATTEMPTS: usize = 2_000;
/// At once.
const ATTACKERS: usize = 32;
/// Half hellos that each of them holds open: together fewer than the places for handshakes.
const HELD: usize = 8;
/// What all attempts together may leave, in KiB: at 100,000 a leak of a third of a KiB each is seen.
const GROWTH_MAX: u64 = 32 << 10;
/// With QUIC, 2,048 connections that ended and 512 that begin are known besides, whatever there are of attempts.
const GROWTH_MAX_QUIC: u64 = 128 << 10;

const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

fn attempts() -> usize {
    std::env::var("CERTUS_ATTEMPTS").map_or(ATTEMPTS, |count| count.parse().unwrap())
}

/// Somebody without a certificate, who trusts the besieged and is not let in.
fn stranger(besieged: &Besieged, transport: Transport) -> (Client, Publisher) {
    let root = Root::from_der(&besieged.ca.der).unwrap();
    let bundle = Bundle::of_authorities(Epoch::default(), vec![root], []);
    let publisher = Publisher::new(Snapshot::new(None, Arc::new(bundle)), certus_node::system_clock());
    let name = "127.0.0.1".parse().unwrap();
    let mut options = ClientOptions::new(Accept::new(certus_pki::Allow::Anyone).named(name));
    options.issuers = certus_pki::Issuers::AnyBelowRoot;
    let alpn: &[u8] = match transport {
        Transport::H2 => b"h2",
        Transport::Ws => b"http/1.1",
        _ => b"certus/1",
    };
    options.alpn = vec![alpn.to_vec()];
    (Client::new(publisher.credentials(), options), publisher)
}

/// One attempt over TCP; what is to be held open comes back.
async fn attempt(at: SocketAddr, client: &Client, number: usize) -> Option<TcpStream> {
    let Ok(mut tcp) = TcpStream::connect(at).await else { return None };
    match number % 16 {
        0..=5 => {}
        6..=9 => tcp.set_zero_linger().unwrap(),
        10..=12 => drop(tcp.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await),
        13 | 14 => {
            let _ = tcp.write_all(HALF_A_HELLO).await;
            return Some(tcp);
        }
        _ => drop(tokio::time::timeout(Duration::from_secs(5), client.connect(tcp)).await),
    }
    None
}

/// One over QUIC: most are given up in the middle, after their first datagram or later.
async fn attempt_quic(endpoint: &quinn::Endpoint, at: SocketAddr, client: &Client, number: usize) {
    let patience = if number.is_multiple_of(16) { 1_000 } else { number as u64 % 4 };
    let trying = client.connect_quic(endpoint, at);
    let _ = tokio::time::timeout(Duration::from_millis(patience), trying).await;
}

async fn attack(besieged: &Besieged, transport: Transport, count: usize) {
    let (at, next) = (besieged.port(transport), Arc::new(AtomicUsize::new(0)));
    let (client, _publisher) = stranger(besieged, transport);
    let client = Arc::new(client);
    let mut attackers = tokio::task::JoinSet::new();
    for _ in 0..ATTACKERS {
        let (client, next) = (client.clone(), next.clone());
        attackers.spawn(async move {
            let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
            let mut held = std::collections::VecDeque::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                if transport == Transport::Quic {
                    attempt_quic(&endpoint, at, &client, number).await;
                    continue;
                }
                held.extend(attempt(at, &client, number).await);
                while held.len() > HELD {
                    held.pop_front();
                }
            }
        });
    }
    while let Some(ended) = attackers.join_next().await {
        ended.unwrap();
    }
}

/// Calls again and again; every call must be answered. Says how many were.
async fn honest(port: SocketAddr, stop: CancellationToken) -> usize {
    let mut live = crate::world::carried(port).await;
    let mut served = 0;
    while !stop.is_cancelled() {
        ping(&mut live).await.unwrap();
        ping(&mut TcpStream::connect(port).await.unwrap()).await.unwrap();
        served += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    served
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stderr)] // The output of the whole siege is for people to see.
async fn attempts_leave_nothing_behind_and_hold_nobody_up() {
    let besieged = Besieged::start(None).await;
    let friend = besieged.friend().await;
    for transport in Transport::ALL {
        let count = attempts();
        // What is made once and kept is made by then: threads, buffers, the log of failures.
        attack(&besieged, transport, ATTEMPTS / 4).await;
        let (before, open) = (besieged.resident(), besieged.descriptors());
        let stop = CancellationToken::new();
        let calls = tokio::spawn(honest(friend.port(transport), stop.clone()));
        attack(&besieged, transport, count).await;
        let after = besieged.resident();
        stop.cancel();
        let served = calls.await.expect("every honest call is served");
        eprintln!(
            "{transport}: {count} attempts; resident {before} KiB before, {after} after; {served} honest calls"
        );
        let growth = if transport == Transport::Quic { GROWTH_MAX_QUIC } else { GROWTH_MAX };
        assert!(after < before + growth, "{transport}: {before} KiB before, {after} after");
        assert!(served > 0, "{transport}");
        crate::until(&format!("{transport}: all are gone"), || besieged.descriptors() <= open + 4).await;
        friend.is_served("after all", transport).await;
    }
}
