//! The replicated tables over redb: [`ca::store`](certus_ca::store)'s `View` and `Store`.
//!
//! Beside them stand a few rows of the replica's own (what is applied, who the members are, the
//! last time), written in the same transaction as the effects they describe.

use std::cell::OnceCell;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use certus_ca::store::{Fault, Row, Store, Table, View};
use redb::{
    ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction,
};

use super::{StorageError, failed};

/// A consistent reading of the state.
pub struct StateView {
    txn: ReadTransaction,
    file: Arc<str>,
    open: [OnceLock<ReadOnlyTable<&'static [u8], &'static [u8]>>; TABLES],
}

impl StateView {
    pub(super) fn new(txn: ReadTransaction, file: Arc<str>) -> StateView {
        StateView { txn, file, open: [const { OnceLock::new() }; TABLES] }
    }

    /// A row of the replica's own.
    pub(crate) fn own(&self, own: Own) -> Result<Option<Vec<u8>>, StorageError> {
        let read = || -> Result<_, redb::Error> {
            let value = self.txn.open_table(OWN)?.get(own.key())?;
            Ok(value.map(|bytes| bytes.value().to_vec()))
        };
        read().map_err(|error| failed(&self.file, "reading", error))
    }

    /// One more than the index of the last applied entry.
    pub(crate) fn applied_next(&self) -> Result<u64, StorageError> {
        let bytes = self.own(Own::AppliedNext)?;
        number(&self.file, Own::AppliedNext, bytes)
    }

    /// The last time that was applied, in Unix seconds; the least there is on an empty state.
    pub(crate) fn at(&self) -> Result<i64, StorageError> {
        match self.own(Own::At)? {
            None => Ok(i64::MIN),
            Some(bytes) => number(&self.file, Own::At, Some(bytes)).map(u64::cast_signed),
        }
    }

    fn table(&self, table: Table) -> Result<&ReadOnlyTable<&'static [u8], &'static [u8]>, Fault> {
        let slot = &self.open[table as usize];
        if let Some(open) = slot.get() {
            return Ok(open);
        }
        let open = self.txn.open_table(definition(table)).map_err(|error| fault(table, error))?;
        Ok(slot.get_or_init(|| open))
    }
}

impl View for StateView {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        get(table, self.table(table)?, key)
    }

    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, Fault> {
        scan(table, self.table(table)?, from, to, limit)
    }

    fn rows(&self, table: Table) -> Result<u64, Fault> {
        self.table(table)?.len().map_err(|error| fault(table, error))
    }
}

/// The state inside a write transaction.
pub struct Pending<'t> {
    txn: &'t WriteTransaction,
    file: &'t Arc<str>,
    open: [OnceCell<redb::Table<'t, &'static [u8], &'static [u8]>>; TABLES],
}

impl<'t> Pending<'t> {
    pub(super) fn new(txn: &'t WriteTransaction, file: &'t Arc<str>) -> Pending<'t> {
        Pending { txn, file, open: [const { OnceCell::new() }; TABLES] }
    }

    /// A row of the replica's own.
    pub(crate) fn own(&self, own: Own) -> Result<Option<Vec<u8>>, StorageError> {
        let read = || -> Result<_, redb::Error> {
            let table = self.txn.open_table(OWN)?;
            let value = table.get(own.key())?;
            Ok(value.map(|bytes| bytes.value().to_vec()))
        };
        read().map_err(|error| failed(self.file, "reading", error))
    }

    /// Sets a row of the replica's own.
    pub(crate) fn put_own(&mut self, own: Own, bytes: &[u8]) -> Result<(), StorageError> {
        let write = || -> Result<_, redb::Error> {
            self.txn.open_table(OWN)?.insert(own.key(), bytes)?;
            Ok(())
        };
        write().map_err(|error| failed(self.file, "writing to", error))
    }

    /// The last time that was applied, in Unix seconds; the least there is on an empty state.
    pub(crate) fn at(&self) -> Result<i64, StorageError> {
        let bytes = self.own(Own::At)?;
        match bytes {
            None => Ok(i64::MIN),
            Some(bytes) => number(self.file, Own::At, Some(bytes)).map(u64::cast_signed),
        }
    }

    /// One more than the index of the last applied entry.
    pub(crate) fn applied_next(&self) -> Result<u64, StorageError> {
        number(self.file, Own::AppliedNext, self.own(Own::AppliedNext)?)
    }

    /// Removes every row of every replicated table, before a snapshot takes their place.
    pub(crate) fn clear(&mut self) -> Result<(), StorageError> {
        for table in Table::ALL {
            self.open[table as usize] = OnceCell::new();
            let clear = || -> Result<_, redb::Error> {
                self.txn.delete_table(definition(table))?;
                self.txn.open_table(definition(table))?;
                Ok(())
            };
            clear().map_err(|error| failed(self.file, "clearing", error))?;
        }
        Ok(())
    }

    fn table(&self, table: Table) -> Result<&redb::Table<'t, &'static [u8], &'static [u8]>, Fault> {
        let slot = &self.open[table as usize];
        if let Some(open) = slot.get() {
            return Ok(open);
        }
        let open = self.txn.open_table(definition(table)).map_err(|error| fault(table, error))?;
        Ok(slot.get_or_init(|| open))
    }

    fn table_mut(
        &mut self,
        table: Table,
    ) -> Result<&mut redb::Table<'t, &'static [u8], &'static [u8]>, Fault> {
        self.table(table)?;
        self.open[table as usize]
            .get_mut()
            .ok_or_else(|| Fault { table, what: "could not be opened for writing".to_owned() })
    }
}

impl View for Pending<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        get(table, self.table(table)?, key)
    }

    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, Fault> {
        scan(table, self.table(table)?, from, to, limit)
    }

    fn rows(&self, table: Table) -> Result<u64, Fault> {
        self.table(table)?.len().map_err(|error| fault(table, error))
    }
}

impl Store for Pending<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.table_mut(table)?.insert(key, value).map(drop).map_err(|error| fault(table, error))
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), Fault> {
        self.table_mut(table)?.remove(key).map(drop).map_err(|error| fault(table, error))
    }
}

/// Whether a change must be on disk when its transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settle {
    /// Lost in a crash, and replayed from the log.
    Later,
    /// A barrier: this and everything before it survives.
    Durable,
}

/// A row of the replica's own, outside the replicated tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// One more than the index of the last applied entry.
    AppliedNext,
    /// The id of the last applied entry.
    Applied,
    /// The last applied membership.
    Membership,
    /// The last applied time.
    At,
    /// What was applied at the last barrier.
    Barrier,
}

impl Own {
    fn key(self) -> &'static str {
        match self {
            Own::AppliedNext => "applied_next",
            Own::Applied => "applied",
            Own::Membership => "membership",
            Own::At => "at",
            Own::Barrier => "barrier",
        }
    }
}

/// The tables of an empty state.
pub(super) fn create_tables(txn: &WriteTransaction) -> Result<(), redb::Error> {
    txn.open_table(OWN)?;
    for table in Table::ALL {
        txn.open_table(definition(table))?;
    }
    Ok(())
}

fn get(
    name: Table,
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
) -> Result<Option<Vec<u8>>, Fault> {
    let value = table.get(key).map_err(|error| fault(name, error))?;
    Ok(value.map(|bytes| bytes.value().to_vec()))
}

fn scan(
    name: Table,
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    from: Bound<&[u8]>,
    to: Bound<&[u8]>,
    limit: usize,
) -> Result<Vec<Row>, Fault> {
    let rows = table.range::<&[u8]>((from, to)).map_err(|error| fault(name, error))?;
    rows.take(limit)
        .map(|row| {
            let (key, value) = row.map_err(|error| fault(name, error))?;
            Ok((key.value().to_vec(), value.value().to_vec()))
        })
        .collect()
}

fn number(file: &Arc<str>, own: Own, bytes: Option<Vec<u8>>) -> Result<u64, StorageError> {
    let Some(bytes) = bytes else { return Ok(0) };
    let array = <[u8; 8]>::try_from(bytes.as_slice()).map_err(|_| StorageError::Damaged {
        file: file.clone(),
        what: format!("{} has {} bytes, expected 8", own.key(), bytes.len()),
    })?;
    Ok(u64::from_be_bytes(array))
}

fn fault(table: Table, error: impl std::fmt::Display) -> Fault {
    Fault { table, what: error.to_string() }
}

fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

const TABLES: usize = Table::ALL.len();
const OWN: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("replica");
