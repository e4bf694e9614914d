//! A snapshot on its way: a live reading of the state, cut into chunks, hashed from end to end.
//!
//! Sending never dumps to disk. Receiving spools the chunks and touches the state only once the
//! last chunk's hash has been found right; the tables are then replaced in one transaction.

use std::fmt;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Bound;
use std::sync::Arc;

use aws_lc_rs::digest;
use certus_ca::store::{Fault, Store as _, Table, View as _};

use super::codec::{DecodeError, KIND_ROWS, KIND_SNAPSHOT_END, Reader, Writer};
use super::limits::{CHUNK_BYTES, CHUNK_READ_ROWS};
use crate::storage::{Own, Pending, Spool, StateView, StorageError};

/// openraft's handle to a snapshot.
#[derive(Debug)]
pub enum SnapshotData {
    /// Ours, to be sent.
    Live(Outgoing),
    /// Another manager's, being received.
    Received(Incoming),
}

/// A snapshot being sent.
pub struct Outgoing {
    view: Arc<StateView>,
    /// The table being read, as a place in [`Table::ALL`], and the last key that was sent.
    place: usize,
    after: Option<Vec<u8>>,
    rows: u64,
    hash: digest::Context,
    ended: bool,
}

impl Outgoing {
    pub(crate) fn new(view: Arc<StateView>) -> Outgoing {
        Outgoing {
            view,
            place: 0,
            after: None,
            rows: 0,
            hash: digest::Context::new(&digest::SHA256),
            ended: false,
        }
    }

    /// The next chunk; `None` after the last.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, SnapshotError> {
        if self.ended {
            return Ok(None);
        }
        while let Some(table) = Table::ALL.get(self.place).copied() {
            let rows = self.read(table)?;
            if rows.is_empty() {
                self.place += 1;
                self.after = None;
                continue;
            }
            let mut out = Writer::new(KIND_ROWS);
            out.bytes(table.name().as_bytes());
            for (key, value) in &rows {
                out.bytes(key);
                out.bytes(value);
            }
            self.rows += rows.len() as u64;
            self.after = rows.into_iter().last().map(|(key, _)| key);
            self.hash.update(&out.0);
            return Ok(Some(out.0));
        }
        self.ended = true;
        let mut out = Writer::new(KIND_SNAPSHOT_END);
        match self.view.own(Own::At)? {
            None => out.bytes(&[]),
            Some(at) => out.bytes(&at),
        }
        out.u64(self.rows);
        self.hash.update(&out.0);
        let hash = self.hash.clone().finish();
        out.bytes(hash.as_ref());
        Ok(Some(out.0))
    }

    /// Rows of a table after the last one sent, about a chunk of them.
    fn read(&self, table: Table) -> Result<Vec<certus_ca::store::Row>, Fault> {
        let mut rows: Vec<certus_ca::store::Row> = Vec::new();
        let mut bytes = 0;
        while bytes < CHUNK_BYTES {
            let last = rows.last().map(|(key, _)| key).or(self.after.as_ref());
            let from = match last {
                None => Bound::Unbounded,
                Some(key) => Bound::Excluded(key.as_slice()),
            };
            let more = self.view.scan(table, from, Bound::Unbounded, CHUNK_READ_ROWS)?;
            let full = more.len() == CHUNK_READ_ROWS;
            bytes += more.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
            rows.extend(more);
            if !full {
                break;
            }
        }
        Ok(rows)
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outgoing {{ rows: {} }}", self.rows)
    }
}

/// A snapshot being received.
pub struct Incoming {
    spool: Spool,
    rows: u64,
    hash: digest::Context,
    /// The last applied time of the sender; known once the snapshot is whole.
    end: Option<Vec<u8>>,
}

impl Incoming {
    pub(super) fn new(spool: Spool) -> Incoming {
        Incoming { spool, rows: 0, hash: digest::Context::new(&digest::SHA256), end: None }
    }

    /// Takes the next chunk, in the order they were sent.
    pub fn accept(&mut self, chunk: &[u8]) -> Result<(), SnapshotError> {
        if self.end.is_some() {
            return Err(SnapshotError::AfterEnd);
        }
        let mut input = Reader::new("a snapshot chunk", chunk);
        match input.head(&[KIND_ROWS, KIND_SNAPSHOT_END], "7 or 8")? {
            KIND_ROWS => {
                self.rows += rows_of(&mut input)?.1.len() as u64;
                self.hash.update(chunk);
                self.spool(chunk)
            }
            _ => self.finish(chunk, input),
        }
    }

    /// Whether the last chunk has come.
    pub(super) fn is_whole(&self) -> bool {
        self.end.is_some()
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    fn finish(&mut self, chunk: &[u8], mut input: Reader<'_>) -> Result<(), SnapshotError> {
        let at = input.bytes()?.to_vec();
        let rows = input.u64()?;
        if rows != self.rows {
            return Err(SnapshotError::Rows { found: self.rows, expected: rows });
        }
        let hash = input.bytes()?;
        input.end()?;
        let hashed = chunk.len() - hash.len() - size_of::<u32>();
        self.hash.update(&chunk[..hashed]);
        if self.hash.clone().finish().as_ref() != hash {
            return Err(SnapshotError::Hash);
        }
        self.end = Some(at);
        Ok(())
    }

    fn spool(&mut self, chunk: &[u8]) -> Result<(), SnapshotError> {
        let length = u32::try_from(chunk.len()).map_err(|_| SnapshotError::Hash)?;
        self.spool
            .write_all(&length.to_be_bytes())
            .and_then(|()| self.spool.write_all(chunk))
            .map_err(SnapshotError::Spool)
    }

    /// Replaces every replicated row by those received. Refused while the snapshot is not whole.
    pub(super) fn install(mut self, pending: &mut Pending<'_>) -> Result<(), SnapshotError> {
        let Some(at) = self.end.take() else {
            return Err(SnapshotError::NotWhole { rows: self.rows });
        };
        pending.clear()?;
        self.spool.seek(SeekFrom::Start(0)).map_err(SnapshotError::Spool)?;
        let mut rows = 0;
        while rows < self.rows {
            let chunk = self.next_spooled()?;
            let mut input = Reader::new("a snapshot chunk", &chunk);
            input.head(&[KIND_ROWS], "7")?;
            let (table, found) = rows_of(&mut input)?;
            rows += found.len() as u64;
            for (key, value) in found {
                pending.put(table, key, value)?;
            }
        }
        if !at.is_empty() {
            pending.put_own(Own::At, &at)?;
        }
        Ok(())
    }

    fn next_spooled(&mut self) -> Result<Vec<u8>, SnapshotError> {
        let mut length = [0; 4];
        self.spool.read_exact(&mut length).map_err(SnapshotError::Spool)?;
        let mut chunk = vec![0; u32::from_be_bytes(length) as usize];
        self.spool.read_exact(&mut chunk).map_err(SnapshotError::Spool)?;
        Ok(chunk)
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incoming {{ rows: {} }}", self.rows)
    }
}

/// A snapshot could not be sent, received or installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// A chunk is not what this version writes.
    #[error("a chunk of the snapshot cannot be read")]
    Chunk(#[from] DecodeError),
    /// A table this version does not know.
    #[error("the snapshot has a table {found:?} this version does not know")]
    Table {
        /// Its name.
        found: String,
    },
    /// Chunks were lost or repeated.
    #[error("the snapshot came with {found} rows, its end says {expected}")]
    Rows {
        /// Rows received.
        found: u64,
        /// Rows sent.
        expected: u64,
    },
    /// The rows are not those that were sent.
    #[error("the snapshot's hash does not match its rows")]
    Hash,
    /// A chunk after the last one.
    #[error("a chunk came after the end of the snapshot")]
    AfterEnd,
    /// Installed before the last chunk came.
    #[error("the snapshot has no end after {rows} rows")]
    NotWhole {
        /// Rows received.
        rows: u64,
    },
    /// The spool could not be written or read.
    #[error("the received snapshot could not be spooled")]
    Spool(#[source] std::io::Error),
    /// The state could not be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A table could not be read or written.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// The table of a chunk, and its keys and values.
pub(super) type Rows<'c> = (Table, Vec<(&'c [u8], &'c [u8])>);

pub(super) fn rows_of<'c>(input: &mut Reader<'c>) -> Result<Rows<'c>, SnapshotError> {
    let name = input.bytes()?;
    let table = Table::ALL
        .into_iter()
        .find(|table| table.name().as_bytes() == name)
        .ok_or_else(|| SnapshotError::Table { found: String::from_utf8_lossy(name).into_owned() })?;
    let mut rows = Vec::new();
    while !input.is_empty() {
        rows.push((input.bytes()?, input.bytes()?));
    }
    Ok((table, rows))
}
