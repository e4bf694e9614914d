//! What is kept about nodes, certificates, tokens, issuers and roots: one record per row.

use certus_pki::{
    CertId, ClusterName, Code, Directive, Epoch, Grant, NodeId, Reason, Role, San, Sha256, SpiffeId, TokenId,
    UnixTime,
};

use crate::command::Settings;

/// The cluster as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterState {
    /// Its name.
    pub name: ClusterName,
    /// How long what it issues lives.
    pub settings: Settings,
    /// When it was founded.
    pub founded_at: UnixTime,
    /// How far it has come.
    pub epoch: Epoch,
    /// The time of the last command that changed anything; no later one is decided before it.
    pub last_at: UnixTime,
}

/// A node: who it is, what it may, and which certificates it may renew with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// Who it is.
    pub identity: SpiffeId,
    /// What it may ask of the managers.
    pub grant: Grant,
    /// Whether it is of the cluster.
    pub state: NodeState,
    /// DNS names and addresses that its certificates carry.
    pub sans: Vec<San>,
    /// Its newest certificate.
    pub newest: CertId,
    /// The certificate the newest was asked with, if it was not a join: the only other one that may
    /// still renew, so that a lost answer locks nobody out.
    pub previous: Option<CertId>,
    /// When it joined, or was last replaced.
    pub admitted_at: UnixTime,
    /// The token it joined with; none for those that the cluster was founded with.
    pub admitted_by: Option<TokenId>,
    /// When the running count of [`window_count`](NodeRecord::window_count) began.
    pub window_from: UnixTime,
    /// How many certificates it was given since, against
    /// [`CERTS_PER_NODE_MAX`](crate::limits::CERTS_PER_NODE_MAX).
    pub window_count: u32,
}

/// Whether a node is of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It is.
    Active,
    /// It was revoked.
    Revoked {
        /// When.
        at: UnixTime,
        /// Why.
        reason: Reason,
    },
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertRecord {
    /// Its name.
    pub cert: CertId,
    /// Whose it is.
    pub node: SpiffeId,
    /// The certificate.
    pub der: Vec<u8>,
    /// When it was put on record.
    pub issued_at: UnixTime,
    /// Its last moment.
    pub not_after: UnixTime,
    /// SHA-256 of its key's SubjectPublicKeyInfo.
    pub key_hash: Sha256,
    /// When its node should have renewed at the latest.
    pub renew_by: UnixTime,
    /// What it was issued for.
    pub how: How,
    /// Since when it is revoked, and why.
    pub revoked: Option<(UnixTime, Reason)>,
}

impl RootRecord {
    /// Whether its key is kept outside the cluster.
    pub fn is_offline(&self) -> bool {
        self.key_sealed.is_empty()
    }
}

impl CertRecord {
    /// Whether it is neither revoked nor ended at `at`.
    pub fn is_live(&self, at: UnixTime) -> bool {
        self.revoked.is_none() && at <= self.not_after
    }
}

/// What a certificate was issued for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The founding of the cluster.
    Founded,
    /// A join.
    Joined,
    /// A renewal.
    Renewed,
    /// Not known: it was seen and revoked after the cluster was restored, and the certificate itself is not
    /// on record.
    Unrecorded,
}

/// A token. Its secret is not here: only the secret's hash is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// The name it is listed under.
    pub token: TokenId,
    /// SHA-256 of its secret.
    pub secret_hash: Sha256,
    /// The key of the root it pins.
    pub root: Sha256,
    /// The role it admits.
    pub role: Role,
    /// The one id it admits, if it names one.
    pub id: Option<NodeId>,
    /// DNS names and addresses that its nodes carry.
    pub sans: Vec<San>,
    /// When it was made.
    pub created_at: UnixTime,
    /// From when on it admits nobody.
    pub expires_at: UnixTime,
    /// How often it can be used.
    pub uses: u32,
    /// How often it was.
    pub used: u32,
    /// Since when it is void.
    pub revoked_at: Option<UnixTime>,
    /// Who made it.
    pub by: SpiffeId,
    /// Whether it may take the id it names over from another key.
    pub replace: bool,
    /// What a client that joins with it may ask of the managers.
    pub grant: Grant,
}

impl TokenRecord {
    /// Whether it would admit someone at `at`.
    pub fn is_live(&self, at: UnixTime) -> bool {
        self.revoked_at.is_none() && at < self.expires_at && self.used < self.uses
    }
}

/// A manager: its number among those that replicate, and what it signs with. Its node record says
/// whether it is of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerRecord {
    /// Its number. Never given to another, nor to the same manager with an empty log.
    pub member: u64,
    /// Which node it is.
    pub node: SpiffeId,
    /// Where the other managers, workers and operators reach it, `host:port`.
    pub address: String,
    /// Whether it is to vote.
    pub voter: bool,
    /// When it got its number.
    pub joined_at: UnixTime,
    /// Since when it is one no more.
    pub removed_at: Option<UnixTime>,
    /// The issuers that it signs with or has signed with, by key.
    pub issuers: Vec<Sha256>,
}

/// An issuer of leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerRecord {
    /// SHA-256 of its key's SubjectPublicKeyInfo.
    pub key_hash: Sha256,
    /// Its certificate.
    pub der: Vec<u8>,
    /// Its name, DER: what its leaves call their issuer.
    pub subject_der: Vec<u8>,
    /// Its last moment.
    pub not_after: UnixTime,
    /// Whether its leaves are accepted.
    pub active: bool,
    /// When it was added.
    pub added_at: UnixTime,
}

/// A root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootRecord {
    /// SHA-256 of its key's SubjectPublicKeyInfo: what tokens pin.
    pub key_hash: Sha256,
    /// Its certificate.
    pub der: Vec<u8>,
    /// Its last moment.
    pub not_after: UnixTime,
    /// Whether it is trusted and may be pinned.
    pub active: bool,
    /// Its key, sealed by the founder; empty once it was taken offline.
    pub key_sealed: Vec<u8>,
}

/// A node and the moment it should have renewed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueNode {
    /// Which node.
    pub node: SpiffeId,
    /// By when.
    pub renew_by: UnixTime,
}

/// One authenticated change of state, or the refusal of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its number; the first is 1.
    pub number: u64,
    /// When.
    pub at: UnixTime,
    /// SHA-256 of the record before it; of nothing for the first.
    pub previous: Sha256,
    /// Who asked; none where a token did.
    pub by: Option<SpiffeId>,
    /// What was done, or asked.
    pub event: Event,
    /// The code it was refused with, if it was.
    pub refused: Option<Code>,
}

/// What an audit record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The cluster was founded.
    Founded {
        /// Its name.
        cluster: ClusterName,
        /// Its root's key.
        root: Sha256,
    },
    /// A token was made.
    TokenCreated {
        /// Which.
        token: TokenId,
        /// The role it admits.
        role: Role,
        /// The id it names.
        id: Option<NodeId>,
        /// What its clients may.
        grant: Grant,
        /// How often it can be used.
        uses: u32,
    },
    /// A token was voided.
    TokenRevoked {
        /// Which.
        token: TokenId,
    },
    /// A node joined.
    Joined {
        /// Which.
        node: SpiffeId,
        /// The token it used.
        token: TokenId,
        /// Its certificate.
        cert: CertId,
        /// How many certificates of that id's former key were revoked with it.
        replaced: u32,
    },
    /// A node renewed.
    Renewed {
        /// The certificate it asked with.
        from: CertId,
        /// The certificate it was given; none if it was refused.
        cert: Option<CertId>,
    },
    /// A node was revoked.
    NodeRevoked {
        /// Which.
        node: SpiffeId,
        /// Why.
        reason: Reason,
    },
    /// A certificate was revoked.
    CertRevoked {
        /// Which.
        cert: CertId,
        /// Why.
        reason: Reason,
    },
    /// A manager got its number and its issuer.
    ManagerEnlisted {
        /// Which node it is.
        node: SpiffeId,
        /// Its number; zero if it was refused.
        member: u64,
    },
    /// A manager said where it is reached.
    ManagerAnnounced {
        /// Which.
        node: SpiffeId,
    },
    /// A manager that only learned is to vote.
    ManagerPromoted {
        /// Which.
        node: SpiffeId,
    },
    /// A manager was removed.
    ManagerRemoved {
        /// Which.
        node: SpiffeId,
        /// Whether its keys are known to others.
        compromised: bool,
    },
    /// The issuers of a manager that was removed are accepted no more.
    IssuersStruck {
        /// The number it had.
        member: u64,
    },
    /// A node was given an order.
    Directed {
        /// Which node.
        node: SpiffeId,
        /// What it shall do.
        directive: Directive,
    },
    /// An issuer was added.
    IssuerAdded {
        /// SHA-256 of its certificate.
        fingerprint: Sha256,
    },
    /// The root's key was taken offline.
    RootTakenOffline {
        /// The root's key.
        root: Sha256,
    },
    /// The root's key was brought back.
    RootBroughtOnline {
        /// The root's key.
        root: Sha256,
    },
    /// The cluster was restored from a backup.
    Restored {
        /// When the backup was made.
        made_at: UnixTime,
        /// The epoch it was made at.
        from: Epoch,
        /// The first epoch afterwards.
        to: Epoch,
        /// How many tokens were voided.
        tokens: u64,
    },
    /// The cluster was brought back from one manager.
    Recovered {
        /// How far that manager had come.
        from: Epoch,
        /// The first epoch afterwards.
        to: Epoch,
    },
    /// A certificate that was on no record was revoked.
    UnrecordedRevoked {
        /// Which.
        cert: CertId,
        /// Whose it said it was.
        node: SpiffeId,
        /// Why.
        reason: Reason,
    },
}
