//! Lists: pages with a cursor. A filter without an index reads a bounded number of rows a page, and a
//! page may come back short, even empty, with a cursor to go on from.

use std::ops::Bound;

use certus_pki::{NodeId, Role, Serial, Sha256, SpiffeId, UnixTime};

use super::{cert, cluster, issuers, node};
use crate::format::Document;
use crate::limits::{CHUNK, PAGE_MAX, ROWS_READ_MAX};
use crate::record::{AuditRecord, CertRecord, DueNode, NodeRecord, NodeState, TokenRecord};
use crate::store::{Fault, Row, Table, View};
use crate::tables::{decode, key, must, walk};

/// Where a list goes on: the last key that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Vec<u8>);

impl Cursor {
    /// A cursor that came back from a caller.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Cursor {
        Cursor(bytes.into())
    }

    /// Its bytes, to be handed to a caller.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What was found.
    pub items: Vec<T>,
    /// Where to go on; none at the end.
    pub next: Option<Cursor>,
}

/// Which nodes are listed. The default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFilter {
    /// Only of this role.
    pub role: Option<Role>,
    /// Only those that are of the cluster, not those that were revoked.
    pub active: bool,
}

/// Which certificates are listed. The default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertFilter {
    /// Only this node's, oldest first; otherwise the list goes by expiry.
    pub node: Option<SpiffeId>,
    /// Only those that end before this moment.
    pub expiring_before: Option<UnixTime>,
    /// Only those neither revoked nor ended at this moment.
    pub live_at: Option<UnixTime>,
    /// Only the newest of each node.
    pub newest: bool,
}

/// Nodes by role and id.
pub fn nodes(
    view: &dyn View,
    filter: &NodeFilter,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Page<NodeRecord>, Fault> {
    page(view, Range::all(Table::Nodes), after, limit, |(_, value)| {
        let record: NodeRecord = decode(Table::Nodes, value)?;
        let wanted = filter.role.is_none_or(|role| record.identity.role == role)
            && (!filter.active || record.state == NodeState::Active);
        Ok(wanted.then_some(record))
    })
}

/// How many nodes are of the cluster. Managers and workers are not gone through: each that is active is held
/// to one deadline, and the deadlines are counted. Clients are few.
pub fn active_nodes(view: &dyn View) -> Result<u64, Fault> {
    let mut count = view.rows(Table::Due)?;
    let (from, to) = (key::role(Role::Client), key::after_prefix(&key::role(Role::Client)));
    walk(view, Table::Nodes, Bound::Included(&from), Bound::Excluded(&to), CHUNK, |(_, row)| {
        let client: NodeRecord = decode(Table::Nodes, &row)?;
        count += u64::from(client.state == NodeState::Active);
        Ok(true)
    })?;
    Ok(count)
}

/// The nodes with this id, whatever their role: a person says `web-2`.
pub fn find_node(view: &dyn View, id: &NodeId) -> Result<Vec<NodeRecord>, Fault> {
    let Some(cluster) = cluster(view)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for role in Role::ALL {
        let identity = SpiffeId { cluster: cluster.name.clone(), role, id: id.clone() };
        found.extend(node(view, &identity)?);
    }
    Ok(found)
}

/// Nodes whose newest certificate, live at `at`, is of the issuer with this key: at most `limit`, of the
/// certificates after `after`.
pub fn newest_of_issuer(
    view: &dyn View,
    issuer: &Sha256,
    at: UnixTime,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Page<SpiffeId>, Fault> {
    let from = issuer.as_bytes().to_vec();
    // Behind the last serial there can be.
    let to = [&from[..], &[0xff; Serial::BYTES_MAX + 1]].concat();
    let range = Range { table: Table::Certs, from, to: Some(to) };
    page(view, range, after, limit, |(_, row)| {
        let record: CertRecord = decode(Table::Certs, row)?;
        let newest = record.is_live(at)
            && node(view, &record.node)?
                .is_some_and(|node| node.newest == record.cert && node.state == NodeState::Active);
        Ok(newest.then_some(record.node))
    })
}

/// Certificates, by expiry or of one node.
pub fn certs(
    view: &dyn View,
    filter: &CertFilter,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Page<CertRecord>, Fault> {
    let range = match &filter.node {
        Some(identity) => {
            let prefix = key::by_node_prefix(identity);
            Range { table: Table::ByNode, to: Some(key::after_prefix(&prefix)), from: prefix }
        }
        None => Range {
            table: Table::ByExpiry,
            from: filter.live_at.map(|at| key::time(at).to_vec()).unwrap_or_default(),
            to: filter.expiring_before.map(|before| key::time(before).to_vec()),
        },
    };
    let table = range.table;
    page(view, range, after, limit, |(row, _)| {
        let id = key::cert_at_end(table, row)?;
        let record: CertRecord = must(view, Table::Certs, &key::cert(&id))?;
        let wanted = filter.live_at.is_none_or(|at| record.is_live(at))
            && filter.expiring_before.is_none_or(|before| record.not_after < before)
            && (!filter.newest || node(view, &record.node)?.is_some_and(|node| node.newest == record.cert));
        Ok(wanted.then_some(record))
    })
}

/// The certificates with this serial number, one for each issuer that used it: one, by I5.
pub fn certs_by_serial(view: &dyn View, serial: &Serial) -> Result<Vec<CertRecord>, Fault> {
    let mut found = Vec::new();
    for issuer in issuers(view)? {
        found.extend(cert(view, &certus_pki::CertId { issuer: issuer.key_hash, serial: *serial })?);
    }
    Ok(found)
}

/// Tokens by id.
pub fn tokens(view: &dyn View, after: Option<&Cursor>, limit: usize) -> Result<Page<TokenRecord>, Fault> {
    every(view, Table::Tokens, after, limit)
}

/// Audit records, oldest first.
pub fn audit(view: &dyn View, after: Option<&Cursor>, limit: usize) -> Result<Page<AuditRecord>, Fault> {
    every(view, Table::Audit, after, limit)
}

/// At most `limit` managers and workers that should have renewed before `before`, longest overdue
/// first. Clients are not waited for: they renew when they are used.
pub fn due(view: &dyn View, before: UnixTime, limit: usize) -> Result<Vec<DueNode>, Fault> {
    let Some(cluster) = cluster(view)? else { return Ok(Vec::new()) };
    let to = key::time(before);
    let rows = view.scan(Table::Due, Bound::Unbounded, Bound::Excluded(&to), limit.min(PAGE_MAX))?;
    let nodes = rows.iter().map(|(row, _)| {
        let (renew_by, node) = key::due_parts(&cluster.name, row)?;
        Ok(DueNode { node, renew_by })
    });
    nodes.collect()
}

fn every<T: Document>(
    view: &dyn View,
    table: Table,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Page<T>, Fault> {
    page(view, Range::all(table), after, limit, |(_, value)| decode(table, value).map(Some))
}

/// Which keys a list walks.
struct Range {
    table: Table,
    from: Vec<u8>,
    to: Option<Vec<u8>>,
}

impl Range {
    fn all(table: Table) -> Range {
        Range { table, from: Vec::new(), to: None }
    }
}

/// One page: the rows of `range` after `after` that `pick` takes, at most `limit` of them, from at
/// most [`ROWS_READ_MAX`] rows.
fn page<T>(
    view: &dyn View,
    range: Range,
    after: Option<&Cursor>,
    limit: usize,
    mut pick: impl FnMut(&Row) -> Result<Option<T>, Fault>,
) -> Result<Page<T>, Fault> {
    let limit = limit.clamp(1, PAGE_MAX);
    let to = range.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut last = after.map(|cursor| cursor.0.clone()).filter(|last| *last >= range.from);
    let mut items = Vec::new();
    let mut read = 0;
    while read < ROWS_READ_MAX {
        // A cursor beyond the end is a caller's own invention, and finds nothing.
        if last.as_ref().zip(range.to.as_ref()).is_some_and(|(last, to)| last >= to) {
            return Ok(Page { items, next: None });
        }
        let from = last.as_deref().map_or(Bound::Included(&range.from[..]), Bound::Excluded);
        let chunk = (limit - items.len()).min(ROWS_READ_MAX - read);
        let rows = view.scan(range.table, from, to, chunk)?;
        read += rows.len();
        for row in &rows {
            items.extend(pick(row)?);
        }
        if rows.len() < chunk {
            return Ok(Page { items, next: None });
        }
        last = rows.into_iter().last().map(|(key, _)| key);
        if items.len() == limit {
            break;
        }
    }
    Ok(Page { items, next: last.map(Cursor) })
}
