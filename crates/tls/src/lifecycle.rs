//! What becomes of a live connection when the trust that it was admitted under changes.

use std::time::Duration;

use certus_pki::{Explain, Explanation, Rejection, Serial, UnixTime, code};

/// What to do with connections that a change affects, one rule for each kind of change. It holds for
/// the peer's certificate and for one's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    /// A certificate of the connection reached its end.
    pub on_expiry: Action,
    /// Our own certificate was replaced by a newer one.
    pub on_rotation: Action,
    /// A certificate was revoked, or its issuer or root is no longer trusted.
    pub on_revocation: Action,
    /// The policy no longer accepts the peer, or no longer those who come in the clear; or other roots are
    /// configured.
    pub on_policy_change: Action,
}

/// What to do with one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Leave it.
    Keep,
    /// Ask both ends to finish, and cut what is left after this long.
    Drain(Duration),
    /// End it now.
    Cut,
}

impl Default for Lifecycle {
    /// Lost trust cuts; a renewal disturbs nobody.
    fn default() -> Lifecycle {
        Lifecycle {
            on_expiry: Action::Cut,
            on_rotation: Action::Keep,
            on_revocation: Action::Cut,
            on_policy_change: Action::Cut,
        }
    }
}

/// Which kind of change affects a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Expiry,
    Rotation,
    Revocation,
    Policy,
}

impl Lifecycle {
    pub(crate) fn action(&self, change: Change) -> Action {
        match change {
            Change::Expiry => self.on_expiry,
            Change::Rotation => self.on_rotation,
            Change::Revocation => self.on_revocation,
            Change::Policy => self.on_policy_change,
        }
    }
}

/// Why a connection was cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CutReason {
    /// The peer would be refused now.
    #[error(transparent)]
    Peer(Rejection),
    /// The certificate that we showed reached its end.
    #[error("our own certificate of this connection expired {}", .not_after.relative_to(*.now))]
    OwnExpired {
        /// The time.
        now: UnixTime,
        /// Its last moment.
        not_after: UnixTime,
    },
    /// The certificate that we showed was revoked.
    #[error("our own certificate of this connection was revoked")]
    OwnRevoked {
        /// Which one.
        serial: Serial,
    },
    /// The issuer or the root of the certificate that we showed is no longer trusted.
    #[error("our own certificate of this connection is of {issuer}, which is no longer trusted")]
    OwnUntrusted {
        /// Who issued it.
        issuer: String,
    },
    /// The certificate that we showed was replaced by a newer one.
    #[error("our own certificate of this connection was replaced by a newer one")]
    OwnReplaced,
    /// The peer would be refused by the roots that its listener or dialer was given in the place of its own.
    #[error("{0}, by the roots that are configured now")]
    OtherRoots(Rejection),
    /// It came in the clear, and that is no longer taken.
    #[error("plaintext is no longer taken here")]
    PlaintextEnded {
        /// The time.
        now: UnixTime,
        /// The last moment in which it was.
        until: UnixTime,
    },
    /// Nobody who knows what was revoked has been heard of for too long.
    #[error("no manager was heard of since {since}: whether the peer was revoked is not known any more")]
    TrustStale {
        /// When one was heard of last.
        since: UnixTime,
    },
}

impl CutReason {
    pub(crate) fn change(&self) -> Change {
        match self {
            CutReason::Peer(Rejection::Expired { .. }) | CutReason::OwnExpired { .. } => Change::Expiry,
            CutReason::Peer(
                Rejection::NotAllowed { .. }
                | Rejection::NameMissing { .. }
                | Rejection::WrongName { .. }
                | Rejection::KeyNotAccepted { .. },
            )
            | CutReason::OtherRoots(_)
            | CutReason::PlaintextEnded { .. } => Change::Policy,
            CutReason::Peer(_)
            | CutReason::OwnRevoked { .. }
            | CutReason::OwnUntrusted { .. }
            | CutReason::TrustStale { .. } => Change::Revocation,
            CutReason::OwnReplaced => Change::Rotation,
        }
    }
}

impl Explain for CutReason {
    fn explain(&self) -> Explanation {
        let own = |message: String| Explanation::new(code::OWN_CERTIFICATE, message);
        match self {
            CutReason::Peer(rejection) => rejection.explain(),
            CutReason::OwnExpired { now, not_after } => {
                own(self.to_string()).fact("now", now).fact("not after", not_after)
            }
            CutReason::OwnRevoked { serial } => own(self.to_string()).fact("serial", serial),
            CutReason::OwnUntrusted { issuer } => own(self.to_string()).fact("issuer", issuer),
            CutReason::OwnReplaced => own(self.to_string()),
            CutReason::OtherRoots(rejection) => rejection
                .explain()
                .hint("let `ca` hold the root of those who are to stay, or have them renewed under it"),
            CutReason::PlaintextEnded { now, until } => Explanation::new(code::PLAINTEXT, self.to_string())
                .fact("now", now)
                .fact("until", until)
                .hint("give the caller a certificate, or move `mtls_until` of the listener"),
            CutReason::TrustStale { since } => Explanation::new(code::TRUST_STALE, self.to_string())
                .fact("last heard of", since)
                .hint("bring the managers back: certus cluster status"),
        }
    }
}
