//! A node from start to end: enrolled, watching, renewing, carrying, and able to say how it is.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use certus_pki::explain::{Explain, Explanation};
use certus_pki::{AgentId, SpiffeId, UnixTime, code, defaults};
use certus_tls::{BadIdentity, Credentials, Publisher, Registry, sweep_each_second};
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{self, Admin, AdminError};
use crate::api::Api;
use crate::carry::{self, Carrier, CarryError, Failures, Means, Reloaded, Stale, Wallet};
use crate::clock::{duration, jitter};
use crate::e2e::AgentKey;
use crate::enrol::{EnrolError, Enrolled, enrol, learned};
use crate::files::{FileError, NodeDir};
use crate::keeper::{Keeper, LETTERS_MAX, State, Wake};
use crate::metrics::Metrics;
use crate::renew::{RenewError, Schedule};
use crate::sources::SourceStatus;
use crate::spec::{AgentOptions, ListenerSpec, NodeOptions, OnStale, PeerSpec, Staleness};
use crate::watch::{Enforced, run as watch_managers};

/// A running node. Dropped, it ends at once; [`Node::shutdown`] ends it in order.
pub struct Node {
    identity: Option<SpiffeId>,
    agent: AgentId,
    credentials: Credentials,
    carrier: Mutex<Carrier>,
    bound: Bound,
    metrics: Metrics,
    failures: Failures,
    wallet: Wallet,
    /// None where there is no cluster.
    member: Option<Member>,
    stop: CancellationToken,
    tasks: TaskTracker,
    // The directory's lock.
    _dir: NodeDir,
}

/// What a node of a cluster has besides.
struct Member {
    letters: mpsc::Sender<Wake>,
    state: watch::Receiver<State>,
    // Credentials are in force for as long as it lives.
    _publisher: Arc<Publisher>,
}

/// Where listeners and peers are bound, for those who do not wait for a reload.
type Bound = Arc<std::sync::Mutex<Vec<(String, SocketAddr)>>>;

impl Node {
    /// Starts a node of a cluster: takes the credentials that are kept or joins, binds every address, and
    /// begins to watch, renew and carry.
    ///
    /// # Errors
    /// A [`StartError`]; then nothing runs.
    pub async fn start(options: NodeOptions) -> Result<Node, StartError> {
        let dir = NodeDir::open(&options.data_dir).map_err(StartError::File)?;
        let managers = match &options.managers[..] {
            [] => dir.managers().map_err(StartError::File)?,
            told => told.to_vec(),
        };
        let Enrolled { dir: identity_dir, stored } =
            enrol(&dir, &options, &managers).await.map_err(StartError::Enrol)?;
        dir.keep_managers(&managers).map_err(StartError::File)?;
        let publisher = stored.publisher(options.clock.clone()).map_err(StartError::Identity)?;
        let publisher = Arc::new(publisher);
        let credentials = publisher.credentials();
        let (letters, inbox) = mpsc::channel(LETTERS_MAX);
        let (state, seen) = watch::channel(State::default());
        let member = Member { letters: letters.clone(), state: seen, _publisher: publisher.clone() };
        let start = Starting {
            identity: Some(stored.identity.clone()),
            credentials: credentials.clone(),
            member: Some(member),
            listeners: options.listeners,
            peers: options.peers,
            source: None,
            metrics_listen: options.metrics_listen,
            stop: CancellationToken::new(),
            stale: Stale::default(),
        };
        let (stale, contact) = (start.stale.clone(), begin(&start.stale, options.staleness, &options.clock));
        state.send_modify(|state| state.closed = stale.check().err());
        let node = start.run(dir).await?;
        let (stop, tasks, metrics) = (node.stop.clone(), node.tasks.clone(), node.metrics.clone());
        let learned = learned(&identity_dir);
        let api = Api::of_node(managers, &learned, credentials.clone(), metrics.clone());
        let watching = stop.child_token();
        let enforced = Enforced { epoch: credentials.current().epoch(), ..Enforced::default() };
        let (enforced, reports) = watch::channel(enforced);
        let keeper = Keeper {
            identity: stored.identity,
            dir: identity_dir,
            publisher,
            api: api.clone(),
            metrics,
            contact,
            staleness: options.staleness,
            gate: stale,
            clock: options.clock,
            letters: letters.clone(),
            enforced,
            state,
            stop: stop.clone(),
            watching: watching.clone(),
            tasks: tasks.clone(),
            schedule: Schedule::of(&stored.leaf, jitter()),
            renewing: false,
            waiters: Vec::new(),
            stale: contact == carry::NEVER,
            watch_lost: None,
        };
        tasks.spawn(keeper.run(inbox));
        tasks.spawn(watch_managers(api, credentials.clone(), letters.clone(), reports, watching));
        tasks.spawn(sweep(credentials, letters, stop));
        tracing::info!(identity = %node.name(), "the node runs");
        Ok(node)
    }

    /// Starts an agent, a node without a cluster: takes or makes its certificate and its end-to-end key,
    /// binds every address, and begins to carry.
    ///
    /// # Errors
    /// A [`StartError`]; then nothing runs.
    pub async fn start_agent(options: AgentOptions) -> Result<Node, StartError> {
        let dir = NodeDir::open(&options.data_dir).map_err(StartError::File)?;
        let stop = CancellationToken::new();
        let own = carry::own_of(&options.material, options.clock, &options.name, stop.child_token());
        let (credentials, source) = own.await.map_err(StartError::Material)?;
        let identity = credentials.current().identity().and_then(|own| own.id().cloned());
        let (listeners, peers) = (options.listeners, options.peers);
        let start = Starting {
            identity,
            credentials,
            member: None,
            listeners,
            peers,
            source: Some(source),
            metrics_listen: options.metrics_listen,
            stop,
            stale: Stale::default(),
        };
        let node = start.run(dir).await?;
        tracing::info!(id = %node.agent, "the agent runs");
        Ok(node)
    }

    /// Who it is in its cluster; nobody where there is none.
    pub fn identity(&self) -> Option<&SpiffeId> {
        self.identity.as_ref()
    }

    /// Its id in end-to-end sessions.
    pub fn agent_id(&self) -> AgentId {
        self.agent
    }

    /// What to call it: its identity, else its id.
    pub fn name(&self) -> String {
        self.identity.as_ref().map_or_else(|| self.agent.to_string(), SpiffeId::to_string)
    }

    /// Where the listener (else the peer) of this name is bound.
    pub fn bound(&self, name: &str) -> Option<SocketAddr> {
        let bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        bound.iter().find(|(known, _)| known == name).map(|(_, address)| *address)
    }

    /// What it trusts and who it is, now and from now on.
    pub fn credentials(&self) -> Credentials {
        self.credentials.clone()
    }

    /// Its live connections.
    pub fn registry(&self) -> &Arc<Registry> {
        self.credentials.registry()
    }

    /// Its numbers.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What failed last.
    pub fn failures(&self) -> &Failures {
        &self.failures
    }

    /// Goes over to other listeners and peers; see [`Carrier::reload`].
    ///
    /// # Errors
    /// A new address cannot be bound, or credentials cannot be used; then nothing changed.
    pub async fn reload(
        &self,
        listeners: Vec<ListenerSpec>,
        peers: Vec<PeerSpec>,
    ) -> Result<Reloaded, CarryError> {
        let mut carrier = self.carrier.lock().await;
        let done = carrier.reload(listeners, peers).await?;
        *self.bound.lock().unwrap_or_else(PoisonError::into_inner) = carrier.all_bound();
        Ok(done)
    }

    /// Renews now, with a fresh key; returns when the new certificate is in force.
    ///
    /// # Errors
    /// Why it is not; then the old one still is.
    pub async fn renew_now(&self) -> Result<(), RenewError> {
        let member = self.member.as_ref().ok_or(RenewError::Ended)?;
        admin::asked(&member.letters).await
    }

    /// Waits until the node cannot go on: it was removed from the cluster, or its keeper is gone. An agent
    /// always can.
    pub async fn failed(&self) -> Explanation {
        let Some(member) = &self.member else { return std::future::pending().await };
        let mut state = member.state.clone();
        let failed = state.wait_for(|state| state.failed.is_some()).await;
        let why = failed.ok().and_then(|state| state.failed.clone());
        why.unwrap_or_else(|| RenewError::Ended.explain())
    }

    /// Why the node is not ready; empty when it is.
    pub fn reasons(&self) -> Vec<Explanation> {
        reasons(&self.credentials, self.member.as_ref().map(|member| &member.state))
    }

    /// Ends it in order: connections are given [`defaults::DRAIN`] to end by themselves.
    pub async fn shutdown(self) {
        self.shutdown_within(duration(defaults::DRAIN)).await;
    }

    /// The same with another limit.
    pub async fn shutdown_within(self, limit: Duration) {
        self.carrier.lock().await.shutdown_within(limit).await;
        self.stop.cancel();
        self.tasks.close();
        // What still runs is an attempt to reach a manager, with a limit of its own; nothing is lost.
        let _ = tokio::time::timeout(TASKS_END, self.tasks.wait()).await;
        tracing::info!(identity = %self.name(), "the node ended");
    }

    fn admin(&self) -> Admin {
        let state = self.member.as_ref().map(|member| member.state.clone());
        let mut numbers = prometheus_client::registry::Registry::default();
        self.metrics.register(&mut numbers);
        let (registry, metrics) = (self.registry().clone(), self.metrics.clone());
        let (credentials, shown) = (self.credentials.clone(), self.credentials.clone());
        let (shown_state, wallet) = (state.clone(), self.wallet.clone());
        Admin {
            reasons: Arc::new(move || reasons(&credentials, state.as_ref())),
            metrics: Arc::new(numbers),
            refresh: Arc::new(move || {
                metrics.live(registry.live());
                for (name, status) in wallet.statuses() {
                    metrics.source(&name, &status);
                }
                metrics.ready(reasons(&shown, shown_state.as_ref()).is_empty());
            }),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What every node begins with, once it is known who it is.
struct Starting {
    identity: Option<SpiffeId>,
    credentials: Credentials,
    member: Option<Member>,
    listeners: Vec<ListenerSpec>,
    peers: Vec<PeerSpec>,
    source: Option<watch::Receiver<SourceStatus>>,
    metrics_listen: Option<SocketAddr>,
    stop: CancellationToken,
    stale: Stale,
}

/// When a manager was heard of last, as a node begins. Where stale trust accepts nobody none was: a
/// restart must not make old trust new.
fn begin(stale: &Stale, staleness: Staleness, clock: &certus_tls::Clock) -> UnixTime {
    match staleness.then {
        OnStale::Open => clock(),
        OnStale::Closed => {
            stale.close(carry::NEVER);
            carry::NEVER
        }
    }
}

impl Starting {
    async fn run(self, dir: NodeDir) -> Result<Node, StartError> {
        let key = AgentKey::load_or_make(dir.root()).map_err(StartError::File)?;
        let agent = key.id();
        let metrics = Metrics::new();
        let mut means = Means::new(self.credentials.clone(), metrics.clone());
        means.key = Some(Arc::new(key));
        means.stale = self.stale;
        means.wallet = means.wallet.watching(self.source);
        let (failures, wallet, clear) = (means.failures.clone(), means.wallet.clone(), means.clear.clone());
        let carrier = Carrier::start(means, self.listeners, self.peers).await.map_err(StartError::Carry)?;
        let node = Node {
            identity: self.identity,
            agent,
            credentials: self.credentials,
            bound: Arc::new(std::sync::Mutex::new(carrier.all_bound())),
            carrier: Mutex::new(carrier),
            metrics,
            failures,
            wallet,
            member: self.member,
            stop: self.stop,
            tasks: TaskTracker::new(),
            _dir: dir,
        };
        let (credentials, failures) = (node.credentials.clone(), node.failures.clone());
        let seen = admin::Seen { credentials, failures, clear };
        let shown = node.admin();
        if let Some(address) = self.metrics_listen {
            let served = admin::serve_loopback(address, shown.clone(), node.stop.clone()).await;
            let served = served.map_err(StartError::Admin)?;
            node.tasks.spawn(async move { drop(served.await) });
        }
        let mut router = admin::router(shown).merge(admin::seen(seen));
        if let Some(member) = &node.member {
            router = router.merge(admin::renew(member.letters.clone(), node.credentials.clone()));
        }
        let socket = node._dir.admin_socket();
        let served =
            admin::serve_unix(&socket, router, node.stop.clone()).await.map_err(StartError::Admin)?;
        node.tasks.spawn(async move { drop(served.await) });
        Ok(node)
    }
}

/// Longer than writing a file takes.
const TASKS_END: Duration = Duration::from_secs(2);

/// A node runs only with its addresses bound, so what can be wrong is its identity.
fn reasons(credentials: &Credentials, state: Option<&watch::Receiver<State>>) -> Vec<Explanation> {
    let (removed, stale) = state.map_or((None, None), |state| {
        let state = state.borrow();
        (state.failed.clone(), state.closed.clone())
    });
    let unusable = credentials.current().check(credentials.now()).err().map(|error| error.explain());
    removed.into_iter().chain(stale).chain(unusable).collect()
}

async fn sweep(credentials: Credentials, letters: mpsc::Sender<Wake>, stop: CancellationToken) {
    let report = |cuts| {
        // The keeper only counts them; where it is overwhelmed the count is off and nothing else.
        let _ = letters.try_send(Wake::Swept(cuts));
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = sweep_each_second(credentials, report) => {}
    }
}

/// A node that does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A file cannot be used.
    #[error(transparent)]
    File(FileError),
    /// It is nobody, and cannot become somebody.
    #[error(transparent)]
    Enrol(EnrolError),
    /// Its certificate or trusted roots cannot be used.
    #[error("{}", .0.message)]
    Material(Explanation),
    /// What is kept makes no identity.
    #[error("the credentials that are kept here are of no use")]
    Identity(#[source] BadIdentity),
    /// An address is not to be had.
    #[error(transparent)]
    Carry(CarryError),
    /// The admin socket is not to be had.
    #[error(transparent)]
    Admin(AdminError),
}

impl StartError {
    /// Whether the same start may succeed later without anybody changing anything.
    pub fn is_passing(&self) -> bool {
        matches!(self, StartError::Enrol(EnrolError::Join(error)) if error.is_passing())
    }
}

impl Explain for StartError {
    fn explain(&self) -> Explanation {
        match self {
            StartError::File(error) => error.explain(),
            StartError::Enrol(error) => error.explain(),
            StartError::Identity(error) => {
                let mut why = error.explain();
                why.code = code::OWN_CERTIFICATE;
                why
            }
            StartError::Material(why) => why.clone(),
            StartError::Carry(error) => error.explain(),
            StartError::Admin(error) => error.explain(),
        }
    }
}
