//! Reading a backup back: all of it, and what is in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use aws_lc_rs::digest;
use certus_pki::{Passphrase, Sha256, UnixTime};

use super::BackupError;
use super::records::{self, Manifest, Nowhere, Sink, Totals};
use super::seal::{BackupKey, HEAD, Head, Opener};

/// A backup as it was found whole and unaltered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backup {
    /// The cluster's name.
    pub cluster: String,
    /// The generation of its epoch.
    pub generation: u64,
    /// The revision of its epoch.
    pub revision: u64,
    /// When it was made, by the manager's clock.
    pub made_at: UnixTime,
    /// The manager that it was made of.
    pub manager: String,
    /// The version of certus that made it.
    pub version: String,
    /// Rows of the state.
    pub rows: u64,
    /// Rows by table.
    pub tables: BTreeMap<String, u64>,
    /// Files of the manager: keys, sealed and not.
    pub secrets: usize,
    /// The file's size.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Raft's term when it was made.
    pub(crate) term: u64,
    /// The last entry of the log that is in it.
    pub(crate) applied: u64,
}

/// How far a long work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Bytes were written.
    Writing {
        /// How many.
        bytes: u64,
    },
    /// Rows were read back and found right.
    Checking {
        /// How many.
        rows: u64,
    },
    /// Rows were put into the new store.
    Restoring {
        /// How many.
        rows: u64,
        /// Of how many.
        of: u64,
    },
}

/// Checks a backup from its first byte to its last; touches nothing.
///
/// # Errors
/// It is no backup, damaged, of a newer format, or the passphrase is another.
pub fn verify(
    file: &Path,
    passphrase: &Passphrase,
    mut progress: impl FnMut(Progress),
) -> Result<Backup, BackupError> {
    let (head, input) = open(file)?;
    let key = BackupKey::of(&head, passphrase)?;
    read_with(&key, head, input, &mut Nowhere, |rows| progress(Progress::Checking { rows }))
}

/// The head of a backup, and what follows it.
pub(crate) fn open(file: &Path) -> Result<(Head, Hashing<BufReader<File>>), BackupError> {
    let opened = File::open(file).map_err(|error| BackupError::io("open", file, error))?;
    let mut input = Hashing::new(BufReader::with_capacity(256 << 10, opened));
    let mut head = Vec::with_capacity(HEAD);
    input.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(super::seal::reading)?;
    Ok((Head::from_bytes(&head)?, input))
}

/// Reads all that follows a head.
pub(crate) fn read_with<R: Read>(
    key: &BackupKey,
    head: Head,
    mut input: Hashing<R>,
    sink: &mut dyn Sink,
    seen: impl FnMut(u64),
) -> Result<Backup, BackupError> {
    let opener = Opener::new(head, key, &mut input)?;
    let (manifest, totals, secrets) = records::read(opener, sink, seen)?;
    let (bytes, sha256) = input.finish();
    Ok(described(manifest, totals, secrets, bytes, sha256))
}

fn described(manifest: Manifest, totals: Totals, secrets: usize, bytes: u64, sha256: Sha256) -> Backup {
    Backup {
        cluster: manifest.cluster,
        generation: manifest.generation,
        revision: manifest.revision,
        made_at: UnixTime::from_secs(manifest.made_at),
        manager: manifest.manager,
        version: manifest.version,
        rows: totals.rows,
        tables: totals.tables,
        secrets,
        bytes,
        sha256: sha256.to_string(),
        term: manifest.term,
        applied: manifest.applied,
    }
}

/// Hashes what is read, or written.
pub(crate) struct Hashing<R> {
    inner: R,
    hash: digest::Context,
    bytes: u64,
}

impl<R> Hashing<R> {
    pub(crate) fn new(inner: R) -> Hashing<R> {
        Hashing { inner, hash: digest::Context::new(&digest::SHA256), bytes: 0 }
    }

    /// How many bytes passed, and their hash.
    pub(crate) fn finish(self) -> (u64, Sha256) {
        let digest = self.hash.finish();
        let bytes = <[u8; 32]>::try_from(digest.as_ref()).expect("SHA-256 has 32 bytes");
        (self.bytes, Sha256::from_bytes(bytes))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn note(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        self.note(&out[..count]);
        Ok(count)
    }
}

impl<W: io::Write> io::Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.note(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
