//! Full and resumed mutual TLS 1.3 handshakes: the server's CPU time against bare tokio-rustls.
//!
//! Each server is a process of its own with one worker; one driver, bare rustls, dials both in turn.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use certus_pki::{Accept, Allow};
use certus_tls::{Server, ServerOptions};
use common::child::{self, Child};
use common::{Failure, authority, bare, long, median};
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Peers, each of which comes so rarely that nobody remembers it: more than a listener remembers.
const STRANGERS: usize = 1_500;
/// Who dials next, over all slices.
static NEXT: AtomicUsize = AtomicUsize::new(0);
/// Dialers at once.
const CLIENTS: usize = 8;

fn main() -> Result<(), Failure> {
    let runtime = common::runtime()?;
    match child::role() {
        Some(role) => runtime.block_on(serve(&role)),
        None => runtime.block_on(drive()),
    }
}

async fn serve(role: &[String]) -> Result<(), Failure> {
    let [kind, dir] = role else { return Err("two words tell a child".into()) };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    if kind == "certus" {
        let publisher = authority::read_publisher(Path::new(dir), "server")?;
        let allow = Allow::Id("spiffe://bench/worker/*".parse()?);
        let server = Arc::new(Server::new(publisher.credentials(), ServerOptions::new(Accept::new(allow))));
        tokio::spawn(async move {
            let _publisher = publisher;
            while let Ok((tcp, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move {
                    tcp.set_nodelay(true)?;
                    greet(server.accept(tcp).await.map_err(std::io::Error::other)?).await
                });
            }
        });
    } else {
        let acceptor = TlsAcceptor::from(bare::server_config(Path::new(dir), "server")?);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    tcp.set_nodelay(true)?;
                    greet(acceptor.accept(tcp).await?).await
                });
            }
        });
    }
    child::serve(address).await
}

/// One byte tells the dialer that it was admitted; then its end is awaited.
async fn greet<IO: AsyncReadExt + AsyncWriteExt + Unpin>(mut tls: IO) -> std::io::Result<()> {
    tls.write_all(b"!").await?;
    tls.flush().await?;
    tls.read(&mut [0]).await.map(drop)
}

async fn drive() -> Result<(), Failure> {
    let (rounds, slice) = if long() { (12, 4) } else { (6, 2) };
    let slice = Duration::from_secs(slice);
    let dir = tempfile::tempdir()?;
    let authority = authority::Authority::new()?;
    authority.write(dir.path(), "server")?;
    authority.write(dir.path(), "client")?;
    let place = dir.path().to_str().ok_or("the temporary directory's name is not text")?;
    let servers = [Child::start(&["bare", place])?, Child::start(&["certus", place])?];
    let full = [bare::client_config(dir.path(), "client", false)?];
    let mut strangers = Vec::new();
    for _ in 0..STRANGERS {
        authority.write(dir.path(), "stranger")?;
        strangers.push(bare::client_config(dir.path(), "stranger", false)?);
    }
    // Sessions of two servers must not meet in one store.
    let resuming =
        [bare::client_config(dir.path(), "client", true)?, bare::client_config(dir.path(), "client", true)?];
    for (server, resuming) in servers.iter().zip(&resuming) {
        slice_of(server, &full, Duration::from_millis(300), HandshakeKind::Full).await?;
        dial(server.address, resuming).await?;
        println!("negotiated: {}", dial(server.address, resuming).await?.1);
    }
    println!("server CPU, microseconds per connection: bare rustls, certus, ratio");
    println!("{:<7}   {:>21}   {:>21}   {:>21}", "round", "full, peers known", "full, new peers", "resumed");
    let mut table: Vec<[[f64; 2]; 3]> = Vec::new();
    for round in 0..rounds {
        let mut row = [[0.0; 2]; 3];
        // Who begins changes from round to round.
        for place in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            let (server, again) = (&servers[place], std::slice::from_ref(&resuming[place]));
            row[0][place] = slice_of(server, &full, slice, HandshakeKind::Full).await?;
            row[1][place] = slice_of(server, &strangers, slice, HandshakeKind::Full).await?;
            row[2][place] = slice_of(server, again, slice, HandshakeKind::Resumed).await?;
        }
        print_row(&(round + 1).to_string(), row.map(|[bare, certus]| [bare, certus, certus / bare]));
        table.push(row);
    }
    let of =
        |what: usize, figure: &dyn Fn([f64; 2]) -> f64| median(table.iter().map(|row| figure(row[what])));
    let medians = [0, 1, 2]
        .map(|what| [of(what, &|row| row[0]), of(what, &|row| row[1]), of(what, &|row| row[1] / row[0])]);
    print_row("median", medians);
    println!("certus resumed over full: {:.2}", median(table.iter().map(|row| row[2][1] / row[0][1])));
    Ok(())
}

fn print_row(name: &str, columns: [[f64; 3]; 3]) {
    let columns = columns.map(|[bare, certus, ratio]| format!("   {bare:>6.0} {certus:>6.0} {ratio:>6.2}x"));
    println!("{name:<7}{}", columns.concat());
}

/// Dials for `slice`: the server's CPU time for one connection, in microseconds.
async fn slice_of(
    server: &Child,
    configs: &[Arc<ClientConfig>],
    slice: Duration,
    expected: HandshakeKind,
) -> Result<f64, Failure> {
    let (before, begin, address) = (server.cpu()?, Instant::now(), server.address);
    let mut dialers = tokio::task::JoinSet::new();
    let configs = Arc::new(configs.to_vec());
    for _ in 0..CLIENTS {
        let configs = configs.clone();
        dialers.spawn(async move {
            let (mut made, mut other) = (0_u32, 0_u32);
            while begin.elapsed() < slice {
                let config = &configs[NEXT.fetch_add(1, Ordering::Relaxed) % configs.len()];
                let (kind, _) = dial(address, config).await?;
                let as_expected = match expected {
                    HandshakeKind::Resumed => kind == HandshakeKind::Resumed,
                    _ => kind != HandshakeKind::Resumed,
                };
                made += 1;
                other += u32::from(!as_expected);
            }
            Ok::<_, Failure>((made, other))
        });
    }
    let (mut made, mut other) = (0, 0);
    while let Some(dialer) = dialers.join_next().await {
        let (one, odd) = dialer??;
        made += one;
        other += odd;
    }
    if f64::from(other) > f64::from(made) * 0.02 {
        return Err(format!("{other} of {made} handshakes were not {expected:?}").into());
    }
    Ok((server.cpu()? - before) * 1e6 / f64::from(made))
}

async fn dial(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<(HandshakeKind, String), Failure> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let mut tls = TlsConnector::from(config.clone()).connect(bare::host()?, tcp).await?;
    tls.read_exact(&mut [0]).await?;
    let connection = tls.get_ref().1;
    let kind = connection.handshake_kind().ok_or("no handshake")?;
    let group = connection.negotiated_key_exchange_group().map(|group| group.name());
    let suite = connection.negotiated_cipher_suite().map(|suite| suite.suite());
    let spoken = format!("{suite:?} {group:?} {kind:?}");
    tls.shutdown().await?;
    Ok((kind, spoken))
}
