//! Many nodes that hold watch streams at one manager: what each costs it, and how long a revocation takes until
//! the last of them enforces it.
//!
//! The manager is the release binary. The nodes are connections of this process: each has an identity and a mutual
//! TLS connection of its own, and reports an update as enforced as soon as it has read it. What a real node does
//! in between, publishing and storing it on its own disk, is not here. `--nodes N` (10,000), `--trials N` (200).
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use certus_node::system_clock;
use certus_pki::{Csr, KeyType, PrivateKey};
use certus_tls::{Identity, Publisher, Snapshot};
use certus_wire::v1;
use certus_wire::v1::bootstrap_client::BootstrapClient;
use certus_wire::v1::cluster_client::ClusterClient;
use certus_wire::v1::node_client::NodeClient;
use certus_wire::v1::watch_update::Kind;
use common::child;
use common::cluster::{self, Cluster, Requests};
use common::{Failure, number_of, quantile};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// Joins and dials at once.
const AT_ONCE: usize = 32;
/// Until buffers that shrink when idle have.
const SETTLE: Duration = Duration::from_secs(3);
/// What a trial may take.
const PATIENCE_MS: u32 = 60_000;

fn main() -> Result<(), Failure> {
    let files = child::many_files();
    println!("open files allowed: {files}");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(drive())
}

async fn drive() -> Result<(), Failure> {
    let (count, trials) = (number_of("--nodes", 10_000)?, number_of("--trials", 200)?);
    let dir = cluster::on_disk()?;
    let cluster = Arc::new(Cluster::start(dir.path(), 1).await?);
    let channel = cluster.channel(cluster.members[0].address).await?;
    println!("load {}", common::load());
    let victims = Requests::make(channel.clone(), "victim", trials).await?;
    cluster::issue(std::slice::from_ref(&channel), &victims, Duration::from_secs(60)).await?;
    let token = cluster::token(channel.clone(), "worker", None, count).await?;
    let secret = token.secret().to_vec();
    let manager = cluster.members[0].child()?;
    let before = (manager.pss()?, manager.cpu()?);
    let (begin, places) = (Instant::now(), Arc::new(Semaphore::new(AT_ONCE)));
    let mut joining = tokio::task::JoinSet::new();
    for number in 0..count {
        let (cluster, channel, secret) = (cluster.clone(), channel.clone(), secret.clone());
        let places = places.clone();
        joining.spawn(async move {
            let _place = places.acquire_owned().await?;
            let node = Node::join(&cluster, channel, secret, number).await?;
            node.watch(&cluster).await
        });
    }
    let mut watching = Vec::new();
    while let Some(one) = joining.join_next().await {
        watching.push(one??);
    }
    println!("{count} nodes joined and watch after {:.1} s", begin.elapsed().as_secs_f64());
    tokio::time::sleep(SETTLE).await;
    let (pss, cpu) = (manager.pss()?, manager.cpu()?);
    println!(
        "manager: {:.1} MiB before, {:.1} with them: {:.1} KiB a node; CPU {:.2} ms a node",
        before.0 / 1024.0,
        pss / 1024.0,
        (pss - before.0) / count as f64,
        (cpu - before.1) * 1e3 / count as f64
    );
    revoke(&cluster, channel, count, trials).await?;
    let ended = watching.iter().filter(|one| one.is_finished()).count();
    println!("streams that ended: {ended}; manager {:.1} MiB at the end", manager.pss()? / 1024.0);
    Ok(())
}

async fn revoke(cluster: &Cluster, channel: Channel, count: usize, trials: usize) -> Result<(), Failure> {
    let mut client = ClusterClient::new(channel);
    let (mut took, mut seen) = (Vec::new(), Vec::new());
    let before = cluster.cpu()?;
    for number in 0..trials {
        let begin = Instant::now();
        let request = v1::RevokeRequest { name: format!("victim-{number}"), reason: 1 };
        let epoch = client.revoke(request).await?.into_inner().epoch;
        let request = v1::EnforcementRequest { epoch, wait_ms: PATIENCE_MS };
        let reply = client.enforcement(request).await?.into_inner();
        seen.push(begin.elapsed().as_secs_f64());
        if usize::try_from(reply.enforced)? != count || !reply.pending.is_empty() {
            return Err(format!("{} of {count} enforce it", reply.enforced).into());
        }
        took.push(f64::from(reply.took_us.ok_or("nobody reported")?) / 1e6);
    }
    let cpu = (cluster.cpu()? - before) * 1e3 / trials as f64;
    for (what, values) in [("from the commit to the last report", &took), ("as the operator sees it", &seen)]
    {
        let of = |share| quantile(values.iter().copied(), share);
        println!(
            "revoke, {trials} trials, seconds {what}: p50 {:.3}, p99 {:.3}, most {:.3}",
            of(0.5),
            of(0.99),
            of(1.0)
        );
    }
    println!("manager's CPU for one revocation: {cpu:.0} ms");
    Ok(())
}

/// A node that has joined.
struct Node {
    publisher: Publisher,
    epoch: Option<v1::Epoch>,
}

impl Node {
    async fn join(
        cluster: &Cluster,
        channel: Channel,
        secret: Vec<u8>,
        number: usize,
    ) -> Result<Node, Failure> {
        let id = format!("n{number}");
        let key = PrivateKey::generate(KeyType::P256)?;
        let csr = Csr::make(&key, &id)?;
        let request = v1::JoinRequest { secret, role: "worker".to_owned(), id, csr };
        let reply = BootstrapClient::new(channel).join(request).await?.into_inner();
        let identity = Identity::new(&key, reply.chain)?;
        let snapshot = Snapshot::new(Some(Arc::new(identity)), cluster.bundle.clone());
        let epoch = reply.bundle.and_then(|bundle| bundle.epoch);
        Ok(Node { publisher: Publisher::new(snapshot, system_clock()), epoch })
    }

    /// Watches until the manager ends it.
    async fn watch(self, cluster: &Cluster) -> Result<tokio::task::JoinHandle<Result<(), Failure>>, Failure> {
        let client = cluster::client_of(&self.publisher);
        let channel = cluster::dial(client, cluster.members[0].address).await?;
        let (reports, receiver) = mpsc::channel(4);
        reports.send(v1::WatchReport { enforced: self.epoch, cut: 0 }).await?;
        let mut client = NodeClient::new(channel);
        let mut updates = client.watch(ReceiverStream::new(receiver)).await?.into_inner();
        Ok(tokio::spawn(async move {
            // Held: without it the connection's credentials are gone.
            let _publisher = self.publisher;
            while let Some(update) = updates.message().await? {
                let enforced = match update.kind {
                    Some(Kind::Delta(delta)) => delta.epoch,
                    Some(Kind::Bundle(bundle)) => bundle.epoch,
                    _ => continue,
                };
                reports.send(v1::WatchReport { enforced, cut: 0 }).await?;
            }
            Ok(())
        }))
    }
}
