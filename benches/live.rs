//! What happens to 10,000 live connections when trust changes: how soon a revoked one is cut, whether the
//! others notice, and how long traffic pauses while a bundle is replaced.
//!
//! The server is a process of its own, with our `Server` and an echo on each connection; it publishes on its
//! runtime, as a node does. Every connection has a certificate of its own. `--connections N` (10000),
//! `--trials N` (200), `--publishes N` (20).
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use certus_pki::{Accept, Allow, Change, Delta, Epoch, Serial};
use certus_tls::{Publisher, Server, ServerOptions};
use common::authority::{Authority, Made};
use common::child::{self, Child};
use common::{Failure, authority, bare, number_of, quantile, service};
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Dials at once.
const AT_ONCE: usize = 16;
/// Connections whose answers are timed while a bundle is replaced.
const TALKING: usize = 16;
/// Files that a process has open besides its connections.
const OTHER_FILES: u64 = 100;
/// How many of those that were not revoked resume at the end.
const RESUMING: usize = 200;

type Live = TlsStream<TcpStream>;

fn main() -> Result<(), Failure> {
    child::many_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match child::role() {
        Some(role) => runtime.block_on(serve(&role)),
        None => runtime.block_on(drive()),
    }
}

/// Echoes, and takes orders: `revoke SERIAL`, `root add`, `root drop`, `live`.
async fn serve(role: &[String]) -> Result<(), Failure> {
    let [dir] = role else { return Err("one word tells a child".into()) };
    let dir = Path::new(dir).to_owned();
    let publisher = Arc::new(authority::read_publisher(&dir, "server")?);
    let allow = Allow::Id(format!("spiffe://{}/worker/*", authority::CLUSTER).parse()?);
    let server = Arc::new(Server::new(publisher.credentials(), ServerOptions::new(Accept::new(allow))));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let server = server.clone();
            tokio::spawn(async move {
                tcp.set_nodelay(true)?;
                let mut tls = server.accept(tcp).await.map_err(std::io::Error::other)?;
                let mut buffer = [0; 64];
                loop {
                    let count = tls.read(&mut buffer).await?;
                    if count == 0 {
                        return Ok(());
                    }
                    tls.write_all(&buffer[..count]).await?;
                }
                #[allow(unreachable_code, reason = "tells the compiler what may fail")]
                Ok::<(), std::io::Error>(())
            });
        }
    });
    let runtime = tokio::runtime::Handle::current();
    let mut revision = 1;
    let orders = move |order: &str| {
        revision += 1;
        let (publisher, dir, order) = (publisher.clone(), dir.clone(), order.to_owned());
        // On a worker, as a node's keeper does it.
        runtime.block_on(runtime.spawn(async move { carry_out(&publisher, &dir, &order, revision) }))?
    };
    child::obey(address, orders).await
}

/// Microseconds that publishing took, and how many connections it cut.
fn carry_out(publisher: &Publisher, dir: &Path, order: &str, revision: u64) -> Result<String, Failure> {
    let cuts = match order.split_once(' ') {
        Some(("revoke", serial)) => {
            let revocation = authority::read_revocation(dir, "server", serial_of(serial)?)?;
            let epoch = Epoch { generation: 0, revision };
            let delta = Delta { epoch, changes: vec![Change::Revoked(revocation)] };
            let begin = Instant::now();
            (publisher.apply(&delta)?, begin)
        }
        Some(("root", what)) => {
            let bundle = authority::read_bundle(dir, publisher, what == "add", revision)?;
            let begin = Instant::now();
            (publisher.publish_bundle(bundle)?, begin)
        }
        _ => return Ok(publisher.registry().live().to_string()),
    };
    Ok(format!("{} {}", cuts.1.elapsed().as_micros(), cuts.0.len()))
}

fn serial_of(text: &str) -> Result<Serial, Failure> {
    let number = u128::from_str_radix(text, 16)?;
    Serial::from_be_bytes(&number.to_be_bytes()).ok_or_else(|| format!("no serial: {text}").into())
}

/// One client: its certificate, what dials with it, and its connection.
struct Client {
    serial: String,
    config: Arc<ClientConfig>,
    live: Option<Live>,
}

async fn drive() -> Result<(), Failure> {
    let wanted = number_of("--connections", 10_000)?;
    let files = child::many_files();
    let count = wanted.min(usize::try_from(files.saturating_sub(OTHER_FILES)).unwrap_or(wanted));
    if count < wanted {
        println!("{files} open files are allowed: {count} connections instead of {wanted}");
    }
    let dir = tempfile::tempdir()?;
    let authority = Authority::new()?;
    authority.write(dir.path(), "server")?;
    Authority::new()?.write(dir.path(), "other")?;
    // The other authority's root went last into `root.der`; the server trusts this one.
    std::fs::rename(dir.path().join("root.der"), dir.path().join("other.root.der"))?;
    std::fs::write(dir.path().join("root.der"), authority.root_der())?;
    let place = dir.path().to_str().ok_or("the temporary directory's name is not text")?;
    let mut server = Child::start(&[place])?;
    let begin = Instant::now();
    let mut clients = connect(&authority, dir.path(), server.address, count).await?;
    println!(
        "{} connections live after {:.1} s; load {}",
        server.order("live")?,
        begin.elapsed().as_secs_f64(),
        common::load()
    );
    revocations(&mut server, &mut clients, number_of("--trials", 200)?).await?;
    pauses(&mut server, &mut clients, number_of("--publishes", 20)?).await?;
    println!("live at the end: {}", server.order("live")?);
    Ok(())
}

async fn connect(
    authority: &Authority,
    dir: &Path,
    to: std::net::SocketAddr,
    count: usize,
) -> Result<Vec<Client>, Failure> {
    let mut made = Vec::with_capacity(count);
    for number in 0..count {
        let Made { key, chain } = authority.made(&format!("client-{number}"))?;
        let serial = certus_pki::Certificate::from_der(&chain[0])?.serial;
        let serial = serial.significant().iter().map(|byte| format!("{byte:02x}")).collect();
        made.push((serial, bare::client_config_from(dir, &Made { key, chain })?));
    }
    let (made, next) = (Arc::new(made), Arc::new(Mutex::new(0)));
    let mut dialing = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (made, next) = (made.clone(), next.clone());
        dialing.spawn(async move {
            let mut clients = Vec::new();
            loop {
                let number = {
                    let mut next = next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    *next += 1;
                    *next - 1
                };
                let Some((serial, config)) = made.get(number) else { return Ok::<_, Failure>(clients) };
                let (live, _) = dial(to, config).await?;
                let client =
                    Client { serial: String::clone(serial), config: config.clone(), live: Some(live) };
                clients.push((number, client));
            }
        });
    }
    let mut clients = Vec::new();
    while let Some(dialed) = dialing.join_next().await {
        clients.extend(dialed??);
    }
    clients.sort_by_key(|(number, _)| *number);
    Ok(clients.into_iter().map(|(_, client)| client).collect())
}

async fn dial(
    to: std::net::SocketAddr,
    config: &Arc<ClientConfig>,
) -> Result<(Live, Option<HandshakeKind>), Failure> {
    let tcp = TcpStream::connect(to).await?;
    tcp.set_nodelay(true)?;
    let mut live = TlsConnector::from(config.clone()).connect(bare::host()?, tcp).await?;
    service::echo(&mut live).await?;
    let kind = live.get_ref().1.handshake_kind();
    Ok((live, kind))
}

/// Revokes one after the other; then asks the others.
async fn revocations(server: &mut Child, clients: &mut [Client], trials: usize) -> Result<(), Failure> {
    let (mut waits, mut publishing, mut wrong) = (Vec::new(), Vec::new(), 0);
    let apart = (clients.len() / trials.max(1)).max(1);
    for victim in (0..clients.len()).step_by(apart).take(trials) {
        let Some(mut live) = clients[victim].live.take() else { continue };
        service::echo(&mut live).await?;
        let cut = tokio::spawn(async move {
            let ended = live.read(&mut [0; 64]).await;
            (Instant::now(), matches!(ended, Ok(0) | Err(_)))
        });
        tokio::task::yield_now().await;
        let begin = Instant::now();
        let answer = server.order(&format!("revoke {}", clients[victim].serial))?;
        let (at, ended) = tokio::time::timeout(Duration::from_secs(30), cut).await??;
        let (took, cuts) = answer.split_once(' ').ok_or_else(|| format!("the server said {answer}"))?;
        wrong += u32::from(!ended || cuts != "1");
        publishing.push(took.parse::<f64>()? / 1e3);
        waits.push((at - begin).as_secs_f64() * 1e3);
    }
    let of = |share| quantile(waits.iter().copied(), share);
    let (p50, p99, most) = (of(0.5), of(0.99), of(1.0));
    println!(
        "from the order to revoke to the end seen by the client, {} trials: p50 {p50:.2} ms, p99 {p99:.2} ms, \
         most {most:.2} ms; publishing itself p50 {:.2} ms; ended otherwise: {wrong}",
        waits.len(),
        quantile(publishing, 0.5)
    );
    let (mut untouched, mut broken) = (0, 0);
    for live in clients.iter_mut().filter_map(|client| client.live.as_mut()) {
        match service::echo(live).await {
            Ok(()) => untouched += 1,
            Err(_) => broken += 1,
        }
    }
    let (mut resumed, mut full, mut refused) = (0, 0, 0);
    // The newest: a listener keeps so many sessions and no more.
    let newest = clients.iter().rev().filter(|client| client.live.is_some()).take(RESUMING);
    for client in newest {
        let (_, kind) = dial(server.address, &client.config).await?;
        if kind == Some(HandshakeKind::Resumed) { resumed += 1 } else { full += 1 }
    }
    for client in clients.iter().filter(|client| client.live.is_none()) {
        refused += u32::from(dial(server.address, &client.config).await.is_err());
    }
    println!("others: {untouched} untouched, {broken} broken; then {resumed} resumed, {full} did not");
    println!("revoked: {refused} of {} refused when they came back", waits.len());
    Ok(())
}

/// Answer times of a few connections without and with bundles replaced.
async fn pauses(server: &mut Child, clients: &mut [Client], publishes: usize) -> Result<(), Failure> {
    println!(
        "answer times of {TALKING} connections, ms        p50      p99     most   publishing: p50     most"
    );
    for (what, orders) in
        [("nothing published", ["", ""]), ("a root more, a root less", ["root add", "root drop"])]
    {
        let mut rows = [Vec::new(), Vec::new()];
        let mut publishing = [Vec::new(), Vec::new()];
        for number in 0..publishes {
            let place = number % 2;
            let (waits, took) = talk(server, clients, orders[place]).await?;
            rows[place].extend(waits);
            publishing[place].extend(took);
        }
        for (place, name) in [("added"), ("dropped")].into_iter().enumerate() {
            let name = if orders[place].is_empty() { what.to_owned() } else { format!("a root {name}") };
            let of = |share| quantile(rows[place].iter().copied(), share);
            let took = |share| quantile(publishing[place].iter().copied(), share);
            println!(
                "{name:<38} {:>8.2} {:>8.2} {:>8.2} {:>17.2} {:>8.2}",
                of(0.5),
                of(0.99),
                of(1.0),
                took(0.5),
                took(1.0)
            );
        }
    }
    Ok(())
}

/// One window of talk, with one order in it: answer times, and how long publishing took, in ms.
async fn talk(
    server: &mut Child,
    clients: &mut [Client],
    order: &str,
) -> Result<(Vec<f64>, Option<f64>), Failure> {
    let ending = Arc::new(AtomicBool::new(false));
    let mut talking = JoinSet::new();
    let free = clients.iter_mut().enumerate().filter(|(_, client)| client.live.is_some());
    for (number, client) in free.take(TALKING) {
        let (mut live, ending) = (client.live.take().ok_or("no connection")?, ending.clone());
        talking.spawn(async move {
            let mut waits = Vec::new();
            while !ending.load(Ordering::Relaxed) {
                let begin = Instant::now();
                service::echo(&mut live).await?;
                waits.push(begin.elapsed().as_secs_f64() * 1e3);
            }
            Ok::<_, Failure>((number, live, waits))
        });
    }
    let quiet = Duration::from_millis(100);
    tokio::time::sleep(quiet).await;
    let mut took = None;
    if !order.is_empty() {
        let answer = tokio::task::block_in_place(|| server.order(order))?;
        took = Some(answer.split(' ').next().unwrap_or_default().parse::<f64>()? / 1e3);
    }
    tokio::time::sleep(quiet).await;
    ending.store(true, Ordering::Relaxed);
    let mut all = Vec::new();
    while let Some(one) = talking.join_next().await {
        let (number, live, waits) = one??;
        clients[number].live = Some(live);
        all.extend(waits);
    }
    Ok((all, took))
}
