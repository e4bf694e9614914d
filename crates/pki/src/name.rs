//! Names of clusters, nodes and identities.
//!
//! An identity is `spiffe://CLUSTER/ROLE/ID` (SPIFFE-ID §2): the one URI of every leaf a cluster issues.

use std::fmt;
use std::str::FromStr;

/// The name of a cluster, which is its SPIFFE trust domain.
///
/// 1 to 50 characters of `a-z 0-9 . - _`, beginning and ending with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName(String);

impl ClusterName {
    /// Long enough for a DNS label, short enough that a common name (64, RFC 5280 A.1) holds it with
    /// a word beside it.
    pub const CHARS_MAX: usize = 50;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trust domain's own URI, `spiffe://CLUSTER`: what CA certificates carry.
    pub fn uri(&self) -> String {
        format!("spiffe://{}", self.0)
    }
}

impl FromStr for ClusterName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<ClusterName, BadName> {
        let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let inner = |b: u8| lower(b) || matches!(b, b'.' | b'-' | b'_');
        if well_formed(text, ClusterName::CHARS_MAX, lower, inner) {
            Ok(ClusterName(text.to_owned()))
        } else {
            Err(BadName::Cluster { came: shown(text) })
        }
    }
}

/// What a node calls itself within its role: `web-1`, `cli-ann-laptop`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(String);

impl NodeId {
    /// RFC 5280 A.1 bounds a common name to 64 characters, and the id stands there too.
    pub const CHARS_MAX: usize = 64;

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeId {
    type Err = BadName;

    fn from_str(text: &str) -> Result<NodeId, BadName> {
        let outer = |b: u8| b.is_ascii_alphanumeric();
        let inner = |b: u8| outer(b) || matches!(b, b'.' | b'-' | b'_');
        if well_formed(text, NodeId::CHARS_MAX, outer, inner) {
            Ok(NodeId(text.to_owned()))
        } else {
            Err(BadName::Node { came: shown(text) })
        }
    }
}

/// What a node is in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Decides and signs; carries too.
    Manager,
    /// Carries services.
    Worker,
    /// A person's or program's command line; never serves.
    Client,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 3] = [Role::Manager, Role::Worker, Role::Client];

    /// The role as the word that stands in an identity.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Manager => "manager",
            Role::Worker => "worker",
            Role::Client => "client",
        }
    }
}

impl FromStr for Role {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Role, BadName> {
        let found = Role::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| BadName::Role { came: shown(text) })
    }
}

/// What a node may ask of the managers beyond its own affairs. Each contains those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grant {
    /// Its own affairs only: renewing, watching.
    None,
    /// Reading status and listings.
    Read,
    /// Also tokens for workers, directives, revocations.
    Operate,
    /// Everything.
    Admin,
}

impl Grant {
    /// Every grant, least first.
    pub const ALL: [Grant; 4] = [Grant::None, Grant::Read, Grant::Operate, Grant::Admin];

    /// The grant as a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Grant::None => "none",
            Grant::Read => "read",
            Grant::Operate => "operate",
            Grant::Admin => "admin",
        }
    }
}

impl FromStr for Grant {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Grant, BadName> {
        let found = Grant::ALL.into_iter().find(|grant| grant.as_str() == text);
        found.ok_or_else(|| BadName::Grant { came: shown(text) })
    }
}

/// The identity of a node: `spiffe://CLUSTER/ROLE/ID`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    /// The cluster, which is the trust domain.
    pub cluster: ClusterName,
    /// What the node is there.
    pub role: Role,
    /// Which node it is.
    pub id: NodeId,
}

impl FromStr for SpiffeId {
    type Err = BadName;

    fn from_str(text: &str) -> Result<SpiffeId, BadName> {
        let bad = || BadName::Identity { came: shown(text) };
        let rest = text.strip_prefix("spiffe://").ok_or_else(bad)?;
        let mut parts = rest.split('/');
        let (Some(cluster), Some(role), Some(id), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(bad());
        };
        Ok(SpiffeId { cluster: cluster.parse()?, role: role.parse()?, id: id.parse()? })
    }
}

/// Which identities are meant: one, or all under a cluster or role.
///
/// `spiffe://prod/worker/web-1`, `spiffe://prod/worker/*` or `spiffe://prod/*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdPattern {
    /// The cluster; a pattern never spans two.
    pub cluster: ClusterName,
    /// The role, or any.
    pub role: Option<Role>,
    /// The id, or any.
    pub id: Option<NodeId>,
}

impl IdPattern {
    /// Every identity of `role` in `cluster`.
    pub const fn role(cluster: ClusterName, role: Role) -> IdPattern {
        IdPattern { cluster, role: Some(role), id: None }
    }

    /// Whether `identity` is meant.
    pub fn matches(&self, identity: &SpiffeId) -> bool {
        self.cluster == identity.cluster
            && self.role.is_none_or(|role| role == identity.role)
            && self.id.as_ref().is_none_or(|id| *id == identity.id)
    }
}

impl From<SpiffeId> for IdPattern {
    fn from(identity: SpiffeId) -> IdPattern {
        IdPattern { cluster: identity.cluster, role: Some(identity.role), id: Some(identity.id) }
    }
}

impl FromStr for IdPattern {
    type Err = BadName;

    fn from_str(text: &str) -> Result<IdPattern, BadName> {
        let bad = || BadName::Identity { came: shown(text) };
        let rest = text.strip_prefix("spiffe://").ok_or_else(bad)?;
        let parts: Vec<&str> = rest.split('/').collect();
        let (cluster, role, id) = match parts[..] {
            [cluster, "*"] => (cluster, None, None),
            [cluster, role, "*"] => (cluster, Some(role.parse()?), None),
            [cluster, role, id] => (cluster, Some(role.parse()?), Some(id.parse()?)),
            _ => return Err(bad()),
        };
        Ok(IdPattern { cluster: cluster.parse()?, role, id })
    }
}

impl fmt::Display for IdPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.role, &self.id) {
            (Some(role), Some(id)) => write!(f, "spiffe://{}/{role}/{id}", self.cluster),
            (Some(role), None) => write!(f, "spiffe://{}/{role}/*", self.cluster),
            (None, _) => write!(f, "spiffe://{}/*", self.cluster),
        }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/{}/{}", self.cluster, self.role, self.id)
    }
}

macro_rules! display_as_str {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    )*};
}
display_as_str!(ClusterName, NodeId, Role, Grant);

/// Text that is not the name it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Not a cluster's name.
    #[error(
        "`{came}` is not a cluster name, expected 1 to 50 of a-z 0-9 . - _ with a letter or digit at both ends"
    )]
    Cluster {
        /// What came.
        came: String,
    },
    /// Not a node's id.
    #[error(
        "`{came}` is not a node id, expected 1 to 64 of A-Z a-z 0-9 . - _ with a letter or digit at both ends"
    )]
    Node {
        /// What came.
        came: String,
    },
    /// Not a role.
    #[error("`{came}` is not a role, expected manager, worker or client")]
    Role {
        /// What came.
        came: String,
    },
    /// Not a grant.
    #[error("`{came}` is not a grant, expected none, read, operate or admin")]
    Grant {
        /// What came.
        came: String,
    },
    /// Not an identity, or a pattern of identities.
    #[error(
        "`{came}` is not an identity, expected spiffe://CLUSTER/ROLE/ID (or * for the last parts of a pattern)"
    )]
    Identity {
        /// What came.
        came: String,
    },
    /// Not a name that a certificate may carry.
    #[error("`{came}` is neither an IP address nor a DNS name")]
    San {
        /// What came.
        came: String,
    },
}

/// At most this much of a bad input is repeated in an error.
const SHOWN_CHARS: usize = 80;

/// The beginning of a bad input, safe to print.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).map(|c| if c.is_control() { '�' } else { c }).collect()
}

fn well_formed(text: &str, max: usize, outer: impl Fn(u8) -> bool, inner: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    bytes.len() <= max
        && ends.is_some_and(|(first, last)| outer(*first) && outer(*last))
        && bytes.iter().all(|byte| inner(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_read_and_print() {
        let text = "spiffe://prod/worker/web-1";
        assert_eq!(text.parse::<SpiffeId>().unwrap().to_string(), text);
        for text in ["spiffe://prod/*", "spiffe://prod/worker/*", "spiffe://prod/worker/web-1"] {
            assert_eq!(text.parse::<IdPattern>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_identity_is_refused() {
        for text in [
            "",
            "spiffe://",
            "spiffe://prod",
            "spiffe://prod/worker",
            "spiffe://prod/worker/",
            "spiffe://prod/worker/a/b",
            "spiffe://Prod/worker/a",
            "spiffe://prod/boss/a",
            "spiffe://prod/worker/..",
            "spiffe://prod/worker/a b",
            "https://prod/worker/a",
            "spiffe://prod:1/worker/a",
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text}");
        }
        assert!("spiffe://*/worker/a".parse::<IdPattern>().is_err());
        assert!("spiffe://prod/*/a".parse::<IdPattern>().is_err());
    }

    #[test]
    fn patterns_match_what_they_say() {
        let web: SpiffeId = "spiffe://prod/worker/web-1".parse().unwrap();
        for (pattern, expected) in [
            ("spiffe://prod/worker/web-1", true),
            ("spiffe://prod/worker/*", true),
            ("spiffe://prod/*", true),
            ("spiffe://prod/manager/*", false),
            ("spiffe://prod/worker/web-2", false),
            ("spiffe://dev/*", false),
        ] {
            assert_eq!(pattern.parse::<IdPattern>().unwrap().matches(&web), expected, "{pattern}");
        }
    }
}
