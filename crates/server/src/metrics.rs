//! What a manager counts beyond what every node counts; `docs/metrics.md` lists it.
//!
//! Decides nothing. What has no event of its own is looked up when the numbers are read.

use std::sync::Arc;
use std::time::Duration;

use certus_pki::{Code, UnixTime};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The numbers of one manager. Cheap to clone; all clones count together.
#[derive(Clone, Default)]
pub(crate) struct ManagerMetrics(Arc<Numbers>);

struct Numbers {
    issued: Family<Issue, Counter>,
    refused: Family<Refused, Counter>,
    revoked: Counter,
    nodes_connected: Gauge,
    nodes_overdue: Gauge,
    log_applied: Gauge,
    log_last: Gauge,
    leading: Gauge,
    leader_known: Gauge,
    voter: Gauge,
    term: Gauge,
    voters: Gauge,
    behind: Family<Of, Gauge>,
    clock_offset: Family<Of, Gauge>,
    commits: Histogram,
    forwarded: Family<Ended, Counter>,
    snapshots: Family<Snapshot, Counter>,
    store: Family<Stored, Gauge>,
    tokens: Gauge,
    root_offline: Gauge,
    issuing_until: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Issue {
    how: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    code: String,
}

/// Another manager, by its id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    manager: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Snapshot {
    direction: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stored {
    file: &'static str,
}

/// Where a manager stands in the log.
pub(crate) struct Standing {
    pub(crate) leading: bool,
    pub(crate) leader_known: bool,
    pub(crate) voter: bool,
    pub(crate) voters: usize,
    pub(crate) term: u64,
    pub(crate) applied: u64,
    pub(crate) last: u64,
}

/// A commit takes a flush of the disk and a round trip: from half a millisecond to eight seconds, after
/// which callers have given up.
const COMMIT_FIRST_S: f64 = 0.0005;
const COMMIT_BUCKETS: u16 = 15;

const OUTCOMES: [&str; 2] = ["ok", "failed"];
const DIRECTIONS: [&str; 2] = ["sent", "received"];

const fn outcome(ok: bool) -> &'static str {
    if ok { OUTCOMES[0] } else { OUTCOMES[1] }
}

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Default for Numbers {
    fn default() -> Numbers {
        Numbers {
            issued: Family::default(),
            refused: Family::default(),
            revoked: Counter::default(),
            nodes_connected: Gauge::default(),
            nodes_overdue: Gauge::default(),
            log_applied: Gauge::default(),
            log_last: Gauge::default(),
            leading: Gauge::default(),
            leader_known: Gauge::default(),
            voter: Gauge::default(),
            term: Gauge::default(),
            voters: Gauge::default(),
            behind: Family::default(),
            clock_offset: Family::default(),
            commits: Histogram::new(exponential_buckets(COMMIT_FIRST_S, 2.0, COMMIT_BUCKETS)),
            forwarded: Family::default(),
            snapshots: Family::default(),
            store: Family::default(),
            tokens: Gauge::default(),
            root_offline: Gauge::default(),
            issuing_until: Gauge::default(),
        }
    }
}

impl ManagerMetrics {
    /// Puts every number into `registry`, under names that begin with `certus_manager_`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let n = &*self.0;
        for how in ["joined", "renewed"] {
            let _ = n.issued.get_or_create(&Issue { how });
        }
        for outcome in OUTCOMES {
            let _ = n.forwarded.get_or_create(&Ended { outcome });
            for direction in DIRECTIONS {
                let _ = n.snapshots.get_or_create(&Snapshot { direction, outcome });
            }
        }
        let registry = registry.sub_registry_with_prefix("certus_manager");
        registry.register("certificates_issued", "Certificates issued to nodes", n.issued.clone());
        registry.register("calls_refused", "Calls refused, by code", n.refused.clone());
        registry.register("certificates_revoked", "Certificates revoked", n.revoked.clone());
        registry.register(
            "nodes_connected",
            "Nodes that hold a watch stream here",
            n.nodes_connected.clone(),
        );
        registry.register(
            "nodes_overdue",
            "Nodes whose renewal did not happen by its deadline",
            n.nodes_overdue.clone(),
        );
        registry.register(
            "log_applied_index",
            "Last entry of the log that is applied",
            n.log_applied.clone(),
        );
        registry.register("tokens_usable", "Tokens that would admit somebody", n.tokens.clone());
        self.register_log(registry);
        registry.register("root_offline", "Whether the root's key is offline", n.root_offline.clone());
        registry.register(
            "issuing_until_timestamp_seconds",
            "Until when every manager can issue with the issuers signed so far",
            n.issuing_until.clone(),
        );
    }

    fn register_log(&self, registry: &mut Registry) {
        let n = &*self.0;
        registry.register("log_last_index", "Last entry of the log that is written here", n.log_last.clone());
        registry.register("leading", "1 while this manager leads", n.leading.clone());
        registry.register("leader_known", "1 while this manager knows who leads", n.leader_known.clone());
        registry.register("voter", "1 where this manager votes", n.voter.clone());
        registry.register("voters", "Managers that vote", n.voters.clone());
        registry.register("term", "Raft's term: grows with each election", n.term.clone());
        registry.register(
            "member_behind_entries",
            "Entries of the log that a manager lacks; only the one that leads knows",
            n.behind.clone(),
        );
        registry.register(
            "clock_offset_seconds",
            "Another manager's clock less our own, as its answers told it",
            n.clock_offset.clone(),
        );
        registry.register(
            "commit_duration_seconds",
            "From a command's proposal here until it was committed and applied here",
            n.commits.clone(),
        );
        registry.register(
            "proposals_forwarded",
            "Commands sent to the manager that leads, by outcome",
            n.forwarded.clone(),
        );
        registry.register(
            "snapshots",
            "Snapshots sent to managers and received from them",
            n.snapshots.clone(),
        );
        registry.register("store_bytes", "Size of the manager's files on disk", n.store.clone());
    }

    /// Where this manager stands in the log.
    pub(crate) fn standing(&self, standing: &Standing) {
        let n = &*self.0;
        n.leading.set(standing.leading.into());
        n.leader_known.set(standing.leader_known.into());
        n.voter.set(standing.voter.into());
        n.voters.set(gauge(standing.voters as u64));
        n.term.set(gauge(standing.term));
        n.log_applied.set(gauge(standing.applied));
        n.log_last.set(gauge(standing.last));
    }

    /// How far each manager is behind, where that is known; those of before are forgotten.
    pub(crate) fn behind(&self, managers: impl Iterator<Item = (String, u64)>) {
        self.0.behind.clear();
        for (manager, entries) in managers {
            self.0.behind.get_or_create(&Of { manager }).set(gauge(entries));
        }
    }

    /// How far the clocks of the others are from ours; those of before are forgotten.
    pub(crate) fn clocks(&self, managers: impl Iterator<Item = (String, i64)>) {
        self.0.clock_offset.clear();
        for (manager, seconds) in managers {
            self.0.clock_offset.get_or_create(&Of { manager }).set(seconds);
        }
    }

    /// A command was committed, so long after it was proposed.
    pub(crate) fn committed(&self, took: Duration) {
        self.0.commits.observe(took.as_secs_f64());
    }

    /// A command went to the manager that leads.
    pub(crate) fn forwarded(&self, ok: bool) {
        self.0.forwarded.get_or_create(&Ended { outcome: outcome(ok) }).inc();
    }

    /// A snapshot was sent to another manager, or not.
    pub(crate) fn snapshot_sent(&self, ok: bool) {
        self.0.snapshots.get_or_create(&Snapshot { direction: "sent", outcome: outcome(ok) }).inc();
    }

    /// A snapshot came from another manager, or broke off.
    pub(crate) fn snapshot_received(&self, ok: bool) {
        self.0.snapshots.get_or_create(&Snapshot { direction: "received", outcome: outcome(ok) }).inc();
    }

    /// The size of one of the store's files.
    pub(crate) fn stored(&self, file: &'static str, bytes: u64) {
        self.0.store.get_or_create(&Stored { file }).set(gauge(bytes));
    }

    /// Tokens that would admit somebody.
    pub(crate) fn tokens(&self, usable: usize) {
        self.0.tokens.set(gauge(usable as u64));
    }

    /// Whether the root's key is offline, and until when every manager can issue without it.
    pub(crate) fn root(&self, offline: bool, issuing_until: UnixTime) {
        self.0.root_offline.set(offline.into());
        self.0.issuing_until.set(issuing_until.secs());
    }

    pub(crate) fn joined(&self) {
        self.0.issued.get_or_create(&Issue { how: "joined" }).inc();
    }

    pub(crate) fn renewed(&self) {
        self.0.issued.get_or_create(&Issue { how: "renewed" }).inc();
    }

    pub(crate) fn refused(&self, code: Code) {
        self.0.refused.get_or_create(&Refused { code: code.to_string() }).inc();
    }

    pub(crate) fn revoked(&self, certificates: usize) {
        self.0.revoked.inc_by(certificates as u64);
    }

    pub(crate) fn connected(&self, nodes: usize) {
        self.0.nodes_connected.set(i64::try_from(nodes).unwrap_or(i64::MAX));
    }

    pub(crate) fn overdue(&self, nodes: usize) {
        self.0.nodes_overdue.set(i64::try_from(nodes).unwrap_or(i64::MAX));
    }
}
