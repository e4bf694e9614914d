//! What a manager counts beyond what every node counts.

use std::sync::Arc;

use certus_pki::{Code, UnixTime};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The numbers of one manager. Cheap to clone; all clones count together.
#[derive(Clone, Default)]
pub(crate) struct ManagerMetrics(Arc<Numbers>);

#[derive(Default)]
struct Numbers {
    issued: Family<Issue, Counter>,
    refused: Family<Refused, Counter>,
    revoked: Counter,
    nodes_connected: Gauge,
    nodes_overdue: Gauge,
    log_applied: Gauge,
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

impl ManagerMetrics {
    /// Puts every number into `registry`, under names that begin with `certus_manager_`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let n = &*self.0;
        for how in ["joined", "renewed"] {
            let _ = n.issued.get_or_create(&Issue { how });
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
        registry.register("root_offline", "Whether the root's key is offline", n.root_offline.clone());
        registry.register(
            "issuing_until_timestamp_seconds",
            "Until when every manager can issue with the issuers signed so far",
            n.issuing_until.clone(),
        );
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

    pub(crate) fn applied(&self, index: u64) {
        self.0.log_applied.set(i64::try_from(index).unwrap_or(i64::MAX));
    }
}
