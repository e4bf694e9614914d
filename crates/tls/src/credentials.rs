//! What a process trusts and who it is: immutable snapshots, replaced whole or not at all.
//!
//! Publishing enforces: when [`Publisher::publish`] returns, the connections that the new snapshot does
//! not trust are cut.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use certus_pki::verify::verify_peer;
use certus_pki::{Bundle, Delta, Epoch, Explain, Explanation, Purpose, Rejection, UnixTime, Usage, code};
use tokio::sync::watch;

use crate::identity::Identity;
use crate::registry::{CutRecord, Registry};
use crate::{Clock, lock};

/// One state of trust and identity.
#[derive(Clone)]
pub struct Snapshot {
    identity: Option<Arc<Identity>>,
    bundle: Arc<Bundle>,
}

impl Snapshot {
    /// What is trusted, and who this process is, if it is anybody yet.
    pub fn new(identity: Option<Arc<Identity>>, bundle: Arc<Bundle>) -> Snapshot {
        Snapshot { identity, bundle }
    }

    /// Who this process is.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }

    /// What is trusted.
    pub fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }

    /// How far its trust has come.
    pub fn epoch(&self) -> Epoch {
        self.bundle.epoch()
    }

    /// Whether its own identity is one that its own bundle accepts at `now`, on every side of a
    /// connection that the identity's role stands on.
    pub fn check(&self, now: UnixTime) -> Result<(), NotPublished> {
        let Some(cluster) = self.bundle.cluster() else { return self.check_times(now) };
        if self.bundle.roots().is_empty() {
            return Err(NotPublished::NoRoots);
        }
        let Some(identity) = &self.identity else { return Ok(()) };
        if identity.is_foreign() {
            return self.check_times(now);
        }
        let usage = identity.id().filter(|id| id.cluster == *cluster).map(|id| Usage::of_role(id.role));
        let usage = usage.unwrap_or(Usage::ANY);
        let sides = [(usage.client, Purpose::Client), (usage.server, Purpose::Server)];
        for purpose in sides.into_iter().filter_map(|(on, purpose)| on.then_some(purpose)) {
            verify_peer(identity.chain(), &self.bundle, now, purpose).map_err(NotPublished::Identity)?;
        }
        Ok(())
    }

    /// Who trusts an identity of another authority, or without a cluster, is the peers' affair; that its time has come and has
    /// not ended is not.
    fn check_times(&self, now: UnixTime) -> Result<(), NotPublished> {
        let Some(leaf) = self.identity.as_ref().map(|identity| identity.leaf()) else { return Ok(()) };
        let (not_before, not_after) = (leaf.not_before, leaf.not_after);
        let what = "the certificate";
        if now < not_before {
            return Err(NotPublished::Identity(Rejection::NotYetValid { what, now, not_before }));
        }
        if now > not_after {
            return Err(NotPublished::Identity(Rejection::Expired { what, now, not_after }));
        }
        Ok(())
    }
}

/// The one that replaces snapshots, and enforces each on the connections that live.
pub struct Publisher {
    current: watch::Sender<Arc<Snapshot>>,
    registry: Arc<Registry>,
    clock: Clock,
    /// Held while one snapshot is checked, published and enforced.
    publishing: Mutex<()>,
}

impl Publisher {
    /// Begins with `initial` as it stands: a node that slept too long still must be able to say so.
    /// [`Snapshot::check`] tells whether it is usable.
    pub fn new(initial: Snapshot, clock: Clock) -> Publisher {
        let registry = Arc::new(Registry::new(initial.bundle.clone()));
        Publisher {
            current: watch::Sender::new(Arc::new(initial)),
            registry,
            clock,
            publishing: Mutex::new(()),
        }
    }

    /// What listeners and dialers read. Cheap to clone.
    pub fn credentials(&self) -> Credentials {
        Credentials {
            current: self.current.subscribe(),
            registry: self.registry.clone(),
            clock: self.clock.clone(),
        }
    }

    /// The connections that live under these credentials.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// What is in force.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.borrow().clone()
    }

    /// Replaces the snapshot. When this returns, new handshakes see the new one, and the connections
    /// that it does not trust have been cut; they are returned.
    ///
    /// A new identity must verify against the snapshot's own bundle. One that is unchanged need not:
    /// the news that it was itself revoked must not be kept from those who enforce the rest.
    ///
    /// # Errors
    /// [`NotPublished`]; then what was in force stays in force, whole (I9).
    pub fn publish(&self, snapshot: Snapshot) -> Result<Vec<CutRecord>, NotPublished> {
        self.replace(|_| snapshot)
    }

    /// Replaces who this process is, and leaves what it trusts; see [`Publisher::publish`].
    pub fn publish_identity(&self, identity: Arc<Identity>) -> Result<Vec<CutRecord>, NotPublished> {
        self.replace(|current| Snapshot::new(Some(identity), current.bundle.clone()))
    }

    /// Replaces what is trusted, and leaves who this process is; see [`Publisher::publish`].
    pub fn publish_bundle(&self, bundle: Arc<Bundle>) -> Result<Vec<CutRecord>, NotPublished> {
        self.replace(|current| Snapshot::new(current.identity.clone(), bundle))
    }

    /// Takes one change of trust over; one that is not newer changes nothing. See
    /// [`Publisher::publish`].
    pub fn apply(&self, delta: &Delta) -> Result<Vec<CutRecord>, NotPublished> {
        self.replace(|current| {
            let mut bundle = Bundle::clone(&current.bundle);
            bundle.apply(delta);
            bundle.forget_ended((self.clock)());
            Snapshot::new(current.identity.clone(), Arc::new(bundle))
        })
    }

    /// Makes the next snapshot from the current one, with nobody between the two.
    fn replace(&self, next: impl FnOnce(&Snapshot) -> Snapshot) -> Result<Vec<CutRecord>, NotPublished> {
        let _one_at_a_time = lock(&self.publishing);
        let now = (self.clock)();
        let current = self.current();
        let snapshot = next(&current);
        let new_identity = follows(&current, &snapshot)?;
        if new_identity {
            snapshot.check(now)?;
        }
        let snapshot = Arc::new(snapshot);
        // First visible, then enforced: who registers between the two reads it and checks again.
        self.current.send_replace(snapshot.clone());
        let mut cuts = self.registry.enforce(&snapshot, now);
        if let Some(identity) = snapshot.identity().filter(|_| new_identity) {
            cuts.extend(self.registry.rotated(identity));
        }
        Ok(cuts)
    }
}

/// Whether `next` may follow `current`, and if so, whether it brings another identity.
fn follows(current: &Snapshot, next: &Snapshot) -> Result<bool, NotPublished> {
    let (expected, came) = (current.epoch(), next.epoch());
    if came < expected {
        return Err(NotPublished::OlderEpoch { expected, came });
    }
    if next.bundle.cluster() != current.bundle.cluster() {
        let (expected, came) = (current.bundle.domain(), next.bundle.domain());
        return Err(NotPublished::AnotherCluster { expected, came });
    }
    if next.bundle.cluster().is_some() && next.bundle.roots().is_empty() {
        return Err(NotPublished::NoRoots);
    }
    match (&next.identity, &current.identity) {
        (Some(new), Some(old)) => Ok(!Arc::ptr_eq(new, old)),
        (None, Some(_)) => Err(NotPublished::IdentityLost),
        (new, None) => Ok(new.is_some()),
    }
}

/// The credentials in force, as listeners and dialers read them.
#[derive(Clone)]
pub struct Credentials {
    current: watch::Receiver<Arc<Snapshot>>,
    registry: Arc<Registry>,
    clock: Clock,
}

impl Credentials {
    /// The newest snapshot.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.borrow().clone()
    }

    /// Waits for a snapshot that [`Credentials::changed`] has not told of yet; false when there will be
    /// none any more.
    pub async fn changed(&mut self) -> bool {
        self.current.changed().await.is_ok()
    }

    /// The connections that live under these credentials.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The clock by which they are judged.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The time by that clock.
    pub fn now(&self) -> UnixTime {
        (self.clock)()
    }

    fn is_closed(&self) -> bool {
        self.current.has_changed().is_err()
    }
}

/// Cuts connections whose chain's last moment has passed, each second, until the publisher is gone;
/// `report` is told of each batch. To be spawned once beside a publisher.
pub async fn sweep_each_second(credentials: Credentials, mut report: impl FnMut(Vec<CutRecord>) + Send) {
    let mut tick = tokio::time::interval(SWEEP_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !credentials.is_closed() {
        tick.tick().await;
        let cuts = credentials.registry.sweep(credentials.now());
        if !cuts.is_empty() {
            report(cuts);
        }
    }
}

/// Certificates count in seconds.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// A snapshot that was not put in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotPublished {
    /// Trust only moves on (I5).
    #[error("the bundle is older than the one in force")]
    OlderEpoch {
        /// The epoch in force.
        expected: Epoch,
        /// The epoch that came.
        came: Epoch,
    },
    /// A process has one cluster.
    #[error("the bundle is another cluster's")]
    AnotherCluster {
        /// The cluster of what is in force.
        expected: String,
        /// The cluster that came.
        came: String,
    },
    /// Nobody could be trusted.
    #[error("the bundle holds no root")]
    NoRoots,
    /// Who had an identity does not go on without one.
    #[error("the new credentials hold no identity, those in force do")]
    IdentityLost,
    /// Its own bundle does not accept it.
    #[error("the identity does not verify against its own bundle")]
    Identity(#[source] Rejection),
}

impl Explain for NotPublished {
    fn explain(&self) -> Explanation {
        let new = Explanation::new(code::OWN_CERTIFICATE, self.to_string());
        match self {
            NotPublished::OlderEpoch { expected, came } => {
                new.halves(format!("epoch {expected} or later"), came)
            }
            NotPublished::AnotherCluster { expected, came } => new.halves(expected, came),
            NotPublished::NoRoots => new.halves("one root at least", "none"),
            NotPublished::IdentityLost => new.halves("a key and its chain", "none"),
            NotPublished::Identity(rejection) => {
                let why = rejection.explain();
                let mut all = new.fact("why", format!("{}: {}", why.code, why.message));
                all.facts.extend(why.facts);
                all
            }
        }
    }
}
