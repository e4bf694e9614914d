//! Opening the two files: in a directory, or over any backend (a simulated disk).
//!
//! A file that others can read, that another process holds, or that a newer version wrote is
//! refused, each with its own words.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase, StorageBackend, TableDefinition, TableHandle};

use super::inspect::refuse_damaged;
use super::tables::create_tables;
use super::{Slot, Storage, StorageError, failed, log};

impl Storage {
    /// Opens `log.redb` and `state.redb` in `directory`, making what is missing.
    pub fn in_directory(directory: &Path) -> Result<Storage, StorageError> {
        private_directory(directory)?;
        let log_path = directory.join(LOG_FILE);
        let state_path = directory.join(STATE_FILE);
        refuse_newer(&log_path, Kind::Log)?;
        refuse_newer(&state_path, Kind::State)?;
        refuse_damaged(&log_path)?;
        refuse_damaged(&state_path)?;
        let log = file_backend(&log_path)?;
        let state = file_backend(&state_path)?;
        let mut storage =
            Storage::open((log, log_path.display().to_string()), (state, state_path.display().to_string()))?;
        storage.spool_directory = Some(directory.to_owned());
        Ok(storage)
    }

    /// Opens the same two databases over other backends.
    pub fn on_backends(
        log: impl StorageBackend,
        state: impl StorageBackend,
    ) -> Result<Storage, StorageError> {
        Storage::open((log, LOG_FILE.to_owned()), (state, STATE_FILE.to_owned()))
    }

    fn open(
        log: (impl StorageBackend, String),
        state: (impl StorageBackend, String),
    ) -> Result<Storage, StorageError> {
        let log = open_slot(log, LOG_CACHE_BYTES, Kind::Log)?;
        let state = open_slot(state, STATE_CACHE_BYTES, Kind::State)?;
        let storage = Storage {
            log,
            state,
            durable_next: AtomicU64::new(0),
            spool_directory: None,
            spooling: Mutex::new(()),
        };
        // What is read from a file that was just opened is what a crash would leave.
        let durable_next = storage.view()?.applied_next()?;
        storage.durable_next.store(durable_next, std::sync::atomic::Ordering::Release);
        Ok(storage)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Log,
    State,
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Kind::Log => "log",
            Kind::State => "state",
        }
    }

    fn format(self) -> u64 {
        match self {
            Kind::Log => LOG_FORMAT,
            Kind::State => STATE_FORMAT,
        }
    }
}

fn open_slot(
    (backend, file): (impl StorageBackend, String),
    cache_bytes: usize,
    kind: Kind,
) -> Result<Slot, StorageError> {
    let file: Arc<str> = file.into();
    let database =
        Database::builder().set_cache_size(cache_bytes).create_with_backend(backend).map_err(|error| {
            match error {
                DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
                    StorageError::InUse { file: file.clone() }
                }
                error => failed(&file, "opening", error),
            }
        })?;
    check_format(&database, &file, kind)?;
    Ok(Slot { file, database: Mutex::new(Some(Arc::new(database))) })
}

/// Reads the format number, or lays out a file that holds nothing yet.
fn check_format(database: &Database, file: &Arc<str>, kind: Kind) -> Result<(), StorageError> {
    let reading = |error: redb::Error| failed(file, "reading", error);
    let txn = database.begin_read().map_err(|error| reading(error.into()))?;
    let names: Vec<String> = txn
        .list_tables()
        .map_err(|error| reading(error.into()))?
        .map(|table| table.name().to_owned())
        .collect();
    if names.is_empty() {
        return lay_out(database, file, kind);
    }
    let not_ours =
        |found: String| StorageError::NotOurs { file: file.clone(), expected: kind.words(), found };
    if !names.iter().any(|name| name == FORMAT.name()) {
        return Err(not_ours(format!("tables {}", names.join(", "))));
    }
    let table = txn.open_table(FORMAT).map_err(|error| reading(error.into()))?;
    let value = table.get(kind.words()).map_err(|error| reading(error.into()))?;
    let Some(found) = value.map(|guard| guard.value()) else {
        return Err(not_ours("the other kind of file".to_owned()));
    };
    drop(table);
    drop(txn);
    if found > kind.format() {
        return Err(StorageError::NewerFormat { file: file.clone(), found, known: kind.format() });
    }
    // What an older version wrote is read as it is, and gets the tables it lacks; from now on a newer one
    // writes, and the older must not.
    if found < kind.format() { lay_out(database, file, kind) } else { Ok(()) }
}

/// Refuses files of a newer format before anything of either is changed; what cannot be read without being
/// repaired first is judged when it is opened.
fn refuse_newer(path: &Path, kind: Kind) -> Result<(), StorageError> {
    let number = || -> Result<Option<u64>, redb::Error> {
        let database = redb::ReadOnlyDatabase::open(path)?;
        let txn = database.begin_read()?;
        let table = txn.open_table(FORMAT)?;
        Ok(table.get(kind.words())?.map(|number| number.value()))
    };
    // redb panics at some bytes that it does not expect; whether they are damage is looked at next.
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(number)).unwrap_or(Ok(None)) {
        Ok(Some(found)) if found > kind.format() => {
            let file = path.display().to_string().into();
            Err(StorageError::NewerFormat { file, found, known: kind.format() })
        }
        // Other wrongs have words of their own, at the opening.
        _ => Ok(()),
    }
}

/// Writes the format's number and makes the tables that are not there.
fn lay_out(database: &Database, file: &Arc<str>, kind: Kind) -> Result<(), StorageError> {
    let writing = |error: redb::Error| failed(file, "laying out", error);
    let mut txn = database.begin_write().map_err(|error| writing(error.into()))?;
    txn.set_quick_repair(true);
    {
        let mut table = txn.open_table(FORMAT).map_err(|error| writing(error.into()))?;
        table.insert(kind.words(), kind.format()).map_err(|error| writing(error.into()))?;
    }
    match kind {
        Kind::Log => log::create_tables(&txn).map_err(writing)?,
        Kind::State => create_tables(&txn).map_err(writing)?,
    }
    txn.commit().map_err(|error| writing(error.into()))
}

fn private_directory(path: &Path) -> Result<(), StorageError> {
    let opening = |source| StorageError::Open { path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path).map_err(opening)?;
    let metadata = fs::metadata(path).map_err(opening)?;
    check_mode(path, metadata.permissions().mode(), DIRECTORY_MODE)
}

fn file_backend(path: &Path) -> Result<FileBackend, StorageError> {
    let file = private_file(path, Existing::Kept)?;
    FileBackend::new(file).map_err(|error| {
        let file: Arc<str> = path.display().to_string().into();
        failed(&file, "opening", error)
    })
}

/// What becomes of a file that is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    Kept,
    Truncated,
}

pub(super) fn private_file(path: &Path, existing: Existing) -> Result<File, StorageError> {
    let opening = |source| StorageError::Open { path: path.to_owned(), source };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(existing == Existing::Truncated)
        .mode(FILE_MODE)
        .open(path)
        .map_err(opening)?;
    let metadata = file.metadata().map_err(opening)?;
    check_mode(path, metadata.permissions().mode(), FILE_MODE)?;
    Ok(file)
}

fn check_mode(path: &Path, mode: u32, expected: u32) -> Result<(), StorageError> {
    let found = mode & 0o777;
    if found & !expected == 0 {
        return Ok(());
    }
    Err(StorageError::TooOpen { path: path.to_owned(), found, expected })
}

/// The Raft log: every append is durable before it is acknowledged.
pub(super) const LOG_FILE: &str = "log.redb";
/// The replicated state: durable at barriers, brought up to date from the log after a crash.
pub(super) const STATE_FILE: &str = "state.redb";

/// The newest layout of `log.redb` that this version reads, and the one it writes. Raised with every new
/// kind of command or entry: an older version could not read it. 2: managers, the offline
/// root, restores and recoveries.
pub(super) const LOG_FORMAT: u64 = 2;
/// The same of `state.redb`, raised with every new kind of row or field; `ca::format` numbers the
/// rows. 2: the table of managers.
pub(super) const STATE_FORMAT: u64 = 2;

/// Only the tail of the log is read in normal running, and it was just written.
const LOG_CACHE_BYTES: usize = 16 << 20;
/// The hot part of 1 M certificates' indexes; redb's default of 1 GiB filled 1.1 GB of memory.
const STATE_CACHE_BYTES: usize = 64 << 20;

/// Sealed keys and who is in the cluster: for this user alone.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

const FORMAT: TableDefinition<'static, &'static str, u64> = TableDefinition::new("certus_format");
