//! Rotations of leaves, keys and roots under load, on each transport: how many handshakes fail.
//!
//! Roots overlap, as a cluster's do: the new one is trusted everywhere before anybody shows what it
//! certified, and the old one is forgotten after everybody stopped.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use certus_node::{Backend, Carrier, ListenerSpec, Means, Metrics, PeerSpec, Transport};
use certus_pki::Allow;
use certus_tls::Publisher;
use common::authority::{Authority, bundle};
use common::{Failure, long, service};

/// Callers at once, each opening one connection after another.
const CALLERS: usize = 4;
/// Every so many leaves the root is replaced too.
const LEAVES_A_ROOT: usize = 20;

/// One end and its credentials.
struct End {
    publisher: Publisher,
    carrier: Carrier,
}

impl End {
    async fn start(
        publisher: Publisher,
        listeners: Vec<ListenerSpec>,
        peers: Vec<PeerSpec>,
    ) -> Result<End, Failure> {
        let means = Means::new(publisher.credentials(), Metrics::new());
        Ok(End { carrier: Carrier::start(means, listeners, peers).await?, publisher })
    }

    fn port(&self) -> Result<SocketAddr, Failure> {
        Ok(self.carrier.bound("bench").ok_or("not bound")?)
    }
}

#[derive(Default)]
struct Load {
    stop: AtomicBool,
    /// Of each caller.
    asked: [AtomicU64; CALLERS],
    failed: AtomicU64,
}

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let rotations = if long() { 10_000 } else { 200 };
        println!("transport   leaves   roots   connections   failed requests   failed handshakes   seconds");
        for transport in Transport::ALL {
            rotate(transport, rotations).await?;
        }
        Ok(())
    })
}

async fn rotate(transport: Transport, rotations: usize) -> Result<(), Failure> {
    let mut authority = Authority::new()?;
    let forward = Backend::Tcp(service::start().await?.to_string());
    let allow = Allow::Id("spiffe://bench/worker/two".parse()?);
    let listener = ListenerSpec::new("bench", transport, "127.0.0.1:0", forward, allow);
    let one = End::start(authority.publisher("one")?, vec![listener], Vec::new()).await?;
    let address = one.port()?.to_string();
    let peer = PeerSpec::new("bench", authority.id("one")?, transport, address, "127.0.0.1:0");
    let two = End::start(authority.publisher("two")?, Vec::new(), vec![peer]).await?;

    let (load, port, begin) = (Arc::new(Load::default()), two.port()?, Instant::now());
    let callers: Vec<_> = (0..CALLERS).map(|caller| tokio::spawn(call(load.clone(), caller, port))).collect();
    let (mut revision, mut roots) = (1, 0);
    for turn in 1..=rotations {
        let (end, name) = if turn % 2 == 0 { (&one, "one") } else { (&two, "two") };
        if turn % LEAVES_A_ROOT == 0 {
            let next = Authority::new()?;
            revision += 2;
            for end in [&one, &two] {
                end.publisher.publish_bundle(bundle(revision - 1, &[&authority, &next], &[])?)?;
            }
            one.publisher.publish_identity(next.identity("one")?)?;
            two.publisher.publish_identity(next.identity("two")?)?;
            settle(&load).await;
            for end in [&one, &two] {
                end.publisher.publish_bundle(bundle(revision, &[&next], &[])?)?;
            }
            authority = next;
            roots += 1;
        } else {
            end.publisher.publish_identity(authority.identity(name)?)?;
        }
        // Each is used before the next comes.
        settle(&load).await;
    }
    load.stop.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await?;
    }
    let failures = [&one, &two].map(|end| end.carrier.failures().last());
    let failed: u64 = failures.iter().map(|(_, total)| total).sum();
    let asked: u64 = load.asked.iter().map(|asked| asked.load(Ordering::SeqCst)).sum();
    let lost = load.failed.load(Ordering::SeqCst);
    println!(
        "{:<9} {rotations:>8} {roots:>7} {asked:>13} {lost:>17} {failed:>19} {:>9.1}",
        transport.as_str(),
        begin.elapsed().as_secs_f64()
    );
    for failure in failures.iter().flat_map(|(last, _)| last).take(3) {
        println!("  {:?} of {}: {} {}", failure.side, failure.peer, failure.why.code, failure.why.message);
    }
    Ok(())
}

/// Waits until connections that began before have ended, and one that began after too.
async fn settle(load: &Load) {
    for asked in &load.asked {
        let target = asked.load(Ordering::SeqCst) + 2;
        while asked.load(Ordering::SeqCst) < target {
            tokio::task::yield_now().await;
        }
    }
}

async fn call(load: Arc<Load>, caller: usize, port: SocketAddr) {
    while !load.stop.load(Ordering::SeqCst) {
        let lost = service::open(port).await.is_err();
        load.failed.fetch_add(u64::from(lost), Ordering::SeqCst);
        load.asked[caller].fetch_add(1, Ordering::SeqCst);
    }
}
