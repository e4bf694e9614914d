//! Snapshot chunks outside of replication: what is in them, and whether all of them came.

use aws_lc_rs::digest;
use certus_ca::store::Table;
use certus_pki::Sha256;

use super::codec::{KIND_ROWS, KIND_SNAPSHOT_END, Reader};
use super::snapshot::{SnapshotError, rows_of};

/// The rows of a chunk.
pub(crate) struct SnapshotRows<'c> {
    pub(crate) table: Table,
    /// Keys and values, in order.
    pub(crate) rows: Vec<(&'c [u8], &'c [u8])>,
}

impl<'c> SnapshotRows<'c> {
    /// What is in a chunk that is not the last.
    pub(crate) fn of(chunk: &'c [u8]) -> Result<SnapshotRows<'c>, SnapshotError> {
        let mut input = Reader::new("a snapshot chunk", chunk);
        input.head(&[KIND_ROWS], "7")?;
        let (table, rows) = rows_of(&mut input)?;
        Ok(SnapshotRows { table, rows })
    }
}

/// What the last chunk says, found right.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotEnd {
    /// The last applied time as the state keeps it; empty where nothing was applied.
    pub(crate) at: Vec<u8>,
    pub(crate) rows: u64,
    /// SHA-256 over all chunks of rows and the beginning of the last.
    pub(crate) hash: Sha256,
}

/// Counts and hashes chunks as they pass.
pub(crate) struct Tally {
    rows: u64,
    hash: digest::Context,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally { rows: 0, hash: digest::Context::new(&digest::SHA256) }
    }
}

impl Tally {
    /// Rows seen so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Takes the next chunk; the end, once it came and fits what came before it.
    pub(crate) fn take(&mut self, chunk: &[u8]) -> Result<Option<SnapshotEnd>, SnapshotError> {
        let mut input = Reader::new("a snapshot chunk", chunk);
        if input.head(&[KIND_ROWS, KIND_SNAPSHOT_END], "7 or 8")? == KIND_ROWS {
            self.rows += rows_of(&mut input)?.1.len() as u64;
            self.hash.update(chunk);
            return Ok(None);
        }
        let at = input.bytes()?.to_vec();
        let rows = input.u64()?;
        if rows != self.rows {
            return Err(SnapshotError::Rows { found: self.rows, expected: rows });
        }
        let said = input.bytes()?;
        input.end()?;
        self.hash.update(&chunk[..chunk.len() - said.len() - size_of::<u32>()]);
        let found = self.hash.clone().finish();
        if found.as_ref() != said {
            return Err(SnapshotError::Hash);
        }
        let hash = <[u8; 32]>::try_from(said).map(Sha256::from_bytes).map_err(|_| SnapshotError::Hash)?;
        Ok(Some(SnapshotEnd { at, rows, hash }))
    }
}
