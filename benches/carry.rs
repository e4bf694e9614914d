//! Tunnel pairs: what the two processes of a pair cost in CPU time, ours on every transport beside a bare
//! rustls pair, a plain relay, and pairs of nginx, haproxy and stunnel where they are installed.
//!
//! Four things are measured for each pair, round after round: bytes in bulk over 1 stream and over 16, a
//! connection for each request of 64 bytes, and requests of 64 bytes on 16 open connections. The client and
//! the service are in this process and not counted. `--only tcp,bare` measures those alone; `--long` more.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its figures")]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use common::child::{self, Child};
use common::foreign::Program;
use common::{Failure, authority, carriers, long, median, number_of, quantile, service, value_of};
use tokio::task::JoinSet;

/// Streams and connections at once where there is more than one.
const MANY: usize = 16;
/// What is left to be done when the last answer has come, such as closing, is counted too.
const SETTLE: Duration = Duration::from_millis(100);

fn main() -> Result<(), Failure> {
    child::many_files();
    match child::role() {
        // One worker for each process, so that nobody gains by a second core.
        Some(role) => common::runtime()?.block_on(carriers::run(&role)),
        None => common::runtime()?.block_on(drive()),
    }
}

/// What was measured in one round.
#[derive(Clone, Copy)]
struct Row {
    /// CPU seconds for each GB.
    bulk: f64,
    bulk_many: f64,
    /// CPU microseconds for each request on a connection of its own, one client after the other.
    connection: f64,
    /// The same with many clients at once.
    connection_many: f64,
    /// CPU microseconds for each request on an open connection.
    small: f64,
    /// Median microseconds until its answer came.
    small_wait: f64,
}

impl Row {
    const NAMES: [&str; 6] =
        ["GB, 1 stream", "GB, 16", "connection", "connection, 16", "small request", "its wait"];

    fn values(&self) -> [f64; 6] {
        [self.bulk, self.bulk_many, self.connection, self.connection_many, self.small, self.small_wait]
    }
}

struct Pair {
    name: String,
    ends: Vec<Child>,
    rounds: Vec<Row>,
}

impl Pair {
    fn cpu(&self) -> Result<f64, Failure> {
        self.ends.iter().map(Child::cpu).sum()
    }

    /// Where its way in is.
    fn port(&self) -> Result<SocketAddr, Failure> {
        Ok(self.ends.last().ok_or("a pair without ends")?.address)
    }
}

fn pairs(dir: &Path, backend: SocketAddr) -> Result<Vec<Pair>, Failure> {
    let only = value_of("--only");
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only.split(',').any(|one| one == name));
    let mut pairs = Vec::new();
    for kind in ["relay", "bare"].into_iter().chain(carriers::OURS).filter(|kind| wanted(kind)) {
        let ends = carriers::pair(kind, dir, backend)?;
        pairs.push(Pair { name: kind.to_owned(), ends, rounds: Vec::new() });
    }
    for program in Program::ALL.into_iter().filter(|program| wanted(program.name())) {
        if program.is_here() {
            let ends = program.pair(dir, backend)?;
            pairs.push(Pair { name: program.name().to_owned(), ends, rounds: Vec::new() });
        } else {
            println!("{} is not installed, and left out", program.name());
        }
    }
    Ok(pairs)
}

async fn drive() -> Result<(), Failure> {
    let rounds = number_of("--rounds", if long() { 7 } else { 3 })?;
    let bytes = number_of("--megabytes", if long() { 500 } else { 200 })? * 1_000_000;
    let slice = Duration::from_secs(if long() { 2 } else { 1 });
    let dir = tempfile::tempdir()?;
    let authority = authority::Authority::new()?;
    authority.write(dir.path(), "server")?;
    authority.write(dir.path(), "client")?;
    let backend = service::start().await?;
    let mut pairs = pairs(dir.path(), backend)?;
    for pair in &pairs {
        service::bulk(pair.port()?, 1_000_000).await.map_err(|error| format!("{}: {error}", pair.name))?;
    }
    println!(
        "load {}, {rounds} rounds; CPU of both ends: s for each GB, us for each request",
        common::load()
    );
    for round in 0..rounds {
        let count = pairs.len();
        for place in 0..count {
            let pair = &mut pairs[(place + round) % count];
            let row = measure(pair, bytes, slice).await.map_err(|error| format!("{}: {error}", pair.name))?;
            pair.rounds.push(row);
            eprintln!("{} {:<9} {:.2?}", round + 1, pair.name, row.values());
        }
    }
    print(&pairs);
    Ok(())
}

fn print(pairs: &[Pair]) {
    print!("{:<10}", "median");
    for name in Row::NAMES {
        print!("{name:>24}");
    }
    println!("\n{:<10}(in brackets: over the bare pair, over the relay; each the median of the rounds)", "");
    let baseline = |name| pairs.iter().find(|pair| pair.name == name);
    for pair in pairs {
        print!("{:<10}", pair.name);
        for column in 0..Row::NAMES.len() {
            let value = median(pair.rounds.iter().map(|row| row.values()[column]));
            let over = |name| match baseline(name) {
                Some(other) => {
                    let both = pair.rounds.iter().zip(&other.rounds);
                    format!(
                        "{:.2}",
                        median(both.map(|(one, two)| one.values()[column] / two.values()[column]))
                    )
                }
                None => "-".to_owned(),
            };
            print!("{:>24}", format!("{value:.2} ({}, {})", over("bare"), over("relay")));
        }
        println!();
    }
}

async fn measure(pair: &Pair, bytes: usize, slice: Duration) -> Result<Row, Failure> {
    let port = pair.port()?;
    let bulk = counted(pair, async {
        service::bulk(port, bytes).await?;
        Ok(bytes)
    });
    let bulk = bulk.await?.0 * 1e9;
    let many = counted(pair, async {
        let mut streams = JoinSet::new();
        for _ in 0..MANY {
            streams.spawn(service::bulk(port, bytes / MANY));
        }
        while let Some(stream) = streams.join_next().await {
            stream??;
        }
        Ok(bytes / MANY * MANY)
    });
    let bulk_many = many.await?.0 * 1e9;
    let connection = counted(pair, connections(port, 1, slice)).await?.0 * 1e6;
    let connection_many = counted(pair, connections(port, MANY, slice)).await?.0 * 1e6;
    let mut open = Vec::new();
    for _ in 0..MANY {
        open.push(service::open(port).await?);
    }
    let mut waits = Vec::new();
    let requests = async {
        let mut clients = JoinSet::new();
        let begin = Instant::now();
        for mut tcp in open {
            clients.spawn(async move {
                let mut waits = Vec::new();
                while begin.elapsed() < slice {
                    let asked = Instant::now();
                    service::echo(&mut tcp).await?;
                    waits.push(asked.elapsed().as_secs_f64() * 1e6);
                }
                Ok::<_, Failure>(waits)
            });
        }
        while let Some(client) = clients.join_next().await {
            waits.extend(client??);
        }
        Ok(waits.len())
    };
    let small = counted(pair, requests).await?.0 * 1e6;
    let small_wait = quantile(waits, 0.5);
    Ok(Row { bulk, bulk_many, connection, connection_many, small, small_wait })
}

/// Requests for `slice`, each on a connection of its own: how many.
async fn connections(port: SocketAddr, clients: usize, slice: Duration) -> Result<usize, Failure> {
    let mut asking = JoinSet::new();
    let begin = Instant::now();
    for _ in 0..clients {
        asking.spawn(async move {
            let mut made = 0;
            while begin.elapsed() < slice {
                drop(service::open(port).await?);
                made += 1;
            }
            Ok::<usize, Failure>(made)
        });
    }
    let mut made = 0;
    while let Some(client) = asking.join_next().await {
        made += client??;
    }
    Ok(made)
}

/// The pair's CPU seconds for each of what `work` did, and how many those were.
async fn counted(
    pair: &Pair,
    work: impl Future<Output = Result<usize, Failure>>,
) -> Result<(f64, usize), Failure> {
    let before = pair.cpu()?;
    let count = work.await?;
    tokio::time::sleep(SETTLE).await;
    Ok(((pair.cpu()? - before) / count as f64, count))
}
