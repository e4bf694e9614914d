//! Issuance over gRPC with a durable record: one manager, 16 clients on kept connections.
//!
//! Three things are measured in turn, round after round, in one process: the P-256 signatures that one
//! core makes, issuing as managers do it, and issuing with one log entry, so one fsync, for each
//! certificate. Clients and manager share the machine's cores.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use certus_node::system_clock;
use certus_pki::{Accept, Allow, Bundle, Csr, KeyType, PrivateKey, Signer};
use certus_server::replica::limits::Cadence;
use certus_server::{FoundOptions, Founded, Manager, ManagerOptions, OperatorIdentity, found};
use certus_tls::{Client, ClientOptions, Identity, Publisher, Snapshot};
use certus_wire::v1;
use certus_wire::v1::bootstrap_client::BootstrapClient;
use certus_wire::v1::cluster_client::ClusterClient;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

type Failure = Box<dyn Error + Send + Sync>;

/// Clients at once, each on a connection of its own.
const CLIENTS: usize = 16;
/// Rounds, of which the median is reported.
const ROUNDS: usize = 5;
/// How long each thing is measured in a round.
const SLICE: Duration = Duration::from_secs(3);
/// Requests made ahead for one slice; more than a slice can use.
const REQUESTS: usize = 20_000;

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> Result<(), Failure> {
    let grouped = Bench::start("grouped", Cadence::default()).await?;
    let single = Bench::start("single", Cadence { commands: 1, ..Cadence::default() }).await?;
    let mut rounds: Vec<[f64; 3]> = Vec::new();
    println!("round   raw sign/s   certificates/s   one fsync each/s   of raw   over one fsync each");
    for round in 1..=ROUNDS {
        let raw = raw_signatures()?;
        let group = grouped.certificates_a_second(round).await?;
        let each = single.certificates_a_second(round).await?;
        print_row(&round.to_string(), [raw, group, each]);
        rounds.push([raw, group, each]);
    }
    print_row("median", [median(&rounds, 0), median(&rounds, 1), median(&rounds, 2)]);
    grouped.manager.shutdown().await?;
    single.manager.shutdown().await?;
    Ok(())
}

fn print_row(name: &str, [raw, group, each]: [f64; 3]) {
    let (share, over) = (100.0 * group / raw, group / each);
    println!("{name:<6} {raw:>11.0} {group:>16.0} {each:>18.0} {share:>7.1}% {over:>20.2}x");
}

fn median(rounds: &[[f64; 3]], column: usize) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(|round| round[column]).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// P-256 signatures over 500 bytes that one core makes in a second.
fn raw_signatures() -> Result<f64, Failure> {
    let key = PrivateKey::generate(KeyType::P256)?;
    let message = [7; 500];
    let begin = Instant::now();
    let mut made = 0;
    while begin.elapsed() < Duration::from_secs(1) {
        for _ in 0..100 {
            key.sign(&message)?;
        }
        made += 100;
    }
    Ok(f64::from(made) / begin.elapsed().as_secs_f64())
}

/// A manager, and clients that keep their connections.
struct Bench {
    name: &'static str,
    manager: Manager,
    channels: Vec<Channel>,
    _publisher: Publisher,
    _dir: tempfile::TempDir,
}

impl Bench {
    async fn start(name: &'static str, cadence: Cadence) -> Result<Bench, Failure> {
        // Beside the build: a temporary directory is often in memory, where an fsync costs nothing.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let data_dir = dir.path().join("m1");
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let options =
            FoundOptions::new("bench".parse()?, data_dir.clone(), listen, "m1".parse()?, "op".parse()?);
        let Founded { operator, .. } = found(&options, system_clock()).await?;
        let mut options = ManagerOptions::new(data_dir);
        options.cadence = cadence;
        let manager = Manager::start(options).await?;
        let OperatorIdentity { key, chain, bundle, .. } = operator;
        let snapshot =
            Snapshot::new(Some(Arc::new(Identity::new(&key, chain)?)), Arc::new(Bundle::clone(&bundle)));
        let publisher = Publisher::new(snapshot, system_clock());
        let mut options = ClientOptions::new(Accept::new(Allow::Anyone));
        options.alpn = vec![b"h2".to_vec()];
        let client = Arc::new(Client::new(publisher.credentials(), options));
        let mut channels = Vec::new();
        for _ in 0..CLIENTS {
            channels.push(dial(client.clone(), manager.address()).await?);
        }
        Ok(Bench { name, manager, channels, _publisher: publisher, _dir: dir })
    }

    /// Joins for one slice: every request is a fresh key's, made ahead.
    async fn certificates_a_second(&self, round: usize) -> Result<f64, Failure> {
        let mut cluster = ClusterClient::new(self.channels[0].clone());
        let uses = u32::try_from(REQUESTS)?;
        let request =
            v1::CreateTokenRequest { role: "worker".into(), ttl_secs: 3600, uses, ..Default::default() };
        let token: certus_pki::JoinToken = cluster.create_token(request).await?.into_inner().token.parse()?;
        let mut requests = Vec::with_capacity(REQUESTS);
        for number in 0..REQUESTS {
            let key = PrivateKey::generate(KeyType::P256)?;
            let id = format!("{}-{round}-{number}", self.name);
            let csr = Csr::make(&key, &id)?;
            requests.push(v1::JoinRequest {
                secret: token.secret().to_vec(),
                role: "worker".into(),
                id,
                csr,
            });
        }
        let (requests, next) = (Arc::new(requests), Arc::new(AtomicUsize::new(0)));
        let begin = Instant::now();
        let mut clients = tokio::task::JoinSet::new();
        for channel in self.channels.clone() {
            let (requests, next) = (requests.clone(), next.clone());
            clients.spawn(async move {
                let mut client = BootstrapClient::new(channel);
                let mut made = 0_u32;
                while begin.elapsed() < SLICE {
                    let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                    client.join(request.clone()).await?;
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
}

async fn dial(client: Arc<Client>, address: SocketAddr) -> Result<Channel, Failure> {
    let connect = service_fn(move |_| {
        let client = client.clone();
        async move {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            let tls = client.connect(tcp).await.map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(TokioIo::new(tls))
        }
    });
    Ok(Endpoint::from_static("http://certus").connect_with_connector(connect).await?)
}
