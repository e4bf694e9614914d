//! Which calls may be made twice: one table, held against the protocol by a test.
//!
//! A call whose connection broke may have taken effect. Only what changes nothing, or the same thing
//! again, is asked of another manager then. A call that is not in the table is made once.

/// What may be done with a call whose answer did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Ask another manager.
    Freely,
    /// Say so. Another manager is asked only where the call surely did not leave.
    Never,
    /// The same, and its answer is a stream that is not waited for.
    Stream,
}

/// Every call, in the order of the protocol.
const TABLE: &[(&str, Repeat)] = &[
    ("/certus.v1.Bootstrap/Info", Repeat::Freely),
    // The same token and key give the same certificate.
    ("/certus.v1.Bootstrap/Join", Repeat::Freely),
    // The same key gives the same certificate.
    ("/certus.v1.Node/Renew", Repeat::Freely),
    ("/certus.v1.Node/Watch", Repeat::Stream),
    ("/certus.v1.Cluster/Status", Repeat::Freely),
    ("/certus.v1.Cluster/Bundle", Repeat::Freely),
    // A token that nobody was told is of no use to anybody, and ends by itself.
    ("/certus.v1.Cluster/CreateToken", Repeat::Freely),
    ("/certus.v1.Cluster/ListTokens", Repeat::Freely),
    // Once more says that it was revoked before: see `ApiError::RefusedAgain`.
    ("/certus.v1.Cluster/RevokeToken", Repeat::Freely),
    ("/certus.v1.Cluster/ListNodes", Repeat::Freely),
    ("/certus.v1.Cluster/GetNode", Repeat::Freely),
    ("/certus.v1.Cluster/ListCerts", Repeat::Freely),
    ("/certus.v1.Cluster/GetCert", Repeat::Freely),
    // Once more says that it was revoked before.
    ("/certus.v1.Cluster/Revoke", Repeat::Freely),
    ("/certus.v1.Cluster/Enforcement", Repeat::Freely),
    // A node that is told twice renews twice; it holds one certificate either way.
    ("/certus.v1.Cluster/Rotate", Repeat::Freely),
    ("/certus.v1.Cluster/ListManagers", Repeat::Freely),
    // Membership of managers is changed by people, one step at a time: they look before they repeat.
    ("/certus.v1.Cluster/PromoteManager", Repeat::Never),
    ("/certus.v1.Cluster/RemoveManager", Repeat::Never),
    // Managers ask each other over lines of their own (`peer`).
    ("/certus.v1.Quorum/Replicate", Repeat::Never),
    ("/certus.v1.Quorum/Snapshot", Repeat::Never),
    ("/certus.v1.Quorum/Propose", Repeat::Never),
    ("/certus.v1.Quorum/ReadIndex", Repeat::Never),
    ("/certus.v1.Quorum/Enlist", Repeat::Never),
    ("/certus.v1.Quorum/Keys", Repeat::Never),
    ("/certus.v1.Quorum/Retire", Repeat::Never),
    ("/certus.v1.Quorum/Connected", Repeat::Never),
    ("/certus.v1.Quorum/EnforcementHere", Repeat::Never),
];

/// What may be done with `call`.
pub(super) fn repeat(call: &str) -> Repeat {
    TABLE.iter().find(|(name, _)| *name == call).map_or(Repeat::Never, |(_, repeat)| *repeat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_call_of_the_protocol_once() {
        let calls: Vec<&str> = TABLE.iter().map(|(call, _)| *call).collect();
        assert_eq!(calls, certus_wire::CALLS);
        assert_eq!(repeat("/certus.v1.Cluster/Nonsense"), Repeat::Never);
    }
}
