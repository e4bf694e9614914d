//! A manager with a million certificates on record: its start, a page of a list, the cost of one more, a
//! manager that joins, and what memory it all takes.
//!
//! Beside it a manager with a thousand. The records are made by `common::filled`; what is measured is the release
//! binary. `--certificates N` (1,000,000).
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use certus_node::system_clock;
use certus_pki::Lifetime;
use certus_wire::v1;
use certus_wire::v1::bootstrap_client::BootstrapClient;
use certus_wire::v1::cluster_client::ClusterClient;
use common::cluster::{self, Cluster, Requests};
use common::{Failure, filled, median, number_of, quantile};
use tonic::transport::Channel;

/// What it is compared with.
const FEW: usize = 1_000;
/// Clients that issue at once.
const CLIENTS: usize = 16;
/// Clients that issue while a manager joins.
const WAITING: usize = 4;
/// Rounds of issuing and revoking, and pages of each kind.
const ROUNDS: usize = 5;
const PAGES: usize = 50;
const REVOKED: usize = 200;
const SLICE: Duration = Duration::from_secs(2);
/// Requests made ahead for one slice, and for the time that a join may take.
const REQUESTS: usize = 10_000;
const REQUESTS_LONG: usize = 100_000;
/// Between two certificates of a client that waits: a fleet that renews, not a flood.
const PACE: Duration = Duration::from_millis(5);
/// The kind of page that asks for another node each time.
const BY_NODE: &str = "by node";
/// How long issuing is watched with nobody joining.
const QUIET: Duration = Duration::from_secs(20);

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(drive())
}

async fn drive() -> Result<(), Failure> {
    let count = number_of("--certificates", 1_000_000)?;
    let dir = cluster::on_disk()?;
    println!("load {}", common::load());
    let begin = Instant::now();
    let mut many = filled::fill(&dir.path().join("many"), count).await?;
    println!("{count} certificates put on record in {:.0} s", begin.elapsed().as_secs_f64());
    let mut few = filled::fill(&dir.path().join("few"), FEW).await?;
    for (name, cluster) in [("few", &mut few), ("many", &mut many)] {
        start(name, cluster).await?;
    }
    pages(&many, count).await?;
    costs(&few, &many).await?;
    memory("after issuing and revoking", &many)?;
    few.members[0].process = None;
    joins(&mut many).await
}

/// From the start of the process to its port, and to the first certificate.
async fn start(name: &str, cluster: &mut Cluster) -> Result<(), Failure> {
    let begin = Instant::now();
    cluster.run(0)?;
    let listens = begin.elapsed().as_secs_f64();
    let channel = cluster.channel(cluster.members[0].address).await?;
    let token = cluster::token(channel.clone(), "worker", None, 1).await;
    token?;
    let first = begin.elapsed().as_secs_f64();
    println!("{name}: listens after {listens:.2} s, first change committed after {first:.2} s");
    memory(&format!("{name}, started"), cluster)?;
    let begin = Instant::now();
    let status = ClusterClient::new(channel).status(v1::StatusRequest {}).await?.into_inner();
    println!("{name}: status of {} nodes in {:.1} ms", status.nodes, begin.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn memory(what: &str, cluster: &Cluster) -> Result<(), Failure> {
    for member in &cluster.members {
        let child = member.child()?;
        let (pss, peak) = (child.pss()? / 1024.0, child.peak()? / 1024.0);
        println!("memory, {what}: {} {pss:.1} MiB (PSS), at most {peak:.1} (resident)", member.name);
    }
    Ok(())
}

/// Pages of 500 as `certus cert list` asks for them.
async fn pages(cluster: &Cluster, count: usize) -> Result<(), Failure> {
    let channel = cluster.channel(cluster.members[0].address).await?;
    let mut client = ClusterClient::new(channel);
    let now = system_clock()();
    // The certificates end within one day: half of them before this.
    let middle = now.plus(certus_pki::defaults::LEAF_LIFETIME).minus(Lifetime::from_secs(43_200)).secs();
    let plain = v1::ListCertsRequest { limit: 500, ..Default::default() };
    let expiring = v1::ListCertsRequest { expiring_before: Some(middle), ..plain.clone() };
    let kinds = [
        ("the first page", plain.clone()),
        (BY_NODE, plain.clone()),
        ("by prefix", v1::ListCertsRequest { id_prefix: "n05".to_owned(), ..plain }),
        ("by expiry", expiring.clone()),
        ("all, by expiry", v1::ListCertsRequest { all: true, ..expiring }),
    ];
    for (name, request) in kinds {
        let (mut took, mut rows) = (Vec::new(), 0);
        let mut after = Vec::new();
        for turn in 0..PAGES {
            let node = (name == BY_NODE).then(|| format!("n{:07}", turn * 7919 % count));
            let request = v1::ListCertsRequest { after, node, ..request.clone() };
            let begin = Instant::now();
            let page = client.list_certs(request).await?.into_inner();
            took.push(begin.elapsed().as_secs_f64() * 1e3);
            rows = page.certs.len();
            after = page.next;
        }
        let of = |share| quantile(took.iter().copied(), share);
        println!("cert list, {name}: {rows} rows, median {:.1} ms, most {:.1} ms", of(0.5), of(1.0));
    }
    Ok(())
}

/// CPU of the manager for one more certificate, and for one less.
async fn costs(few: &Cluster, many: &Cluster) -> Result<(), Failure> {
    println!("CPU microseconds of the manager: issue/revoke one");
    let mut all: [Vec<[f64; 2]>; 2] = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        for turn in 0..2 {
            let place = (turn + round) % 2;
            let cluster = [few, many][place];
            let channels = cluster.channels(CLIENTS).await?;
            let requests = Requests::make(channels[0].clone(), &format!("r{round}"), REQUESTS).await?;
            let before = cluster.cpu()?;
            let (made, _) = cluster::issue(&channels, &requests, SLICE).await?;
            let middle = cluster.cpu()?;
            for number in 0..REVOKED {
                let name = format!("r{round}-{number}");
                revoke(&channels[number % CLIENTS], &name).await?;
            }
            let revoked = (cluster.cpu()? - middle) * 1e6 / REVOKED as f64;
            all[place].push([(middle - before) * 1e6 / made, revoked]);
        }
        let [[a, b], [c, d]] = [all[0][round], all[1][round]];
        println!("{:<8} few {a:>6.0}/{b:<6.0} many {c:>6.0}/{d:<6.0}", round + 1);
    }
    let ratio =
        |column: usize| median((0..ROUNDS).map(|round| all[1][round][column] / all[0][round][column]));
    println!("many over few: issue {:.2}x, revoke {:.2}x", ratio(0), ratio(1));
    Ok(())
}

async fn revoke(channel: &Channel, name: &str) -> Result<(), Failure> {
    let request = v1::RevokeRequest { name: name.to_owned(), reason: 0 };
    ClusterClient::new(channel.clone()).revoke(request).await?;
    Ok(())
}

/// A manager joins while clients issue.
async fn joins(cluster: &mut Cluster) -> Result<(), Failure> {
    let quiet = Issuing::begin(cluster, "quiet").await?;
    tokio::time::sleep(QUIET).await;
    quiet.end("with nobody joining").await?;
    let issuing = Issuing::begin(cluster, "while").await?;
    let begin = Instant::now();
    cluster.join("m2").await?;
    println!("m2 has its place after {:.1} s", begin.elapsed().as_secs_f64());
    cluster.wait_voters(2).await?;
    println!("m2 votes after {:.1} s", begin.elapsed().as_secs_f64());
    issuing.end("while it joined").await?;
    memory("after the join", cluster)
}

/// Clients that issue one certificate after another at the first manager.
struct Issuing {
    stop: Arc<AtomicBool>,
    clients: tokio::task::JoinSet<Result<Vec<Duration>, Failure>>,
}

impl Issuing {
    async fn begin(cluster: &Cluster, prefix: &str) -> Result<Issuing, Failure> {
        let channel = cluster.channel(cluster.members[0].address).await?;
        let requests = Requests::make(channel, prefix, REQUESTS_LONG).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..WAITING {
            let channel = cluster.channel(cluster.members[0].address).await?;
            let (requests, stop) = (requests.clone(), stop.clone());
            clients.spawn(async move {
                let mut client = BootstrapClient::new(channel);
                let mut took = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let Some(request) = requests.take() else { break };
                    let begin = Instant::now();
                    client.join(request).await?;
                    took.push(begin.elapsed());
                    tokio::time::sleep(PACE).await;
                }
                Ok(took)
            });
        }
        Ok(Issuing { stop, clients })
    }

    async fn end(mut self, what: &str) -> Result<(), Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let mut took = Vec::new();
        while let Some(client) = self.clients.join_next().await {
            took.extend(client??.into_iter().map(|one| one.as_secs_f64() * 1e3));
        }
        let of = |share| quantile(took.iter().copied(), share);
        println!(
            "issued {what}: {} certificates, none refused; answer p50 {:.1} ms, p99 {:.1} ms, longest wait {:.0} ms",
            took.len(),
            of(0.5),
            of(0.99),
            of(1.0)
        );
        Ok(())
    }
}
