//! Who holds a watch stream, and what each reported to enforce.
//!
//! This manager's own knowledge, not the cluster's: it is never replicated and starts empty.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use certus_pki::{Epoch, SpiffeId, UnixTime};
use tokio::sync::watch;

/// Epochs whose enforcement is remembered with its times: those of the last commands somebody may
/// still be waiting for.
const COMMITS_MAX: usize = 256;
/// Nodes that were seen and left, remembered with the time; the oldest is forgotten first.
const DEPARTED_MAX: usize = 100_000;

/// Who is connected here.
pub(crate) struct Presence {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    streams: u64,
    connected: HashMap<SpiffeId, Connected>,
    /// How many of the connected enforce which epoch. A wait looks here at every report: going through
    /// 10,000 nodes at each of their 10,000 reports would take seconds.
    levels: BTreeMap<Epoch, usize>,
    departed: BTreeMap<SpiffeId, UnixTime>,
    commits: BTreeMap<Epoch, Commit>,
}

impl State {
    fn enforces(&mut self, epoch: Epoch) {
        *self.levels.entry(epoch).or_default() += 1;
    }

    fn enforces_no_more(&mut self, epoch: Epoch) {
        if let Some(count) = self.levels.get_mut(&epoch) {
            *count -= 1;
            if *count == 0 {
                self.levels.remove(&epoch);
            }
        }
    }

    fn all_enforce(&self, epoch: Epoch) -> bool {
        self.levels.first_key_value().is_none_or(|(least, _)| *least >= epoch)
    }
}

struct Connected {
    stream: u64,
    since: UnixTime,
    enforced: Epoch,
}

/// One change of trust, from its commit on.
#[derive(Clone, Copy, Debug)]
struct Commit {
    at: Instant,
    cut: u32,
    last_cut: Option<Duration>,
    last_report: Option<Duration>,
}

/// How far the connected nodes are with an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Enforcement {
    /// Connected nodes that enforce it.
    pub enforced: usize,
    /// Connected nodes that have not said so yet.
    pub pending: Vec<SpiffeId>,
    /// Live connections cut for it.
    pub cut: u32,
    /// From the commit to the last report of a cut.
    pub cut_after: Option<Duration>,
    /// From the commit to the last report.
    pub took: Option<Duration>,
}

impl Presence {
    /// Nobody yet.
    pub(crate) fn new() -> Presence {
        Presence { state: Mutex::default(), changed: watch::Sender::new(0) }
    }

    /// A node opened a watch stream. Its newer stream takes the place of an older one.
    pub(crate) fn arrived(&self, node: &SpiffeId, since: UnixTime, enforced: Epoch) -> u64 {
        let mut state = self.lock();
        state.streams += 1;
        let stream = state.streams;
        state.departed.remove(node);
        let former = state.connected.insert(node.clone(), Connected { stream, since, enforced });
        former.into_iter().for_each(|former| state.enforces_no_more(former.enforced));
        state.enforces(enforced);
        self.notify(state);
        stream
    }

    /// A node's stream ended. Only its newest counts.
    pub(crate) fn left(&self, node: &SpiffeId, stream: u64, at: UnixTime) {
        let mut state = self.lock();
        if state.connected.get(node).is_some_and(|connected| connected.stream == stream) {
            let gone = state.connected.remove(node);
            gone.into_iter().for_each(|gone| state.enforces_no_more(gone.enforced));
            state.departed.insert(node.clone(), at);
            if state.departed.len() > DEPARTED_MAX {
                let oldest = state.departed.iter().min_by_key(|(_, at)| **at).map(|(node, _)| node.clone());
                oldest.map(|node| state.departed.remove(&node));
            }
        }
        self.notify(state);
    }

    /// A change of trust was committed just now.
    pub(crate) fn committed(&self, epoch: Epoch) {
        let mut state = self.lock();
        let now = Instant::now();
        let fresh = Commit { at: now, cut: 0, last_cut: None, last_report: None };
        state.commits.entry(epoch).or_insert(fresh);
        if state.commits.len() > COMMITS_MAX {
            state.commits.pop_first();
        }
    }

    /// Connections that were cut on this manager itself when it took `epoch` over.
    pub(crate) fn cut_here(&self, epoch: Epoch, cut: u32) {
        let mut state = self.lock();
        if let Some(commit) = state.commits.get_mut(&epoch).filter(|_| cut > 0) {
            commit.cut = commit.cut.saturating_add(cut);
            commit.last_cut = Some(commit.at.elapsed());
        }
    }

    /// A node reports what it enforces, and how many connections it cut to get there.
    pub(crate) fn reported(&self, node: &SpiffeId, stream: u64, enforced: Epoch, cut: u32) {
        let mut state = self.lock();
        let Some(connected) = state.connected.get_mut(node).filter(|c| c.stream == stream) else { return };
        let before = connected.enforced;
        let after = before.max(enforced);
        connected.enforced = after;
        if after != before {
            state.enforces_no_more(before);
            state.enforces(after);
        }
        for (_, commit) in state.commits.range_mut(..=enforced).filter(|(epoch, _)| **epoch > before) {
            let elapsed = commit.at.elapsed();
            commit.last_report = Some(elapsed);
            // The number is the node's word: it must not overflow ours.
            commit.cut = commit.cut.saturating_add(cut);
            if cut > 0 {
                commit.last_cut = Some(elapsed);
            }
        }
        self.notify(state);
    }

    /// How far the connected nodes are with `epoch`.
    pub(crate) fn enforcement(&self, epoch: Epoch) -> Enforcement {
        let state = self.lock();
        let mut pending: Vec<SpiffeId> = state
            .connected
            .iter()
            .filter(|(_, connected)| connected.enforced < epoch)
            .map(|(node, _)| node.clone())
            .collect();
        pending.sort();
        let commit = state.commits.get(&epoch);
        Enforcement {
            enforced: state.connected.len() - pending.len(),
            pending,
            cut: commit.map_or(0, |commit| commit.cut),
            cut_after: commit.and_then(|commit| commit.last_cut),
            took: commit.and_then(|commit| commit.last_report),
        }
    }

    /// Waits until every connected node enforces `epoch`, for `patience` at most.
    pub(crate) async fn wait_enforced(&self, epoch: Epoch, patience: Duration) -> Enforcement {
        let mut changes = self.changed.subscribe();
        let settled = async {
            while !self.lock().all_enforce(epoch) {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(patience, settled).await;
        self.enforcement(epoch)
    }

    /// Every connected node, since when, and what it enforces.
    pub(crate) fn connected(&self) -> Vec<(SpiffeId, UnixTime, Epoch)> {
        let state = self.lock();
        let mut all: Vec<_> = state
            .connected
            .iter()
            .map(|(node, connected)| (node.clone(), connected.since, connected.enforced))
            .collect();
        all.sort();
        all
    }

    /// Since when `node` is connected.
    #[cfg(test)]
    pub(crate) fn connected_since(&self, node: &SpiffeId) -> Option<UnixTime> {
        self.lock().connected.get(node).map(|connected| connected.since)
    }

    /// When `node` left, if it was seen here.
    pub(crate) fn departed_at(&self, node: &SpiffeId) -> Option<UnixTime> {
        self.lock().departed.get(node).copied()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; the state is whole even if something did.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self, state: MutexGuard<'_, State>) {
        drop(state);
        self.changed.send_modify(|count| *count += 1);
    }
}

impl Default for Presence {
    fn default() -> Presence {
        Presence::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str) -> SpiffeId {
        format!("spiffe://prod/worker/{id}").parse().unwrap()
    }

    const AT: UnixTime = UnixTime::from_secs(1_000);
    const ONE: Epoch = Epoch { generation: 0, revision: 1 };

    #[tokio::test]
    async fn a_wait_ends_with_the_last_report() {
        let presence = Presence::new();
        let a = presence.arrived(&node("a"), AT, Epoch::default());
        let b = presence.arrived(&node("b"), AT, Epoch::default());
        presence.committed(ONE);
        let wait = presence.wait_enforced(ONE, Duration::from_secs(60));
        let reports = async {
            presence.reported(&node("a"), a, ONE, 2);
            tokio::task::yield_now().await;
            assert_eq!(presence.enforcement(ONE).pending, [node("b")]);
            presence.reported(&node("b"), b, ONE, 0);
        };
        let (seen, ()) = tokio::join!(wait, reports);
        assert_eq!((seen.enforced, seen.cut), (2, 2));
        assert!(seen.pending.is_empty() && seen.cut_after <= seen.took);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_patience_and_names_who_is_missing() {
        let presence = Presence::new();
        presence.arrived(&node("a"), AT, Epoch::default());
        presence.committed(ONE);
        let seen = presence.wait_enforced(ONE, Duration::from_secs(1)).await;
        assert_eq!(seen.pending, [node("a")]);
    }

    #[test]
    fn i6_what_nodes_claim_overflows_nothing() {
        let presence = Presence::new();
        let streams = ["a", "b"].map(|id| presence.arrived(&node(id), AT, Epoch::default()));
        presence.committed(ONE);
        presence.reported(&node("a"), streams[0], ONE, u32::MAX);
        presence.reported(&node("b"), streams[1], Epoch { generation: u64::MAX, revision: u64::MAX }, 7);
        let seen = presence.enforcement(ONE);
        assert_eq!((seen.enforced, seen.cut), (2, u32::MAX));
    }

    #[tokio::test]
    async fn who_comes_again_or_leaves_is_waited_for_no_longer() {
        let presence = Presence::new();
        presence.arrived(&node("a"), AT, Epoch::default());
        let again = presence.arrived(&node("a"), AT, ONE);
        let late = presence.arrived(&node("b"), AT, Epoch::default());
        assert!(!presence.lock().all_enforce(ONE));
        presence.reported(&node("a"), again, Epoch::default(), 0);
        let wait = presence.wait_enforced(ONE, Duration::from_secs(60));
        let (seen, ()) = tokio::join!(wait, async { presence.left(&node("b"), late, AT) });
        assert_eq!((seen.enforced, seen.pending.len()), (1, 0));
        presence.left(&node("a"), again, AT);
        assert!(presence.lock().levels.is_empty() && presence.lock().all_enforce(ONE));
    }

    #[test]
    fn an_old_stream_that_ends_late_does_not_count() {
        let presence = Presence::new();
        let old = presence.arrived(&node("a"), AT, Epoch::default());
        let new = presence.arrived(&node("a"), AT, Epoch::default());
        presence.left(&node("a"), old, AT);
        assert_eq!(presence.connected_since(&node("a")), Some(AT));
        presence.left(&node("a"), new, AT);
        assert_eq!(presence.departed_at(&node("a")), Some(AT));
    }
}
