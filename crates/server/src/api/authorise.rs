//! Who may make which call: one table, held against the protocol by a test.
//!
//! Fails closed: a call that is not in the table is refused.

use certus_pki::explain::Explanation;
use certus_pki::{Grant, Role, SpiffeId, code};

/// What a caller needs for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: the call is there for those who have no certificate yet.
    Nothing,
    /// A certificate of the cluster, whoever's: the call is about the caller itself.
    Member,
    /// A grant in the caller's node record. Never implied by a role.
    Grant(Grant),
    /// A place among the managers.
    Manager,
    /// The role of a manager, with or without a place among them: it is about to ask for one.
    ManagerRole,
}

/// Every call and what it needs.
pub const TABLE: &[(&str, Need)] = &[
    ("/certus.v1.Bootstrap/Info", Need::Nothing),
    ("/certus.v1.Bootstrap/Join", Need::Nothing),
    ("/certus.v1.Node/Renew", Need::Member),
    ("/certus.v1.Node/Watch", Need::Member),
    ("/certus.v1.Cluster/Status", Need::Grant(Grant::Read)),
    // Roots are public, and every member has them.
    ("/certus.v1.Cluster/Bundle", Need::Member),
    ("/certus.v1.Cluster/CreateToken", Need::Grant(Grant::Operate)),
    ("/certus.v1.Cluster/ListTokens", Need::Grant(Grant::Read)),
    ("/certus.v1.Cluster/RevokeToken", Need::Grant(Grant::Operate)),
    ("/certus.v1.Cluster/ListNodes", Need::Grant(Grant::Read)),
    ("/certus.v1.Cluster/GetNode", Need::Grant(Grant::Read)),
    ("/certus.v1.Cluster/ListCerts", Need::Grant(Grant::Read)),
    ("/certus.v1.Cluster/GetCert", Need::Grant(Grant::Read)),
    ("/certus.v1.Cluster/Revoke", Need::Grant(Grant::Operate)),
    ("/certus.v1.Cluster/Enforcement", Need::Grant(Grant::Read)),
    ("/certus.v1.Cluster/Rotate", Need::Grant(Grant::Operate)),
    // Where managers are is what every member needs to know.
    ("/certus.v1.Cluster/ListManagers", Need::Member),
    ("/certus.v1.Cluster/PromoteManager", Need::Grant(Grant::Admin)),
    ("/certus.v1.Cluster/RemoveManager", Need::Grant(Grant::Admin)),
    ("/certus.v1.Quorum/Replicate", Need::Manager),
    ("/certus.v1.Quorum/Snapshot", Need::Manager),
    ("/certus.v1.Quorum/Propose", Need::Manager),
    ("/certus.v1.Quorum/ReadIndex", Need::Manager),
    ("/certus.v1.Quorum/Enlist", Need::ManagerRole),
    ("/certus.v1.Quorum/Keys", Need::Manager),
    ("/certus.v1.Quorum/Retire", Need::Manager),
    ("/certus.v1.Quorum/Connected", Need::Manager),
    ("/certus.v1.Quorum/EnforcementHere", Need::Manager),
];

/// What `call` needs; `None` for one that does not exist.
pub fn need(call: &str) -> Option<Need> {
    TABLE.iter().find(|(name, _)| *name == call).map(|(_, need)| *need)
}

/// Who calls, as far as the connection and the node record say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The verified identity.
    pub identity: SpiffeId,
    /// What its node record grants; `None` where there is no active record.
    pub grant: Option<Grant>,
    /// Whether it has a place among the managers.
    pub manages: bool,
}

/// Decides whether `caller` may make `call`.
pub fn decide(call: &str, caller: Option<&Standing>) -> Result<(), Explanation> {
    let Some(need) = need(call) else {
        return Err(Explanation::new(code::BAD_MESSAGE, "no such call").fact("call", call));
    };
    let caller = match (need, caller) {
        (Need::Nothing, _) => return Ok(()),
        (_, Some(caller)) => caller,
        (_, None) => {
            return Err(Explanation::new(code::NO_CERTIFICATE, "this call needs a client certificate")
                .fact("call", call)
                .halves("a certificate of this cluster", "none"));
        }
    };
    let refused = |expected: &str, came: &str| {
        Explanation::new(code::PERMISSION_DENIED, format!("{} may not make this call", caller.identity))
            .fact("call", call)
            .halves(expected, came)
    };
    match (need, caller.grant) {
        (_, None) => Err(refused("an active node of this cluster", "no active node record")),
        (Need::Grant(needed), Some(has)) if has < needed => {
            Err(refused(&format!("grant {needed}"), &format!("grant {has}"))
                .hint("run the command as the operator that `cluster init` made"))
        }
        (Need::Manager, _) if !caller.manages => {
            Err(refused("one of the cluster's managers", "a node that is none"))
        }
        (Need::ManagerRole, _) if caller.identity.role != Role::Manager => {
            Err(refused("a node of role manager", &format!("a {}", caller.identity.role)))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(role: &str, grant: Option<Grant>) -> Standing {
        Standing { identity: format!("spiffe://prod/{role}/x").parse().unwrap(), grant, manages: false }
    }

    #[test]
    fn the_table_has_every_call_of_the_protocol_once() {
        let calls: Vec<&str> = TABLE.iter().map(|(call, _)| *call).collect();
        assert_eq!(calls, certus_wire::CALLS);
    }

    #[test]
    fn i13_only_the_bootstrap_calls_need_no_certificate() {
        for (call, _) in TABLE {
            let bootstrap = call.starts_with("/certus.v1.Bootstrap/");
            assert_eq!(decide(call, None).is_ok(), bootstrap, "{call}");
        }
        assert!(
            decide("/certus.v1.Cluster/Nonsense", Some(&standing("client", Some(Grant::Admin)))).is_err()
        );
    }

    #[test]
    fn each_grant_opens_what_the_table_says_and_no_more() {
        for (call, need) in TABLE {
            for grant in Grant::ALL {
                let expected = match need {
                    Need::Nothing | Need::Member => true,
                    Need::Grant(needed) => grant >= *needed,
                    Need::Manager | Need::ManagerRole => false,
                };
                let got = decide(call, Some(&standing("client", Some(grant)))).is_ok();
                assert_eq!(got, expected, "{call} with grant {grant}");
            }
            let gone = decide(call, Some(&standing("worker", None))).is_ok();
            assert_eq!(gone, *need == Need::Nothing, "{call} without a record");
        }
    }

    #[test]
    fn i13_managers_calls_are_for_managers_whatever_grant_others_have() {
        for (call, need) in TABLE.iter().filter(|(call, _)| call.starts_with("/certus.v1.Quorum/")) {
            for role in ["worker", "client"] {
                let caller = Standing { manages: false, ..standing(role, Some(Grant::Admin)) };
                assert!(decide(call, Some(&caller)).is_err(), "{call} by a {role}");
            }
            let newcomer = standing("manager", Some(Grant::None));
            assert_eq!(decide(call, Some(&newcomer)).is_ok(), *need == Need::ManagerRole, "{call}");
            let present = Standing { manages: true, ..newcomer };
            assert!(decide(call, Some(&present)).is_ok(), "{call}");
            let gone = Standing { grant: None, ..present };
            assert!(decide(call, Some(&gone)).is_err(), "{call} by one that was removed");
        }
    }
}
