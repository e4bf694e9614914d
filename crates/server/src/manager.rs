//! The manager daemon: opens the truth, serves the API, and keeps its own house.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use certus_node::admin::{self, Admin, AdminError};
use certus_node::files::{FileError, IdentityDir, KeyLock, NodeDir};
use certus_node::metrics::Metrics;
use certus_node::system_clock;
use certus_pki::explain::{Explain, Explanation};
use certus_pki::key::Passphrase;
use certus_pki::{Accept, Issuers, Rejection, Role, Sha256, SpiffeId, UnixTime, code};
use certus_tls::{
    BadIdentity, ClientCertificate, Clock, Credentials, Identity, NotPublished, Publisher, Registry, Server,
    ServerOptions, Snapshot,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use crate::api;
use crate::clock::ClockOff;
use crate::house::House;
use crate::keys::{KeysError, ManagerDir};
use crate::metrics::ManagerMetrics;
use crate::peers::Lines;
use crate::replica::limits::Cadence;
use crate::replica::{OpenError, Replica};
use crate::shared::Shared;
use crate::storage::{StateView, Storage, StorageError};
use crate::truth::{CaMachine, Truth, Unanswered};

/// How a manager is started.
#[derive(Clone)]
#[non_exhaustive]
pub struct ManagerOptions {
    /// Where its data is.
    pub data_dir: PathBuf,
    /// Where the API listens; where it listened last if not given.
    pub listen: Option<SocketAddr>,
    /// Where the other managers, workers and operators reach it, `host:port`; what was said last, or
    /// else where it listens, if not given.
    pub advertise: Option<String>,
    /// Its clock.
    pub clock: Clock,
    /// How its log is filled and cut; the default is right but for benchmarks.
    pub cadence: Cadence,
    /// Where on loopback its numbers are served too.
    pub metrics_listen: Option<SocketAddr>,
    /// What opens the cluster key where it is locked; without it a locked manager waits for
    /// `certus node unlock`.
    pub passphrase: Option<Arc<Passphrase>>,
    /// The operator's word that the clock is right, however far it is ahead of what the cluster knew
    /// last. For this run.
    pub accept_clock: bool,
}

impl ManagerOptions {
    /// The machine's clock, and the address of the last time.
    pub fn new(data_dir: PathBuf) -> ManagerOptions {
        ManagerOptions {
            data_dir,
            listen: None,
            advertise: None,
            clock: system_clock(),
            cadence: Cadence::default(),
            metrics_listen: None,
            passphrase: None,
            accept_clock: false,
        }
    }
}

/// A running manager.
pub struct Manager {
    shared: Arc<Shared>,
    address: SocketAddr,
    pin: Sha256,
    tasks: TaskTracker,
    left: watch::Receiver<bool>,
    files: IdentityDir,
    place: ManagerDir,
    /// Held until the manager stops: one process a directory.
    _dir: NodeDir,
}

impl Manager {
    /// Starts a manager that was founded before.
    ///
    /// # Errors
    /// Its data is not there, damaged or in use, its certificate is not usable, or the address is taken.
    pub async fn start(options: ManagerOptions) -> Result<Manager, StartError> {
        // The database panics on some of what a damaged disk gives it (redb's `unreachable`); an operator
        // needs words, and what they can do.
        let mut starting = std::pin::pin!(Manager::start_up(options));
        std::future::poll_fn(|cx| {
            let poll = std::panic::AssertUnwindSafe(|| starting.as_mut().poll(cx));
            std::panic::catch_unwind(poll).unwrap_or_else(|panic| {
                let what = panic.downcast_ref::<&str>().map(|what| (*what).to_owned());
                let what = what.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
                std::task::Poll::Ready(Err(StartError::Impossible { what }))
            })
        })
        .await
    }

    async fn start_up(options: ManagerOptions) -> Result<Manager, StartError> {
        let place = ManagerDir::of(&options.data_dir);
        if !place.exists() {
            return Err(StartError::NoData { path: place.path().to_owned() });
        }
        let dir = NodeDir::open(&options.data_dir).map_err(StartError::Files)?;
        place.remove_unfinished().map_err(StartError::Keys)?;
        let autolock = crate::locked::open_cluster_key(&place, &dir, options.passphrase.as_deref()).await?;
        let address = options.listen.or_else(|| place.listen()).unwrap_or(FALLBACK);
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| StartError::Listen { address, error })?;
        let address = listener.local_addr().map_err(|error| StartError::Listen { address, error })?;
        // The address first: a store that was opened for nothing would stay held.
        let storage = Storage::in_directory(&place.store()).map_err(StartError::Storage)?;
        let opened = Opened::read(&storage, &place, &dir, (options.clock)(), autolock)?;
        place.write_listen(address).map_err(StartError::Keys)?;
        let advertise = advertised(&place, options.advertise.as_ref(), address).map_err(StartError::Keys)?;

        let publisher = Arc::new(Publisher::new(opened.snapshot, options.clock.clone()));
        let metrics = Metrics::new();
        let manager_metrics = ManagerMetrics::default();
        let lines = Lines::new(publisher.credentials(), metrics.clone(), manager_metrics.clone());
        let truth = open_truth(storage, &place, &options, lines).await?;
        if let Err(wrong) = crate::clock::mind(&truth, options.accept_clock) {
            // What is closed in order needs no repair when the clock is right.
            let _ = truth.replica.shutdown().await;
            return Err(wrong);
        }
        let issuing = opened.issuing;
        let identity = opened.identity.clone();
        let shared =
            Arc::new(Shared::new(identity, truth, publisher, issuing, manager_metrics, place.clone()));
        shared.managers.send_replace(vec![advertise.clone()]);
        shared.know_managers().map_err(StartError::Unanswered)?;
        shared.autolock.store(autolock, std::sync::atomic::Ordering::Relaxed);
        let house = House {
            shared: shared.clone(),
            metrics: metrics.clone(),
            place: place.clone(),
            files: opened.files,
            taking_over: Arc::default(),
            issuers: Arc::default(),
            root: Arc::default(),
            renewing: Arc::default(),
            asked: Arc::default(),
        };
        let tasks = TaskTracker::new();
        let (leaving, left) = watch::channel(false);
        serve_admin(&dir, &house, &tasks, leaving, options.metrics_listen).await?;
        if opened.slept {
            info!("the manager's own certificate ended while it was off: it gives itself a new one");
            house.wake_with_root().await.map_err(|failed| StartError::NotWoken(failed.explain()))?;
            let usable = shared.publisher.current().check(shared.truth.now());
            usable.map_err(StartError::Unusable)?;
        }
        let files = house.files.clone();
        tasks.spawn(serve_api(listener, shared.clone(), metrics));
        catch_up(&shared).await?;
        house.keep(&tasks, advertise);
        tasks.close();
        info!(%address, manager = %shared.identity, pin = %opened.pin, "manager serves");
        Ok(Manager { shared, address, pin: opened.pin, tasks, left, files, place, _dir: dir })
    }

    /// Where the API listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who this manager is.
    pub fn identity(&self) -> &SpiffeId {
        &self.shared.identity
    }

    /// The active root's key: what tokens pin.
    pub fn pin(&self) -> Sha256 {
        self.pin
    }

    /// What this manager is and trusts, as its own listeners read it.
    pub fn credentials(&self) -> Credentials {
        self.shared.publisher.credentials()
    }

    /// The connections that live under its credentials.
    pub fn registry(&self) -> &Arc<Registry> {
        self.shared.publisher.registry()
    }

    /// Waits until the manager cannot go on because its disk or state failed, or because it was removed, which
    /// destroys what opens the root's key here; for ever if not.
    pub async fn failed(&self) -> Explanation {
        let failure = tokio::select! {
            failure = self.shared.truth.replica.failed() => failure,
            () = self.shared.removed.cancelled() => {
                self.forget_root();
                let words = "this manager was removed from the cluster: it stops";
                return Explanation::new(code::REVOKED, words)
                    .fact("identity", &self.shared.identity)
                    .hint("remove its data directory; certus manager join with a new token brings it back");
            }
        };
        Explanation::new(code::STORE, "the manager's store failed: it stops, so that nothing is lost")
            .fact("because", failure)
            .hint("free or repair the disk, then certus manager start")
    }

    /// Of a manager that was removed nobody wants the root's key any more: a copy of its disk shall open none.
    fn forget_root(&self) {
        if let Err(error) = self.shared.place.destroy_root_data_key() {
            tracing::error!(why = %error.explain(), "what opens the root's key is still on this disk");
        }
    }

    /// Waits until the manager has left the cluster; for ever if it does not. Then
    /// [`Manager::forget`] ends it.
    pub async fn left(&self) {
        let mut left = self.left.clone();
        if left.wait_for(|left| *left).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Stops, and removes everything that this manager held: keys, certificate and its copy of the state.
    ///
    /// # Errors
    /// What cannot be removed. Nothing of it is of use any more, and it should be removed by hand.
    pub async fn forget(self) -> Result<(), FileError> {
        let (place, files) = (self.place.clone(), self.files.clone());
        // The store is about to be removed: what it says on its way down matters to nobody.
        let _ = self.shutdown().await;
        files.forget()?;
        let gone = place.remove();
        gone.map_err(|error| FileError::Io { verb: "remove", path: place.path().to_owned(), error })
    }

    /// Stops serving, makes the state durable, and closes it.
    pub async fn shutdown(self) -> Result<(), StorageError> {
        self.shared.stopping.cancel();
        // Calls under way end by themselves; streams end with `stopping`.
        let drained = tokio::time::timeout(DRAIN, self.tasks.wait()).await;
        if drained.is_err() {
            info!("calls were still under way when the manager stopped");
        }
        self.shared.truth.replica.shutdown().await
    }
}

/// Where a manager listens that kept no address: never reached by one that was founded here.
const FALLBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), certus_pki::defaults::API_PORT);
const DRAIN: std::time::Duration = std::time::Duration::from_secs(certus_pki::defaults::DRAIN.secs() as u64);

async fn open_truth(
    storage: Storage,
    place: &ManagerDir,
    options: &ManagerOptions,
    lines: Lines,
) -> Result<Truth, StartError> {
    let (clock, seconds) = (options.clock.clone(), options.clock.clone());
    let member = place.member().map_err(StartError::Keys)?.unwrap_or(FOUNDER);
    let seconds = Arc::new(move || seconds().secs());
    let replica =
        Replica::<CaMachine>::join_group(storage, seconds, options.cadence, member, lines.clone()).await;
    Ok(Truth::among(replica.map_err(StartError::Open)?, clock, lines))
}

/// The number of the manager that founded the cluster.
const FOUNDER: u64 = 1;

/// Where the others reach this manager: as told, as told last, or where it listens.
fn advertised(place: &ManagerDir, told: Option<&String>, listens: SocketAddr) -> Result<String, KeysError> {
    if let Some(told) = told {
        place.write_advertise(told)?;
        return Ok(told.clone());
    }
    if let Some(before) = place.advertise() {
        return Ok(before);
    }
    Ok(dialable(listens))
}

/// Where others reach who listens at `listens`: nobody can dial an address that stands for all of a
/// machine's, so that the machine's name stands for those.
pub(crate) fn dialable(listens: SocketAddr) -> String {
    if listens.ip().is_unspecified() {
        let machine = rustix::system::uname();
        return format!("{}:{}", machine.nodename().to_string_lossy(), listens.port());
    }
    listens.to_string()
}

/// Waits until a manager that has just joined knows the cluster. One that was there before knows it.
async fn catch_up(shared: &Shared) -> Result<(), StartError> {
    let mut revision = shared.truth.replica.revision();
    let known = || shared.truth.read(|view| certus_ca::cluster(view)).map_err(StartError::Unanswered);
    if known()?.is_some() {
        return Ok(());
    }
    info!("waiting for the managers to send the state of the cluster");
    while known()?.is_none() {
        tokio::select! {
            changed = revision.changed() => if changed.is_err() {
                return Err(StartError::NotCaughtUp);
            },
            failure = shared.truth.replica.failed() => {
                return Err(StartError::Open(OpenError::Failed(failure)));
            }
            () = shared.stopping.cancelled() => return Err(StartError::NotCaughtUp),
        }
    }
    info!("the state of the cluster is here");
    shared.know_managers().map_err(StartError::Unanswered)
}

/// What a manager finds when it starts.
struct Opened {
    identity: SpiffeId,
    snapshot: Snapshot,
    issuing: crate::keys::IssuingKey,
    files: IdentityDir,
    pin: Sha256,
    /// Whether its certificate ended while it was off.
    slept: bool,
}

impl Opened {
    fn read(
        storage: &Storage,
        place: &ManagerDir,
        dir: &NodeDir,
        now: UnixTime,
        autolock: bool,
    ) -> Result<Opened, StartError> {
        let view = storage.view().map_err(StartError::Storage)?;
        let fault = |fault| StartError::Unanswered(Unanswered::Fault(fault));
        let applied = certus_ca::bundle(&view).map_err(fault)?;
        let joins = applied.is_none();
        if joins && place.member().map_err(StartError::Keys)?.is_none() {
            return Err(StartError::NoData { path: place.path().to_owned() });
        }
        for id in dir.enrolled(Role::Manager).map_err(StartError::Files)? {
            let cluster_key = place.cluster_key().map_err(StartError::Keys)?;
            let files = dir.identity(Role::Manager, &id);
            let cluster = match certus_ca::cluster(&view).map_err(fault)? {
                Some(cluster) => cluster.name,
                // One that has just joined has locked nothing yet.
                None => match files.load().map_err(StartError::Files)? {
                    Some(stored) => stored.identity.cluster,
                    None => continue,
                },
            };
            let lock = cluster_key.passphrase(&cluster);
            let lock = lock.map_err(|error| StartError::Keys(KeysError::Seal(error)))?;
            let files = files.under(KeyLock::new(lock, autolock));
            let Some(stored) = files.load().map_err(StartError::Files)? else { continue };
            let identity = stored.identity.clone();
            let known = joins || certus_ca::node(&view, &identity).map_err(fault)?.is_some();
            if !known {
                continue;
            }
            // One that has just joined trusts what it was given then, until the log has come.
            let bundle = applied.clone().unwrap_or(stored.bundle);
            let issuing = place.issuing_key(&identity.cluster, &cluster_key).map_err(StartError::Keys)?;
            let pin = bundle.roots().iter().max_by_key(|root| root.not_after()).map(|root| root.key_hash());
            let pin = pin.ok_or_else(|| StartError::NoData { path: place.path().to_owned() })?;
            let own = Identity::new(&stored.key, stored.chain).map_err(StartError::Identity)?;
            let snapshot = Snapshot::new(Some(Arc::new(own)), Arc::new(bundle));
            let slept = match snapshot.check(now) {
                Ok(()) => false,
                Err(NotPublished::Identity(Rejection::Expired { .. })) => true,
                Err(unusable) => return Err(unusable_at(unusable, &view, now)),
            };
            return Ok(Opened { identity, snapshot, issuing, files, pin, slept });
        }
        Err(StartError::NoIdentity { path: dir.root().to_owned() })
    }
}

/// A certificate whose time has not come is the first to show that the clock was set back.
fn unusable_at(unusable: NotPublished, view: &StateView, now: UnixTime) -> StartError {
    let known = view.at().map(UnixTime::from_secs);
    match (&unusable, known) {
        (NotPublished::Identity(Rejection::NotYetValid { .. }), Ok(known)) if known > now => {
            StartError::Clock(ClockOff::Behind { now, known })
        }
        _ => StartError::Unusable(unusable),
    }
}

async fn serve_admin(
    dir: &NodeDir,
    house: &House,
    tasks: &TaskTracker,
    leaving: watch::Sender<bool>,
    metrics_listen: Option<SocketAddr>,
) -> Result<(), StartError> {
    let mut registry = prometheus_client::registry::Registry::default();
    house.metrics.register(&mut registry);
    house.shared.metrics.register(&mut registry);
    let (reasons, refresh) = (house.clone(), house.clone());
    let admin = Admin {
        reasons: Arc::new(move || reasons.not_ready()),
        metrics: Arc::new(registry),
        refresh: Arc::new(move || refresh.refresh()),
    };
    let stop = house.shared.stopping.clone();
    if let Some(address) = metrics_listen {
        let serving = admin::serve_loopback(address, admin.clone(), stop.clone()).await;
        let serving = serving.map_err(StartError::Admin)?;
        tasks.spawn(async move { drop(serving.await) });
    }
    let router = admin::router(admin)
        .merge(crate::operator::router(house.shared.clone()))
        .merge(crate::leave::router(house.shared.clone(), leaving))
        .merge(crate::locked::router(house.clone()))
        .merge(crate::offline::router(house.clone()))
        .merge(crate::backup::router(house.clone()))
        .merge(own_renewal(house.clone()));
    let serving = admin::serve_unix(&dir.admin_socket(), router, stop).await;
    let serving = serving.map_err(StartError::Admin)?;
    tasks.spawn(async move {
        let _ = serving.await;
    });
    Ok(())
}

/// `POST /renew`: this manager takes a new certificate over a fresh key, and answers when it is in force.
fn own_renewal(house: House) -> axum::Router {
    axum::Router::new().route(
        "/renew",
        axum::routing::post(move || {
            let house = house.clone();
            async move { admin::renewal_answer(house.renew_now().await.map_err(|failed| failed.explain())) }
        }),
    )
}

async fn serve_api(listener: TcpListener, shared: Arc<Shared>, metrics: Metrics) {
    let mut options = ServerOptions::new(Accept::cluster(shared.identity.cluster.clone()));
    // The gate holds every certificate of a struck issuer against the record.
    options.issuers = Issuers::StruckToo;
    options.client_certificate = ClientCertificate::Optional;
    options.alpn = vec![b"h2".to_vec()];
    options.send_roots = true;
    let tls = Arc::new(Server::new(shared.publisher.credentials(), options));
    if let Err(failed) = api::serve(listener, tls, shared, metrics).await {
        error!(error = %failed, "the API ended");
    }
}

/// A manager did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no manager's data.
    #[error("{} does not exist: no cluster was founded here", .path.display())]
    NoData {
        /// Where it should be.
        path: PathBuf,
    },
    /// There is no certificate of this manager.
    #[error("{} holds no certificate of this manager", .path.display())]
    NoIdentity {
        /// Where it should be.
        path: PathBuf,
    },
    /// The node's files refuse.
    #[error(transparent)]
    Files(FileError),
    /// The manager's secrets refuse.
    #[error(transparent)]
    Keys(KeysError),
    /// The store refuses.
    #[error("the manager's store cannot be opened")]
    Storage(#[source] StorageError),
    /// Something that cannot be was found, most likely in the store.
    #[error("the manager's store holds what cannot be: it is damaged, or this is a bug")]
    Impossible {
        /// What the panic said.
        what: String,
    },
    /// It was stopped before the cluster's state had come.
    #[error("the manager was stopped before it knew the state of the cluster")]
    NotCaughtUp,
    /// The log cannot be opened.
    #[error("the manager's log cannot be opened")]
    Open(#[source] OpenError),
    /// The clock cannot be right by what the cluster knows.
    #[error(transparent)]
    Clock(ClockOff),
    /// The state cannot be read.
    #[error(transparent)]
    Unanswered(Unanswered),
    /// The manager's certificate and key do not belong together.
    #[error(transparent)]
    Identity(BadIdentity),
    /// The manager's certificate is not usable now.
    #[error("the manager's own certificate cannot be used")]
    Unusable(#[source] NotPublished),
    /// The manager's certificate ended while it was off, and it could not give itself a new one.
    #[error("the manager's own certificate ended while it was off, and could not be renewed: {}", .0.message)]
    NotWoken(Explanation),
    /// The address is not to be had.
    #[error("the API cannot listen on {address}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// The admin socket is not to be had.
    #[error(transparent)]
    Admin(AdminError),
}

impl Explain for StartError {
    fn explain(&self) -> Explanation {
        let store = |error: &dyn std::error::Error| {
            Explanation::new(code::STORE, self.to_string()).fact("because", error)
        };
        match self {
            StartError::NoData { path } => Explanation::new(code::NO_MANAGER_DATA, self.to_string())
                .halves("the data of a founded manager", path.display())
                .hint("certus cluster init --name NAME --data-dir DIR"),
            StartError::NoIdentity { .. } => Explanation::new(code::OWN_CERTIFICATE, self.to_string())
                .hint("certs/ belongs to the data directory: restore it"),
            StartError::NotCaughtUp => Explanation::new(code::UNAVAILABLE, self.to_string())
                .hint("start it again while a majority of the managers runs"),
            StartError::Files(error) => error.explain(),
            StartError::Keys(error) => error.explain(),
            StartError::Storage(error) => error.explain(),
            StartError::Impossible { what } => Explanation::new(code::STORE, self.to_string())
                .fact("because", what)
                .hint("put back what was there; else certus cluster restore FILE --data-dir NEW_DIR"),
            StartError::Open(error) => store(error),
            StartError::Clock(off) => off.explain(),
            StartError::Unanswered(error) => error.explain(),
            StartError::Identity(error) => error.explain(),
            StartError::Unusable(error) => error.explain(),
            StartError::NotWoken(why) => {
                let mut told = why.clone();
                told.message = self.to_string();
                told
            }
            StartError::Listen { address, error } => Explanation::new(code::LISTEN, self.to_string())
                .fact("address", address)
                .fact("because", error)
                .hint("see who has it: ss -ltnp; or choose another with --listen"),
            StartError::Admin(error) => error.explain(),
        }
    }
}

/// Whether a manager's data is in `data_dir`.
pub fn is_founded(data_dir: &Path) -> bool {
    ManagerDir::of(data_dir).exists()
}

/// The address that the API of the manager in `data_dir` listens on, or listened on last.
pub fn listen_address(data_dir: &Path) -> Option<SocketAddr> {
    ManagerDir::of(data_dir).listen()
}
