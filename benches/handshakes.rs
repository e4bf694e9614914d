//! Full and resumed mutual TLS 1.3 handshakes, each with a request and its `200`: the server's CPU time
//! against bare tokio-rustls, and against nginx, haproxy and stunnel where they are installed.
//!
//! Each server is a process of its own with one thread, on the first core where `taskset` is there; one
//! driver, bare rustls, dials all of them in turn. It offers X25519 alone, as not every server has more;
//! `--hybrid` offers X25519MLKEM768 first to those that are of rustls. `--long` for more and longer rounds.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use certus_pki::{Accept, Allow};
use certus_tls::{Server, ServerOptions};
use common::child::{self, Child};
use common::foreign::Program;
use common::{Failure, authority, bare, has, long, median};
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Dialers at once.
const CLIENTS: usize = 8;
/// Callers in turn, each so seldom that no server remembers it.
const STRANGERS: usize = 1_500;
/// Resumptions that a server may fail to grant before its column is left empty.
const ODD_MAX: f64 = 0.05;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

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
        let allow = Allow::Id(format!("spiffe://{}/worker/*", authority::CLUSTER).parse()?);
        let server = Arc::new(Server::new(publisher.credentials(), ServerOptions::new(Accept::new(allow))));
        tokio::spawn(async move {
            let _publisher = publisher;
            while let Ok((tcp, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move {
                    tcp.set_nodelay(true)?;
                    answer(server.accept(tcp).await.map_err(std::io::Error::other)?).await
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
                    answer(acceptor.accept(tcp).await?).await
                });
            }
        });
    }
    child::serve(address).await
}

/// One request, one answer.
async fn answer<IO: AsyncRead + AsyncWrite + Unpin>(mut io: IO) -> std::io::Result<()> {
    let mut asked = [0; 512];
    let mut count = 0;
    while !asked[..count].ends_with(b"\r\n\r\n") {
        match io.read(&mut asked[count..]).await? {
            0 => return Ok(()),
            more => count += more,
        }
    }
    io.write_all(ANSWER).await?;
    io.shutdown().await
}

/// What stands behind stunnel; in this process, so that it is not counted.
async fn plain() -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(answer(tcp));
        }
    });
    Ok(address)
}

/// A server and what dials it.
struct Measured {
    name: &'static str,
    server: Child,
    /// Sessions of two servers must not meet in one store.
    resuming: Configs,
    rounds: Vec<[f64; 3]>,
}

/// What dialers dial with, in turn.
type Configs = Arc<Vec<Arc<ClientConfig>>>;

async fn servers(dir: &Path) -> Result<Vec<Measured>, Failure> {
    let place = dir.to_str().ok_or("the temporary directory's name is not text")?;
    let backend = plain().await?;
    let mut servers =
        vec![("bare", Child::pinned(&["bare", place])?), ("certus", Child::pinned(&["certus", place])?)];
    for program in Program::ALL {
        if has("--hybrid") {
            break;
        }
        if program.is_here() {
            servers.push((program.name(), program.server(dir, backend)?));
        } else {
            println!("{} is not installed, and left out", program.name());
        }
    }
    let measured = servers.into_iter().map(|(name, server)| {
        let resuming = Arc::new(vec![bare::client_config_of(dir, "client", true, has("--hybrid"))?]);
        Ok(Measured { name, server, resuming, rounds: Vec::new() })
    });
    measured.collect()
}

async fn drive() -> Result<(), Failure> {
    let (rounds, slice) = if long() { (11, 3) } else { (5, 1) };
    let slice = Duration::from_secs(slice);
    let dir = tempfile::tempdir()?;
    let authority = authority::Authority::new()?;
    authority.write(dir.path(), "server")?;
    authority.write(dir.path(), "client")?;
    let mut servers = servers(dir.path()).await?;
    let config = |name: &str| bare::client_config_of(dir.path(), name, false, has("--hybrid"));
    let known: Configs = Arc::new(vec![config("client")?]);
    let mut strangers = Vec::new();
    for _ in 0..STRANGERS {
        authority.write(dir.path(), "stranger")?;
        strangers.push(config("stranger")?);
    }
    let strangers: Configs = Arc::new(strangers);
    for one in &servers {
        slice_of(&one.server, &known, Duration::from_millis(300), false).await?;
        let (_, spoken) = dial(one.server.address, &known[0]).await?;
        println!("{:<8} speaks {spoken}", one.name);
    }
    println!("load {}, {rounds} rounds of {} s", common::load(), slice.as_secs());
    println!("server CPU, microseconds per connection: full by strangers/by one it knows/resumed");
    for round in 0..rounds {
        print!("{:<8}", round + 1);
        // Who begins changes from round to round.
        let count = servers.len();
        for place in 0..count {
            let one = &mut servers[(place + round) % count];
            let full = slice_of(&one.server, &strangers, slice, false).await?;
            let again = slice_of(&one.server, &known, slice, false).await?;
            let resumed = slice_of(&one.server, &one.resuming, slice, true).await?;
            one.rounds.push([full, again, resumed]);
        }
        for one in &servers {
            let [full, again, resumed] = one.rounds[round];
            print!("{:>9} {full:>4.0}/{again:.0}/{resumed:<4.0}", one.name);
        }
        println!();
    }
    println!("{:<8} {:>9} {:>9} {:>9}   certus over it", "median", "strangers", "known", "resumed");
    let ours: Vec<[f64; 3]> = servers[1].rounds.clone();
    for one in &servers {
        let of = |column: usize| median(one.rounds.iter().map(|round| round[column]));
        let ratio = |column: usize| {
            median(ours.iter().zip(&one.rounds).map(|(ours, theirs)| ours[column] / theirs[column]))
        };
        println!(
            "{:<8} {:>9.0} {:>9.0} {:>9.0}   {:>6.2}x {:>6.2}x {:>6.2}x",
            one.name,
            of(0),
            of(1),
            of(2),
            ratio(0),
            ratio(1),
            ratio(2)
        );
    }
    Ok(())
}

/// Dials for `slice`: the server's CPU time for one connection, in microseconds; not a number if it
/// resumes too seldom.
async fn slice_of(server: &Child, configs: &Configs, slice: Duration, resume: bool) -> Result<f64, Failure> {
    let (before, begin, address) = (server.cpu()?, Instant::now(), server.address);
    let mut dialers = tokio::task::JoinSet::new();
    for first in 0..CLIENTS {
        let configs = configs.clone();
        dialers.spawn(async move {
            let (mut made, mut odd) = (0_u32, 0_u32);
            // Each dialer takes every eighth, so that the same comes back as late as can be.
            let mut turn = configs.iter().cycle().skip(first % configs.len()).step_by(CLIENTS);
            while begin.elapsed() < slice {
                let Some(config) = turn.next() else { break };
                let (kind, _) = dial(address, config).await?;
                made += 1;
                odd += u32::from((kind == HandshakeKind::Resumed) != resume);
            }
            Ok::<_, Failure>((made, odd))
        });
    }
    let (mut made, mut odd) = (0, 0);
    while let Some(dialer) = dialers.join_next().await {
        let (one, other) = dialer??;
        made += one;
        odd += other;
    }
    // The first of each dialer finds no ticket.
    if f64::from(odd) > f64::from(made) * ODD_MAX + CLIENTS as f64 {
        return Ok(f64::NAN);
    }
    Ok((server.cpu()? - before) * 1e6 / f64::from(made))
}

async fn dial(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<(HandshakeKind, String), Failure> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let mut tls = TlsConnector::from(config.clone()).connect(bare::host()?, tcp).await?;
    tls.write_all(REQUEST).await?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    // Some end without saying so in TLS.
    while let Ok(count @ 1..) = tls.read(&mut buffer).await {
        answer.extend_from_slice(&buffer[..count]);
    }
    if !answer.starts_with(b"HTTP/1.1 200") {
        return Err(format!("no 200 came: {}", String::from_utf8_lossy(&answer)).into());
    }
    let connection = tls.get_ref().1;
    let kind = connection.handshake_kind().ok_or("no handshake")?;
    let group = connection.negotiated_key_exchange_group().map(|group| group.name());
    let suite = connection.negotiated_cipher_suite().map(|suite| suite.suite());
    Ok((kind, format!("{suite:?} {group:?}")))
}
