//! Bundles, deltas and credentials, both ways.

use certus_pki::{Bundle, Change, Delta, Directive, IssuerRef, Revocation, Root, UnixTime};

use crate::convert::{
    Malformed, cert_id, cert_id_to_wire, epoch, epoch_to_wire, hash, identity, parsed, reason,
};
use crate::v1;

/// A bundle for the wire.
pub fn bundle_to_wire(bundle: &Bundle) -> v1::Bundle {
    v1::Bundle {
        cluster: bundle.cluster().map(ToString::to_string).unwrap_or_default(),
        epoch: Some(epoch_to_wire(bundle.epoch())),
        roots: bundle.roots().iter().map(|root| root.der().to_vec()).collect(),
        issuers: bundle.issuers().map(issuer_to_wire).collect(),
        revocations: bundle.revocations().map(revocation_to_wire).collect(),
        struck: bundle.struck().map(issuer_to_wire).collect(),
    }
}

/// A bundle from the wire.
pub fn bundle_from_wire(bundle: &v1::Bundle) -> Result<Bundle, Malformed> {
    let root = |der: &Vec<u8>| {
        Root::from_der(der).map_err(|error| Malformed::Field { field: "root", why: error.to_string() })
    };
    let roots = bundle.roots.iter().map(root).collect::<Result<Vec<_>, _>>()?;
    if roots.is_empty() {
        return Err(Malformed::Missing { field: "root" });
    }
    Ok(Bundle::new(
        parsed("cluster", &bundle.cluster)?,
        epoch(bundle.epoch.as_ref()),
        roots,
        bundle.issuers.iter().map(issuer_from_wire).collect::<Result<Vec<_>, _>>()?,
        bundle.revocations.iter().map(revocation_from_wire).collect::<Result<Vec<_>, _>>()?,
    )
    .with_struck(bundle.struck.iter().map(issuer_from_wire).collect::<Result<Vec<_>, _>>()?))
}

/// What an admitted or renewed node was given: its chain, leaf first, and, where it joined, the bundle.
pub fn credentials_from_wire(
    credentials: &v1::Credentials,
) -> Result<(Vec<Vec<u8>>, Option<Bundle>), Malformed> {
    if credentials.chain.len() < 2 {
        return Err(Malformed::Missing { field: "chain of leaf and issuer" });
    }
    let bundle = credentials.bundle.as_ref().map(bundle_from_wire).transpose()?;
    Ok((credentials.chain.clone(), bundle))
}

impl From<&Delta> for v1::Delta {
    fn from(delta: &Delta) -> v1::Delta {
        v1::Delta {
            epoch: Some(epoch_to_wire(delta.epoch)),
            changes: delta.changes.iter().map(change_to_wire).collect(),
        }
    }
}

impl TryFrom<&v1::Delta> for Delta {
    type Error = Malformed;

    fn try_from(delta: &v1::Delta) -> Result<Delta, Malformed> {
        Ok(Delta {
            epoch: epoch(delta.epoch.as_ref()),
            changes: delta.changes.iter().map(change_from_wire).collect::<Result<_, _>>()?,
        })
    }
}

fn change_to_wire(change: &Change) -> v1::Change {
    use v1::change::Kind;
    let kind = match change {
        Change::Revoked(revocation) => Kind::Revoked(revocation_to_wire(revocation)),
        Change::IssuerAdded(issuer) => Kind::IssuerAdded(issuer_to_wire(issuer)),
        Change::IssuerRemoved(key_hash) => Kind::IssuerRemoved(key_hash.as_bytes().to_vec()),
        Change::Direct { node, directive } => Kind::Direct(v1::Directive {
            node: node.to_string(),
            kind: match directive {
                Directive::RenewNow => v1::directive::Kind::RenewNow.into(),
                Directive::Removed => v1::directive::Kind::Removed.into(),
            },
        }),
    };
    v1::Change { kind: Some(kind) }
}

fn change_from_wire(change: &v1::Change) -> Result<Change, Malformed> {
    use v1::change::Kind;
    match change.kind.as_ref().ok_or(Malformed::Missing { field: "kind of change" })? {
        Kind::Revoked(revocation) => Ok(Change::Revoked(revocation_from_wire(revocation)?)),
        Kind::IssuerAdded(issuer) => Ok(Change::IssuerAdded(issuer_from_wire(issuer)?)),
        Kind::IssuerRemoved(key_hash) => Ok(Change::IssuerRemoved(hash("issuer", key_hash)?)),
        Kind::Direct(direct) => {
            let directive = match direct.kind() {
                v1::directive::Kind::RenewNow => Directive::RenewNow,
                v1::directive::Kind::Removed => Directive::Removed,
                v1::directive::Kind::Unspecified => {
                    return Err(Malformed::Missing { field: "kind of directive" });
                }
            };
            Ok(Change::Direct { node: identity("node", &direct.node)?, directive })
        }
    }
}

fn issuer_to_wire(issuer: &IssuerRef) -> v1::Issuer {
    v1::Issuer { key_hash: issuer.key_hash.as_bytes().to_vec(), not_after: issuer.not_after.secs() }
}

fn issuer_from_wire(issuer: &v1::Issuer) -> Result<IssuerRef, Malformed> {
    let key_hash = hash("issuer", &issuer.key_hash)?;
    Ok(IssuerRef { key_hash, not_after: UnixTime::from_secs(issuer.not_after) })
}

fn revocation_to_wire(revocation: &Revocation) -> v1::Revocation {
    v1::Revocation {
        cert: Some(cert_id_to_wire(revocation.cert)),
        at: revocation.at.secs(),
        reason: revocation.reason.number().into(),
        not_after: revocation.not_after.secs(),
    }
}

fn revocation_from_wire(revocation: &v1::Revocation) -> Result<Revocation, Malformed> {
    Ok(Revocation {
        cert: cert_id(revocation.cert.as_ref())?,
        at: UnixTime::from_secs(revocation.at),
        reason: reason(revocation.reason)?,
        not_after: UnixTime::from_secs(revocation.not_after),
    })
}
