//! What every call of a manager works with, and the two things it does with it: admitting and renewing.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use certus_ca::{Admission, Command, JoinAsk, RenewAsk, Reply};
use certus_pki::cert::Certificate;
use certus_pki::explain::{Explain, Explanation};
use certus_pki::{LeafPlan, SpiffeId};
use certus_tls::Publisher;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::keys::{IssuingKey, KeysError, ManagerDir};
use crate::metrics::ManagerMetrics;
use crate::presence::Presence;
use crate::rate::RateLimit;
use crate::refusals::Refusals;
use crate::replica::MemberId;
use crate::truth::{Truth, Unanswered};
use crate::unrecorded::Unrecorded;

/// One manager's means.
pub(crate) struct Shared {
    /// Who this manager is.
    pub(crate) identity: SpiffeId,
    pub(crate) truth: Truth,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) presence: Presence,
    pub(crate) rate: RateLimit,
    /// What is said of callers who are refused.
    pub(crate) refusals: Refusals,
    pub(crate) metrics: ManagerMetrics,
    pub(crate) stopping: CancellationToken,
    /// Where its secrets are.
    pub(crate) place: ManagerDir,
    /// Where managers are reached, by the record.
    pub(crate) managers: watch::Sender<Vec<String>>,
    /// Whether the cluster key is under an unlock key on disk.
    pub(crate) autolock: AtomicBool,
    pub(crate) unrecorded: Unrecorded,
    issuing: RwLock<Arc<IssuingKey>>,
    /// When this manager last knew what a majority had committed.
    in_touch: Mutex<Instant>,
    /// Numbers that are on their way out of the membership while this manager leads.
    retiring: Mutex<BTreeSet<MemberId>>,
    /// The others say that this manager was removed.
    pub(crate) removed: CancellationToken,
}

impl Shared {
    pub(crate) fn new(
        identity: SpiffeId,
        truth: Truth,
        publisher: Arc<Publisher>,
        issuing: IssuingKey,
        metrics: ManagerMetrics,
        place: ManagerDir,
    ) -> Shared {
        Shared {
            identity,
            truth,
            publisher,
            presence: Presence::new(),
            rate: RateLimit::new(),
            refusals: Refusals::default(),
            metrics,
            stopping: CancellationToken::new(),
            place,
            managers: watch::Sender::new(Vec::new()),
            autolock: AtomicBool::new(false),
            unrecorded: Unrecorded::default(),
            issuing: RwLock::new(Arc::new(issuing)),
            in_touch: Mutex::new(Instant::now()),
            retiring: Mutex::default(),
            removed: CancellationToken::new(),
        }
    }

    /// The issuer that signs now.
    pub(crate) fn issuing(&self) -> Arc<IssuingKey> {
        self.issuing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads or changes which managers are on their way out.
    pub(crate) fn retiring<T>(&self, change: impl FnOnce(&mut BTreeSet<MemberId>) -> T) -> T {
        change(&mut self.retiring.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// This manager knows just now what a majority has committed.
    pub(crate) fn touched(&self) {
        *self.in_touch.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Since when this manager does not know what the others decide, if that is too long: it may have
    /// been cut off, or removed. Nodes must not take it for the cluster's voice.
    pub(crate) fn out_of_touch(&self) -> Option<Duration> {
        let since = self.in_touch.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        (since > OUT_OF_TOUCH).then_some(since)
    }

    /// Signs with another issuer from now on.
    pub(crate) fn issue_with(&self, issuing: IssuingKey) {
        *self.issuing.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(issuing);
    }

    /// Admits a node: plan, sign, record, and only then answer (I4). Returns its chain, leaf first.
    pub(crate) async fn join(&self, ask: JoinAsk) -> Result<Vec<Vec<u8>>, NotIssued> {
        let planned_at = self.truth.now();
        let plan = self.truth.plan(|view| certus_ca::plan_join(view, planned_at, &ask)).await?;
        let admit = |der| Command::Admit { ask, planned_at, der };
        self.issue(plan, admit).await
    }

    /// Renews a node's certificate; the same way.
    pub(crate) async fn renew(&self, ask: RenewAsk) -> Result<Vec<Vec<u8>>, NotIssued> {
        let planned_at = self.truth.now();
        let plan = self.truth.plan(|view| certus_ca::plan_renew(view, planned_at, &ask)).await?;
        let renew = |der| Command::Renew { ask, planned_at, der };
        self.issue(plan, renew).await
    }

    async fn issue(
        &self,
        admission: Admission,
        command: impl FnOnce(Vec<u8>) -> Command,
    ) -> Result<Vec<Vec<u8>>, NotIssued> {
        let plan: LeafPlan = match admission {
            Admission::Again { der } => return self.chain_of(der),
            Admission::New(plan) => plan,
        };
        let issuing = self.issuing();
        let der = issuing.sign(&plan)?;
        let issued = match self.truth.propose(&command(der.clone())).await? {
            Reply::Admitted(issued) | Reply::Renewed(issued) => issued,
            _ => return Err(Unanswered::Mismatched { asked: "request for a certificate" }.into()),
        };
        // What is on record, not what was signed: a retry that was committed in between comes first.
        if issued.der == der {
            return Ok(vec![der, issuing.issuer.certificate().der.clone()]);
        }
        self.chain_of(issued.der)
    }

    /// A leaf and the issuer that signed it, which need not be the one that signs now.
    fn chain_of(&self, leaf: Vec<u8>) -> Result<Vec<Vec<u8>>, NotIssued> {
        let unreadable =
            |error| NotIssued::Keys(KeysError::Issuer(certus_pki::issue::NotIssued::Certificate(error)));
        let certificate = Certificate::from_der(&leaf).map_err(unreadable)?;
        let signed_by = |key_id: &[u8]| certificate.authority_key_id.as_deref() == Some(key_id);
        let issuing = self.issuing();
        let current = issuing.issuer.certificate();
        if current.subject_key_id.as_deref().is_some_and(signed_by) {
            return Ok(vec![leaf, current.der.clone()]);
        }
        let issuers = self.truth.read(|view| certus_ca::issuers(view))?;
        let issuer = issuers.into_iter().find(|issuer| signed_by(&issuer.key_hash.as_bytes()[..20]));
        let issuer = issuer.ok_or(Unanswered::Mismatched { asked: "certificate of a known issuer" })?;
        Ok(vec![leaf, issuer.der])
    }
}

/// Several elections; and less than the silence after which a node takes its stream for dead.
const OUT_OF_TOUCH: Duration = Duration::from_secs(15);

/// No certificate was issued.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotIssued {
    /// The truth does not allow it, or cannot be asked.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// It could not be signed.
    #[error(transparent)]
    Keys(#[from] KeysError),
}

impl Explain for NotIssued {
    fn explain(&self) -> Explanation {
        match self {
            NotIssued::Unanswered(error) => error.explain(),
            NotIssued::Keys(error) => error.explain(),
        }
    }
}
