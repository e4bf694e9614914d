//! Issuance by one manager and by three, beside one fsync for each certificate and `cfssl serve`; and the time
//! without a leader.
//!
//! Managers are processes of the release binary, all on this machine: one disk, and cores that they share with
//! the clients. `--gaps` measures the time without a leader instead: `kill -9`, and how long a client at another
//! manager waits until what it proposes is committed. `--trials N` (50).
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use certus_server::replica::limits::Cadence;
use certus_server::{Manager, ManagerOptions};
use common::child::{self, Child};
use common::cluster::{self, Cluster, Requests};
use common::{Failure, cfssl, has, long, median, number_of, quantile};
use tonic::transport::Channel;

/// Clients at once, each on a connection of its own.
const CLIENTS: usize = 16;
/// Requests made ahead for one slice; more than a slice can use.
const REQUESTS: usize = 20_000;
/// Before the next try of a client that was refused.
const AGAIN: Duration = Duration::from_millis(10);

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match child::role() {
        Some(role) => runtime.block_on(serve(&role)),
        None if has("--gaps") => runtime.block_on(gaps()),
        None => runtime.block_on(drive()),
    }
}

/// The same manager with one command to a log entry: so one fsync for each certificate.
async fn serve(role: &[String]) -> Result<(), Failure> {
    let [_, data_dir] = role else { return Err("two words tell such a child".into()) };
    let mut options = ManagerOptions::new(data_dir.into());
    options.cadence = Cadence { commands: 1, ..Cadence::default() };
    let manager = Manager::start(options).await?;
    child::serve(manager.address()).await?;
    Ok(manager.shutdown().await?)
}

/// What is measured of each in a round.
#[derive(Clone, Copy, Default)]
struct Figures {
    a_second: f64,
    /// Microseconds of CPU for each certificate, of all its processes.
    cpu: f64,
}

/// A cluster and the connections to it.
struct Issuing {
    cluster: Cluster,
    channels: Vec<Channel>,
    _dir: tempfile::TempDir,
}

impl Issuing {
    async fn start(managers: usize) -> Result<Issuing, Failure> {
        let dir = cluster::on_disk()?;
        let cluster = Cluster::start(dir.path(), managers).await?;
        let channels = cluster.channels(CLIENTS).await?;
        Ok(Issuing { cluster, channels, _dir: dir })
    }

    /// One whose fsyncs are not shared.
    async fn start_single() -> Result<Issuing, Failure> {
        let dir = cluster::on_disk()?;
        let (mut cluster, _) = Cluster::found(dir.path(), certus_node::system_clock()).await?;
        let data_dir = cluster.data_dir("m1");
        let data_dir = data_dir.to_str().ok_or("the directory's name is not text")?.to_owned();
        cluster.members[0].process = Some(Child::start(&["single", &data_dir])?);
        let channels = cluster.channels(CLIENTS).await?;
        Ok(Issuing { cluster, channels, _dir: dir })
    }

    async fn measure(&self, round: usize, slice: Duration) -> Result<Figures, Failure> {
        let requests = Requests::make(self.channels[0].clone(), &format!("r{round}"), REQUESTS).await?;
        let before = self.cluster.cpu()?;
        let (made, took) = cluster::issue(&self.channels, &requests, slice).await?;
        let cpu = (self.cluster.cpu()? - before) * 1e6 / made;
        Ok(Figures { a_second: made / took.as_secs_f64(), cpu })
    }
}

async fn drive() -> Result<(), Failure> {
    let (rounds, slice) = if long() { (11, 5) } else { (5, 3) };
    let slice = Duration::from_secs(slice);
    let one = Issuing::start(1).await?;
    let three = Issuing::start(3).await?;
    let single = Issuing::start_single().await?;
    let place = tempfile::tempdir()?;
    let other = other(place.path())?;
    println!("load {}, {rounds} rounds of {} s", common::load(), slice.as_secs());
    println!("certificates a second / CPU microseconds for each, over all its processes");
    println!(
        "{:<8}{:>16}{:>16}{:>16}{:>16}",
        "round", "one manager", "three", "one fsync each", "cfssl serve"
    );
    let mut all = Vec::new();
    for round in 0..rounds {
        let mut figures = [Figures::default(); 4];
        // Who begins changes from round to round.
        for turn in 0..4 {
            let place = (turn + round) % 4;
            figures[place] = match place {
                0 => one.measure(round, slice).await?,
                1 => three.measure(round, slice).await?,
                2 => single.measure(round, slice).await?,
                _ => foreign(other.as_ref(), slice).await?,
            };
        }
        print_row(&(round + 1).to_string(), &figures);
        all.push(figures);
    }
    let of = |place: usize, what: fn(&Figures) -> f64| median(all.iter().map(|row| what(&row[place])));
    let medians =
        [0, 1, 2, 3].map(|place| Figures { a_second: of(place, |f| f.a_second), cpu: of(place, |f| f.cpu) });
    print_row("median", &medians);
    let rate = |over: usize| median(all.iter().map(|row| row[1].a_second / row[over].a_second));
    let cpu = |ours: usize| median(all.iter().map(|row| row[ours].cpu / row[3].cpu));
    println!("three managers over one: {:.2}x the certificates a second", rate(0));
    println!("three managers over one fsync each: {:.2}x the certificates a second", rate(2));
    println!("CPU for each certificate over cfssl serve: one manager {:.2}x, three {:.2}x", cpu(0), cpu(1));
    Ok(())
}

fn print_row(name: &str, figures: &[Figures; 4]) {
    print!("{name:<8}");
    for one in figures {
        print!("{:>16}", format!("{:.0} / {:.0}", one.a_second, one.cpu));
    }
    println!();
}

fn other(dir: &Path) -> Result<Option<Child>, Failure> {
    if cfssl::is_here() {
        return Ok(Some(cfssl::start(dir)?));
    }
    println!("cfssl is not installed, and left out");
    Ok(None)
}

async fn foreign(server: Option<&Child>, slice: Duration) -> Result<Figures, Failure> {
    let Some(server) = server else { return Ok(Figures { a_second: f64::NAN, cpu: f64::NAN }) };
    let requests = cfssl::Requests::make(REQUESTS)?;
    let before = server.cpu()?;
    let (made, took) = cfssl::issue(server.address, CLIENTS, &requests, slice).await?;
    Ok(Figures { a_second: made / took.as_secs_f64(), cpu: (server.cpu()? - before) * 1e6 / made })
}

/// Kills the leader again and again.
async fn gaps() -> Result<(), Failure> {
    let trials = number_of("--trials", 50)?;
    let Issuing { mut cluster, channels, _dir } = Issuing::start(3).await?;
    drop(channels);
    println!("load {}, {trials} trials", common::load());
    let mut gaps = Vec::new();
    for _ in 0..trials {
        let leader = cluster.leader().await?;
        let other = (leader + 1) % cluster.members.len();
        let channel = cluster.channel(cluster.members[other].address).await?;
        // Its connections are up before the clock runs.
        cluster::token(channel.clone(), "worker", None, 1).await?;
        let begin = Instant::now();
        // A child of somebody else's program is killed when it is dropped.
        cluster.members[leader].process = None;
        while cluster::token(channel.clone(), "worker", None, 1).await.is_err() {
            tokio::time::sleep(AGAIN).await;
        }
        gaps.push(begin.elapsed().as_secs_f64());
        cluster.run(leader)?;
        cluster.wait_voters(3).await?;
    }
    let of = |share: f64| quantile(gaps.iter().copied(), share);
    println!(
        "from kill -9 of the leader to the next commit, seconds: least {:.2}, median {:.2}, p99 {:.2}, most {:.2}",
        of(0.0),
        of(0.5),
        of(0.99),
        of(1.0)
    );
    Ok(())
}
