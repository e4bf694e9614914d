//! Thousands of live connections: how soon a revoked one ends, and what a change of trust costs the rest.
//!
//! Both ends are in this process, over in-memory streams; each connection's server end echoes.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use certus_pki::{Accept, Allow, Bundle, Change, Delta, Epoch};
use certus_tls::{Client, ClientOptions, Identity, Publisher, Server, ServerOptions, Snapshot, TlsStream};
use common::authority::{Authority, bundle};
use common::{Failure, long, quantile, service};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

/// Revocations that are timed.
const TRIALS: usize = 200;
/// Connections under the second root.
const SECOND: usize = 100;
/// What a stream in memory holds; echoes are small.
const PIPE_BYTES: usize = 4 << 10;
/// Handshakes at once while connections are made.
const OPENING: usize = 64;

/// The server's end of a connection ended.
struct Ended {
    place: usize,
    at: Instant,
    by_cut: bool,
}

struct Connection {
    identity: Arc<Identity>,
    stream: TlsStream<DuplexStream>,
    /// The client's own trust does not change.
    _publisher: Publisher,
}

struct World {
    server: Arc<Server>,
    publisher: Arc<Publisher>,
    ended: mpsc::UnboundedSender<Ended>,
}

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(if long() { 10_000 } else { 2_000 }))
}

async fn run(count: usize) -> Result<(), Failure> {
    let authorities = Arc::new([Authority::new()?, Authority::new()?]);
    let publisher = Arc::new(authorities[0].publisher("server")?);
    let own = publisher.current().identity().cloned();
    let both = bundle(2, &[&authorities[0], &authorities[1]], &[])?;
    publisher.publish(Snapshot::new(own, both.clone()))?;
    let allow = Allow::Id("spiffe://bench/worker/*".parse()?);
    let server = Arc::new(Server::new(publisher.credentials(), ServerOptions::new(Accept::new(allow))));
    let (ended, mut ends) = mpsc::unbounded_channel();
    let world = Arc::new(World { server, publisher, ended });
    let mut connections = open_all(&world, &authorities, &both, count).await?;
    println!("{} live connections, {SECOND} of them under a second root", world.publisher.registry().live());

    let latencies = revocations(&world, &authorities[0], &connections, &mut ends).await?;
    let (p50, p99) = (quantile(latencies.iter().copied(), 0.5), quantile(latencies.iter().copied(), 0.99));
    println!("revoke one, {TRIALS} times: its end {p50:.0} us later (p50), {p99:.0} us (p99)");
    let untouched = touch(&mut connections[TRIALS..]).await;
    println!("the rest, {untouched} of {}, still echo", connections.len() - TRIALS);

    println!(
        "{:<44} {:>10} {:>6} {:>22} {:>12}",
        "change", "publish ms", "cut", "longest echo stall ms", "quiet ms"
    );
    let third = Authority::new()?;
    let [first, second] = [&authorities[0], &authorities[1]];
    let revoked: Vec<_> = world.publisher.current().bundle().revocations().copied().collect();
    let changes: [(&str, Vec<&Authority>); 3] = [
        ("a root is added", vec![first, second, &third]),
        ("a root that nobody is under is removed", vec![first, second]),
        ("the root of 100 connections is removed", vec![first]),
    ];
    let revision = world.publisher.current().epoch().revision;
    for (place, (name, trusted)) in changes.into_iter().enumerate() {
        let next = bundle(revision + 1 + place as u64, &trusted, &revoked)?;
        change(&world, name, next, &mut connections).await?;
    }
    let untouched = touch(&mut connections[TRIALS..]).await;
    println!("the rest, {untouched} of {}, still echo", connections.len() - TRIALS - SECOND);
    Ok(())
}

/// Everybody has an identity of its own; the last `SECOND` are under the second root.
async fn open_all(
    world: &Arc<World>,
    authorities: &Arc<[Authority; 2]>,
    trust: &Arc<Bundle>,
    count: usize,
) -> Result<Vec<Connection>, Failure> {
    let mut connections = Vec::with_capacity(count);
    let mut opening = tokio::task::JoinSet::new();
    for place in 0..count {
        if opening.len() >= OPENING {
            connections.extend(opening.join_next().await.transpose()?.transpose()?);
        }
        let (world, authorities, trust) = (world.clone(), authorities.clone(), trust.clone());
        let authority = usize::from(place >= count - SECOND);
        opening.spawn(async move {
            let identity = authorities[authority].identity(&format!("c{place}"))?;
            open(&world, identity, &trust, place).await.map(|connection| (place, connection))
        });
    }
    while let Some(opened) = opening.join_next().await {
        connections.push(opened??);
    }
    connections.sort_by_key(|(place, _)| *place);
    Ok(connections.into_iter().map(|(_, connection)| connection).collect())
}

async fn open(
    world: &Arc<World>,
    identity: Arc<Identity>,
    trust: &Arc<Bundle>,
    place: usize,
) -> Result<Connection, Failure> {
    let publisher =
        Publisher::new(Snapshot::new(Some(identity.clone()), trust.clone()), certus_node::system_clock());
    let allow = Allow::Id("spiffe://bench/worker/server".parse()?);
    let client = Client::new(publisher.credentials(), ClientOptions::new(Accept::new(allow)));
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let serving = world.clone();
    tokio::spawn(async move {
        let Ok(mut served) = serving.server.accept(far).await else { return };
        let cut = served.cancelled();
        echo_back(&mut served).await;
        let by_cut = cut.is_cancelled();
        drop(served);
        let _ = serving.ended.send(Ended { place, at: Instant::now(), by_cut });
    });
    let mut stream = client.connect(near).await?;
    service::echo(&mut stream).await?;
    Ok(Connection { identity, stream, _publisher: publisher })
}

/// Until an end or a cut.
async fn echo_back(stream: &mut TlsStream<DuplexStream>) {
    let mut buffer = [0; 64];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..count]).await.is_err() || stream.flush().await.is_err() {
            break;
        }
    }
}

/// How many still carry.
async fn touch(connections: &mut [Connection]) -> usize {
    let mut alive = 0;
    for connection in connections {
        alive += usize::from(service::echo(&mut connection.stream).await.is_ok());
    }
    alive
}

/// Microseconds from the revocation to the end of the connection, one after another.
async fn revocations(
    world: &Arc<World>,
    authority: &Authority,
    connections: &[Connection],
    ends: &mut mpsc::UnboundedReceiver<Ended>,
) -> Result<Vec<f64>, Failure> {
    let mut latencies = Vec::new();
    for (place, victim) in connections.iter().take(TRIALS).enumerate() {
        let epoch = Epoch { generation: 0, revision: world.publisher.current().epoch().revision + 1 };
        let delta = Delta { epoch, changes: vec![Change::Revoked(authority.revocation(&victim.identity))] };
        let begin = Instant::now();
        world.publisher.apply(&delta)?;
        let ended = ends.recv().await.ok_or("nobody is left")?;
        if ended.place != place || !ended.by_cut {
            return Err(format!("connection {} ended in the place of {place}", ended.place).into());
        }
        latencies.push((ended.at - begin).as_secs_f64() * 1e6);
    }
    Ok(latencies)
}

/// Publishes `next` while one connection echoes without a pause.
async fn change(
    world: &Arc<World>,
    name: &str,
    next: Arc<Bundle>,
    connections: &mut [Connection],
) -> Result<(), Failure> {
    let talker = &mut connections[TRIALS].stream;
    let (stop, longest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let publishing = {
        let (world, stop, longest) = (world.clone(), stop.clone(), longest.clone());
        tokio::task::spawn_blocking(move || {
            // A quiet second tells what this machine does to an echo loop anyhow.
            std::thread::sleep(Duration::from_secs(1));
            let quiet = longest.swap(0, Ordering::SeqCst);
            let begin = Instant::now();
            let cuts = world.publisher.publish_bundle(next);
            let took = begin.elapsed();
            // What cut connections do at their end counts too.
            std::thread::sleep(Duration::from_millis(200));
            stop.store(true, Ordering::SeqCst);
            cuts.map(|cuts| (cuts.len(), took, quiet))
        })
    };
    while !stop.load(Ordering::SeqCst) {
        let begin = Instant::now();
        service::echo(talker).await?;
        let took = u64::try_from(begin.elapsed().as_micros())?;
        longest.fetch_max(took, Ordering::SeqCst);
    }
    let (cuts, took, quiet) = publishing.await??;
    let [stall, quiet] = [longest.load(Ordering::SeqCst), quiet].map(|micros| micros as f64 / 1e3);
    println!("{name:<44} {:>10.2} {cuts:>6} {stall:>22.2} {quiet:>12.2}", took.as_secs_f64() * 1e3);
    Ok(())
}
