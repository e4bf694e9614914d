//! Asks every manager who it is, what its clock says, and how the cluster is.
//!
//! Each is dialed for itself, so that one that is away hides behind no other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use certus_node::api::is_dialable;
use certus_node::files::Looked;
use certus_node::{Api, ApiError, system_clock};
use certus_pki::{Bundle, Explain, Explanation, UnixTime, code, defaults};
use certus_tls::{Clock, Identity, Publisher, Snapshot};
use certus_wire::v1;
use tokio::task::JoinSet;

use super::Place;

/// A manager that is well answers in milliseconds; who waits for a check-up waits no longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// More managers than a cluster has.
const MANAGERS_MAX: usize = 32;

/// What one address said.
pub(super) struct Answer {
    pub(super) address: String,
    /// Who answers, or why nobody that can be used does.
    pub(super) info: Result<v1::InfoReply, Explanation>,
    /// How far its clock is ahead of ours, in seconds: also where nothing else came of it.
    pub(super) ahead: Option<i64>,
    /// The managers as this one sees them.
    pub(super) managers: Vec<v1::Manager>,
}

/// What the managers said.
pub(super) struct Reached {
    /// Why none was asked.
    pub(super) nobody: Option<&'static str>,
    pub(super) answers: Vec<Answer>,
    /// How the cluster is, for who may ask.
    pub(super) status: Option<Result<v1::ClusterStatus, Explanation>>,
}

impl Reached {
    /// Asks all that are known, and those whom they name.
    pub(super) async fn of(place: &Place) -> Reached {
        let none = |why| Reached { nobody: Some(why), answers: Vec::new(), status: None };
        let Some(roots) = place.usable().next() else {
            return none("no identity of a cluster is here: no manager can be told from another server");
        };
        if place.addresses.is_empty() {
            return none("no manager's address is known here: --manager HOST:PORT");
        }
        let caller = place.caller().and_then(own).map(Arc::new);
        let asking =
            Asking { caller, bundle: Arc::new(roots.bundle.clone()), leaf: Arc::new(Leaf::of(roots)) };
        let mut answers = asking.all(&place.addresses).await;
        let asked: BTreeSet<String> = place.addresses.iter().cloned().collect();
        let named = answers.iter().flat_map(|answer| &answer.managers).map(|manager| manager.address.clone());
        let fresh: BTreeSet<String> = named.filter(|one| is_dialable(one) && !asked.contains(one)).collect();
        answers.extend(asking.all(&fresh.into_iter().collect::<Vec<_>>()).await);
        let status = match answers.iter().find(|answer| answer.info.is_ok()) {
            Some(works) if asking.caller.is_some() => {
                let api = asking.api(&works.address, true, system_clock());
                let status = api.cluster(async |mut c| c.status(v1::StatusRequest {}).await).await;
                Some(status.map_err(|error| error.explain()))
            }
            _ => None,
        };
        Reached { nobody: None, answers, status }
    }

    /// The managers as the one that knows most sees them: the leader knows who is behind.
    pub(super) fn managers(&self) -> &[v1::Manager] {
        let known = |answer: &&Answer| answer.managers.iter().filter(|one| one.behind.is_some()).count();
        let best = self.answers.iter().filter(|answer| !answer.managers.is_empty()).max_by_key(known);
        best.map_or(&[], |answer| &answer.managers)
    }
}

/// When the certificate we know of is valid.
#[derive(Clone, Copy)]
struct Leaf {
    from: UnixTime,
    until: UnixTime,
}

impl Leaf {
    fn of(looked: &Looked) -> Leaf {
        Leaf { from: looked.leaf.not_before.plus(defaults::BACKDATE), until: looked.leaf.not_after }
    }
}

#[derive(Clone)]
struct Asking {
    caller: Option<Arc<Identity>>,
    bundle: Arc<Bundle>,
    leaf: Arc<Leaf>,
}

impl Asking {
    async fn all(&self, addresses: &[String]) -> Vec<Answer> {
        let mut asking = JoinSet::new();
        for (place, address) in addresses.iter().take(MANAGERS_MAX).cloned().enumerate() {
            let this = self.clone();
            asking.spawn(async move { (place, this.one(address).await) });
        }
        let mut answers = asking.join_all().await;
        answers.sort_by_key(|(place, _)| *place);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    async fn one(&self, address: String) -> Answer {
        let api = self.api(&address, true, system_clock());
        let (info, ahead) = told(&api).await;
        match info {
            Ok(info) => {
                let ask = v1::ListManagersRequest {};
                let list = api.cluster_within(ANSWER_WITHIN, async |mut c| c.list_managers(ask).await);
                let managers = list.await.map(|list| list.managers).unwrap_or_default();
                Answer { address, info: Ok(info), ahead, managers }
            }
            Err(why) => {
                let why = why.explain();
                let ahead = if is_about_time(&why) { self.clock_alone(&address, &why).await } else { None };
                Answer { address, info: Err(why), ahead, managers: Vec::new() }
            }
        }
    }

    /// A manager's clock where ours may be so wrong that its certificate looks invalid, or ours does to it:
    /// asked without a certificate, at times at which either is valid. Nothing but the clock is believed.
    async fn clock_alone(&self, address: &str, why: &Explanation) -> Option<i64> {
        let Leaf { from, until } = *self.leaf;
        let middle = UnixTime::from_secs(from.secs().midpoint(until.secs()));
        let bound = why.facts.iter().find(|(label, _)| label == "not before" || label == "not after");
        let bound = bound.and_then(|(_, at)| at.parse::<UnixTime>().ok());
        for at in bound.into_iter().chain([until, middle, from]) {
            let (_, ahead) = told(&self.api(address, false, Arc::new(move || at))).await;
            if ahead.is_some() {
                return ahead;
            }
        }
        None
    }

    fn api(&self, address: &str, known: bool, clock: Clock) -> Api {
        let identity = self.caller.clone().filter(|_| known);
        let publisher = Publisher::new(Snapshot::new(identity, self.bundle.clone()), clock);
        Api::new(vec![address.to_owned()], publisher.credentials())
    }
}

/// The caller's key and certificate at work.
fn own(looked: &Looked) -> Option<Identity> {
    Identity::new(looked.key.as_ref()?, looked.chain.clone()).ok()
}

async fn told(api: &Api) -> (Result<v1::InfoReply, ApiError>, Option<i64>) {
    let clock = system_clock();
    let before = clock();
    let late = || ApiError::Deadline { limit: ANSWER_WITHIN, addresses: api.addresses() };
    let info = tokio::time::timeout(ANSWER_WITHIN, api.info()).await.unwrap_or_else(|_| Err(late()));
    // Whole seconds: half of what the answer took is as near as it gets.
    let middle = before.secs() + clock().secs_since(before) / 2;
    let ahead = info.as_ref().ok().map(|info| info.now - middle);
    (info, ahead)
}

fn is_about_time(why: &Explanation) -> bool {
    [code::EXPIRED, code::NOT_YET_VALID, code::PEER_REJECTED_US, code::OWN_CERTIFICATE].contains(&why.code)
}
