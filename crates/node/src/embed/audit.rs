//! What an endpoint tells of peers that it refused, that refused it, or that it let go: every validation
//! failure is one event.
//!
//! Events go three ways: to `tracing` under the target `certus::audit` with fixed fields, to whoever
//! subscribed, and (what failed) into the ring of the last failures.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use certus_pki::UnixTime;
use certus_pki::explain::{Explain, Explanation};
use certus_tls::{Clock, Cut, HandshakeError, PeerIdentity};
use tokio::sync::broadcast;

use crate::carry::Failures;
use crate::metrics::{Metrics, Side};

/// The target of audit events in `tracing`.
pub const AUDIT_TARGET: &str = "certus::audit";
/// A subscriber that is this far behind is told how much it missed.
const EVENTS_KEPT: usize = 256;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuditKind {
    /// A peer was refused.
    Refused,
    /// A peer refused us.
    RejectedByPeer,
    /// A peer whose certificate has ended was taken, within the grace of `allow_expired`.
    ExpiredAdmitted,
    /// A live connection was cut: one of its ends is no longer trusted.
    Cut,
}

impl AuditKind {
    /// The kind as a word, the value of the field `event`.
    pub const fn as_str(self) -> &'static str {
        match self {
            AuditKind::Refused => "refused",
            AuditKind::RejectedByPeer => "rejected_by_peer",
            AuditKind::ExpiredAdmitted => "expired_admitted",
            AuditKind::Cut => "cut",
        }
    }
}

impl fmt::Display for AuditKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One event.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AuditEvent {
    /// When.
    pub at: UnixTime,
    /// What happened.
    pub kind: AuditKind,
    /// Which side of the connection we were on.
    pub side: Side,
    /// How it travelled: `tcp` or `quic`.
    pub transport: &'static str,
    /// The other end's address.
    pub remote: String,
    /// What to call the other end, as far as it is known.
    pub peer: String,
    /// What was wrong, with both halves of what was compared.
    pub why: Explanation,
}

/// Where one connection stands, for events about it.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) side: Side,
    pub(super) transport: &'static str,
    pub(super) remote: SocketAddr,
}

/// Everything that an endpoint tells and counts.
pub(super) struct Audit {
    name: String,
    clock: Clock,
    events: broadcast::Sender<AuditEvent>,
    pub(super) failures: Failures,
    pub(super) metrics: Metrics,
    expired: AtomicU64,
}

impl Audit {
    pub(super) fn new(name: String, clock: Clock) -> Audit {
        let failures = Failures::new(clock.clone());
        let (events, _) = broadcast::channel(EVENTS_KEPT);
        Audit { name, clock, events, failures, metrics: Metrics::new(), expired: AtomicU64::new(0) }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<AuditEvent> {
        self.events.subscribe()
    }

    pub(super) fn expired_admitted(&self) -> u64 {
        self.expired.load(Ordering::Relaxed)
    }

    /// A handshake ended so.
    pub(super) fn handshake<T>(&self, place: &Place, outcome: &Result<T, HandshakeError>) {
        self.metrics.handshake(place.side, outcome.as_ref().map(drop));
        if let Err(error) = outcome {
            self.handshake_failed(place, error);
        }
    }

    /// The peer refused us after the handshake seemed to have succeeded (TLS 1.3).
    pub(super) fn refused_late(&self, place: &Place, error: &HandshakeError) {
        self.metrics.late_refusal();
        self.handshake_failed(place, error);
    }

    fn handshake_failed(&self, place: &Place, error: &HandshakeError) {
        let kind = match error {
            HandshakeError::Rejected(_) => Some(AuditKind::Refused),
            HandshakeError::PeerRejectedUs { .. } => Some(AuditKind::RejectedByPeer),
            // Nobody was judged: a broken connection is a failure, and no event.
            _ => None,
        };
        self.failed(place, "", error.explain(), kind);
    }

    /// Something failed on a connection.
    pub(super) fn failed(&self, place: &Place, peer: &str, why: Explanation, kind: Option<AuditKind>) {
        let remote = place.remote.to_string();
        self.failures.record(place.side, &self.name, place.transport, &remote, peer, why.clone());
        if let Some(kind) = kind {
            self.tell(kind, place, peer.to_owned(), why);
        }
    }

    /// A peer passed though its certificate has ended.
    pub(super) fn expired(&self, place: &Place, peer: &PeerIdentity) {
        self.expired.fetch_add(1, Ordering::Relaxed);
        let (now, not_after) = ((self.clock)(), peer.peer.not_after);
        let told = format!("a certificate that ended {} was taken", not_after.relative_to(now));
        let why = Explanation::new(certus_pki::code::EXPIRED, told)
            .fact("now", now)
            .fact("not after", not_after)
            .hint("renew it: it is refused when the grace of allow_expired is over");
        let name = peer.peer.name();
        let (endpoint, remote) = (&self.name, place.remote);
        tracing::warn!(endpoint, %remote, peer = name, code = %why.code, %why, "an expired peer was admitted");
        self.tell(AuditKind::ExpiredAdmitted, place, name, why);
    }

    /// A connection was cut.
    pub(super) fn cut(&self, place: &Place, peer: String, cut: &Cut) {
        self.metrics.cut(1);
        self.tell(AuditKind::Cut, place, peer, cut.explain());
    }

    fn tell(&self, kind: AuditKind, place: &Place, peer: String, why: Explanation) {
        let fact = |label: &str| {
            let found = why.facts.iter().find(|(known, _)| known == label);
            found.map(|(_, value)| value.as_str()).unwrap_or_default()
        };
        tracing::info!(
            target: AUDIT_TARGET,
            event = kind.as_str(),
            endpoint = self.name,
            side = place.side.as_str(),
            transport = place.transport,
            remote = %place.remote,
            peer,
            code = %why.code,
            expected = fact("expected"),
            came = fact("came"),
            "{}", why.message
        );
        let (side, transport, remote) = (place.side, place.transport, place.remote.to_string());
        let at = (self.clock)();
        // Nobody may be listening.
        let _ = self.events.send(AuditEvent { at, kind, side, transport, remote, peer, why });
    }
}
