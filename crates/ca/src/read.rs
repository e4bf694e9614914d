//! Reading a cluster's truth: single rows, pages of lists, what watchers are owed.
//!
//! Every function reads one consistent [`View`] and decides nothing.

mod list;

pub use list::{
    CertFilter, CertOrder, Cursor, NodeFilter, Page, active_nodes, audit, certs, certs_by_serial, due,
    find_node, newest_of_issuer, nodes, tokens,
};

use std::ops::Bound;

use certus_pki::{
    Bundle, CertId, Delta, Epoch, IssuerRef, Revocation, Root, Sha256, SpiffeId, TokenId, UnixTime,
};

use crate::format::Document;
use crate::limits::CHUNK;
use crate::record::{
    CertRecord, ClusterState, IssuerRecord, ManagerRecord, NodeRecord, RootRecord, TokenRecord,
};
use crate::store::{Fault, Table, View};
use crate::tables::{Counters, Founding, META_COUNTERS, META_FOUNDING, decode, get, key, must, walk};

/// The cluster as a whole; none before it is founded.
pub fn cluster(view: &dyn View) -> Result<Option<ClusterState>, Fault> {
    let Some(founding) = get::<Founding>(view, Table::Meta, META_FOUNDING)? else { return Ok(None) };
    let counters: Counters = must(view, Table::Meta, META_COUNTERS)?;
    Ok(Some(ClusterState {
        name: founding.name,
        settings: founding.settings,
        founded_at: founding.founded_at,
        epoch: counters.epoch,
        last_at: counters.last_at,
    }))
}

/// How far trust has come; zero before the cluster is founded.
pub fn epoch(view: &dyn View) -> Result<Epoch, Fault> {
    let counters = get::<Counters>(view, Table::Meta, META_COUNTERS)?;
    Ok(counters.map_or_else(Epoch::default, |counters| counters.epoch))
}

/// The revision of the last change; zero before the cluster is founded.
pub fn revision(view: &dyn View) -> Result<u64, Fault> {
    Ok(epoch(view)?.revision)
}

/// What a node trusts now; none before the cluster is founded. Revocations of certificates that have
/// ended are left out.
pub fn bundle(view: &dyn View) -> Result<Option<Bundle>, Fault> {
    let Some(cluster) = cluster(view)? else { return Ok(None) };
    let mut trusted = Vec::new();
    for record in roots(view)?.into_iter().filter(|root| root.active) {
        let broken = |error: certus_pki::cert::BadCertificate| Fault {
            table: Table::Roots,
            what: format!("a root cannot be read: {error}"),
        };
        trusted.push(Root::from_der(&record.der).map_err(broken)?);
    }
    let (active, inactive): (Vec<_>, Vec<_>) = issuers(view)?.into_iter().partition(|issuer| issuer.active);
    let reference =
        |issuer: IssuerRecord| IssuerRef { key_hash: issuer.key_hash, not_after: issuer.not_after };
    let struck = inactive.into_iter().filter(|issuer| issuer.not_after >= cluster.last_at).map(reference);
    let active = active.into_iter().map(reference);
    let mut revoked = Vec::new();
    walk(view, Table::Revoked, Bound::Unbounded, Bound::Unbounded, CHUNK, |(_, value)| {
        let revocation = decode::<Revocation>(Table::Revoked, &value)?;
        revoked.extend((revocation.not_after >= cluster.last_at).then_some(revocation));
        Ok(true)
    })?;
    Ok(Some(Bundle::new(cluster.name, cluster.epoch, trusted, active, revoked).with_struck(struck)))
}

/// What a watcher that has come to some epoch is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deltas {
    /// Nothing; or this manager is behind the watcher and has nothing to tell it.
    UpToDate,
    /// These, in order and without a gap. More may follow.
    Changed(Vec<Delta>),
    /// What it lacks is no longer kept, or it comes from another generation: it takes the whole bundle.
    TooOld,
}

/// At most `limit` changes after `since`.
pub fn deltas_since(view: &dyn View, since: Epoch, limit: usize) -> Result<Deltas, Fault> {
    let now = epoch(view)?;
    if since >= now {
        return Ok(Deltas::UpToDate);
    }
    if since.generation != now.generation {
        return Ok(Deltas::TooOld);
    }
    let from = key::number(since.revision + 1);
    let limit = limit.clamp(1, crate::limits::PAGE_MAX);
    let rows = view.scan(Table::Changes, Bound::Included(&from), Bound::Unbounded, limit)?;
    if rows.first().is_none_or(|(key, _)| *key != from) {
        return Ok(Deltas::TooOld);
    }
    let deltas = rows.iter().map(|(_, value)| decode(Table::Changes, value));
    deltas.collect::<Result<_, _>>().map(Deltas::Changed)
}

/// The node with this identity.
pub fn node(view: &dyn View, identity: &SpiffeId) -> Result<Option<NodeRecord>, Fault> {
    let record = get::<NodeRecord>(view, Table::Nodes, &key::node(identity))?;
    // The key does not hold the cluster's name.
    Ok(record.filter(|record| record.identity == *identity))
}

/// The certificate with this name.
pub fn cert(view: &dyn View, id: &CertId) -> Result<Option<CertRecord>, Fault> {
    get(view, Table::Certs, &key::cert(id))
}

/// A node's newest certificate.
pub fn latest_cert(view: &dyn View, identity: &SpiffeId) -> Result<Option<CertRecord>, Fault> {
    match node(view, identity)? {
        Some(record) => must(view, Table::Certs, &key::cert(&record.newest)).map(Some),
        None => Ok(None),
    }
}

/// The token with this public id.
pub fn token(view: &dyn View, id: &TokenId) -> Result<Option<TokenRecord>, Fault> {
    get(view, Table::Tokens, &key::token(id))
}

/// The issuer with this key.
pub fn issuer(view: &dyn View, key_hash: &Sha256) -> Result<Option<IssuerRecord>, Fault> {
    get(view, Table::Issuers, key_hash.as_bytes())
}

/// Every issuer there ever was, by key.
pub fn issuers(view: &dyn View) -> Result<Vec<IssuerRecord>, Fault> {
    all(view, Table::Issuers)
}

/// Every manager there ever was, by number; those that were removed too.
pub fn managers(view: &dyn View) -> Result<Vec<ManagerRecord>, Fault> {
    all(view, Table::Managers)
}

/// The manager that this node is now.
pub fn manager(view: &dyn View, node: &SpiffeId) -> Result<Option<ManagerRecord>, Fault> {
    let mut present = managers(view)?.into_iter().filter(|manager| manager.removed_at.is_none());
    Ok(present.find(|manager| manager.node == *node))
}

/// Every root there ever was, by key.
pub fn roots(view: &dyn View) -> Result<Vec<RootRecord>, Fault> {
    all(view, Table::Roots)
}

/// The root with this key.
pub fn root(view: &dyn View, key_hash: &Sha256) -> Result<Option<RootRecord>, Fault> {
    get(view, Table::Roots, key_hash.as_bytes())
}

/// One digest over every row of every table: equal logs give equal digests (I2).
pub fn state_hash(view: &dyn View) -> Result<Sha256, Fault> {
    let mut hash = Sha256::of(b"certus state 1");
    for table in Table::ALL {
        walk(view, table, Bound::Unbounded, Bound::Unbounded, CHUNK, |(key, value)| {
            let name = table.name().as_bytes();
            let mut bytes = hash.as_bytes().to_vec();
            for part in [name, &key, &value] {
                bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
                bytes.extend_from_slice(part);
            }
            hash = Sha256::of(&bytes);
            Ok(true)
        })?;
    }
    Ok(hash)
}

/// The node's certificates that are neither revoked nor ended at `at`, oldest first. `lifetime` is the
/// longest that any of them was given.
pub fn live_certs(
    view: &dyn View,
    identity: &SpiffeId,
    lifetime: certus_pki::Lifetime,
    at: UnixTime,
) -> Result<Vec<CertRecord>, Fault> {
    let since = at.minus(lifetime).minus(crate::limits::PLAN_TOLERANCE);
    let from = key::by_node_from(identity, since);
    let to = key::after_prefix(&key::by_node_prefix(identity));
    let mut live = Vec::new();
    walk(view, Table::ByNode, Bound::Included(&from), Bound::Excluded(&to), CHUNK, |(row, _)| {
        let id = key::cert_at_end(Table::ByNode, &row)?;
        let record: CertRecord = must(view, Table::Certs, &key::cert(&id))?;
        live.extend(record.is_live(at).then_some(record));
        Ok(true)
    })?;
    Ok(live)
}

/// Every row of a table that stays small.
fn all<T: Document>(view: &dyn View, table: Table) -> Result<Vec<T>, Fault> {
    let mut found = Vec::new();
    walk(view, table, Bound::Unbounded, Bound::Unbounded, CHUNK, |(_, value)| {
        found.push(decode(table, &value)?);
        Ok(true)
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests;
