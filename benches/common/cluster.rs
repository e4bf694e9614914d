//! Clusters of real managers: the release binary on a directory each, and clients that issue at them.
//!
//! Founding and joining run in this process, as the command line runs them; what serves is `certus manager
//! start`. Every certificate that is asked for is a fresh key's.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use certus_node::system_clock;
use certus_pki::{Accept, Allow, Bundle, Csr, JoinToken, KeyType, PrivateKey};
use certus_server::{FoundOptions, Founded, JoinOptions, OperatorIdentity, found, join};
use certus_tls::{Client, ClientOptions, Clock, Identity, Publisher, Snapshot};
use certus_wire::v1;
use certus_wire::v1::bootstrap_client::BootstrapClient;
use certus_wire::v1::cluster_client::ClusterClient;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::Failure;
use super::child::{Child, free_port};

/// What a manager may take until it has caught up.
const READY_WITHIN: Duration = Duration::from_secs(1_800);
/// How often it is looked whether something is so.
const LOOK: Duration = Duration::from_millis(20);
/// Entries that a manager may lack: one append brings more.
const CAUGHT_UP: u64 = 64;
/// Uses of one token: a bench asks for another when they are gone.
const TOKEN_USES: usize = 100_000;

/// The release binary: `CERTUS_BIN`, or what `cargo build --release` left beside the benches.
pub(crate) fn certus() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    let built = own.ancestors().nth(2).map(|dir| dir.join("certus"));
    let certus = std::env::var_os("CERTUS_BIN").map(PathBuf::from).or(built).unwrap_or_default();
    if certus.is_file() {
        Ok(certus)
    } else {
        Err("there is no certus to measure: cargo build --release".into())
    }
}

/// A directory on a disk: a temporary one is often in memory, where an fsync costs nothing.
pub(crate) fn on_disk() -> Result<tempfile::TempDir, Failure> {
    let place = std::env::var_os("CERTUS_BENCH_DIR").map(PathBuf::from);
    let place = place.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
    Ok(tempfile::tempdir_in(place)?)
}

/// A cluster in `dir`, and who operates it.
pub(crate) struct Cluster {
    dir: PathBuf,
    certus: PathBuf,
    pub(crate) members: Vec<Member>,
    pub(crate) client: Arc<Client>,
    pub(crate) bundle: Arc<Bundle>,
    publisher: Publisher,
}

/// One manager; ended where `process` is none.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) process: Option<Child>,
}

impl Member {
    pub(crate) fn child(&self) -> Result<&Child, Failure> {
        self.process.as_ref().ok_or_else(|| format!("{} is not running", self.name).into())
    }
}

impl Cluster {
    /// Founds a cluster as of `clock`, and starts nothing.
    pub(crate) async fn found(dir: &Path, clock: Clock) -> Result<(Cluster, OperatorIdentity), Failure> {
        let address = free_port()?;
        let (cluster, manager, operator) = ("bench".parse()?, "m1".parse()?, "op".parse()?);
        let options = FoundOptions::new(cluster, dir.join("m1"), address, manager, operator);
        let Founded { operator, .. } = found(&options, clock).await?;
        let bundle = Arc::new(Bundle::clone(&operator.bundle));
        let identity = Identity::new(&operator.key, operator.chain.clone())?;
        let snapshot = Snapshot::new(Some(Arc::new(identity)), bundle.clone());
        let publisher = Publisher::new(snapshot, system_clock());
        let client = Arc::new(Client::new(publisher.credentials(), options_of_a_client()));
        let members = vec![Member { name: "m1".to_owned(), address, process: None }];
        let (dir, certus) = (dir.to_owned(), certus()?);
        Ok((Cluster { dir, certus, members, client, bundle, publisher }, operator))
    }

    /// The same, with `count` managers that vote.
    pub(crate) async fn start(dir: &Path, count: usize) -> Result<Cluster, Failure> {
        let (mut cluster, _) = Cluster::found(dir, system_clock()).await?;
        cluster.run(0)?;
        for number in 2..=count {
            cluster.join(&format!("m{number}")).await?;
        }
        cluster.wait_voters(count).await?;
        Ok(cluster)
    }

    pub(crate) fn data_dir(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Starts the member at `place` as `certus manager start`.
    pub(crate) fn run(&mut self, place: usize) -> Result<(), Failure> {
        let data_dir = self.data_dir(&self.members[place].name);
        let mut command = Command::new(&self.certus);
        command.env("CERTUS_HOME", self.dir.join("home"));
        command.args(["manager", "start", "--data-dir"]).arg(data_dir);
        let member = &mut self.members[place];
        member.process = Some(Child::program(command, member.address)?);
        Ok(())
    }

    /// Joins a manager and starts it; it votes when it has caught up.
    pub(crate) async fn join(&mut self, name: &str) -> Result<(), Failure> {
        let token = self.token("manager", Some(name), 1).await?;
        let managers = self.members.iter().map(|member| member.address.to_string()).collect();
        let address = free_port()?;
        let mut options = JoinOptions::new(self.data_dir(name), managers, name.parse()?, address);
        options.token = Some(token);
        join(&options).await?;
        self.members.push(Member { name: name.to_owned(), address, process: None });
        self.trust_what_they_trust().await?;
        self.run(self.members.len() - 1)
    }

    /// Takes over the bundle: a manager that has joined has an issuer of its own.
    async fn trust_what_they_trust(&self) -> Result<(), Failure> {
        let channel = self.channel(self.members[0].address).await?;
        let mut client = ClusterClient::new(channel);
        loop {
            let bundle = client.bundle(v1::BundleRequest {}).await?.into_inner();
            if bundle.issuers.len() >= self.members.len() {
                let bundle = certus_wire::bundle_from_wire(&bundle)?;
                self.publisher.publish_bundle(Arc::new(bundle))?;
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until `count` managers vote, and all have what the leader has.
    pub(crate) async fn wait_voters(&self, count: usize) -> Result<(), Failure> {
        let begin = Instant::now();
        while begin.elapsed() < READY_WITHIN {
            let seen = self.managers().await.unwrap_or_default();
            let ready = |manager: &&v1::Manager| {
                manager.voter && (manager.leader || manager.behind.is_some_and(|behind| behind < CAUGHT_UP))
            };
            if seen.iter().filter(ready).count() == count {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(format!("{count} managers do not vote").into())
    }

    /// The managers as the one that leads sees them.
    pub(crate) async fn managers(&self) -> Result<Vec<v1::Manager>, Failure> {
        for member in self.members.iter().filter(|member| member.process.is_some()) {
            let Ok(channel) = self.channel(member.address).await else { continue };
            let asked = ClusterClient::new(channel).list_managers(v1::ListManagersRequest {}).await;
            let Ok(reply) = asked else { continue };
            let managers = reply.into_inner().managers;
            // Who leads alone knows how far each is.
            let named = |manager: &v1::Manager| manager.leader && manager.node.ends_with(&member.name);
            if managers.iter().any(named) {
                return Ok(managers);
            }
        }
        Err("nobody leads".into())
    }

    /// The place of the member that leads.
    pub(crate) async fn leader(&self) -> Result<usize, Failure> {
        let managers = self.managers().await?;
        let leader = managers.iter().find(|manager| manager.leader).ok_or("nobody leads")?;
        let place = self.members.iter().position(|member| leader.node.ends_with(&member.name));
        place.ok_or_else(|| "a stranger leads".into())
    }

    /// A connection of the operator's.
    pub(crate) async fn channel(&self, to: SocketAddr) -> Result<Channel, Failure> {
        dial(self.client.clone(), to).await
    }

    /// `count` connections, spread over the members that run.
    pub(crate) async fn channels(&self, count: usize) -> Result<Vec<Channel>, Failure> {
        let running: Vec<_> = self.members.iter().filter(|member| member.process.is_some()).collect();
        let mut channels = Vec::new();
        for place in 0..count {
            channels.push(self.channel(running[place % running.len()].address).await?);
        }
        Ok(channels)
    }

    pub(crate) async fn token(
        &self,
        role: &str,
        id: Option<&str>,
        uses: usize,
    ) -> Result<JoinToken, Failure> {
        let running = self.members.iter().find(|member| member.process.is_some());
        let channel = self.channel(running.ok_or("no manager runs")?.address).await?;
        token(channel, role, id, uses).await
    }

    /// The CPU time of every member so far, in seconds.
    pub(crate) fn cpu(&self) -> Result<f64, Failure> {
        self.members.iter().map(|member| member.child()?.cpu()).sum()
    }
}

fn options_of_a_client() -> ClientOptions {
    let mut options = ClientOptions::new(Accept::new(Allow::Anyone));
    options.alpn = vec![b"h2".to_vec()];
    options
}

/// A client of the API with other credentials than the operator's.
pub(crate) fn client_of(publisher: &Publisher) -> Arc<Client> {
    Arc::new(Client::new(publisher.credentials(), options_of_a_client()))
}

pub(crate) async fn token(
    channel: Channel,
    role: &str,
    id: Option<&str>,
    uses: usize,
) -> Result<JoinToken, Failure> {
    let request = v1::CreateTokenRequest {
        role: role.to_owned(),
        id: id.map(str::to_owned),
        ttl_secs: 86_400,
        uses: u32::try_from(uses)?,
        ..Default::default()
    };
    Ok(ClusterClient::new(channel).create_token(request).await?.into_inner().token.parse()?)
}

pub(crate) async fn dial(client: Arc<Client>, address: SocketAddr) -> Result<Channel, Failure> {
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

/// Joins that wait to be asked for, made ahead: each of a fresh key, under a token of its own batch.
pub(crate) struct Requests {
    all: Vec<v1::JoinRequest>,
    next: AtomicUsize,
}

impl Requests {
    pub(crate) async fn make(channel: Channel, prefix: &str, count: usize) -> Result<Arc<Requests>, Failure> {
        let token = token(channel, "worker", None, count.min(TOKEN_USES)).await?;
        let mut all = Vec::with_capacity(count);
        for number in 0..count {
            let id = format!("{prefix}-{number}");
            let csr = Csr::make(&PrivateKey::generate(KeyType::P256)?, &id)?;
            let secret = token.secret().to_vec();
            all.push(v1::JoinRequest { secret, role: "worker".to_owned(), id, csr });
        }
        Ok(Arc::new(Requests { all, next: AtomicUsize::new(0) }))
    }

    /// The next one; none when they are used up.
    pub(crate) fn take(&self) -> Option<v1::JoinRequest> {
        self.all.get(self.next.fetch_add(1, Ordering::Relaxed)).cloned()
    }
}

/// Issues on every channel at once for `slice`; how many, and how long it took.
pub(crate) async fn issue(
    channels: &[Channel],
    requests: &Arc<Requests>,
    slice: Duration,
) -> Result<(f64, Duration), Failure> {
    let begin = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for channel in channels.iter().cloned() {
        let requests = requests.clone();
        clients.spawn(async move {
            let mut client = BootstrapClient::new(channel);
            let mut made = 0_u32;
            while begin.elapsed() < slice {
                let Some(request) = requests.take() else { break };
                client.join(request).await?;
                made += 1;
            }
            Ok::<u32, Failure>(made)
        });
    }
    let mut made = 0;
    while let Some(client) = clients.join_next().await {
        made += client??;
    }
    Ok((f64::from(made), begin.elapsed()))
}
