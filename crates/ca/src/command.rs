//! What can be asked of a cluster, and what it answers: the closed list of commands that the log
//! carries.
//!
//! Everything a command needs arrives inside it: times, serials and signed certificates are made by
//! whoever proposes it, so that every replica decides alike (I2).

use certus_pki::defaults::{ISSUER_OVER_LEAF, LEAF_LIFETIME, LEAF_LIFETIME_MIN, ROOT_LIFETIME};
use certus_pki::{
    CertId, ClusterName, Directive, Epoch, Grant, LeafPlan, Lifetime, NodeId, PublicKey, Reason, Role, San,
    Sha256, SpiffeId, TokenId, UnixTime, Validity,
};

use crate::refusal::Refusal;

/// One change of the cluster's truth, decided by [`decide`](crate::decide) on every replica. Closed on
/// purpose: it is the table of contents of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Founds the cluster. Everything before it is refused, and a second one too.
    Genesis(Genesis),
    /// Makes a token.
    CreateToken(CreateToken),
    /// Voids a token.
    RevokeToken {
        /// Which one.
        token: TokenId,
        /// Who asked.
        by: SpiffeId,
    },
    /// Records a joining node's certificate.
    Admit {
        /// What the node asked.
        ask: JoinAsk,
        /// The time its certificate was planned at.
        planned_at: UnixTime,
        /// Its certificate, signed.
        der: Vec<u8>,
    },
    /// Records a renewed certificate.
    Renew {
        /// What the node asked.
        ask: RenewAsk,
        /// The time its certificate was planned at.
        planned_at: UnixTime,
        /// Its certificate, signed.
        der: Vec<u8>,
    },
    /// Revokes a node with all it has, or one certificate.
    Revoke {
        /// Which.
        target: Target,
        /// Why.
        reason: Reason,
        /// Who asked.
        by: SpiffeId,
    },
    /// Orders a node to do something.
    Direct {
        /// Which node.
        node: SpiffeId,
        /// What it shall do.
        directive: Directive,
        /// Who asked.
        by: SpiffeId,
    },
    /// Lets leaves of one more issuer be accepted.
    AddIssuer {
        /// The issuer's certificate, signed by an active root.
        der: Vec<u8>,
        /// Who asked.
        by: SpiffeId,
    },
    /// Gives a node of role manager its number and its issuer: from here on it may replicate and sign.
    Enlist(Enlist),
    /// Says where a manager is reached. The first one of all makes the founder a manager with a number.
    Announce {
        /// Which manager: it speaks for itself.
        node: SpiffeId,
        /// Where the others reach it, `host:port`.
        address: String,
    },
    /// Lets a manager that only learns vote.
    Promote {
        /// Which manager.
        node: SpiffeId,
        /// Who asked.
        by: SpiffeId,
    },
    /// Ends a manager: revoked, and no longer one of those that replicate.
    RemoveManager {
        /// Which manager.
        node: SpiffeId,
        /// Whether its keys are known to others: then its issuers are struck in the same moment.
        compromised: bool,
        /// Who asked.
        by: SpiffeId,
    },
    /// Strikes the issuers of a manager that was removed.
    StrikeIssuers {
        /// The number it had.
        member: u64,
        /// Who asked.
        by: SpiffeId,
    },
    /// Forgets the root's sealed key: from now on it is in a file of the operator's alone.
    TakeRootOffline {
        /// The root's key.
        root: Sha256,
        /// Who asked.
        by: SpiffeId,
    },
    /// Keeps the root's key again, sealed anew.
    BringRootOnline {
        /// The root's key.
        root: Sha256,
        /// Its private key, sealed by the manager that was given it; never opened here.
        key_sealed: Vec<u8>,
        /// Who asked.
        by: SpiffeId,
    },
    /// Begins a new generation after the state was put back from a backup: no epoch repeats (I5), and no
    /// token of the backup admits anybody.
    Restore {
        /// When the backup was made.
        made_at: UnixTime,
        /// The manager that it was restored to.
        by: SpiffeId,
    },
    /// Begins a new generation after one manager was made the only one: others may have committed what it
    /// does not know.
    Recover {
        /// That manager.
        by: SpiffeId,
    },
    /// Revokes a certificate that is on no record: issued after the backup that the cluster was restored
    /// from.
    RevokeUnrecorded {
        /// What was seen of it.
        cert: UnrecordedCert,
        /// Why.
        reason: Reason,
        /// Who asked.
        by: SpiffeId,
    },
}

/// A node of role manager that is to replicate and to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enlist {
    /// Which node.
    pub node: SpiffeId,
    /// Where the other managers reach it, `host:port`.
    pub address: String,
    /// Its issuer's certificate, signed by an active root.
    pub issuer_der: Vec<u8>,
    /// Whether it shall vote as soon as it has caught up.
    pub voter: bool,
    /// Who asked: the manager that signed the issuer.
    pub by: SpiffeId,
}

/// A certificate that an issuer of the cluster signed, as a manager saw it in a handshake, and that is on no
/// record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnrecordedCert {
    /// Its name.
    pub cert: CertId,
    /// Whose it says it is.
    pub node: SpiffeId,
    /// SHA-256 of its key's SubjectPublicKeyInfo.
    pub key_hash: Sha256,
    /// Its last moment.
    pub not_after: UnixTime,
}

/// What a cluster is founded with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// Its name.
    pub cluster: ClusterName,
    /// How long what it issues lives.
    pub settings: Settings,
    /// Its root.
    pub root_der: Vec<u8>,
    /// The root's key, sealed by the founder; never opened here.
    pub root_key_sealed: Vec<u8>,
    /// The founding manager's issuer.
    pub issuer_der: Vec<u8>,
    /// The founding manager's leaf.
    pub manager_der: Vec<u8>,
    /// The operator's client leaf; it is granted `admin`.
    pub operator_der: Vec<u8>,
    /// Raised by every restore from a backup; zero for a new cluster.
    pub generation: u64,
}

/// What a token shall admit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateToken {
    /// SHA-256 of its secret.
    pub secret_hash: Sha256,
    /// The key of the active root that it pins.
    pub root: Sha256,
    /// The role it admits.
    pub role: Role,
    /// The one id it admits, if it names one.
    pub id: Option<NodeId>,
    /// DNS names and addresses that its nodes carry.
    pub sans: Vec<San>,
    /// How long it can be used.
    pub ttl: Lifetime,
    /// How often it can be used.
    pub uses: u32,
    /// Whether it may take the id it names over from another key.
    pub replace: bool,
    /// What a client that joins with it may ask of the managers.
    pub grant: Grant,
    /// Who asked.
    pub by: SpiffeId,
}

/// What a joining node asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinAsk {
    /// SHA-256 of its token's secret.
    pub secret_hash: Sha256,
    /// The role it wants.
    pub role: Role,
    /// The id it wants.
    pub id: NodeId,
    /// The key it has shown to hold.
    pub public_key: PublicKey,
}

/// What a renewing node asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewAsk {
    /// Who asks.
    pub node: SpiffeId,
    /// The certificate it authenticated with.
    pub from: CertId,
    /// Its new key, which it has shown to hold.
    pub public_key: PublicKey,
}

/// What a revocation is aimed at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A node, with every certificate it has.
    Node(SpiffeId),
    /// One certificate.
    Cert(CertId),
}

/// What a node is to be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// A new certificate, to be signed as planned.
    New(LeafPlan),
    /// The certificate that the same question was answered with before.
    Again {
        /// That certificate.
        der: Vec<u8>,
    },
}

/// What a command that was carried out is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The cluster exists from now on.
    Founded {
        /// Its first epoch.
        epoch: Epoch,
    },
    /// The token exists.
    TokenCreated {
        /// The name it is listed under.
        token: TokenId,
        /// When it ends.
        expires_at: UnixTime,
    },
    /// The token admits nobody any more.
    TokenRevoked {
        /// Which one.
        token: TokenId,
    },
    /// The node is of the cluster, with this certificate.
    Admitted(Issued),
    /// The node has this new certificate.
    Renewed(Issued),
    /// These certificates are revoked.
    Revoked {
        /// Whose they were.
        node: SpiffeId,
        /// Which.
        certs: Vec<CertId>,
        /// The revision that carries it to watchers.
        revision: u64,
    },
    /// The order is given.
    Directed {
        /// The revision that carries it to watchers.
        revision: u64,
    },
    /// Leaves of the issuer are accepted.
    IssuerAdded {
        /// The issuer's key.
        key_hash: Sha256,
        /// The revision that carries it to watchers.
        revision: u64,
    },
    /// The manager has this number, and its issuer is accepted.
    Enlisted {
        /// Its number, which nobody had before.
        member: u64,
        /// The revision that carries its issuer to watchers.
        revision: u64,
    },
    /// The manager is reached there.
    Announced {
        /// Its number.
        member: u64,
    },
    /// The manager is to vote.
    Promoted {
        /// Its number.
        member: u64,
    },
    /// The manager is no longer one.
    ManagerRemoved {
        /// Its number, if it ever had one.
        member: Option<u64>,
        /// The certificates that were revoked.
        certs: Vec<CertId>,
        /// The revision that carries it to watchers.
        revision: u64,
    },
    /// Leaves of these issuers are accepted no more.
    IssuersStruck {
        /// Which.
        issuers: Vec<Sha256>,
        /// The revision that carries it to watchers.
        revision: u64,
    },
    /// The cluster no longer holds the root's key.
    RootTakenOffline {
        /// The root's key.
        root: Sha256,
    },
    /// The cluster holds the root's key again.
    RootBroughtOnline {
        /// The root's key.
        root: Sha256,
    },
    /// A new generation began from a backup.
    Restored {
        /// Its first epoch.
        epoch: Epoch,
        /// How many tokens were voided.
        tokens: u64,
    },
    /// A new generation began from one manager that was left.
    Recovered {
        /// Its first epoch.
        epoch: Epoch,
    },
}

/// A certificate that is on record, and may leave (I4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Whose it is.
    pub node: SpiffeId,
    /// Its name.
    pub cert: CertId,
    /// The certificate.
    pub der: Vec<u8>,
    /// Whether it was on record before, and this is a retry's answer. The one that came with the
    /// command is then on no record and must not be handed out.
    pub again: bool,
}

/// How long what a cluster issues lives. Fixed at its founding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Lifetime of managers' and workers' certificates.
    pub leaf_lifetime: Lifetime,
    /// Lifetime of issuers.
    pub issuer_lifetime: Lifetime,
}

impl Settings {
    /// How long a certificate for `role` lives.
    ///
    /// A client is a person who may be away for weeks, so it is not made to renew at the pace of
    /// daemons: its certificate lives the default lifetime, or as much of it as the issuer leaves.
    pub fn lifetime_of(&self, role: Role) -> Lifetime {
        match role {
            Role::Manager | Role::Worker => self.leaf_lifetime,
            Role::Client => {
                let third = Lifetime::from_secs(self.issuer_lifetime.secs() / ISSUER_OVER_LEAF);
                LEAF_LIFETIME.min(third).max(self.leaf_lifetime)
            }
        }
    }

    /// The plan of a certificate for `identity` made at `at`: what founding needs to write one that
    /// [`Genesis`] accepts, and what every later plan is made with.
    pub fn plan(&self, identity: SpiffeId, public_key: PublicKey, sans: Vec<San>, at: UnixTime) -> LeafPlan {
        let validity = Validity::starting(at, self.lifetime_of(identity.role));
        LeafPlan { identity, public_key, sans, validity }
    }
}

/// Whether a cluster may be founded with `settings`: to be asked before anything is made.
///
/// # Errors
/// [`Refusal::IssuerTooShort`] or [`Refusal::OutOfBounds`].
pub fn check_settings(settings: &Settings) -> Result<(), Refusal> {
    let (leaf, issuer) = (settings.leaf_lifetime, settings.issuer_lifetime);
    if leaf < LEAF_LIFETIME_MIN {
        return Err(Refusal::out_of_bounds("leaf lifetime", format!("at least {LEAF_LIFETIME_MIN}"), leaf));
    }
    if u64::from(issuer.secs()) < u64::from(leaf.secs()) * u64::from(ISSUER_OVER_LEAF) {
        return Err(Refusal::IssuerTooShort { issuer_lifetime: issuer, leaf_lifetime: leaf });
    }
    if issuer > ROOT_LIFETIME {
        return Err(Refusal::out_of_bounds("issuer lifetime", format!("at most {ROOT_LIFETIME}"), issuer));
    }
    Ok(())
}
