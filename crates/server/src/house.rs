//! What a manager does by itself: takes changes of trust over, renews its own certificate and issuer,
//! and watches that nodes renew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand::fill;
use certus_ca::{Command, Deltas, RenewAsk};
use certus_node::files::{FileError, Fresh, IdentityDir};
use certus_node::metrics::Metrics;
use certus_pki::cert::Certificate;
use certus_pki::explain::{Explain, Explanation};
use certus_pki::{CertId, Change, Directive, PrivateKey, Root, Signer, SpiffeId, UnixTime, code, renewal};
use certus_tls::{BadIdentity, Identity, NotPublished, Snapshot, sweep_each_second};
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::keys::{KeysError, ManagerDir};
use crate::members::Members;
use crate::metrics::Standing;
use crate::offline::RootGate;
use crate::shared::{NotIssued, Shared};
use crate::truth::Unanswered;

/// Certificates are looked at this often at least: a machine that slept, or whose clock was set, is
/// noticed within it.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Nodes overdue that are counted and named; more are counted as this many.
const OVERDUE_MAX: usize = 1000;
/// Tokens that are counted; more are counted as this many.
const TOKENS_MAX: usize = 10_000;
/// The store's files, whose sizes are shown.
const STORE_FILES: [&str; 2] = ["log.redb", "state.redb"];
/// How often a manager asks how far the log is committed.
const TOUCH_EVERY: Duration = Duration::from_secs(2);
/// After a change of trust could not be taken over, before the next try.
const TAKE_OVER_AGAIN: Duration = Duration::from_secs(1);

/// A manager's own affairs.
#[derive(Clone)]
pub(crate) struct House {
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics: Metrics,
    pub(crate) place: ManagerDir,
    pub(crate) files: IdentityDir,
    /// Held while changes of trust are taken over and written.
    pub(crate) taking_over: Arc<Mutex<()>>,
    /// Held while issuers are made and follow each other.
    pub(crate) issuers: Arc<tokio::sync::Mutex<()>>,
    /// Held while the root's key leaves the cluster or comes back.
    pub(crate) root: Arc<RootGate>,
    /// Held while this manager renews its own certificate.
    pub(crate) renewing: Arc<tokio::sync::Mutex<()>>,
    /// Told when somebody wants a new certificate for this manager now.
    pub(crate) asked: Arc<tokio::sync::Notify>,
}

impl House {
    /// Spawns everything that is kept up until the manager stops.
    pub(crate) fn keep(self, tasks: &TaskTracker, advertise: String) {
        let stopping = self.shared.stopping.clone();
        let credentials = self.shared.publisher.credentials();
        let metrics = self.metrics.clone();
        let sweep = sweep_each_second(credentials, move |cuts| metrics.cut(cuts.len()));
        let (follow, own, issuer, announce) = (self.clone(), self.clone(), self.clone(), self.clone());
        let (touch, members, root, deadlines) =
            (self.shared.clone(), self.shared.clone(), self.clone(), self);
        let task = |work: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
            let stopping = stopping.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = work => {}
                    () = stopping.cancelled() => {}
                }
            });
        };
        task(Box::pin(sweep));
        task(Box::pin(async move { follow.follow_trust().await }));
        // Apart: a root that is out of reach must not keep the manager from renewing itself.
        task(Box::pin(async move { own.keep_certificate().await }));
        task(Box::pin(async move { issuer.keep_issuer().await }));
        task(Box::pin(async move { announce.announce(&advertise).await }));
        task(Box::pin(async move { keep_in_touch(&touch).await }));
        task(Box::pin(async move { Members::new(&members).keep().await }));
        task(Box::pin(async move { deadlines.watch_deadlines().await }));
        task(Box::pin(async move { root.watch_root().await }));
    }

    /// Why the manager is not ready; nothing when it is.
    pub(crate) fn not_ready(&self) -> Vec<Explanation> {
        let mut reasons = Vec::new();
        if self.shared.truth.replica.status().leader.is_none() {
            reasons.push(Explanation::new(code::UNAVAILABLE, "no leader of the log is known"));
        }
        if let Some(since) = self.shared.out_of_touch() {
            let words = "this manager does not know what a majority of the managers decides";
            reasons.push(
                Explanation::new(code::UNAVAILABLE, words).fact("since", format!("{} s", since.as_secs())),
            );
        }
        if let Err(unusable) = self.shared.publisher.current().check(self.shared.truth.now()) {
            reasons.push(unusable.explain());
        }
        reasons.extend(crate::clock::why_not_ready(&self.shared.truth));
        reasons.extend(self.awaits_root());
        reasons
    }

    /// Brings numbers up to date that are only looked up.
    pub(crate) fn refresh(&self) {
        let snapshot = self.shared.publisher.current();
        self.metrics.live(self.shared.publisher.registry().live());
        self.metrics.trust(snapshot.epoch(), snapshot.bundle().revocations().len());
        self.metrics.ready(self.not_ready().is_empty());
        self.metrics.contact(self.shared.truth.now());
        self.shared.metrics.connected(self.shared.presence.connected().len());
        self.refresh_log();
        if let Some(identity) = snapshot.identity() {
            let issuer = self.shared.issuing().issuer.certificate().not_after;
            let root = snapshot.bundle().roots().iter().map(Root::not_after).max().unwrap_or_default();
            self.metrics.certificates(identity.leaf().not_after, issuer, root);
        }
    }

    fn refresh_log(&self) {
        let (numbers, replica) = (&self.shared.metrics, &self.shared.truth.replica);
        let (status, members) = (replica.status(), replica.members());
        numbers.standing(&Standing {
            leading: status.leading,
            leader_known: status.leader.is_some(),
            voter: status.voter,
            voters: members.iter().filter(|member| member.voter).count(),
            term: status.term,
            applied: status.applied.unwrap_or_default(),
            last: status.last_log.unwrap_or_default(),
        });
        for file in STORE_FILES {
            let found = std::fs::metadata(self.place.store().join(file));
            numbers.stored(file, found.map_or(0, |found| found.len()));
        }
        // What cannot be read is said by every call; the numbers of before stay.
        let Ok(managers) = self.shared.managers_on_record() else { return };
        let others = managers.iter().filter(|manager| manager.member != status.member);
        let id = |manager: &certus_wire::v1::Manager| {
            manager.node.parse::<SpiffeId>().map_or(manager.node.clone(), |node| node.id.to_string())
        };
        let offsets = replica.clock_offsets();
        let clock = |manager: &certus_wire::v1::Manager| Some((id(manager), *offsets.get(&manager.member)?));
        numbers.clocks(others.clone().filter_map(clock));
        numbers.behind(others.filter_map(|manager| Some((id(manager), manager.behind?))));
    }

    /// Says where this manager is, until it is on record.
    async fn announce(&self, address: &str) {
        let mut failures = 0;
        loop {
            let known = self.shared.truth.read(|view| certus_ca::manager(view, &self.shared.identity));
            if known.is_ok_and(|known| known.is_some_and(|manager| manager.address == address)) {
                return;
            }
            let node = self.shared.identity.clone();
            let announce = Command::Announce { node, address: address.to_owned() };
            match self.shared.truth.propose(&announce).await {
                Ok(_) => return,
                Err(failed) => {
                    failures += 1;
                    warn!(explanation = %failed.explain(), "this manager could not say where it is");
                    tokio::time::sleep(again(failures, None, self.shared.truth.now(), 0)).await;
                }
            }
        }
    }

    /// Takes over every change of trust that is committed, as every node does.
    async fn follow_trust(&self) {
        let mut revision = self.shared.truth.replica.revision();
        loop {
            revision.mark_unchanged();
            let taken = self.take_over();
            if let Err(failed) = &taken {
                error!(explanation = %failed.explain(), "a change of trust could not be taken over");
            }
            tokio::select! {
                changed = revision.changed() => if changed.is_err() {
                    return;
                },
                // The next change may be days away.
                () = tokio::time::sleep(TAKE_OVER_AGAIN), if taken.is_err() => {}
            }
        }
    }

    pub(crate) fn take_over(&self) -> Result<(), HouseError> {
        let _one_at_a_time = self.taking_over.lock().unwrap_or_else(PoisonError::into_inner);
        let publisher = &self.shared.publisher;
        loop {
            let has = publisher.current().epoch();
            let deltas = self.shared.truth.read(|view| certus_ca::deltas_since(view, has, 256));
            let changed = match deltas.map_err(HouseError::Unanswered)? {
                Deltas::UpToDate => return Ok(()),
                Deltas::Changed(deltas) => deltas,
                Deltas::TooOld => {
                    let bundle = self.shared.truth.scan(|view| certus_ca::bundle(view));
                    let Some(bundle) = bundle.map_err(HouseError::Unanswered)? else { return Ok(()) };
                    let cuts = publisher.publish_bundle(Arc::new(bundle));
                    self.metrics.cut(cuts.map_err(HouseError::NotPublished)?.len());
                    continue;
                }
            };
            for delta in changed {
                self.shared.presence.committed(delta.epoch);
                if delta.changes.iter().any(|change| self.is_asked(change)) {
                    self.asked.notify_one();
                }
                let cuts = publisher.apply(&delta).map_err(HouseError::NotPublished)?;
                self.metrics.cut(cuts.len());
                self.shared.presence.cut_here(delta.epoch, u32::try_from(cuts.len()).unwrap_or(u32::MAX));
                for cut in &cuts {
                    info!(peer = %cut.peer, reason = %cut.reason, "connection cut");
                }
            }
            self.files.store_bundle(publisher.current().bundle()).map_err(HouseError::Files)?;
            if self.is_off_the_record()? {
                error!("this manager was removed");
                self.shared.removed.cancel();
            }
        }
    }

    /// Whether this manager was revoked, by the record that it holds itself.
    fn is_off_the_record(&self) -> Result<bool, HouseError> {
        let record = self.shared.truth.read(|view| certus_ca::node(view, &self.shared.identity));
        let record = record.map_err(HouseError::Unanswered)?;
        Ok(record.is_some_and(|node| node.state != certus_ca::NodeState::Active))
    }

    /// Makes a manager usable again that was off for longer than its certificate, or its issuer, lives.
    /// To be called before it serves: nobody could reach it to help.
    pub(crate) async fn wake(&self) -> Result<(), HouseError> {
        let now = self.shared.truth.now();
        self.issuer_in_time(now).await?;
        let snapshot = self.shared.publisher.current();
        self.renew(snapshot.identity().ok_or(HouseError::NoIdentity)?).await.map(drop)
    }

    /// Whether `change` is the order that this manager takes a new certificate now.
    fn is_asked(&self, change: &Change) -> bool {
        matches!(change, Change::Direct { node, directive: Directive::RenewNow } if *node == self.shared.identity)
    }

    /// Renews this manager's own certificate at once; returns the new one.
    pub(crate) async fn renew_now(&self) -> Result<Certificate, HouseError> {
        let _one_at_a_time = self.renewing.lock().await;
        let snapshot = self.shared.publisher.current();
        self.renew(snapshot.identity().ok_or(HouseError::NoIdentity)?).await?;
        let renewed = self.shared.publisher.current();
        renewed.identity().map(|own| own.leaf().clone()).ok_or(HouseError::NoIdentity)
    }

    /// Renews this manager's certificate.
    async fn keep_certificate(&self) {
        let mut jitter = [0];
        let _ = fill(&mut jitter);
        let mut failures = 0;
        loop {
            let now = self.shared.truth.now();
            let wait = match self.renew_if_due(now, jitter[0]).await {
                Ok(due) => {
                    failures = 0;
                    until(due, now)
                }
                Err(failed) => {
                    failures += 1;
                    warn!(explanation = %failed.explain(), failures, "the manager's own renewal failed");
                    let end = self.shared.publisher.current().identity().map(|own| own.leaf().not_after);
                    again(failures, end, now, jitter[0])
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.asked.notified() => {
                    if let Err(failed) = self.renew_now().await {
                        warn!(explanation = %failed.explain(), "the renewal that was asked for failed");
                    }
                }
            }
        }
    }

    /// Renews at `now` what is due; returns when the next renewal is.
    async fn renew_if_due(&self, now: UnixTime, jitter: u8) -> Result<UnixTime, HouseError> {
        let _one_at_a_time = self.renewing.lock().await;
        let snapshot = self.shared.publisher.current();
        let own = snapshot.identity().ok_or(HouseError::NoIdentity)?;
        let due = due(own.leaf(), jitter);
        // A manager's own certificate is of its own issuer, so that no other manager's end takes it along.
        let issuing = self.shared.issuing();
        let by_itself = own.leaf().authority_key_id == issuing.issuer.certificate().subject_key_id;
        if now < due && by_itself { Ok(due) } else { self.renew(own).await }
    }

    /// Makes this manager's next issuer ahead of time.
    async fn keep_issuer(&self) {
        let mut failures = 0;
        loop {
            let now = self.shared.truth.now();
            let wait = match self.keep_issuers_at(now).await {
                Ok(due) => {
                    failures = 0;
                    until(due, now)
                }
                Err(failed) => {
                    failures += 1;
                    warn!(explanation = %failed.explain(), failures, "the next issuer could not be made");
                    again(failures, Some(self.shared.issuing().issuer.certificate().not_after), now, 0)
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// A fresh key and a new certificate over it, through the log like everybody's.
    async fn renew(&self, own: &Identity) -> Result<UnixTime, HouseError> {
        let key = PrivateKey::generate(own.leaf().public_key.key_type()).map_err(HouseError::Key)?;
        let issuer = own.chain().get(1).ok_or(HouseError::NoIdentity)?;
        let issuer = Certificate::from_der(issuer).map_err(|_| HouseError::NoIdentity)?.key_hash();
        let from = CertId { issuer, serial: own.leaf().serial };
        let public_key = key.public_key().clone();
        let ask = RenewAsk { node: self.shared.identity.clone(), from, public_key };
        let chain = self.shared.renew(ask).await.map_err(HouseError::NotIssued)?;
        let identity = Arc::new(Identity::new(&key, chain.clone()).map_err(HouseError::BadIdentity)?);
        let bundle = self.shared.publisher.current().bundle().clone();
        // Usable first, then kept, then used: a bad answer replaces nothing (I9).
        let snapshot = Snapshot::new(Some(identity.clone()), bundle.clone());
        snapshot.check(self.shared.truth.now()).map_err(HouseError::NotPublished)?;
        self.files.store(&Fresh { key: &key, chain: &chain, bundle: &bundle }).map_err(HouseError::Files)?;
        self.shared.publisher.publish_identity(identity.clone()).map_err(HouseError::NotPublished)?;
        if let Some(lines) = self.shared.truth.lines() {
            lines.redial();
        }
        self.metrics.renewed();
        info!(not_after = %identity.leaf().not_after, "the manager renewed its own certificate");
        Ok(due(identity.leaf(), 0))
    }

    /// Alerts when a node did not renew by its deadline, once for each deadline (never silently expired).
    async fn watch_deadlines(&self) {
        let mut told: BTreeMap<SpiffeId, UnixTime> = BTreeMap::new();
        loop {
            let now = self.shared.truth.now();
            if let Ok(page) = self.shared.truth.scan(|view| certus_ca::tokens(view, None, TOKENS_MAX)) {
                let usable = page.items.iter().filter(|token| token.is_live(now)).count();
                self.shared.metrics.tokens(usable);
            }
            match self.shared.truth.scan(|view| certus_ca::due(view, now, OVERDUE_MAX)) {
                Ok(overdue) => {
                    self.shared.metrics.overdue(overdue.len());
                    // One alarm, from the manager that leads.
                    let leads = self.shared.truth.replica.status().leading;
                    for due in overdue.iter().filter(|_| leads) {
                        if told.get(&due.node) != Some(&due.renew_by) {
                            warn!(node = %due.node, renew_by = %due.renew_by, "a node missed its renewal");
                        }
                    }
                    told = overdue.into_iter().map(|due| (due.node, due.renew_by)).collect();
                }
                Err(failed) => warn!(explanation = %failed.explain(), "deadlines cannot be read"),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Asks, again and again, how far the log is committed.
async fn keep_in_touch(shared: &Shared) {
    let mut lost = false;
    loop {
        if shared.truth.catch_up().await {
            shared.touched();
            if std::mem::take(&mut lost) {
                info!("in touch with a majority of the managers again");
            }
        } else if shared.out_of_touch().is_some() {
            if !std::mem::replace(&mut lost, true) {
                warn!("out of touch with a majority of the managers: nodes are sent to the others");
            }
            if shared.is_removed().await {
                error!("another manager says that this one's certificate was revoked: it was removed");
                shared.removed.cancel();
                return;
            }
        }
        tokio::time::sleep(TOUCH_EVERY).await;
    }
}

/// How long to wait for what is due at `due`.
fn until(due: UnixTime, now: UnixTime) -> Duration {
    let left = u64::try_from(due.secs_since(now)).unwrap_or(0);
    Duration::from_secs(left.max(1)).min(LOOK_EVERY)
}

/// How long to wait after `failures` in a row, before the next try at replacing what ends at `end`.
fn again(failures: u32, end: Option<UnixTime>, now: UnixTime, jitter: u8) -> Duration {
    // Hurry ends with what is to be replaced: afterwards nothing is left that could run out.
    let left = end.map(|end| end.secs_since(now)).filter(|left| *left > 0).unwrap_or(i64::MAX);
    Duration::from_secs_f64(renewal::backoff_secs(failures, left, jitter))
}

fn due(leaf: &Certificate, jitter: u8) -> UnixTime {
    let issued_at = leaf.not_before.plus(certus_pki::defaults::BACKDATE);
    renewal::renew_at(issued_at, leaf.not_after, jitter)
}

/// Something a manager does by itself did not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HouseError {
    #[error(transparent)]
    Unanswered(Unanswered),
    #[error(transparent)]
    NotIssued(NotIssued),
    #[error(transparent)]
    NotPublished(NotPublished),
    #[error(transparent)]
    Files(FileError),
    #[error(transparent)]
    Keys(KeysError),
    #[error("a key could not be made")]
    Key(#[source] certus_pki::key::BadKey),
    #[error(transparent)]
    BadIdentity(BadIdentity),
    #[error("the manager has no identity")]
    NoIdentity,
    #[error("a new issuer would end with the root, no later than the present one")]
    RootEnds { root: UnixTime, present: UnixTime },
}

impl Explain for HouseError {
    fn explain(&self) -> Explanation {
        match self {
            HouseError::Unanswered(error) => error.explain(),
            HouseError::NotIssued(error) => error.explain(),
            HouseError::NotPublished(error) => error.explain(),
            HouseError::Files(error) => error.explain(),
            HouseError::Keys(error) => error.explain(),
            HouseError::Key(error) => error.explain(),
            HouseError::BadIdentity(error) => error.explain(),
            HouseError::NoIdentity => Explanation::new(code::OWN_CERTIFICATE, self.to_string()),
            HouseError::RootEnds { root, present } => {
                Explanation::new(code::ISSUER_TOO_SHORT, self.to_string())
                    .fact("root ends", root)
                    .fact("present issuer ends", present)
            }
        }
    }
}
