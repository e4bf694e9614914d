//! Why the cluster says no: both halves of the comparison, a stable code, and what to do next.
//!
//! A refusal is an answer, equal on every replica; a broken store is a [`Fault`](crate::store::Fault).

use certus_pki::defaults::ISSUER_OVER_LEAF;
use certus_pki::{
    CertId, ClusterName, Code, Explain, Explanation, Lifetime, NodeId, Reason, Role, Sha256, SpiffeId,
    TokenId, UnixTime, code,
};

/// Why a command was not carried out. Closed on purpose: the log carries it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such token.
    #[error("the cluster has no token {token}")]
    UnknownToken {
        /// The name it would be listed under.
        token: TokenId,
    },
    /// The token's time is over.
    #[error("the token expired {}", .expired_at.relative_to(*.now))]
    TokenExpired {
        /// The time it was compared with.
        now: UnixTime,
        /// When it was made.
        created_at: UnixTime,
        /// When it ended.
        expired_at: UnixTime,
        /// Who made it.
        by: SpiffeId,
        /// The role that was asked for.
        role: Role,
        /// The id that was asked for.
        id: NodeId,
    },
    /// The token's uses are spent.
    #[error("the token was used {} already", times(*.uses))]
    TokenUsedUp {
        /// How often it could be used.
        uses: u32,
        /// The role that was asked for.
        role: Role,
        /// The id that was asked for.
        id: NodeId,
    },
    /// The token was voided.
    #[error("the token was revoked")]
    TokenRevoked {
        /// Which one.
        token: TokenId,
        /// When.
        at: UnixTime,
    },
    /// The token admits another role.
    #[error("the token admits a {expected}, not a {came}")]
    TokenWrongRole {
        /// The role it admits.
        expected: Role,
        /// The role that was asked for.
        came: Role,
    },
    /// The token admits another id.
    #[error("the token admits {expected} only")]
    TokenWrongId {
        /// The id it admits.
        expected: NodeId,
        /// The id that was asked for.
        came: NodeId,
    },
    /// The id belongs to another key.
    #[error("the id {} belongs to another key", .node.id)]
    IdInUse {
        /// Whose it is.
        node: SpiffeId,
        /// Since when.
        since: UnixTime,
        /// The newest key it belongs to.
        key: Sha256,
    },
    /// There is no cluster yet.
    #[error("the cluster is not founded yet")]
    NotFounded,
    /// There is a cluster.
    #[error("the cluster {cluster} was founded before")]
    AlreadyFounded {
        /// Its name.
        cluster: ClusterName,
        /// Since when.
        at: UnixTime,
    },
    /// No such node.
    #[error("the cluster has no node {node}")]
    UnknownNode {
        /// Who was asked for.
        node: SpiffeId,
    },
    /// No such certificate.
    #[error("the cluster has issued no certificate {}", .cert.serial)]
    UnknownCertificate {
        /// Which was asked for.
        cert: CertId,
    },
    /// The node may not have a certificate for this key.
    #[error("{node} may not renew: {why}")]
    RenewalBarred {
        /// Which node.
        node: SpiffeId,
        /// Why not.
        why: Barred,
    },
    /// Settings under which an issuer could not outlive its leaves.
    #[error("an issuer must live {ISSUER_OVER_LEAF} times as long as its leaves")]
    IssuerTooShort {
        /// The issuers' lifetime.
        issuer_lifetime: Lifetime,
        /// The leaves' lifetime.
        leaf_lifetime: Lifetime,
    },
    /// A certificate that would outlive the one that signed it.
    #[error("the {signer} ends before what it signed")]
    EndsTooSoon {
        /// Which kind of CA.
        signer: String,
        /// Its last moment.
        signer_ends: UnixTime,
        /// The last moment of what it signed.
        signed_ends: UnixTime,
    },
    /// The issuer is not one of the cluster's.
    #[error("the certificate's issuer is not an active issuer of the cluster")]
    IssuerNotActive {
        /// The key identifier in the certificate, in hexadecimal digits.
        came: String,
    },
    /// The pinned root is not one of the cluster's.
    #[error("a token can only pin an active root")]
    RootNotActive {
        /// The key it pins.
        came: Sha256,
    },
    /// A signed certificate is not what was planned.
    #[error("the {what} is not what was planned")]
    PlanMismatch {
        /// Which part.
        what: String,
        /// What was planned.
        expected: String,
        /// What came.
        came: String,
    },
    /// The plan is not of this time.
    #[error("the certificate was planned at another time than it was recorded")]
    StalePlan {
        /// The time it was planned at.
        planned_at: UnixTime,
        /// The time of the record.
        at: UnixTime,
    },
    /// A serial number came twice.
    #[error("the serial number {} was used before", .cert.serial)]
    SerialRepeated {
        /// The certificate that has it.
        cert: CertId,
    },
    /// It was revoked before.
    #[error("{what} was revoked before ({reason})")]
    AlreadyRevoked {
        /// What.
        what: String,
        /// Since when.
        since: UnixTime,
        /// Why.
        reason: Reason,
    },
    /// The request is outside a stated limit.
    #[error("{what} is out of bounds: {came}")]
    OutOfBounds {
        /// Which part of it.
        what: String,
        /// What is allowed.
        allowed: String,
        /// What came.
        came: String,
    },
    /// There is one already.
    #[error("{what} exists already")]
    AlreadyExists {
        /// What.
        what: String,
    },
    /// Whoever asked may not.
    #[error("{by} may not do this: {why}")]
    NotPermitted {
        /// Who asked.
        by: SpiffeId,
        /// Why not.
        why: String,
    },
    /// Nobody would be left to do what it does.
    #[error("{node} is the last {what} of the cluster")]
    LastOne {
        /// Which node.
        node: SpiffeId,
        /// What it is the last of: `admin` or `manager`.
        what: String,
    },
    /// It has no place among the managers.
    #[error("{node} is none of the cluster's managers")]
    NotAManager {
        /// Which node.
        node: SpiffeId,
    },
    /// The root's key is kept outside the cluster already.
    #[error("the key of root {} is offline", .root.short())]
    RootOffline {
        /// The root's key.
        root: Sha256,
    },
    /// The cluster holds the root's key.
    #[error("the key of root {} is not offline", .root.short())]
    RootOnline {
        /// The root's key.
        root: Sha256,
    },
}

/// Why a node may not have a new certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Barred {
    /// The node was revoked.
    #[error("the node was revoked at {at} ({reason})")]
    NodeRevoked {
        /// When.
        at: UnixTime,
        /// Why.
        reason: Reason,
    },
    /// The certificate it asks with was revoked.
    #[error("its certificate was revoked at {at} ({reason})")]
    CertRevoked {
        /// When.
        at: UnixTime,
        /// Why.
        reason: Reason,
    },
    /// The certificate it asks with has ended.
    #[error("its certificate expired at {not_after}")]
    CertExpired {
        /// When.
        not_after: UnixTime,
    },
    /// The certificate it asks with is another node's, or nobody's.
    #[error("the certificate it asks with is not its own")]
    NotItsCert,
    /// It holds newer certificates and asks with an old one: two hold its keys, or a copy of its disk
    /// was put back.
    #[error("it was given newer certificates, at last at {newest_at}")]
    OlderKey {
        /// When the newest was issued.
        newest_at: UnixTime,
    },
    /// The new key is one it had before.
    #[error("the new key is one that it had before")]
    KeyNotFresh,
    /// The new key was revoked.
    #[error("the new key was revoked at {at} ({reason})")]
    KeyRevoked {
        /// When.
        at: UnixTime,
        /// Why.
        reason: Reason,
    },
    /// The certificate it asks with was issued after the backup that the cluster was restored from.
    #[error("its certificate is on no record here: it was issued after the backup that was restored")]
    NotOnRecord,
}

impl Refusal {
    pub(crate) fn out_of_bounds(
        what: &str,
        allowed: impl std::fmt::Display,
        came: impl std::fmt::Display,
    ) -> Refusal {
        Refusal::OutOfBounds { what: what.to_owned(), allowed: allowed.to_string(), came: came.to_string() }
    }

    pub(crate) fn mismatch(
        what: &str,
        expected: impl std::fmt::Display,
        came: impl std::fmt::Display,
    ) -> Refusal {
        Refusal::PlanMismatch {
            what: what.to_owned(),
            expected: expected.to_string(),
            came: came.to_string(),
        }
    }

    /// Its stable code.
    pub fn code(&self) -> Code {
        match self {
            Refusal::UnknownToken { .. } => code::UNKNOWN_TOKEN,
            Refusal::TokenExpired { .. } => code::TOKEN_EXPIRED,
            Refusal::TokenUsedUp { .. } => code::TOKEN_USED_UP,
            Refusal::TokenRevoked { .. } => code::TOKEN_REVOKED,
            Refusal::TokenWrongRole { .. } => code::TOKEN_WRONG_ROLE,
            Refusal::TokenWrongId { .. } => code::TOKEN_WRONG_ID,
            Refusal::IdInUse { .. } => code::ID_IN_USE,
            Refusal::NotFounded => code::NOT_FOUNDED,
            Refusal::AlreadyFounded { .. } => code::ALREADY_FOUNDED,
            Refusal::NotAManager { .. } | Refusal::UnknownNode { .. } => code::UNKNOWN_NODE,
            Refusal::UnknownCertificate { .. } => code::UNKNOWN_CERTIFICATE,
            Refusal::RenewalBarred { .. } => code::RENEWAL_BARRED,
            Refusal::IssuerTooShort { .. } | Refusal::EndsTooSoon { .. } => code::ISSUER_TOO_SHORT,
            Refusal::IssuerNotActive { .. } => code::ISSUER_NOT_ACTIVE,
            Refusal::RootNotActive { .. } => code::WRONG_PIN,
            Refusal::PlanMismatch { .. } | Refusal::StalePlan { .. } => code::PLAN_MISMATCH,
            Refusal::SerialRepeated { .. } => code::SERIAL_REPEATED,
            Refusal::AlreadyRevoked { .. } => code::ALREADY_REVOKED,
            Refusal::OutOfBounds { .. } => code::OUT_OF_BOUNDS,
            Refusal::AlreadyExists { .. } => code::ALREADY_EXISTS,
            Refusal::NotPermitted { .. } | Refusal::LastOne { .. } => code::PERMISSION_DENIED,
            Refusal::RootOffline { .. } => code::ROOT_OFFLINE,
            Refusal::RootOnline { .. } => code::ROOT_ONLINE,
        }
    }
}

impl Explain for Refusal {
    fn explain(&self) -> Explanation {
        let new = Explanation::new(self.code(), self.to_string());
        match self {
            Refusal::UnknownToken { .. } => new.hint("certus token list shows those there are"),
            Refusal::TokenExpired { now, created_at, expired_at, by, role, id } => {
                let secs = u32::try_from(expired_at.secs_since(*created_at)).unwrap_or(0);
                let made = format!("{expired_at}, made by {by} with --ttl {}", Lifetime::from_secs(secs));
                new.fact("now", now)
                    .fact("expired", made)
                    .hint(format!("certus token create --role {role} --id {id}"))
            }
            Refusal::TokenUsedUp { uses, role, id } => new
                .halves(format!("a use left of {uses}"), "none left")
                .hint(format!("certus token create --role {role} --id {id}")),
            Refusal::TokenRevoked { at, .. } => {
                new.fact("revoked", at).hint("certus token create makes a new one")
            }
            Refusal::TokenWrongRole { expected, came } => {
                new.halves(expected, came).hint(format!("certus token create --role {came}"))
            }
            Refusal::TokenWrongId { expected, came } => {
                new.halves(expected, came).hint(format!("certus token create --role worker --id {came}"))
            }
            Refusal::IdInUse { node, since, key } => new
                .halves(format!("an id that is new, or key {}", key.short()), "another key")
                .fact("in use since", since)
                .hint(format!("certus token create --role {} --id {} --replace", node.role, node.id)),
            Refusal::NotFounded => new.hint("certus cluster init --name NAME --data-dir DIR"),
            Refusal::AlreadyFounded { at, .. } => {
                new.fact("founded", at).hint("certus manager start --data-dir DIR")
            }
            Refusal::NotAManager { .. } => new.hint("certus manager list shows the managers there are"),
            Refusal::UnknownNode { .. } => new.hint("certus cert list shows the nodes there are"),
            Refusal::UnknownCertificate { .. } => new.hint("certus cert list shows those there are"),
            Refusal::RenewalBarred { node, why } => explain_barred(new, node, why),
            _ => self.explain_rest(new),
        }
    }
}

impl Refusal {
    /// The refusals that come from managers' own doing, or from the operator's.
    fn explain_rest(&self, new: Explanation) -> Explanation {
        match self {
            Refusal::IssuerTooShort { issuer_lifetime, leaf_lifetime } => {
                let needed = u64::from(leaf_lifetime.secs()) * u64::from(ISSUER_OVER_LEAF);
                let needed = u32::try_from(needed)
                    .map_or_else(|_| format!("{needed}s"), |secs| Lifetime::from_secs(secs).to_string());
                new.halves(format!("an issuer lifetime of at least {needed}"), issuer_lifetime)
                    .fact("leaf lifetime", leaf_lifetime)
                    .hint(format!("--issuer-lifetime {needed}, or a shorter --leaf-lifetime"))
            }
            Refusal::EndsTooSoon { signer, signer_ends, signed_ends } => new
                .fact(&format!("{signer} ends"), signer_ends)
                .fact("would be signed until", signed_ends)
                .hint("the manager needs a new issuer: certus cluster status shows when each one ends"),
            Refusal::IssuerNotActive { came } => new
                .halves("the key of an active issuer", came)
                .hint("certus cluster status lists the issuers"),
            Refusal::RootNotActive { came } => new.halves("an active root of the cluster", came.short()),
            Refusal::PlanMismatch { expected, came, .. } => new.halves(expected, came),
            Refusal::StalePlan { planned_at, at } => new
                .fact("planned", planned_at)
                .fact("recorded", at)
                .hint("try again; if it persists, compare the managers' clocks: date -u"),
            Refusal::AlreadyRevoked { since, .. } => new.fact("revoked", since),
            Refusal::OutOfBounds { allowed, came, .. } => new.halves(allowed, came),
            Refusal::LastOne { node, what } => new
                .halves(format!("another active {what}"), "none")
                .hint(format!("if a key of {} is lost, have it renew, then revoke the old serial", node.id)),
            Refusal::RootOffline { .. } => new.hint("certus cluster root bring-online FILE"),
            Refusal::RootOnline { .. } => new.hint("certus cluster root take-offline FILE"),
            Refusal::NotPermitted { .. } => {
                new.hint("ask with another identity: certus --home DIR, or ask an admin for a token")
            }
            _ => new,
        }
    }
}

fn explain_barred(new: Explanation, node: &SpiffeId, why: &Barred) -> Explanation {
    let again = format!("certus token create --role {} --id {} --replace", node.role, node.id);
    match why {
        Barred::NodeRevoked { at, .. } | Barred::CertRevoked { at, .. } => {
            new.fact("revoked", at).hint(format!("to admit it again with a new key: {again}"))
        }
        Barred::CertExpired { not_after } => new.fact("expired", not_after).hint(again),
        Barred::NotItsCert => new.halves(node, "a certificate that is not its own"),
        Barred::OlderKey { newest_at } => new
            .halves("its newest certificate, or the one before", "an older one")
            .fact("newest issued", newest_at)
            .hint(format!(
                "if a copy of the node is running elsewhere: certus cert revoke {} --reason key-compromise",
                node.id
            )),
        Barred::NotOnRecord => new.halves("a certificate on record", "one that is not").hint(format!(
            "{again}; stop the node, move its certs/{}-{} away, and start it with --token-file FILE",
            node.role, node.id
        )),
        Barred::KeyNotFresh | Barred::KeyRevoked { .. } => new
            .halves("a key made for this certificate", "a key that was used before")
            .hint("remove the node's key and let it make a new one"),
    }
}

fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        count => format!("{count} times"),
    }
}

#[cfg(test)]
mod tests;
