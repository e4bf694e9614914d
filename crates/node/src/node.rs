//! A node from start to end: enrolled, watching, renewing, carrying, and able to say how it is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use certus_pki::explain::{Explain, Explanation};
use certus_pki::{SpiffeId, code, defaults};
use certus_tls::{BadIdentity, Credentials, Publisher, Registry, sweep_each_second};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{self, Admin, AdminError};
use crate::api::Api;
use crate::carry::{Carrier, CarryError};
use crate::clock::{duration, jitter};
use crate::enrol::{EnrolError, Enrolled, enrol};
use crate::files::{FileError, NodeDir};
use crate::keeper::{Keeper, LETTERS_MAX, State, Wake};
use crate::metrics::Metrics;
use crate::renew::{RenewError, Schedule};
use crate::spec::NodeOptions;
use crate::watch::{Enforced, run as watch_managers};

/// A running node. Dropped, it ends at once; [`Node::shutdown`] ends it in order.
pub struct Node {
    identity: SpiffeId,
    publisher: Arc<Publisher>,
    carrier: Carrier,
    metrics: Metrics,
    letters: mpsc::Sender<Wake>,
    state: watch::Receiver<State>,
    stop: CancellationToken,
    tasks: TaskTracker,
    // The directory's lock.
    _dir: NodeDir,
}

impl Node {
    /// Starts a node: takes the credentials that are kept or joins, binds every address, and begins to
    /// watch, renew and carry.
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
        let metrics = Metrics::new();
        let carrier = Carrier::start(&credentials, &metrics, options.listeners, options.peers);
        let carrier = carrier.await.map_err(StartError::Carry)?;
        let api = Api::counting(managers, credentials.clone(), metrics.clone());

        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let watching = stop.child_token();
        let (letters, inbox) = mpsc::channel(LETTERS_MAX);
        let enforced = Enforced { epoch: credentials.current().epoch(), ..Enforced::default() };
        let (enforced, reports) = watch::channel(enforced);
        let (state, seen) = watch::channel(State::default());
        let node = Node {
            identity: stored.identity.clone(),
            publisher: publisher.clone(),
            carrier,
            metrics: metrics.clone(),
            letters: letters.clone(),
            state: seen,
            stop: stop.clone(),
            tasks: tasks.clone(),
            _dir: dir,
        };
        let (socket, router) = (node._dir.admin_socket(), admin::router(node.admin()));
        let served = admin::serve_unix(&socket, router, stop.clone()).await.map_err(StartError::Admin)?;
        tasks.spawn(async move { drop(served.await) });
        let keeper = Keeper {
            identity: stored.identity,
            dir: identity_dir,
            publisher,
            api: api.clone(),
            metrics,
            contact: (options.clock)(),
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
            stale: false,
            watch_lost: false,
        };
        tasks.spawn(keeper.run(inbox));
        tasks.spawn(watch_managers(api, credentials.clone(), letters.clone(), reports, watching));
        tasks.spawn(sweep(credentials, letters, stop));
        tracing::info!(identity = %node.identity, "the node runs");
        Ok(node)
    }

    /// Who it is.
    pub fn identity(&self) -> &SpiffeId {
        &self.identity
    }

    /// Where the listener (else the peer) of this name is bound.
    pub fn bound(&self, name: &str) -> Option<SocketAddr> {
        self.carrier.bound(name)
    }

    /// What it trusts and who it is, now and from now on.
    pub fn credentials(&self) -> Credentials {
        self.publisher.credentials()
    }

    /// Its live connections.
    pub fn registry(&self) -> &Arc<Registry> {
        self.publisher.registry()
    }

    /// Its numbers.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Renews now, with a fresh key; returns when the new certificate is in force.
    ///
    /// # Errors
    /// Why it is not; then the old one still is.
    pub async fn renew_now(&self) -> Result<(), RenewError> {
        let (waiter, told) = oneshot::channel();
        self.letters.send(Wake::RenewNow(waiter)).await.map_err(|_| RenewError::Ended)?;
        told.await.unwrap_or(Err(RenewError::Ended))
    }

    /// Waits until the node cannot go on: it was removed from the cluster, or its keeper is gone.
    pub async fn failed(&self) -> Explanation {
        let mut state = self.state.clone();
        let failed = state.wait_for(|state| state.failed.is_some()).await;
        let why = failed.ok().and_then(|state| state.failed.clone());
        why.unwrap_or_else(|| RenewError::Ended.explain())
    }

    /// Why the node is not ready; empty when it is.
    pub fn reasons(&self) -> Vec<Explanation> {
        reasons(&self.publisher, &self.state)
    }

    /// Ends it in order: connections are given [`defaults::DRAIN`] to end by themselves.
    pub async fn shutdown(self) {
        self.shutdown_within(duration(defaults::DRAIN)).await;
    }

    /// The same with another limit.
    pub async fn shutdown_within(self, limit: Duration) {
        self.carrier.shutdown_within(limit).await;
        self.stop.cancel();
        self.tasks.close();
        // What still runs is an attempt to reach a manager, with a limit of its own; nothing is lost.
        let _ = tokio::time::timeout(TASKS_END, self.tasks.wait()).await;
        tracing::info!(identity = %self.identity, "the node ended");
    }

    fn admin(&self) -> Admin {
        let (publisher, state) = (self.publisher.clone(), self.state.clone());
        let mut numbers = prometheus_client::registry::Registry::default();
        self.metrics.register(&mut numbers);
        let (registry, metrics) = (self.registry().clone(), self.metrics.clone());
        let (shown, shown_state) = (publisher.clone(), state.clone());
        Admin {
            reasons: Arc::new(move || reasons(&publisher, &state)),
            metrics: Arc::new(numbers),
            refresh: Arc::new(move || {
                metrics.live(registry.live());
                metrics.ready(reasons(&shown, &shown_state).is_empty());
            }),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Longer than writing a file takes.
const TASKS_END: Duration = Duration::from_secs(2);

/// A node runs only with its addresses bound, so what can be wrong is its identity.
fn reasons(publisher: &Publisher, state: &watch::Receiver<State>) -> Vec<Explanation> {
    let removed = state.borrow().failed.clone();
    let now = (publisher.credentials().clock())();
    let unusable = publisher.current().check(now).err().map(|error| error.explain());
    removed.into_iter().chain(unusable).collect()
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
            StartError::Carry(error) => error.explain(),
            StartError::Admin(error) => error.explain(),
        }
    }
}
