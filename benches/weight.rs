//! What Certus weighs: memory of an idle manager and an idle worker, the time until `certus --version` has
//! answered, the binary's size; and how long one node waits for a full handshake with another.
//!
//! All of the release binary but the handshakes, whose two ends are children with one worker thread each.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use certus_node::Transport;
use common::child::{self, Child};
use common::cluster::{self, Cluster};
use common::direct::Direct;
use common::{Failure, authority, bare, carriers, number_of, quantile, service};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Starts of `certus --version`.
const VERSIONS: usize = 50;
/// Handshakes of either kind, after the first which are not counted.
const HANDSHAKES: usize = 5_000;
const WARM: usize = 100;
/// What is idle has been so for this long.
const IDLE: Duration = Duration::from_secs(15);
/// What a worker may take to join.
const JOINS_WITHIN: Duration = Duration::from_secs(20);

fn main() -> Result<(), Failure> {
    match child::role() {
        Some(role) => common::runtime()?.block_on(carriers::run(&role)),
        None => common::runtime()?.block_on(drive()),
    }
}

async fn drive() -> Result<(), Failure> {
    println!("load {}", common::load());
    let certus = cluster::certus()?;
    let size = std::fs::metadata(&certus)?.len() as f64 / f64::from(1 << 20);
    println!("binary: {size:.1} MiB");
    version(&certus)?;
    idle(&certus).await?;
    handshakes().await
}

fn version(certus: &Path) -> Result<(), Failure> {
    let mut took = Vec::new();
    for _ in 0..VERSIONS {
        let begin = Instant::now();
        let status = Command::new(certus).arg("--version").stdout(Stdio::null()).status()?;
        took.push(begin.elapsed().as_secs_f64() * 1e3);
        if !status.success() {
            return Err("certus --version fails".into());
        }
    }
    let of = |share| quantile(took.iter().copied(), share);
    println!(
        "certus --version, {VERSIONS} starts, ms: least {:.1}, median {:.1}, p99 {:.1}",
        of(0.0),
        of(0.5),
        of(0.99)
    );
    Ok(())
}

async fn idle(certus: &Path) -> Result<(), Failure> {
    let dir = cluster::on_disk()?;
    let cluster = Cluster::start(dir.path(), 1).await?;
    let token = dir.path().join("token");
    std::fs::write(&token, cluster.token("worker", None, 1).await?.reveal().as_bytes())?;
    let manager = cluster.members[0].address;
    let worker = Command::new(certus)
        .env("CERTUS_HOME", dir.path().join("home"))
        .args(["worker", "start", "--id", "w1", "--manager", &manager.to_string(), "--data-dir"])
        .arg(dir.path().join("w1"))
        .arg("--token-file")
        .arg(&token)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let worker = Child::running(worker, manager);
    let channel = cluster.channel(manager).await?;
    let mut client = certus_wire::v1::cluster_client::ClusterClient::new(channel);
    let begin = Instant::now();
    while client.status(certus_wire::v1::StatusRequest {}).await?.into_inner().connected.is_empty() {
        if begin.elapsed() > JOINS_WITHIN {
            return Err("the worker does not watch".into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(client);
    tokio::time::sleep(IDLE).await;
    for (name, child) in [("manager", cluster.members[0].child()?), ("worker", &worker)] {
        let (pss, peak, anonymous) = (child.pss()?, child.peak()?, child.anonymous()?);
        println!(
            "idle {name}: {:.1} MiB (PSS), of which {:.1} are its own (anonymous); at most {:.1} resident",
            pss / 1024.0,
            anonymous / 1024.0,
            peak / 1024.0
        );
    }
    Ok(())
}

/// Full handshakes, one after another, each by a client that has no ticket.
async fn handshakes() -> Result<(), Failure> {
    let count = number_of("--handshakes", HANDSHAKES)?;
    let dir = tempfile::tempdir()?;
    let place = dir.path().to_str().ok_or("the temporary directory's name is not text")?;
    let authority = authority::Authority::new()?;
    authority.write(dir.path(), "server")?;
    authority.write(dir.path(), "client")?;
    let backend = service::start().await?.to_string();
    let bare_listener = Child::start(&["listener", "bare", place, &backend])?;
    let ours = Child::start(&["listener", "tcp", place, &backend])?;
    let config = bare::client_config(dir.path(), "client", false)?;
    let (mut bare_took, mut our_took) = (Vec::new(), Vec::new());
    for number in 0..WARM + count {
        let begin = Instant::now();
        let tcp = TcpStream::connect(bare_listener.address).await?;
        tcp.set_nodelay(true)?;
        let mut tls = TlsConnector::from(config.clone()).connect(bare::host()?, tcp).await?;
        service::echo(&mut tls).await?;
        let bare_one = begin.elapsed();
        // A client of its own for each: it resumes nothing. And a certificate of its own.
        let publisher = authority.publisher(&format!("n{number}"))?;
        let direct = Direct::new(publisher.credentials(), Transport::Tcp, ours.address)?;
        let begin = Instant::now();
        let mut held = direct.dial().await?;
        service::echo(&mut held.stream).await?;
        if number >= WARM {
            bare_took.push(bare_one.as_secs_f64() * 1e3);
            our_took.push(begin.elapsed().as_secs_f64() * 1e3);
        }
    }
    for (name, took) in [("bare", bare_took), ("certus", our_took)] {
        let of = |share| quantile(took.iter().copied(), share);
        println!(
            "full handshake and 64 bytes there and back, {name}, {count} times, ms: p50 {:.2}, p99 {:.2}, p99.9 {:.2}, most {:.2}",
            of(0.5),
            of(0.99),
            of(0.999),
            of(1.0)
        );
    }
    Ok(())
}
