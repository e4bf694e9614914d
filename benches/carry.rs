//! Carrying between two agents, over each transport: CPU time of both processes against a bare rustls
//! pair and a relay pair without TLS.
//!
//! Each half of each pair is a process of its own with one worker; client and service are in this one.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use certus_node::{
    AgentKey, Backend, Carrier, ListenerSpec, Means, Metrics, PeerId, PeerSpec, TlsSpec, Transport,
};
use certus_pki::Allow;
use common::child::{self, Child};
use common::{Failure, authority, bare, long, median, service};

/// Connections at once where small requests are measured.
const KEPT: usize = 16;
/// The pairs, baselines first.
const PAIRS: [&str; 7] = ["relay", "bare", "tcp", "h2", "ws", "quic", "tcp+e2e"];

fn main() -> Result<(), Failure> {
    let runtime = common::runtime()?;
    match child::role() {
        Some(role) => runtime.block_on(serve(&role)),
        None => runtime.block_on(drive()),
    }
}

async fn serve(role: &[String]) -> Result<(), Failure> {
    let [pair, side, to, dir] = role else { return Err("four words tell a child".into()) };
    let (to, dir): (SocketAddr, &Path) = (to.parse()?, Path::new(dir));
    let address = match (pair.as_str(), side.as_str()) {
        ("relay", _) => bare::relay(to).await?,
        ("bare", "listener") => bare::listener(bare::server_config(dir, side)?, to, 64 << 10).await?,
        ("bare", _) => bare::dialer(bare::client_config(dir, side, true)?, to).await?,
        (pair, side) => return carrier(pair, side, to, dir).await,
    };
    child::serve(address).await
}

/// One of two agents, until nobody wants it any more.
async fn carrier(pair: &str, side: &str, to: SocketAddr, dir: &Path) -> Result<(), Failure> {
    let publisher = authority::read_publisher(dir, side)?;
    let mut means = Means::new(publisher.credentials(), Metrics::new());
    let e2e = pair == "tcp+e2e";
    let word = pair.trim_end_matches("+e2e");
    let transport = Transport::ALL.into_iter().find(|one| one.as_str() == word).ok_or("no such transport")?;
    let other_key = if side == "listener" { "dialer" } else { "listener" };
    let other = AgentKey::load_or_make(&dir.join(other_key))?.id();
    means.key = Some(Arc::new(AgentKey::load_or_make(&dir.join(side))?));
    let carrier = if side == "listener" {
        let allow =
            if e2e { Allow::Agent(other) } else { Allow::Id("spiffe://bench/worker/dialer".parse()?) };
        let forward = Backend::Tcp(to.to_string());
        let mut listener = ListenerSpec::new("bench", transport, "127.0.0.1:0", forward, allow);
        if e2e {
            listener.tls = TlsSpec::mesh();
        }
        Carrier::start(means, vec![listener], Vec::new()).await?
    } else {
        let id = "spiffe://bench/worker/listener".parse()?;
        let mut peer = PeerSpec::new("bench", id, transport, to.to_string(), "127.0.0.1:0");
        if e2e {
            peer.tls = TlsSpec::mesh();
            peer.id = PeerId::Agent(other);
        }
        Carrier::start(means, Vec::new(), vec![peer]).await?
    };
    child::serve(carrier.bound("bench").ok_or("not bound")?).await
}

/// Two processes that carry.
struct Pair {
    listener: Child,
    dialer: Child,
}

impl Pair {
    fn start(name: &str, service: SocketAddr, dir: &str) -> Result<Pair, Failure> {
        let listener = Child::start(&[name, "listener", &service.to_string(), dir])?;
        let dialer = Child::start(&[name, "dialer", &listener.address.to_string(), dir])?;
        Ok(Pair { listener, dialer })
    }

    fn port(&self) -> SocketAddr {
        self.dialer.address
    }

    fn cpu(&self) -> Result<f64, Failure> {
        Ok(self.listener.cpu()? + self.dialer.cpu()?)
    }

    /// CPU seconds for one GB (10^9 bytes) on one stream.
    async fn bulk(&self, megabytes: usize) -> Result<f64, Failure> {
        let before = self.cpu()?;
        service::bulk(self.port(), megabytes * 1_000_000).await?;
        Ok((self.cpu()? - before) * 1000.0 / megabytes as f64)
    }

    /// CPU microseconds for a new connection and one message there and back.
    async fn connections(&self, count: u32) -> Result<f64, Failure> {
        let before = self.cpu()?;
        for _ in 0..count {
            service::open(self.port()).await?;
        }
        Ok((self.cpu()? - before) * 1e6 / f64::from(count))
    }

    /// CPU microseconds for one message there and back on connections that are kept.
    async fn requests(&self, each: u32) -> Result<f64, Failure> {
        let mut kept = Vec::new();
        for _ in 0..KEPT {
            kept.push(service::open(self.port()).await?);
        }
        let before = self.cpu()?;
        let mut asking = tokio::task::JoinSet::new();
        for mut stream in kept {
            asking.spawn(async move {
                for _ in 0..each {
                    service::echo(&mut stream).await?;
                }
                Ok::<(), Failure>(())
            });
        }
        while let Some(asked) = asking.join_next().await {
            asked??;
        }
        Ok((self.cpu()? - before) * 1e6 / (f64::from(each) * KEPT as f64))
    }
}

async fn drive() -> Result<(), Failure> {
    let (rounds, megabytes, connections, requests) =
        if long() { (7, 1_000, 1_500, 3_000) } else { (3, 500, 500, 1_000) };
    let dir = tempfile::tempdir()?;
    let authority = authority::Authority::new()?;
    for side in ["listener", "dialer"] {
        authority.write(dir.path(), side)?;
        // Both halves read the other's, so the keys are there before either starts.
        AgentKey::load_or_make(&dir.path().join(side))?;
    }
    let place = dir.path().to_str().ok_or("the temporary directory's name is not text")?;
    let service = service::start().await?;
    let mut pairs = Vec::new();
    for name in PAIRS {
        let pair = Pair::start(name, service, place)?;
        pair.bulk(20).await.map_err(|error| format!("{name}: {error}"))?;
        pair.connections(20).await.map_err(|error| format!("{name}: {error}"))?;
        pairs.push(pair);
    }
    let mut rows: Vec<[Vec<f64>; 3]> = vec![Default::default(); PAIRS.len()];
    for round in 0..rounds {
        // Who begins changes from round to round.
        for step in 0..PAIRS.len() {
            let place = (round * 2 + step) % PAIRS.len();
            let (pair, row) = (&pairs[place], &mut rows[place]);
            let failed = |error: Failure| format!("{}: {error}", PAIRS[place]);
            row[0].push(pair.bulk(megabytes).await.map_err(failed)?);
            row[1].push(pair.connections(connections).await.map_err(failed)?);
            row[2].push(pair.requests(requests).await.map_err(failed)?);
        }
    }
    print_table(&rows);
    Ok(())
}

fn print_table(rows: &[[Vec<f64>; 3]]) {
    println!(
        "CPU time of both processes, medians of {} rounds; ratios are medians of rounds",
        rows[0][0].len()
    );
    println!(
        "{:<9} {:>8} {:>7} {:>7}   {:>8} {:>7} {:>7}   {:>8} {:>7} {:>7}",
        "pair", "s/GB", "/bare", "/relay", "us/conn", "/bare", "/relay", "us/64 B", "/bare", "/relay"
    );
    for (name, row) in PAIRS.iter().zip(rows) {
        let mut line = format!("{name:<9}");
        for (what, values) in row.iter().enumerate() {
            let over = |other: usize| {
                median(values.iter().zip(&rows[other][what]).map(|(value, base)| value / base))
            };
            let figure = median(values.iter().copied());
            let digits = if what == 1 { 0 } else { 2 };
            line += &format!(" {figure:>8.digits$} {:>6.2}x {:>6.2}x  ", over(1), over(0));
        }
        println!("{line}");
    }
}
