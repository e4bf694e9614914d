//! The Raft log on disk: entries by index, and a few words beside them.
//!
//! Every change is on disk before the call returns, but for the committed position, which rides
//! along with the next append.

use std::ops::RangeBounds;

use redb::{Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use super::{Slot, Storage, StorageError};

/// What the log keeps beside its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// The last vote.
    Vote,
    /// The id of the last entry removed from the front.
    Purged,
    /// The last position known to be committed; it may lag behind.
    Committed,
}

impl Word {
    fn key(self) -> &'static str {
        match self {
            Word::Vote => "vote",
            Word::Purged => "purged",
            Word::Committed => "committed",
        }
    }
}

impl Storage {
    /// Appends entries and, in the same write, what is known to be committed.
    pub(crate) fn append(
        &self,
        entries: impl IntoIterator<Item = (u64, Vec<u8>)>,
        committed: Option<&[u8]>,
    ) -> Result<(), StorageError> {
        write(&self.log, "appending to", |txn| {
            let mut table = txn.open_table(ENTRIES)?;
            for (index, bytes) in entries {
                table.insert(index, bytes.as_slice())?;
            }
            if let Some(committed) = committed {
                txn.open_table(WORDS)?.insert(Word::Committed.key(), committed)?;
            }
            Ok(())
        })
    }

    /// The entries of a range of indexes, in order.
    pub(crate) fn entries(&self, range: impl RangeBounds<u64>) -> Result<Vec<(u64, Vec<u8>)>, StorageError> {
        read(&self.log, |txn| {
            let bounds = (range.start_bound().cloned(), range.end_bound().cloned());
            txn.open_table(ENTRIES)?
                .range(bounds)?
                .map(|row| {
                    let (index, bytes) = row?;
                    Ok((index.value(), bytes.value().to_vec()))
                })
                .collect()
        })
    }

    /// The first entries of a range, about `bytes_max` of them but at least one.
    pub(crate) fn entries_within(
        &self,
        range: impl RangeBounds<u64>,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StorageError> {
        read(&self.log, |txn| {
            let bounds = (range.start_bound().cloned(), range.end_bound().cloned());
            let (mut rows, mut bytes) = (Vec::new(), 0);
            for row in txn.open_table(ENTRIES)?.range(bounds)? {
                let (index, entry) = row?;
                bytes += entry.value().len();
                if bytes > bytes_max && !rows.is_empty() {
                    break;
                }
                rows.push((index.value(), entry.value().to_vec()));
            }
            Ok(rows)
        })
    }

    /// The entry with the highest index.
    pub(crate) fn last_entry(&self) -> Result<Option<(u64, Vec<u8>)>, StorageError> {
        read(&self.log, |txn| {
            let table = txn.open_table(ENTRIES)?;
            let last = table.last()?;
            Ok(last.map(|(index, bytes)| (index.value(), bytes.value().to_vec())))
        })
    }

    /// Reads a word.
    pub(crate) fn word(&self, word: Word) -> Result<Option<Vec<u8>>, StorageError> {
        read(&self.log, |txn| {
            let value = txn.open_table(WORDS)?.get(word.key())?;
            Ok(value.map(|bytes| bytes.value().to_vec()))
        })
    }

    /// Writes a word.
    pub(crate) fn set_word(&self, word: Word, bytes: &[u8]) -> Result<(), StorageError> {
        write(&self.log, "writing to", |txn| {
            txn.open_table(WORDS)?.insert(word.key(), bytes)?;
            Ok(())
        })
    }

    /// Removes every entry from `index` on.
    pub(crate) fn truncate(&self, index: u64) -> Result<(), StorageError> {
        write(&self.log, "truncating", |txn| {
            txn.open_table(ENTRIES)?.retain_in(index.., |_, _| false).map_err(redb::Error::from)
        })
    }

    /// Removes every entry up to and with `index`, and notes the id of the last one.
    ///
    /// Their effects are made durable in the state first: what is purged cannot be replayed.
    pub(crate) fn purge(&self, index: u64, purged: &[u8]) -> Result<(), StorageError> {
        let durable = self.barrier()?;
        if durable < Some(index) {
            return Err(StorageError::Damaged {
                file: self.log.file.clone(),
                what: format!("asked to purge up to {index}, durable only up to {durable:?}"),
            });
        }
        write(&self.log, "purging", |txn| {
            txn.open_table(ENTRIES)?.retain_in(..=index, |_, _| false)?;
            txn.open_table(WORDS)?.insert(Word::Purged.key(), purged)?;
            Ok(())
        })
    }
}

/// The tables of an empty log.
pub(super) fn create_tables(txn: &WriteTransaction) -> Result<(), redb::Error> {
    txn.open_table(ENTRIES)?;
    txn.open_table(WORDS)?;
    Ok(())
}

fn write(
    slot: &Slot,
    doing: &'static str,
    change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), StorageError> {
    let failed = |error| slot.failed(doing, error);
    let database = slot.database()?;
    let mut txn = database.begin_write().map_err(|error| failed(error.into()))?;
    txn.set_durability(Durability::Immediate).map_err(|error| failed(error.into()))?;
    change(&txn).map_err(failed)?;
    txn.commit().map_err(|error| failed(error.into()))
}

fn read<T>(
    slot: &Slot,
    look: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
) -> Result<T, StorageError> {
    let failed = |error| slot.failed("reading", error);
    let database = slot.database()?;
    let txn = database.begin_read().map_err(|error| failed(error.into()))?;
    look(&txn).map_err(failed)
}

const ENTRIES: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("entries");
const WORDS: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("words");
