//! What a node trusts now: roots, issuers, revocations, with an epoch that only grows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rustls_pki_types::CertificateDer;

use crate::cert::{BadCertificate, Certificate};
use crate::hash::Sha256;
use crate::name::{ClusterName, SpiffeId};
use crate::revoke::{CertId, Revocation};
use crate::time::UnixTime;

/// How far trust has come: the cluster's generation, which a restore raises, and the revision of the
/// last change in it. Only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// Raised by every restore of the cluster from a backup.
    pub generation: u64,
    /// The revision of the last change.
    pub revision: u64,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation, self.revision)
    }
}

/// A trusted root. webpki's anchors carry no validity, so it stands beside the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    der: Vec<u8>,
    key_hash: Sha256,
    not_before: UnixTime,
    not_after: UnixTime,
}

impl Root {
    /// The root in a CA certificate that can anchor a chain. That it signed itself is not checked: whoever
    /// hands a root over vouches for it.
    pub fn from_der(der: &[u8]) -> Result<Root, BadCertificate> {
        let certificate = Certificate::from_der(der)?;
        if !certificate.is_ca {
            let why = "a root must be a CA certificate (basicConstraints CA:true)".to_owned();
            return Err(BadCertificate::Malformed { why });
        }
        // One root that webpki cannot read would refuse every peer.
        if let Err(error) = webpki::anchor_from_trusted_cert(&CertificateDer::from(der)) {
            return Err(BadCertificate::Malformed { why: format!("it cannot anchor a chain: {error}") });
        }
        Ok(Root {
            key_hash: certificate.key_hash(),
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            der: certificate.der,
        })
    }

    /// The certificate.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of its key's SubjectPublicKeyInfo: what tokens pin.
    pub fn key_hash(&self) -> Sha256 {
        self.key_hash
    }

    /// Its first moment.
    pub fn not_before(&self) -> UnixTime {
        self.not_before
    }

    /// Its last moment.
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// Whether it may anchor a chain at `now`.
    pub fn valid_at(&self, now: UnixTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

/// An issuer that leaves are accepted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IssuerRef {
    /// SHA-256 of its key's SubjectPublicKeyInfo.
    pub key_hash: Sha256,
    /// Its last moment.
    pub not_after: UnixTime,
}

/// What a node trusts now. Changed only by [`Bundle::apply`]; snapshots are compared by epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// None where authorities of no cluster are trusted: then peers need no identity of ours.
    cluster: Option<ClusterName>,
    epoch: Epoch,
    roots: Vec<Root>,
    issuers: BTreeSet<IssuerRef>,
    /// Those that were struck before their end: whoever calls managers by their root alone must know them.
    struck: BTreeSet<IssuerRef>,
    revoked: BTreeMap<CertId, Revocation>,
}

impl Bundle {
    /// A bundle as a manager hands it out.
    pub fn new(
        cluster: ClusterName,
        epoch: Epoch,
        roots: Vec<Root>,
        issuers: impl IntoIterator<Item = IssuerRef>,
        revoked: impl IntoIterator<Item = Revocation>,
    ) -> Bundle {
        Bundle {
            cluster: Some(cluster),
            epoch,
            roots,
            issuers: issuers.into_iter().collect(),
            struck: BTreeSet::new(),
            revoked: revoked.into_iter().map(|revocation| (revocation.cert, revocation)).collect(),
        }
    }

    /// What is trusted where there is no cluster: whatever one of these roots stands above. With no
    /// root, nobody is verified.
    pub fn of_authorities(
        epoch: Epoch,
        roots: Vec<Root>,
        revoked: impl IntoIterator<Item = Revocation>,
    ) -> Bundle {
        Bundle {
            cluster: None,
            epoch,
            roots,
            issuers: BTreeSet::new(),
            struck: BTreeSet::new(),
            revoked: revoked.into_iter().map(|revocation| (revocation.cert, revocation)).collect(),
        }
    }

    /// The same bundle, with issuers that were struck and have not ended.
    #[must_use]
    pub fn with_struck(mut self, struck: impl IntoIterator<Item = IssuerRef>) -> Bundle {
        self.struck = struck.into_iter().collect();
        self
    }

    /// The cluster whose trust it is, if it is one's.
    pub fn cluster(&self) -> Option<&ClusterName> {
        self.cluster.as_ref()
    }

    /// The cluster's name for people, or that there is none.
    pub fn domain(&self) -> String {
        self.cluster.as_ref().map_or_else(|| "no cluster".to_owned(), ClusterName::to_string)
    }

    /// How far it has come.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The trusted roots.
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// The issuers that leaves are accepted from.
    pub fn issuers(&self) -> impl ExactSizeIterator<Item = &IssuerRef> {
        self.issuers.iter()
    }

    /// Whether leaves of the issuer with this key are accepted, if it stands below a root: those that
    /// a cluster names, and every one where there is no cluster.
    pub fn has_issuer(&self, key_hash: &Sha256) -> bool {
        self.cluster.is_none() || self.issuers.iter().any(|issuer| issuer.key_hash == *key_hash)
    }

    /// The issuers that were struck before their end.
    pub fn struck(&self) -> impl ExactSizeIterator<Item = &IssuerRef> {
        self.struck.iter()
    }

    /// Whether the issuer with this key was struck: not merely unheard of, but trusted no more.
    pub fn has_struck(&self, key_hash: &Sha256) -> bool {
        self.struck.iter().any(|issuer| issuer.key_hash == *key_hash)
    }

    /// The revocations in force.
    pub fn revocations(&self) -> impl ExactSizeIterator<Item = &Revocation> {
        self.revoked.values()
    }

    /// The revocation of `cert`, if it was revoked.
    pub fn revocation(&self, cert: &CertId) -> Option<&Revocation> {
        self.revoked.get(cert)
    }

    /// Takes one change over. A delta of an epoch that is not newer changes nothing (I5).
    pub fn apply(&mut self, delta: &Delta) {
        if delta.epoch <= self.epoch {
            return;
        }
        self.epoch = delta.epoch;
        for change in &delta.changes {
            match change {
                Change::Revoked(revocation) => {
                    self.revoked.insert(revocation.cert, *revocation);
                }
                Change::IssuerAdded(issuer) => {
                    self.struck.remove(issuer);
                    self.issuers.insert(*issuer);
                }
                Change::IssuerRemoved(key_hash) => {
                    let removed = |issuer: &&IssuerRef| issuer.key_hash == *key_hash;
                    let gone: Vec<IssuerRef> = self.issuers.iter().filter(removed).copied().collect();
                    for issuer in gone {
                        self.issuers.remove(&issuer);
                        self.struck.insert(issuer);
                    }
                }
                Change::Direct { .. } => {}
            }
        }
    }

    /// Forgets revocations of certificates, and struck issuers, that ended before `now`: their end refuses them.
    ///
    /// Never of one that had not ended when the newest revocation was made: that moment is the cluster's
    /// time, and a clock that runs ahead, and is set right later, must not bring a revoked peer back.
    pub fn forget_ended(&mut self, now: UnixTime) {
        let Some(newest) = self.revoked.values().map(|revocation| revocation.at).max() else { return };
        let now = now.min(newest);
        self.revoked.retain(|_, revocation| revocation.not_after >= now);
        self.struck.retain(|issuer| issuer.not_after >= now);
    }
}

/// Everything that changed at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The epoch at which these changes are in force.
    pub epoch: Epoch,
    /// What changed.
    pub changes: Vec<Change>,
}

/// One change of trust, or an order to one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A certificate was revoked.
    Revoked(Revocation),
    /// Leaves of this issuer are accepted from now on.
    IssuerAdded(IssuerRef),
    /// Leaves of the issuer with this key are no longer accepted.
    IssuerRemoved(Sha256),
    /// One node shall do something.
    Direct {
        /// Which node.
        node: SpiffeId,
        /// What it shall do.
        directive: Directive,
    },
}

/// What a manager can order a node to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// Renew with a fresh key, now.
    RenewNow,
    /// The node's certificates were revoked: it is no longer of the cluster.
    Removed,
}
