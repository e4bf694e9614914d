//! Lists: pages with a cursor. A filter without an index reads a bounded number of rows a page, and a
//! page may come back short, even empty, with a cursor to go on from.

use std::ops::Bound;

use certus_pki::{NodeId, Role, Serial, Sha256, SpiffeId, UnixTime};

use super::{cert, cluster, issuers, node};
use crate::format::Document;
use crate::limits::{CHUNK, PAGE_MAX, ROWS_AT_ONCE, ROWS_READ_MAX};
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
    /// Only those whose id begins so.
    pub id_prefix: Option<String>,
    /// Only those that are of the cluster, not those that were revoked.
    pub active: bool,
    /// Only those that were revoked.
    pub revoked: bool,
}

/// Which certificates are listed. The default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertFilter {
    /// Only this node's.
    pub node: Option<SpiffeId>,
    /// Only those of nodes of this role.
    pub role: Option<Role>,
    /// Only those of nodes whose id begins so.
    pub id_prefix: Option<String>,
    /// Only those that one of these issuers signed.
    pub issuers: Option<Vec<Sha256>>,
    /// Only those that end before this moment.
    pub expiring_before: Option<UnixTime>,
    /// Only those neither revoked nor ended at this moment.
    pub live_at: Option<UnixTime>,
    /// Only the newest of each node.
    pub newest: bool,
    /// Only those that were revoked.
    pub revoked: bool,
    /// In which order.
    pub order: CertOrder,
}

/// The order of a list of certificates: there is an index for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CertOrder {
    /// Those of one node as they were issued, otherwise those that end first.
    #[default]
    Usual,
    /// Those that end first.
    Expiry,
    /// By node, each node's as they were issued.
    Node,
}

impl CertFilter {
    fn goes_by_node(&self) -> bool {
        match self.order {
            CertOrder::Usual => self.node.is_some(),
            CertOrder::Expiry => false,
            CertOrder::Node => true,
        }
    }

    /// Whether `record` is one of them. The newest of a node is known by its row.
    fn takes(&self, record: &CertRecord) -> bool {
        self.node.as_ref().is_none_or(|node| record.node == *node)
            && takes_name(self.role, self.id_prefix.as_deref(), &record.node)
            && self.issuers.as_ref().is_none_or(|issuers| issuers.contains(&record.cert.issuer))
            && self.live_at.is_none_or(|at| record.is_live(at))
            && self.expiring_before.is_none_or(|before| record.not_after < before)
            && (!self.revoked || record.revoked.is_some())
    }
}

fn takes_name(role: Option<Role>, prefix: Option<&str>, node: &SpiffeId) -> bool {
    role.is_none_or(|role| node.role == role)
        && prefix.is_none_or(|prefix| node.id.as_str().starts_with(prefix))
}

/// Nodes by role and id.
pub fn nodes(
    view: &dyn View,
    filter: &NodeFilter,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Page<NodeRecord>, Fault> {
    let ranges = Range::of_nodes(Table::Nodes, None, filter.role, filter.id_prefix.as_deref());
    page(view, &ranges, after, limit, |(_, value)| {
        let record: NodeRecord = decode(Table::Nodes, value)?;
        let is_active = record.state == NodeState::Active;
        let wanted = takes_name(filter.role, filter.id_prefix.as_deref(), &record.identity)
            && (!filter.active || is_active)
            && (!filter.revoked || !is_active);
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
    page(view, &[range], after, limit, |(_, row)| {
        let record: CertRecord = decode(Table::Certs, row)?;
        let newest = record.is_live(at)
            && node(view, &record.node)?
                .is_some_and(|node| node.newest == record.cert && node.state == NodeState::Active);
        Ok(newest.then_some(record.node))
    })
}

/// Certificates, in one of the orders that have an index.
pub fn certs(
    view: &dyn View,
    filter: &CertFilter,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Page<CertRecord>, Fault> {
    let by_node =
        |table| Range::of_nodes(table, filter.node.as_ref(), filter.role, filter.id_prefix.as_deref());
    if filter.goes_by_node() && filter.newest {
        // One row a node, however many certificates it has had.
        return page(view, &by_node(Table::Nodes), after, limit, |(_, value)| {
            let node: NodeRecord = decode(Table::Nodes, value)?;
            let record: CertRecord = must(view, Table::Certs, &key::cert(&node.newest))?;
            Ok(filter.takes(&record).then_some(record))
        });
    }
    let (table, ranges) = if filter.goes_by_node() {
        (Table::ByNode, by_node(Table::ByNode))
    } else {
        let from = filter.live_at.map(|at| key::time(at).to_vec()).unwrap_or_default();
        let to = filter.expiring_before.map(|before| key::time(before).to_vec());
        (Table::ByExpiry, vec![Range { table: Table::ByExpiry, from, to }])
    };
    page(view, &ranges, after, limit, |(row, _)| {
        let id = key::cert_at_end(table, row)?;
        let record: CertRecord = must(view, Table::Certs, &key::cert(&id))?;
        let wanted = filter.takes(&record)
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
    page(view, &[Range::all(table)], after, limit, |(_, value)| decode(table, value).map(Some))
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

    /// The rows of one node, or of those with this role and this beginning of an id, in a table whose keys
    /// begin with `ROLE/ID`.
    fn of_nodes(
        table: Table,
        node: Option<&SpiffeId>,
        role: Option<Role>,
        prefix: Option<&str>,
    ) -> Vec<Range> {
        let within = |from: Vec<u8>| Range { table, to: Some(key::after_prefix(&from)), from };
        if let Some(node) = node {
            return match table {
                // The whole key is the node's name here, and might be the beginning of another's.
                Table::Nodes => {
                    let from = key::node(node);
                    let to = [&from[..], &[0]].concat();
                    vec![Range { table, from, to: Some(to) }]
                }
                _ => vec![within(key::by_node_prefix(node))],
            };
        }
        let of_role = |role: Role| within(format!("{role}/{}", prefix.unwrap_or_default()).into_bytes());
        match (role, prefix) {
            (Some(role), _) => vec![of_role(role)],
            (None, None | Some("")) => vec![Range::all(table)],
            (None, Some(_)) => {
                let mut ranges: Vec<Range> = Role::ALL.into_iter().map(of_role).collect();
                ranges.sort_by(|one, other| one.from.cmp(&other.from));
                ranges
            }
        }
    }
}

/// One page: the rows of `ranges`, which are of one table and in its order, after `after` that `pick`
/// takes, at most `limit` of them, from at most [`ROWS_READ_MAX`] rows.
fn page<T>(
    view: &dyn View,
    ranges: &[Range],
    after: Option<&Cursor>,
    limit: usize,
    mut pick: impl FnMut(&Row) -> Result<Option<T>, Fault>,
) -> Result<Page<T>, Fault> {
    let limit = limit.clamp(1, PAGE_MAX);
    let mut last = after.map(|cursor| cursor.0.clone());
    let mut items = Vec::new();
    let mut read = 0;
    for range in ranges {
        // The cursor is of a later range; or beyond all, a caller's own invention, and finds nothing.
        if last.as_ref().zip(range.to.as_ref()).is_some_and(|(last, to)| last >= to) {
            continue;
        }
        let to = range.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        loop {
            if items.len() == limit || read >= ROWS_READ_MAX {
                return Ok(Page { items, next: last.map(Cursor) });
            }
            let within = last.as_deref().filter(|last| *last >= &range.from[..]);
            let from = within.map_or(Bound::Included(&range.from[..]), Bound::Excluded);
            let chunk = (limit - items.len()).max(ROWS_AT_ONCE).min(ROWS_READ_MAX - read);
            let rows = view.scan(range.table, from, to, chunk)?;
            let ends = rows.len() < chunk;
            for row in rows {
                if items.len() == limit {
                    return Ok(Page { items, next: last.map(Cursor) });
                }
                read += 1;
                items.extend(pick(&row)?);
                last = Some(row.0);
            }
            if ends {
                break;
            }
        }
    }
    Ok(Page { items, next: None })
}
