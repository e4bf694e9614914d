//! Ordered byte tables: the one door between the rules and whatever keeps the bytes.
//!
//! Two implementations exist: [`MemStore`] here, and redb in the server room. A [`Fault`] is a
//! broken store, never an answer to a caller: a replica that meets one stops.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

/// A table of the cluster's state. Keys are ordered bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Cluster name, settings, counters, the format number.
    Meta,
    /// Root certificates, with their state and sealed key.
    Roots,
    /// Issuers by the SHA-256 of their public key.
    Issuers,
    /// Nodes by identity.
    Nodes,
    /// Certificates by issuer and serial.
    Certs,
    /// Index: (not_after, issuer, serial).
    ByExpiry,
    /// Index: (node, issued_at, issuer, serial).
    ByNode,
    /// Index: (token, public key hash) to the certificate it was answered with.
    ByKey,
    /// Index: (renew_by, node), the deadline each node is held to.
    Due,
    /// Tokens by their public id.
    Tokens,
    /// Revocations by issuer and serial.
    Revoked,
    /// What changed, by revision: what watchers are sent.
    Changes,
    /// Audit records, hash-chained, by number.
    Audit,
    /// Managers by their number.
    Managers,
}

impl Table {
    /// Every table, in a fixed order: snapshots and state hashes walk it.
    pub const ALL: [Table; 14] = [
        Table::Meta,
        Table::Roots,
        Table::Issuers,
        Table::Nodes,
        Table::Certs,
        Table::ByExpiry,
        Table::ByNode,
        Table::ByKey,
        Table::Due,
        Table::Tokens,
        Table::Revoked,
        Table::Changes,
        Table::Audit,
        Table::Managers,
    ];

    /// The table's name on disk. Never renamed: it is part of the persisted format.
    pub const fn name(self) -> &'static str {
        match self {
            Table::Meta => "meta",
            Table::Roots => "roots",
            Table::Issuers => "issuers",
            Table::Nodes => "nodes",
            Table::Certs => "certs",
            Table::ByExpiry => "by_expiry",
            Table::ByNode => "by_node",
            Table::ByKey => "by_key",
            Table::Due => "due",
            Table::Tokens => "tokens",
            Table::Revoked => "revoked",
            Table::Changes => "changes",
            Table::Audit => "audit",
            Table::Managers => "managers",
        }
    }
}

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// A consistent reading of the tables.
pub trait View {
    /// The value under `key`, if there is one.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Fault>;

    /// At most `limit` rows of `from..to` in key order.
    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, Fault>;

    /// How many rows `table` has, without reading them.
    fn rows(&self, table: Table) -> Result<u64, Fault>;
}

/// A [`View`] that can be written.
pub trait Store: View {
    /// Sets the value under `key`.
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Fault>;

    /// Removes `key`; nothing happens if it is absent.
    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), Fault>;
}

/// The store failed or holds bytes that cannot be ours: the replica stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The table at fault.
    pub table: Table,
    /// What happened, for the operator.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {}: {}", self.table.name(), self.what)
    }
}

impl std::error::Error for Fault {}

/// Tables in memory, for tests and simulation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemStore {
    rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
}

impl View for MemStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.rows.get(&(table, key.to_vec())).cloned())
    }

    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, Fault> {
        let after_from = |key: &[u8]| match from {
            Bound::Included(from) => key >= from,
            Bound::Excluded(from) => key > from,
            Bound::Unbounded => true,
        };
        let before_to = |key: &[u8]| match to {
            Bound::Included(to) => key <= to,
            Bound::Excluded(to) => key < to,
            Bound::Unbounded => true,
        };
        let start = match from {
            Bound::Included(from) | Bound::Excluded(from) => (table, from.to_vec()),
            Bound::Unbounded => (table, Vec::new()),
        };
        Ok(self
            .rows
            .range(start..)
            .take_while(|((row_table, key), _)| *row_table == table && before_to(key))
            .filter(|((_, key), _)| after_from(key))
            .take(limit)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect())
    }

    fn rows(&self, table: Table) -> Result<u64, Fault> {
        let of_it = self.rows.range((table, Vec::new())..).take_while(|((one, _), _)| *one == table);
        Ok(of_it.count() as u64)
    }
}

impl Store for MemStore {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.rows.insert((table, key.to_vec()), value.to_vec());
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), Fault> {
        self.rows.remove(&(table, key.to_vec()));
        Ok(())
    }
}
