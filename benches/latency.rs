//! What a pair adds to the answer time of an HTTP service: answers of 64 KiB on kept connections, at half
//! of what the pair was just seen to carry; then the others at the same rate.
//!
//! Requests are due at fixed moments, and an answer's time counts from the moment its request was due.
//! Where it was sent at once, the timer's lag before that is left out.
//! `direct` is the service without anything between, `relay` a pair without TLS. Service and pairs are
//! processes of their own with one thread each.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its figures")]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::child::{self, Child};
use common::{Failure, authority, carriers, long, median, number_of, quantile};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Kept connections.
const CONNECTIONS: usize = 16;
/// What one answer carries.
const BODY_BYTES: usize = 64 << 10;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n";

fn main() -> Result<(), Failure> {
    match child::role() {
        Some(role) if role[0] == "service" => common::runtime()?.block_on(serve()),
        Some(role) => common::runtime()?.block_on(carriers::run(&role)),
        None => common::runtime()?.block_on(drive()),
    }
}

fn head() -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY_BYTES}\r\n\r\n")
}

async fn serve() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let mut answer = head().into_bytes();
    answer.resize(answer.len() + BODY_BYTES, b'b');
    let answer = std::sync::Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                tcp.set_nodelay(true)?;
                let mut asked = [0; REQUEST.len()];
                loop {
                    tcp.read_exact(&mut asked).await?;
                    tcp.write_all(&answer).await?;
                }
                #[allow(unreachable_code, reason = "tells the compiler what may fail")]
                Ok::<(), std::io::Error>(())
            });
        }
    });
    child::serve(address).await
}

/// One way to the service.
struct Way {
    name: &'static str,
    ends: Vec<Child>,
    port: SocketAddr,
}

/// What one of our pairs came to in a round, beside others at the same rate, in microseconds.
struct Row {
    rate: f64,
    /// Median, 99th percentile and CPU: ours, direct, relay, bare.
    each: [[f64; 3]; 4],
}

async fn drive() -> Result<(), Failure> {
    let rounds = number_of("--rounds", if long() { 9 } else { 3 })?;
    let slice = Duration::from_secs(if long() { 4 } else { 2 });
    let dir = tempfile::tempdir()?;
    let authority = authority::Authority::new()?;
    authority.write(dir.path(), "server")?;
    authority.write(dir.path(), "client")?;
    let service = Child::start(&["service"])?;
    let mut others = vec![Way { name: "direct", ends: Vec::new(), port: service.address }];
    for name in ["relay", "bare"] {
        let ends = carriers::pair(name, dir.path(), service.address)?;
        others.push(Way { name, port: ends[1].address, ends });
    }
    let mut ours = Vec::new();
    for name in ["tcp", "h2", "ws", "quic"] {
        let ends = carriers::pair(name, dir.path(), service.address)?;
        ours.push((Way { name, port: ends[1].address, ends }, Vec::new()));
    }
    println!("load {}; {rounds} rounds", common::load());
    for round in 0..rounds {
        for (way, rows) in &mut ours {
            let rate = most(way.port, slice).await? / 2.0;
            let mut row = Row { rate, each: [[0.0; 3]; 4] };
            let ways = [&*way, &others[0], &others[1], &others[2]];
            for place in 0..ways.len() {
                let place = (place + round) % ways.len();
                row.each[place] = measure(ways[place], rate, slice).await?;
            }
            eprintln!("{} {:<5} at {rate:.0}/s: {:.0?}", round + 1, way.name, row.each);
            rows.push(row);
        }
    }
    print(&ours);
    Ok(())
}

fn print(ours: &[(Way, Vec<Row>)]) {
    println!("microseconds until an answer of 64 KiB was there, at half of what the pair carries; medians");
    println!(
        "{:<6} {:>9} {:>8} {:>8} {:>8} {:>8}   {:>8} {:>8}   {:>8} {:>8}   {:>8} {:>8}",
        "", "a second", "p50", "direct", "relay", "bare", "/relay", "/bare", "p99", "relay", "CPU", "bare"
    );
    for (way, rows) in ours {
        let of = |other: usize, column: usize| median(rows.iter().map(|row| row.each[other][column]));
        let over = |other: usize| median(rows.iter().map(|row| row.each[0][0] / row.each[other][0]));
        println!(
            "{:<6} {:>9.0} {:>8.0} {:>8.0} {:>8.0} {:>8.0}   {:>7.2}x {:>7.2}x   {:>8.0} {:>8.0}   {:>8.0} {:>8.0}",
            way.name,
            median(rows.iter().map(|row| row.rate)),
            of(0, 0),
            of(1, 0),
            of(2, 0),
            of(3, 0),
            over(2),
            over(3),
            of(0, 1),
            of(2, 1),
            of(0, 2),
            of(3, 2)
        );
    }
}

async fn get(tcp: &mut TcpStream, answer: &mut [u8]) -> std::io::Result<()> {
    tcp.write_all(REQUEST).await?;
    tcp.read_exact(answer).await.map(drop)
}

async fn open(port: SocketAddr) -> Result<(TcpStream, Vec<u8>), Failure> {
    let mut tcp = TcpStream::connect(port).await?;
    tcp.set_nodelay(true)?;
    let mut answer = vec![0; head().len() + BODY_BYTES];
    get(&mut tcp, &mut answer).await?;
    Ok((tcp, answer))
}

/// Answers a second with every connection always waiting for one.
async fn most(port: SocketAddr, slice: Duration) -> Result<f64, Failure> {
    let mut clients = tokio::task::JoinSet::new();
    let begin = Instant::now();
    for _ in 0..CONNECTIONS {
        clients.spawn(async move {
            let (mut tcp, mut answer) = open(port).await?;
            let mut made = 0_u32;
            while begin.elapsed() < slice {
                get(&mut tcp, &mut answer).await?;
                made += 1;
            }
            Ok::<u32, Failure>(made)
        });
    }
    let mut made = 0;
    while let Some(client) = clients.join_next().await {
        made += client??;
    }
    Ok(f64::from(made) / begin.elapsed().as_secs_f64())
}

/// Median and 99th percentile of the answer time, and CPU for each, all in microseconds.
async fn measure(way: &Way, rate: f64, slice: Duration) -> Result<[f64; 3], Failure> {
    let cpu = || way.ends.iter().map(Child::cpu).sum::<Result<f64, Failure>>();
    let mut open_ones = Vec::new();
    for _ in 0..CONNECTIONS {
        open_ones.push(open(way.port).await?);
    }
    let (before, every) = (cpu()?, Duration::from_secs_f64(CONNECTIONS as f64 / rate));
    let mut clients = tokio::task::JoinSet::new();
    let begin = tokio::time::Instant::now() + Duration::from_millis(20);
    for (number, (mut tcp, mut answer)) in open_ones.into_iter().enumerate() {
        clients.spawn(async move {
            let mut due = begin + every.mul_f64(number as f64 / CONNECTIONS as f64);
            let mut waits = Vec::new();
            while due < begin + slice {
                let is_late = tokio::time::Instant::now() > due;
                tokio::time::sleep_until(due).await;
                // The timer's own lag, up to a millisecond, is nobody's fault.
                let asked = if is_late { due } else { tokio::time::Instant::now() };
                get(&mut tcp, &mut answer).await?;
                waits.push(asked.elapsed().as_secs_f64() * 1e6);
                due += every;
            }
            Ok::<_, Failure>(waits)
        });
    }
    let mut waits = Vec::new();
    while let Some(client) = clients.join_next().await {
        waits.extend(client??);
    }
    let each = (cpu()? - before) * 1e6 / waits.len() as f64;
    Ok([quantile(waits.iter().copied(), 0.5), quantile(waits, 0.99), each])
}
