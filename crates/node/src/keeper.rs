//! The one task that owns a node's credentials: it is told what happens, decides, and acts.

use std::sync::Arc;
use std::time::Duration;

use certus_pki::explain::{Explain, Explanation};
use certus_pki::{Bundle, Certificate, Change, Code, Delta, Directive, SpiffeId, UnixTime, code};
use certus_tls::{Clock, CutRecord, Identity, Publisher, Snapshot};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{Api, ApiError};
use crate::carry::Stale;
use crate::clock::jitter;
use crate::files::{Fresh, IdentityDir};
use crate::metrics::Metrics;
use crate::renew::{self, RenewError, Renewed, Schedule, Step, removed};
use crate::spec::{OnStale, Staleness};
use crate::watch::{Enforced, News};

/// Everything that makes the keeper act.
pub(crate) enum Wake {
    /// The watch stream brought something, or ended.
    Watch(News),
    /// An attempt to renew is over.
    Renewed(Result<Renewed, RenewError>),
    /// Somebody wants a new certificate now, and to be told when it is in force.
    RenewNow(oneshot::Sender<Result<(), RenewError>>),
    /// Connections ended with their certificates.
    Swept(Vec<CutRecord>),
}

/// Letters that wait for the keeper; a stream that brings more is slowed down, not forgotten.
pub(crate) const LETTERS_MAX: usize = 64;

/// Who waits for one renewal; more is a caller in a loop.
const WAITERS_MAX: usize = 64;

/// What others may know of the keeper's state.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// Set once, when the node cannot go on.
    pub(crate) failed: Option<Explanation>,
    /// Set while nobody is accepted because trust is stale.
    pub(crate) closed: Option<Explanation>,
}

pub(crate) struct Keeper {
    pub(crate) identity: SpiffeId,
    pub(crate) dir: IdentityDir,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) api: Api,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    pub(crate) letters: mpsc::Sender<Wake>,
    pub(crate) enforced: watch::Sender<Enforced>,
    pub(crate) state: watch::Sender<State>,
    pub(crate) stop: CancellationToken,
    /// Ends the watch stream.
    pub(crate) watching: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) schedule: Schedule,
    pub(crate) renewing: bool,
    pub(crate) waiters: Vec<oneshot::Sender<Result<(), RenewError>>>,
    /// When a manager was last heard of.
    pub(crate) contact: UnixTime,
    pub(crate) stale: bool,
    pub(crate) staleness: Staleness,
    /// Closed while trust is stale, where that is the policy.
    pub(crate) gate: Stale,
    /// Why there is no watch stream, as it was last said; none while there is one.
    pub(crate) watch_lost: Option<Code>,
}

impl Keeper {
    /// Acts on letters until `stop`.
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Wake>) {
        let stop = self.stop.clone();
        self.show();
        loop {
            let pause = self.look();
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
                letter = inbox.recv() => match letter {
                    Some(letter) => self.act(letter).await,
                    None => break,
                },
            }
        }
        for waiter in self.waiters {
            let _ = waiter.send(Err(RenewError::Ended));
        }
    }

    /// Looks at the clock: what is due is begun. Returns when to look again, at the latest.
    fn look(&mut self) -> Duration {
        let now = (self.clock)();
        let until_stale = self.look_at_trust(now);
        if self.renewing || self.is_removed() {
            return until_stale;
        }
        match self.schedule.step(now, Instant::now()) {
            Step::Wait(pause) => pause.min(until_stale).max(SHORTEST_PAUSE),
            Step::Renew => {
                self.begin_renewal();
                until_stale
            }
        }
    }

    /// Raises the alarm if no manager was heard of for too long. Returns when to look again.
    fn look_at_trust(&mut self, now: UnixTime) -> Duration {
        let left = self.contact.plus(self.staleness.after).secs_since(now);
        if left >= 0 || self.stale {
            let left = u64::try_from(left + 1).unwrap_or(LOOK_AGAIN.as_secs());
            return Duration::from_secs(left).min(LOOK_AGAIN);
        }
        self.stale = true;
        self.metrics.stale();
        let (last_contact, stale_after) = (self.contact, self.staleness.after);
        match self.staleness.then {
            OnStale::Open => tracing::warn!(%last_contact, %stale_after,
                "revocations are stale: no manager was heard of; going on with what is known"),
            OnStale::Closed => {
                self.gate.close(last_contact);
                let cuts = self.publisher.registry().trust_stale(last_contact);
                tracing::error!(code = %code::TRUST_STALE, %last_contact, %stale_after, cut = cuts.len(),
                    "revocations are stale: no manager was heard of; nobody is accepted until one is");
                self.count_cuts(&cuts);
                self.state.send_modify(|state| state.closed = self.gate.check().err());
            }
        }
        LOOK_AGAIN
    }

    fn begin_renewal(&mut self) {
        self.renewing = true;
        let Some(identity) = self.publisher.current().identity().cloned() else { return };
        let current = identity.leaf().public_key.clone();
        let renewal = renew::renew(self.api.clone(), self.dir.clone(), self.identity.clone(), current);
        let letters = self.letters.clone();
        self.tasks.spawn(async move {
            let renewed = renewal.await;
            let _ = letters.send(Wake::Renewed(renewed)).await;
        });
    }

    async fn act(&mut self, letter: Wake) {
        match letter {
            Wake::Watch(News::Open) => {
                self.heard();
                self.watch_lost = None;
                tracing::info!(epoch = %self.publisher.current().epoch(), "watching the managers");
            }
            Wake::Watch(News::Alive) => self.heard(),
            Wake::Watch(News::Managers(addresses)) => self.learn(&addresses).await,
            Wake::Watch(News::Whole(bundle)) => self.take_whole(*bundle).await,
            Wake::Watch(News::Changed(delta)) => self.take_delta(&delta).await,
            Wake::Watch(News::Ended { error, pause }) => self.watch_ended(&error, pause).await,
            Wake::Renewed(outcome) => self.renewal_ended(outcome).await,
            Wake::RenewNow(waiter) if self.is_removed() => {
                let _ = waiter.send(Err(RenewError::Removed));
            }
            Wake::RenewNow(waiter) => {
                self.waiters.retain(|waiter| !waiter.is_closed());
                if self.waiters.len() < WAITERS_MAX {
                    self.waiters.push(waiter);
                }
                self.schedule.ask();
            }
            Wake::Swept(cuts) => self.count_cuts(&cuts),
        }
    }

    fn heard(&mut self) {
        self.contact = (self.clock)();
        if std::mem::take(&mut self.stale) && self.staleness.then == OnStale::Closed {
            self.gate.open();
            self.state.send_modify(|state| state.closed = None);
            tracing::info!("a manager was heard of: peers are accepted again");
        }
        self.metrics.contact(self.contact);
    }

    /// Managers say where they are: used from now on, and kept for the next start.
    async fn learn(&mut self, addresses: &[String]) {
        self.heard();
        if !self.api.learn(addresses) {
            return;
        }
        let (dir, learned) = (self.dir.clone(), self.api.learned());
        tracing::info!(managers = learned.join(", "), "the managers' addresses changed");
        let kept = tokio::task::spawn_blocking(move || dir.keep_managers(&learned)).await;
        if let Ok(Err(error)) = kept {
            let why = error.explain();
            tracing::warn!(code = %why.code, %why, "the managers' addresses could not be kept");
        }
    }

    async fn watch_ended(&mut self, error: &ApiError, pause: Duration) {
        let (why, pause) = (error.explain(), pause.as_secs_f32());
        if error.says_revoked() {
            return self.remove().await;
        }
        // Said once, and again where the reason is another: managers that are back may have something to say.
        if self.watch_lost == Some(why.code) {
            tracing::debug!(code = %why.code, %why, pause_secs = pause, "still without a manager");
        } else {
            self.watch_lost = Some(why.code);
            tracing::warn!(code = %why.code, %why, hint = why.hint, pause_secs = pause,
                "lost the managers; going on with what is known");
        }
    }

    /// A whole bundle is taken only from where our trust already lies: its roots must be ours.
    async fn take_whole(&mut self, bundle: Bundle) {
        self.heard();
        let current = self.publisher.current();
        let same_roots = bundle.roots().len() == current.bundle().roots().len()
            && bundle.roots().iter().all(|root| current.bundle().roots().contains(root));
        if bundle.cluster() != current.bundle().cluster() || !same_roots {
            let why = foreign_roots(current.bundle(), &bundle);
            tracing::error!(code = %why.code, %why, "refused a bundle; going on with the one in force");
            return;
        }
        if bundle.epoch() > current.epoch() {
            self.enforce(bundle).await;
        }
    }

    async fn take_delta(&mut self, delta: &Delta) {
        self.heard();
        let current = self.publisher.current();
        if delta.epoch <= current.epoch() {
            return;
        }
        let mut bundle = Bundle::clone(current.bundle());
        bundle.apply(delta);
        self.enforce(bundle).await;
        for change in &delta.changes {
            match change {
                Change::Direct { node, directive } if *node == self.identity => self.obey(*directive).await,
                _ => {}
            }
        }
    }

    async fn obey(&mut self, directive: Directive) {
        match directive {
            Directive::RenewNow => {
                tracing::info!("a manager asks for a renewal now");
                self.schedule.ask();
            }
            Directive::Removed => self.remove().await,
        }
    }

    /// The node is of the cluster no more. That is kept, so that a restart takes a new token.
    async fn remove(&mut self) {
        if self.is_removed() {
            return;
        }
        let why = removed();
        if let Some(identity) = self.publisher.current().identity().cloned() {
            let dir = self.dir.clone();
            let marked = tokio::task::spawn_blocking(move || dir.mark_removed(identity.leaf())).await;
            if let Ok(Err(error)) = marked {
                tracing::error!(why = %error.explain(), "the removal could not be kept");
            }
        }
        self.watching.cancel();
        tracing::error!(code = %why.code, hint = why.hint, "{}", why.message);
        self.state.send_modify(|state| state.failed = Some(why));
        for waiter in self.waiters.drain(..) {
            let _ = waiter.send(Err(RenewError::Removed));
        }
    }

    fn is_removed(&self) -> bool {
        self.state.borrow().failed.is_some()
    }

    /// Puts a newer bundle in force. It is enforced before it is written: a full disk must not keep a
    /// revocation from being enforced, and a crash in between only means to be told again.
    async fn enforce(&mut self, mut bundle: Bundle) {
        bundle.forget_ended((self.clock)());
        let bundle = Arc::new(bundle);
        let current = self.publisher.current();
        let cuts = match self.publisher.publish(Snapshot::new(current.identity().cloned(), bundle.clone())) {
            Ok(cuts) => cuts,
            Err(error) => {
                let why = error.explain();
                tracing::error!(code = %why.code, %why, "a change of trust was not put in force");
                return;
            }
        };
        self.count_cuts(&cuts);
        self.renew_if_issuer_struck(&bundle);
        let dir = self.dir.clone();
        let (kept, epoch) = (bundle.clone(), bundle.epoch());
        let written = tokio::task::spawn_blocking(move || dir.store_bundle(&kept)).await;
        if let Ok(Err(error)) = written {
            let why = error.explain();
            tracing::error!(code = %why.code, %why, "a change of trust is in force, and could not be kept");
        }
        self.show();
        tracing::info!(%epoch, cut = cuts.len(), "a change of trust is in force");
        self.enforced.send_modify(|enforced| {
            enforced.epoch = epoch;
            enforced.cut += cuts.len() as u64;
        });
    }

    /// Nobody but the managers takes a certificate of a struck issuer any more: another one at once.
    fn renew_if_issuer_struck(&mut self, bundle: &Bundle) {
        let current = self.publisher.current();
        let Some(own) = current.identity().and_then(|own| own.leaf().authority_key_id.as_deref()) else {
            return;
        };
        if bundle.struck().any(|issuer| issuer.key_hash.as_bytes()[..20] == *own) {
            tracing::warn!("the issuer of our certificate was struck: renewing now");
            self.schedule.ask();
        }
    }

    fn count_cuts(&self, cuts: &[CutRecord]) {
        self.metrics.cut(cuts.len());
        for cut in cuts {
            let why = cut.reason.explain();
            tracing::info!(peer = %cut.peer, code = %why.code, %why, "cut a live connection");
        }
    }

    async fn renewal_ended(&mut self, outcome: Result<Renewed, RenewError>) {
        self.renewing = false;
        let outcome = match outcome {
            Ok(renewed) => self.put_in_force(renewed).await,
            Err(error) => Err(error),
        };
        let now = (self.clock)();
        match &outcome {
            Ok(leaf) => {
                self.schedule = Schedule::of(leaf, jitter());
                self.metrics.renewed();
                self.show();
                // What is kept was dialled under the old identity.
                self.api.redial();
                self.enforced.send_modify(|enforced| enforced.identity += 1);
                let (serial, key) = (leaf.serial, leaf.key_hash().short());
                tracing::info!(%serial, key, not_after = %leaf.not_after, due = %self.schedule.due(),
                    "renewed, with a fresh key");
            }
            Err(RenewError::Api(error)) if error.says_revoked() => {
                self.metrics.renewal_failed();
                self.remove().await;
            }
            Err(error) => {
                self.metrics.renewal_failed();
                let pause = self.schedule.failed(now, Instant::now(), jitter()).as_secs_f32();
                self.warn_of_renewal(&error.explain(), now, pause);
            }
        }
        let told = outcome.map(drop);
        for waiter in self.waiters.drain(..) {
            let _ = waiter.send(told.clone());
        }
    }

    fn warn_of_renewal(&self, why: &Explanation, now: UnixTime, pause: f32) {
        let failures = self.schedule.failures();
        let identity = self.publisher.current().identity().cloned();
        let not_after = identity.map_or(now, |identity| identity.leaf().not_after);
        let ends = not_after.relative_to(now);
        if self.schedule.is_overdue(now) {
            tracing::warn!(code = %why.code, %why, failures, pause_secs = pause, ends,
                "renewal failed, and the certificate's last third has begun");
        } else {
            tracing::info!(code = %why.code, %why, failures, pause_secs = pause, ends, "renewal failed");
        }
    }

    /// Verifies, keeps, then publishes: what is not good enough for any of these changes nothing.
    async fn put_in_force(&mut self, renewed: Renewed) -> Result<Certificate, RenewError> {
        let Renewed { key, chain } = renewed;
        let identity = Arc::new(Identity::new(&key, chain.clone()).map_err(RenewError::Identity)?);
        if identity.id() != Some(&self.identity) {
            let came = identity.id().map_or("nobody".to_owned(), ToString::to_string);
            let expected = self.identity.clone();
            return Err(RenewError::AnotherIdentity { expected, came });
        }
        let bundle = self.publisher.current().bundle().clone();
        let snapshot = Snapshot::new(Some(identity.clone()), bundle.clone());
        snapshot.check((self.clock)()).map_err(RenewError::NotTrusted)?;
        let dir = self.dir.clone();
        let stored = tokio::task::spawn_blocking(move || {
            dir.store(&Fresh { key: &key, chain: &chain, bundle: &bundle })
        });
        let stored = stored.await.map_err(|_| RenewError::Ended)?;
        stored.map_err(|error| RenewError::File(Arc::new(error)))?;
        let cuts = self.publisher.publish(snapshot).map_err(RenewError::NotTrusted)?;
        self.count_cuts(&cuts);
        Ok(identity.leaf().clone())
    }

    /// Brings the numbers up to what is in force.
    fn show(&self) {
        let current = self.publisher.current();
        self.metrics.trust(current.epoch(), current.bundle().revocations().len());
        let Some(identity) = current.identity() else { return };
        let issuer = identity.chain().get(1).and_then(|der| Certificate::from_der(der).ok());
        let leaf = identity.leaf().not_after;
        let root = current.bundle().roots().iter().map(certus_pki::Root::not_after).max();
        self.metrics.certificates(leaf, issuer.map_or(leaf, |issuer| issuer.not_after), root.unwrap_or(leaf));
    }
}

/// While nothing is due by itself: letters wake the keeper anyway.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// So that a rounded-down second does not spin.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

fn foreign_roots(ours: &Bundle, theirs: &Bundle) -> Explanation {
    let list = |bundle: &Bundle| {
        let keys: Vec<String> = bundle.roots().iter().map(|root| root.key_hash().short()).collect();
        format!("{} with root {}", bundle.domain(), keys.join(" and "))
    };
    Explanation::new(code::FOREIGN_ROOTS, "a manager sent a bundle whose roots are not those trusted here")
        .halves(list(ours), list(theirs))
        .hint("was the cluster founded anew? then join again with a new token")
}
