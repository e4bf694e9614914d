//! Rotation after rotation under load, on each transport: how many handshakes failed, and how many saw a
//! certificate of a generation that was not in force while they ran. Both must be none.
//!
//! Rotated in turn are the server's leaf, its key, the client's leaf, its key, and the root with an overlap.
//! The load dials the carrier's listener directly, so that each dial is a handshake, then sends 64 bytes
//! through it and back; the next rotation comes when a handshake or more was made since the last.
//! With `--peers` the load goes through a peer instead, as services' connections do: over h2 and quic it keeps
//! its connections for many streams; what counts then is requests, and what both ends note as failures.
//! `--rotations N` for each transport: 300, with `--long` 10000. `--transports tcp,quic` for those alone.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its figures")]

mod common;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use certus_node::{Carrier, Means, Metrics, Transport};
use certus_pki::PrivateKey;
use certus_tls::{Identity, Publisher, Snapshot};
use common::authority::{Authority, bundle};
use common::direct::Direct;
use common::{Failure, authority, carriers, child, has, long, number_of, service, value_of};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Dials at once.
const DIALERS: usize = 8;
/// A handshake and an echo; what takes longer has failed.
const DIAL_WITHIN: Duration = Duration::from_secs(20);
/// Of what each end noted, so many are told.
const NOTED_MAX: usize = 5;
/// Failures told in full.
const TOLD_MAX: u64 = 5;

fn main() -> Result<(), Failure> {
    child::many_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(drive())
}

async fn drive() -> Result<(), Failure> {
    let rotations = number_of("--rotations", if long() { 10_000 } else { 300 })?;
    let only = value_of("--transports");
    let backend = service::start().await?;
    let made = if has("--peers") { "requests" } else { "handshakes" };
    println!("load {}", common::load());
    println!("transport   rotations   {made:>10}   resumed   failed   mixed   seconds");
    for transport in Transport::ALL {
        let name = transport.as_str();
        if only.as_deref().is_some_and(|only| !only.split(',').any(|one| one == name)) {
            continue;
        }
        let begin = Instant::now();
        let counted = rotate(transport, backend, rotations).await?;
        let [handshakes, resumed, failed, mixed] =
            [&counted.made, &counted.resumed, &counted.failed, &counted.mixed]
                .map(|number| number.load(Ordering::SeqCst));
        let seconds = begin.elapsed().as_secs_f64();
        println!(
            "{name:<9} {rotations:>11} {handshakes:>12} {resumed:>9} {failed:>8} {mixed:>7} {seconds:>9.1}"
        );
    }
    Ok(())
}

/// What the load and the rotations tell each other.
#[derive(Default)]
struct Shared {
    made: AtomicU64,
    resumed: AtomicU64,
    failed: AtomicU64,
    mixed: AtomicU64,
    /// Dials that have begun and not ended, by the time's order of their beginnings.
    begun: AtomicU64,
    under_way: Mutex<Vec<u64>>,
    one_ended: Notify,
    ending: AtomicBool,
    /// The server's generations by their certificates, from before each is published.
    known: Mutex<HashMap<Vec<u8>, u64>>,
    /// The newest of them that may be in force.
    newest: AtomicU64,
    /// The newest of them that surely is.
    in_force: AtomicU64,
}

impl Shared {
    fn under_way(&self) -> MutexGuard<'_, Vec<u64>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Vec<u8>, u64>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Dials until it is over.
    async fn load(&self, way: &Way) {
        while !self.ending.load(Ordering::SeqCst) {
            let number = self.begun.fetch_add(1, Ordering::SeqCst);
            self.under_way().push(number);
            let oldest = self.in_force.load(Ordering::SeqCst);
            let outcome = tokio::time::timeout(DIAL_WITHIN, way.dial()).await;
            let newest = self.newest.load(Ordering::SeqCst);
            match outcome.map_err(|_| Failure::from("nothing came in time")).and_then(|dialed| dialed) {
                Ok(None) => {}
                Ok(Some((leaf, resumed))) => {
                    let generation = self.known().get(&leaf).copied();
                    let good = generation.is_some_and(|seen| (oldest..=newest).contains(&seen));
                    self.mixed.fetch_add(u64::from(!good), Ordering::SeqCst);
                    self.resumed.fetch_add(u64::from(resumed), Ordering::SeqCst);
                }
                Err(error) => {
                    if self.failed.fetch_add(1, Ordering::SeqCst) < TOLD_MAX {
                        eprintln!("failed at generation {newest}: {error}: {:?}", error.source());
                    }
                }
            }
            self.made.fetch_add(1, Ordering::SeqCst);
            self.under_way().retain(|one| *one != number);
            self.one_ended.notify_waiters();
        }
    }

    /// Waits until a dial has ended that was under way, or came, since now.
    async fn wait_for_one(&self) {
        let made = self.made.load(Ordering::SeqCst);
        self.wait_until(|| self.made.load(Ordering::SeqCst) > made).await;
    }

    /// Waits until every dial that has begun has ended.
    async fn wait_for_those_under_way(&self) {
        let next = self.begun.load(Ordering::SeqCst);
        self.wait_until(|| self.under_way().iter().all(|number| *number >= next)).await;
    }

    async fn wait_until(&self, done: impl Fn() -> bool) {
        loop {
            let ended = self.one_ended.notified();
            if done() {
                return;
            }
            ended.await;
        }
    }
}

/// How the load gets to the service.
enum Way {
    Direct(Box<Direct>),
    /// Through a peer's local port.
    Peer(SocketAddr),
}

impl Way {
    /// One message there and back: the leaf that the server showed, and whether the handshake resumed a
    /// session, where that can be seen.
    async fn dial(&self) -> Result<Option<(Vec<u8>, bool)>, Failure> {
        let direct = match self {
            Way::Direct(direct) => direct,
            Way::Peer(port) => {
                drop(service::open(*port).await?);
                return Ok(None);
            }
        };
        let mut held = direct.dial().await?;
        service::echo(&mut held.stream).await?;
        let leaf = held.admission.chain().first().cloned().ok_or("the server showed no certificate")?;
        Ok(Some((leaf, held.admission.resumed())))
    }
}

/// Both ends, and what rotates them.
struct Ends {
    authority: Authority,
    server: Publisher,
    client: Publisher,
    server_key: PrivateKey,
    client_key: PrivateKey,
    revision: u64,
    generation: u64,
}

impl Ends {
    fn new(shared: &Shared) -> Result<Ends, Failure> {
        let authority = Authority::new()?;
        let (server, client) = (authority.made("server")?, authority.made("client")?);
        shared.known().insert(server.chain[0].clone(), 0);
        let trust = bundle(1, &[&authority], &[])?;
        let publisher = |made: &authority::Made| -> Result<Publisher, Failure> {
            let identity = Identity::new(&made.key, made.chain.clone())?;
            let snapshot = Snapshot::new(Some(Arc::new(identity)), trust.clone());
            Ok(Publisher::new(snapshot, certus_node::system_clock()))
        };
        let (one, two) = (publisher(&server)?, publisher(&client)?);
        let (server_key, client_key) = (server.key, client.key);
        Ok(Ends { authority, server: one, client: two, server_key, client_key, revision: 1, generation: 0 })
    }

    async fn rotate(&mut self, step: usize, shared: &Shared) -> Result<(), Failure> {
        match step % 5 {
            0 => self.server(shared),
            1 => {
                self.server_key = authority::key()?;
                self.server(shared)
            }
            2 => self.client(),
            3 => {
                self.client_key = authority::key()?;
                self.client()
            }
            _ => self.root(shared).await,
        }
    }

    fn server(&mut self, shared: &Shared) -> Result<(), Failure> {
        let chain = self.authority.chain("server", &self.server_key)?;
        self.generation += 1;
        shared.known().insert(chain[0].clone(), self.generation);
        let identity = Arc::new(Identity::new(&self.server_key, chain)?);
        shared.newest.store(self.generation, Ordering::SeqCst);
        self.server.publish_identity(identity)?;
        shared.in_force.store(self.generation, Ordering::SeqCst);
        Ok(())
    }

    fn client(&mut self) -> Result<(), Failure> {
        let chain = self.authority.chain("client", &self.client_key)?;
        let identity = Arc::new(Identity::new(&self.client_key, chain)?);
        self.client.publish_identity(identity)?;
        Ok(())
    }

    /// A new root beside the old one, both ends' certificates under it, and the old one gone once nobody
    /// is left who began with it.
    async fn root(&mut self, shared: &Shared) -> Result<(), Failure> {
        let new = Authority::new()?;
        self.trust(&[&self.authority, &new])?;
        self.revision += 1;
        self.authority = new;
        self.server(shared)?;
        self.client()?;
        shared.wait_for_those_under_way().await;
        self.trust(&[&self.authority])?;
        self.revision += 1;
        Ok(())
    }

    fn trust(&self, authorities: &[&Authority]) -> Result<(), Failure> {
        let trust = bundle(self.revision + 1, authorities, &[])?;
        self.server.publish_bundle(trust.clone())?;
        self.client.publish_bundle(trust)?;
        Ok(())
    }
}

async fn rotate(transport: Transport, backend: SocketAddr, rotations: usize) -> Result<Arc<Shared>, Failure> {
    let shared = Arc::new(Shared::default());
    let mut ends = Ends::new(&shared)?;
    let means = Means::new(ends.server.credentials(), Metrics::new());
    let carrier = Carrier::start(means, vec![carriers::listener(transport, backend)?], Vec::new()).await?;
    let address = carrier.bound("bench").ok_or("nothing is bound")?;
    let means = Means::new(ends.client.credentials(), Metrics::new());
    let dialer = Carrier::start(means, Vec::new(), vec![carriers::peer(transport, address)?]).await?;
    let port = dialer.bound("bench").ok_or("nothing is bound")?;
    let mut load = JoinSet::new();
    for _ in 0..DIALERS {
        let way = if has("--peers") {
            Way::Peer(port)
        } else {
            Way::Direct(Box::new(Direct::new(ends.client.credentials(), transport, address)?))
        };
        let shared = shared.clone();
        load.spawn(async move { shared.load(&way).await });
    }
    for step in 0..rotations {
        shared.wait_for_one().await;
        ends.rotate(step, &shared).await?;
    }
    shared.wait_for_those_under_way().await;
    shared.ending.store(true, Ordering::SeqCst);
    while load.join_next().await.is_some() {}
    for carrier in [&dialer, &carrier] {
        let (noted, _) = carrier.failures().last();
        for failure in noted.iter().take(NOTED_MAX) {
            eprintln!("noted by {:?}: {} {}", failure.side, failure.why.code, failure.why);
        }
        carrier.shutdown_within(Duration::from_secs(1)).await;
    }
    Ok(shared)
}
