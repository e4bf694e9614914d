//! What is inside a backup: records, each a kind, a length and its bytes.
//!
//! In this order: what it is, the manager's secret files, the rows of the state as a snapshot has them,
//! how many there were.

use std::collections::BTreeMap;
use std::io::Read;

use certus_ca::store::Table;
use certus_pki::Sha256;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::BackupError;
use super::seal::Opener;
use crate::replica::{SnapshotEnd, SnapshotRows, Tally};

/// What a record is. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A [`Manifest`] as JSON.
    Manifest = 1,
    /// A file of the manager's directory: the length of its name in one byte, its name, its content.
    Secret = 2,
    /// A chunk of the snapshot, its end among them.
    Rows = 3,
    /// The [`Totals`] as JSON; nothing follows.
    End = 4,
}

/// Kind and length.
pub(crate) const RECORD_HEAD: usize = 5;
/// Far above any chunk of rows: 64 rows more than 256 KiB, of which the largest have 4 MiB.
const RECORD_BYTES_MAX: u32 = 512 << 20;
/// A manager's directory holds about five.
const SECRETS_MAX: usize = 64;

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) cluster: String,
    pub(crate) generation: u64,
    pub(crate) revision: u64,
    /// Unix seconds, by the clock of the manager.
    pub(crate) made_at: i64,
    /// The manager it was made of, as its SPIFFE id.
    pub(crate) manager: String,
    /// The version of certus that made it.
    pub(crate) version: String,
    /// Raft's term and the index of the last applied entry.
    pub(crate) term: u64,
    pub(crate) applied: u64,
}

/// What came, for comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) rows: u64,
    /// SHA-256 over the chunks of rows.
    pub(crate) sha256: String,
    /// Rows by table.
    pub(crate) tables: BTreeMap<String, u64>,
}

/// Whoever wants what is read.
pub(crate) trait Sink {
    /// A secret file; called before any row.
    fn secret(&mut self, name: &str, content: &[u8]) -> Result<(), BackupError>;
    /// Rows of one table, in order.
    fn rows(&mut self, rows: &SnapshotRows<'_>) -> Result<(), BackupError>;
    /// All rows were there, as they were written.
    fn end(&mut self, end: &SnapshotEnd) -> Result<(), BackupError>;
}

/// Wants nothing: for checking.
pub(crate) struct Nowhere;

impl Sink for Nowhere {
    fn secret(&mut self, _name: &str, _content: &[u8]) -> Result<(), BackupError> {
        Ok(())
    }

    fn rows(&mut self, _rows: &SnapshotRows<'_>) -> Result<(), BackupError> {
        Ok(())
    }

    fn end(&mut self, _end: &SnapshotEnd) -> Result<(), BackupError> {
        Ok(())
    }
}

/// A record's first bytes.
pub(crate) fn head(kind: Kind, length: usize) -> Result<[u8; RECORD_HEAD], BackupError> {
    let length = u32::try_from(length).ok().filter(|length| *length <= RECORD_BYTES_MAX);
    let [a, b, c, d] = length.ok_or(BackupError::TooLarge)?.to_be_bytes();
    Ok([kind as u8, a, b, c, d])
}

/// A secret file's record.
pub(crate) fn secret(name: &str, content: &[u8]) -> Result<Zeroizing<Vec<u8>>, BackupError> {
    let length = u8::try_from(name.len()).map_err(|_| BackupError::TooLarge)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(1 + name.len() + content.len()));
    bytes.push(length);
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(content);
    Ok(bytes)
}

/// Reads a backup whole: everything is checked, and handed to `sink` as it comes.
pub(crate) fn read<R: Read>(
    opener: Opener<R>,
    sink: &mut dyn Sink,
    mut seen: impl FnMut(u64),
) -> Result<(Manifest, Totals, usize), BackupError> {
    let mut input = Records { opener, chunk: Zeroizing::new(Vec::new()), at: 0 };
    let (kind, bytes) = input.next()?;
    if kind != Kind::Manifest as u8 {
        return Err(BackupError::record("a manifest", kind));
    }
    let manifest: Manifest = json(&bytes)?;
    let mut secrets = 0;
    let mut tally = Tally::default();
    let mut tables = BTreeMap::new();
    let mut ended = None;
    loop {
        let (kind, bytes) = input.next()?;
        if kind == Kind::Secret as u8 && tables.is_empty() && secrets < SECRETS_MAX {
            secrets += 1;
            let (name, content) = named(&bytes)?;
            sink.secret(name, content)?;
        } else if kind == Kind::Rows as u8 && ended.is_none() {
            match tally.take(&bytes).map_err(BackupError::Rows)? {
                None => {
                    let rows = SnapshotRows::of(&bytes).map_err(BackupError::Rows)?;
                    *tables.entry(rows.table.name().to_owned()).or_insert(0) += rows.rows.len() as u64;
                    sink.rows(&rows)?;
                }
                Some(end) => {
                    sink.end(&end)?;
                    ended = Some(end);
                }
            }
            seen(tally.rows());
        } else if kind == Kind::End as u8 {
            let end = ended.ok_or_else(|| BackupError::record("the end of the rows", kind))?;
            let said: Totals = json(&bytes)?;
            let found = Totals { rows: end.rows, sha256: end.hash.to_string(), tables };
            input.nothing_follows()?;
            if said != found {
                return Err(BackupError::Totals { expected: said.rows, found: found.rows });
            }
            return Ok((manifest, found, secrets));
        } else {
            return Err(BackupError::record("secrets, rows, then the end", kind));
        }
    }
}

/// The totals of what was written, as its end record says them.
pub(crate) fn totals(rows: u64, hash: Sha256, tables: BTreeMap<Table, u64>) -> Totals {
    let tables = tables.into_iter().map(|(table, rows)| (table.name().to_owned(), rows)).collect();
    Totals { rows, sha256: hash.to_string(), tables }
}

fn json<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, BackupError> {
    serde_json::from_slice(bytes).map_err(|error| BackupError::Json { error })
}

/// A name that leads nowhere but into the directory it is put in.
fn named(bytes: &[u8]) -> Result<(&str, &[u8]), BackupError> {
    let wrong = || BackupError::record("a file's name", Kind::Secret as u8);
    let (length, rest) = bytes.split_first().ok_or_else(wrong)?;
    let (name, content) = rest.split_at_checked(usize::from(*length)).ok_or_else(wrong)?;
    let name = std::str::from_utf8(name).map_err(|_| wrong())?;
    if is_plain_name(name) { Ok((name, content)) } else { Err(wrong()) }
}

/// Lower-case letters, digits, dots and hyphens, beginning with a letter or digit.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'-' | b'_');
    name.bytes().all(plain) && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
}

/// Records out of chunks.
struct Records<R> {
    opener: Opener<R>,
    chunk: Zeroizing<Vec<u8>>,
    at: usize,
}

impl<R: Read> Records<R> {
    fn next(&mut self) -> Result<(u8, Zeroizing<Vec<u8>>), BackupError> {
        let mut head = [0; RECORD_HEAD];
        self.fill(&mut head)?;
        let [kind, length @ ..] = head;
        let length = u32::from_be_bytes(length);
        if length > RECORD_BYTES_MAX {
            return Err(BackupError::TooLarge);
        }
        let length = length as usize;
        // Whoever sealed it said how long it is, so it may be believed.
        let mut bytes = Zeroizing::new(vec![0; length]);
        self.fill(&mut bytes)?;
        Ok((kind, bytes))
    }

    fn fill(&mut self, mut out: &mut [u8]) -> Result<(), BackupError> {
        while !out.is_empty() {
            if self.at == self.chunk.len() {
                self.chunk = self.opener.next_chunk()?.ok_or(BackupError::CutShort { chunks: 0 })?;
                self.at = 0;
                continue;
            }
            let count = out.len().min(self.chunk.len() - self.at);
            out[..count].copy_from_slice(&self.chunk[self.at..self.at + count]);
            self.at += count;
            out = &mut out[count..];
        }
        Ok(())
    }

    fn nothing_follows(&mut self) -> Result<(), BackupError> {
        if self.at < self.chunk.len() || self.opener.next_chunk()?.is_some_and(|chunk| !chunk.is_empty()) {
            return Err(BackupError::AfterEnd);
        }
        Ok(())
    }
}
