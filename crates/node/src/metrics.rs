//! What a node counts. Expiry is given as absolute timestamps: whoever reads them has a clock.

use std::sync::Arc;

use certus_pki::{Epoch, UnixTime};
use certus_tls::HandshakeError;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::sources::SourceStatus;

/// The numbers of one process. Cheap to clone; all clones count together.
#[derive(Clone)]
pub struct Metrics(Arc<Numbers>);

struct Numbers {
    certificate_not_after: Family<Certificate, Gauge>,
    handshakes: Family<Handshake, Counter>,
    renewals: Family<Outcome, Counter>,
    connections_cut: Counter,
    connections_live: Gauge,
    carried: Family<Ended, Counter>,
    bytes: Family<Way, Counter>,
    revocations: Gauge,
    watch_contact: Gauge,
    revocations_stale: Gauge,
    epoch_generation: Gauge,
    epoch_revision: Gauge,
    accept_failures: Counter,
    plaintext: Family<Named, Counter>,
    plaintext_live: Family<Named, Gauge>,
    plaintext_last: Family<Named, Gauge>,
    plaintext_watched: Family<Named, Gauge>,
    expired: Family<Named, Counter>,
    links: Family<Named, Gauge>,
    sources: Sources,
    ready: Gauge,
}

/// How the sources of certificates and roots are doing.
#[derive(Default)]
struct Sources {
    read_at: Family<Sourced, Gauge>,
    not_after: Family<Sourced, Gauge>,
    reloads: Family<Sourced, Gauge>,
    failures: Family<Sourced, Gauge>,
    failing: Family<Sourced, Gauge>,
    watching: Family<Sourced, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Sourced {
    source: String,
}

/// Which side of a connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// We accepted it.
    Server,
    /// We opened it.
    Client,
}

impl Side {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Side::Server => "server",
            Side::Client => "client",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Certificate {
    certificate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Handshake {
    side: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    side: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Way {
    side: &'static str,
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

impl Metrics {
    /// Everything at zero, with every reason there is, so that a first failure is a change and not a
    /// new line.
    pub fn new() -> Metrics {
        let numbers = Numbers {
            certificate_not_after: Family::default(),
            handshakes: Family::default(),
            renewals: Family::default(),
            connections_cut: Counter::default(),
            connections_live: Gauge::default(),
            carried: Family::default(),
            bytes: Family::default(),
            revocations: Gauge::default(),
            watch_contact: Gauge::default(),
            revocations_stale: Gauge::default(),
            epoch_generation: Gauge::default(),
            epoch_revision: Gauge::default(),
            accept_failures: Counter::default(),
            plaintext: Family::default(),
            plaintext_live: Family::default(),
            plaintext_last: Family::default(),
            plaintext_watched: Family::default(),
            expired: Family::default(),
            links: Family::default(),
            sources: Sources::default(),
            ready: Gauge::default(),
        };
        for side in [Side::Server, Side::Client] {
            for outcome in HandshakeError::LABELS.into_iter().chain([OK]) {
                let _ = numbers.handshakes.get_or_create(&Handshake { side: side.as_str(), outcome });
            }
            for outcome in [OK, FAILED] {
                let _ = numbers.carried.get_or_create(&Ended { side: side.as_str(), outcome });
            }
            for direction in [TOWARDS, BACK] {
                let _ = numbers.bytes.get_or_create(&Way { side: side.as_str(), direction });
            }
        }
        for outcome in [OK, FAILED] {
            let _ = numbers.renewals.get_or_create(&Outcome { outcome });
        }
        Metrics(Arc::new(numbers))
    }

    /// Puts every number into `registry`, under names that begin with `certus_`.
    pub fn register(&self, registry: &mut Registry) {
        let n = &*self.0;
        let registry = registry.sub_registry_with_prefix("certus");
        registry.register(
            "certificate_not_after_seconds",
            "Last moment of our own leaf, issuer and root, Unix time",
            n.certificate_not_after.clone(),
        );
        registry.register("handshakes", "TLS handshakes by side and outcome", n.handshakes.clone());
        registry.register("renewals", "Renewals of our own certificate", n.renewals.clone());
        registry.register(
            "connections_cut",
            "Live connections cut because their peer lost trust",
            n.connections_cut.clone(),
        );
        registry.register("connections_live", "Live TLS connections", n.connections_live.clone());
        registry.register(
            "connections_carried",
            "Carried connections that ended, by side and outcome",
            n.carried.clone(),
        );
        registry.register(
            "carried_bytes",
            "Bytes of carried connections that ended, towards the service and back",
            n.bytes.clone(),
        );
        registry.register("revocations_enforced", "Revocations in force here", n.revocations.clone());
        registry.register(
            "watch_contact_timestamp_seconds",
            "Last sign of life of a manager on the watch stream, Unix time",
            n.watch_contact.clone(),
        );
        registry.register(
            "revocations_stale",
            "1 when no manager was heard of for longer than revocation_stale_after",
            n.revocations_stale.clone(),
        );
        registry.register("epoch_generation", "Generation of the trust in force", n.epoch_generation.clone());
        registry.register("epoch_revision", "Revision of the trust in force", n.epoch_revision.clone());
        registry.register(
            "accept_failures",
            "Times the system refused to accept a connection",
            n.accept_failures.clone(),
        );
        registry.register(
            "plaintext_connections",
            "Connections that a permissive listener took in the clear",
            n.plaintext.clone(),
        );
        registry.register(
            "plaintext_live",
            "Connections in the clear that live, of a permissive listener",
            n.plaintext_live.clone(),
        );
        registry.register(
            "plaintext_last_timestamp_seconds",
            "When the last connection in the clear came or ended, Unix time; absent where there was none",
            n.plaintext_last.clone(),
        );
        registry.register(
            "plaintext_watched_since_timestamp_seconds",
            "Since when a permissive listener is watched for connections in the clear, Unix time",
            n.plaintext_watched.clone(),
        );
        registry.register(
            "expired_admitted",
            "Connections of peers whose certificate had ended, let in by allow_expired",
            n.expired.clone(),
        );
        registry.register("peer_linked", "1 while the link to a peer is up", n.links.clone());
        n.sources.register(registry);
        registry.register("ready", "1 when the node is ready", n.ready.clone());
    }

    /// Counts one handshake.
    pub fn handshake(&self, side: Side, outcome: Result<(), &HandshakeError>) {
        let outcome = outcome.err().map_or(OK, HandshakeError::label);
        self.0.handshakes.get_or_create(&Handshake { side: side.as_str(), outcome }).inc();
    }

    /// In TLS 1.3 a dialler learns only with its first read that it was refused.
    pub fn late_refusal(&self) {
        let (side, outcome) = (Side::Client.as_str(), "peer_rejected_us");
        self.0.handshakes.get_or_create(&Handshake { side, outcome }).inc();
    }

    /// Sets the last moments of our own certificates.
    pub fn certificates(&self, leaf: UnixTime, issuer: UnixTime, root: UnixTime) {
        for (certificate, at) in [("leaf", leaf), ("issuer", issuer), ("root", root)] {
            self.0.certificate_not_after.get_or_create(&Certificate { certificate }).set(at.secs());
        }
    }

    /// Counts one renewal that succeeded.
    pub fn renewed(&self) {
        self.0.renewals.get_or_create(&Outcome { outcome: OK }).inc();
    }

    /// Counts one renewal that failed.
    pub fn renewal_failed(&self) {
        self.0.renewals.get_or_create(&Outcome { outcome: FAILED }).inc();
    }

    /// How many renewals succeeded, and how many failed.
    pub fn renewals(&self) -> (u64, u64) {
        let count = |outcome| self.0.renewals.get_or_create(&Outcome { outcome }).get();
        (count(OK), count(FAILED))
    }

    /// Sets what is in force.
    pub fn trust(&self, epoch: Epoch, revocations: usize) {
        self.0.epoch_generation.set(gauge(epoch.generation));
        self.0.epoch_revision.set(gauge(epoch.revision));
        self.0.revocations.set(gauge(revocations as u64));
    }

    /// Counts connections that were cut.
    pub fn cut(&self, connections: usize) {
        self.0.connections_cut.inc_by(connections as u64);
    }

    /// Sets how many connections live.
    pub fn live(&self, connections: usize) {
        self.0.connections_live.set(gauge(connections as u64));
    }

    /// A carried connection ended; so much went through.
    pub(crate) fn carried(&self, side: Side, ok: bool, towards: u64, back: u64) {
        let (side, outcome) = (side.as_str(), if ok { OK } else { FAILED });
        self.0.carried.get_or_create(&Ended { side, outcome }).inc();
        for (direction, bytes) in [(TOWARDS, towards), (BACK, back)] {
            self.0.bytes.get_or_create(&Way { side, direction }).inc_by(bytes);
        }
    }

    /// A manager was heard of.
    pub fn contact(&self, at: UnixTime) {
        self.0.watch_contact.set(at.secs());
        self.0.revocations_stale.set(0);
    }

    /// No manager was heard of for too long.
    pub fn stale(&self) {
        self.0.revocations_stale.set(1);
    }

    /// The system refused to accept a connection.
    pub fn accept_failed(&self) {
        self.0.accept_failures.inc();
    }

    /// A permissive listener took a connection in the clear.
    pub fn plaintext_accepted(&self, listener: &str) {
        self.0.plaintext.get_or_create(&Named { name: listener.to_owned() }).inc();
    }

    /// A permissive listener is watched from now on.
    pub(crate) fn plaintext_watched(&self, listener: &str, since: UnixTime) {
        let label = Named { name: listener.to_owned() };
        self.0.plaintext_watched.get_or_create(&label).set(since.secs());
        self.0.plaintext_live.get_or_create(&label).set(0);
    }

    /// A connection in the clear came or ended; so many live.
    pub(crate) fn plaintext_seen(&self, listener: &str, at: UnixTime, live: u64) {
        let label = Named { name: listener.to_owned() };
        self.0.plaintext_last.get_or_create(&label).set(at.secs());
        self.0.plaintext_live.get_or_create(&label).set(gauge(live));
    }

    /// A peer was let in though its certificate had ended.
    pub(crate) fn expired_admitted(&self, name: &str) {
        self.0.expired.get_or_create(&Named { name: name.to_owned() }).inc();
    }

    /// Whether the link to a peer is up.
    pub fn linked(&self, peer: &str, up: bool) {
        self.0.links.get_or_create(&Named { name: peer.to_owned() }).set(i64::from(up));
    }

    /// Sets how one source of certificates or roots is doing.
    pub(crate) fn source(&self, name: &str, status: &SourceStatus) {
        let (label, all) = (Sourced { source: name.to_owned() }, &self.0.sources);
        all.read_at.get_or_create(&label).set(status.generation_read_at.secs());
        if let Some(not_after) = status.not_after {
            all.not_after.get_or_create(&label).set(not_after.secs());
        }
        all.reloads.get_or_create(&label).set(gauge(status.reloads));
        all.failures.get_or_create(&label).set(gauge(status.failures));
        all.failing.get_or_create(&label).set(i64::from(status.last_failure.is_some()));
        all.watching.get_or_create(&label).set(i64::from(status.watching));
    }

    /// Whether the node is ready.
    pub fn ready(&self, ready: bool) {
        self.0.ready.set(i64::from(ready));
    }
}

impl Sources {
    fn register(&self, registry: &mut Registry) {
        let mut each =
            |name, help, family: &Family<Sourced, Gauge>| registry.register(name, help, family.clone());
        each(
            "source_read_timestamp_seconds",
            "When the generation in force was read, Unix time",
            &self.read_at,
        );
        each("source_not_after_seconds", "Last moment of a source's certificate, Unix time", &self.not_after);
        each("source_reloads", "Generations taken after the first", &self.reloads);
        each("source_failures", "Looks at a source that ended in a failure", &self.failures);
        each("source_failing", "1 while what a source holds is not fit to be taken", &self.failing);
        each(
            "source_watching",
            "1 while the system tells of changes; polling goes on in any case",
            &self.watching,
        );
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

const OK: &str = "ok";
const FAILED: &str = "failed";
const TOWARDS: &str = "towards";
const BACK: &str = "back";

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
