//! What becomes of a live connection when the trust that it was admitted under changes.

use std::time::Duration;

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
    /// The policy no longer accepts the peer.
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
