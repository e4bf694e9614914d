//! Why a backup was not made, read or restored, in words for the operator.

use std::io;
use std::path::{Path, PathBuf};

use certus_ca::store::Fault;
use certus_node::admin::AdminError;
use certus_node::files::FileError;
use certus_pki::explain::{Explain, Explanation};
use certus_pki::{NodeId, code};

use crate::keys::KeysError;
use crate::replica::{OpenError, SnapshotError};
use crate::storage::StorageError;
use crate::truth::Unanswered;

/// A backup was not made, read or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The file is something else.
    #[error("the file is not a backup of a cluster")]
    NotABackup,
    /// A newer version wrote it.
    #[error("the backup has format {found}, this version knows formats up to {known}")]
    Newer {
        /// The format it has.
        found: u16,
        /// The newest that is known.
        known: u16,
    },
    /// It asks for more work than any backup of ours.
    #[error("the backup asks for more to make its key than any that certus writes: {came}")]
    Parameters {
        /// What it asks for.
        came: String,
    },
    /// The passphrase is another one, or the head was altered.
    #[error("the passphrase does not open the backup")]
    WrongPassphrase,
    /// The file ends too early.
    #[error("the backup is cut short")]
    CutShort {
        /// Whole chunks that are there.
        chunks: u64,
    },
    /// The file goes on after its end.
    #[error("the backup goes on after its end")]
    AfterEnd,
    /// A chunk is not what was written.
    #[error("chunk {chunk} of the backup was altered or damaged")]
    Altered {
        /// Which, from zero.
        chunk: u64,
    },
    /// The records are not in an order that this version writes.
    #[error("the backup holds a record of kind {came} where {expected} should be")]
    Record {
        /// What should be there.
        expected: &'static str,
        /// The kind that is.
        came: u8,
    },
    /// A description in it cannot be read.
    #[error("the backup's description of itself cannot be read")]
    Json {
        /// Why not.
        #[source]
        error: serde_json::Error,
    },
    /// Rows in it cannot be read.
    #[error("the rows in the backup cannot be read")]
    Rows(#[source] SnapshotError),
    /// There are other rows in it than it says.
    #[error("the backup holds {found} rows, its end says {expected}")]
    Totals {
        /// What its end says.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// What was read back is not what was written.
    #[error("what was read back of {} is not what was written", .path.display())]
    ReadBack {
        /// Which file.
        path: PathBuf,
        /// SHA-256 of what was written.
        expected: String,
        /// SHA-256 of what was read.
        came: String,
    },
    /// Something is larger than any backup of ours.
    #[error("a record is larger than any that certus writes")]
    TooLarge,
    /// The file cannot be read on.
    #[error("the backup cannot be read")]
    Reading {
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// A file or directory refuses.
    #[error("cannot {verb} {}", .path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// There is something already where the backup, or the restored manager, should be.
    #[error("{} is there already", .path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
        /// Whether it is a directory with data in it.
        data: bool,
    },
    /// The manager's admin socket does not answer.
    #[error("the manager of this directory does not answer")]
    NoManager(#[source] AdminError),
    /// The manager will not give one now.
    #[error("the manager gave no backup: {why}")]
    Refused {
        /// What it says.
        why: String,
    },
    /// The provider's generator failed.
    #[error("the system gave no randomness")]
    NoRandomness,
    /// The provider made no key, or did not seal: a bug.
    #[error("a backup could not be sealed")]
    NoKey,
    /// The node's files refuse.
    #[error(transparent)]
    Files(FileError),
    /// The manager's secrets refuse.
    #[error(transparent)]
    Keys(KeysError),
    /// The store refuses.
    #[error("the manager's store cannot be used")]
    Storage(#[source] StorageError),
    /// A table refuses.
    #[error("the manager's store is damaged")]
    Fault(#[source] Fault),
    /// The log cannot be opened.
    #[error("the manager's log cannot be opened")]
    Open(#[source] Box<OpenError>),
    /// The rules do not allow it.
    #[error(transparent)]
    Unanswered(Unanswered),
    /// The restored manager could not be given a certificate.
    #[error("{id} could not be given a certificate: {}", .why.message)]
    NoCertificate {
        /// The manager's id.
        id: NodeId,
        /// Why not.
        why: Explanation,
    },
}

impl BackupError {
    pub(crate) fn io(verb: &'static str, path: &Path, error: io::Error) -> BackupError {
        BackupError::Io { verb, path: path.to_owned(), error }
    }

    pub(crate) fn record(expected: &'static str, came: u8) -> BackupError {
        BackupError::Record { expected, came }
    }
}

const ANOTHER_COPY: &str = "take another copy of it; certus cluster restore FILE --verify checks one";

impl Explain for BackupError {
    fn explain(&self) -> Explanation {
        let new = |code| Explanation::new(code, self.to_string());
        let damaged = || new(code::BACKUP_DAMAGED).hint(ANOTHER_COPY);
        match self {
            BackupError::NotABackup => {
                new(code::BACKUP_DAMAGED).halves("a file that certus cluster backup wrote", "another file")
            }
            BackupError::Newer { found, known } => new(code::NEWER_FORMAT)
                .halves(format!("format {known} or older"), format!("format {found}"))
                .hint("use the version of certus that wrote it, or a newer one"),
            BackupError::WrongPassphrase => new(code::WRONG_PASSPHRASE)
                .halves("the passphrase it was made with", "another one, or a file whose head was altered")
                .hint("--passphrase-file FILE names the right one"),
            BackupError::CutShort { chunks } => {
                damaged().halves("a chunk that says it is the last", format!("the end after {chunks} chunks"))
            }
            BackupError::ReadBack { expected, came, .. } => new(code::BACKUP_DAMAGED)
                .halves(expected, came)
                .hint("the disk does not keep what is written to it: use another one"),
            BackupError::Json { error } => damaged().fact("because", error),
            BackupError::Rows(error) => damaged().fact("because", error),
            BackupError::AfterEnd
            | BackupError::Altered { .. }
            | BackupError::Record { .. }
            | BackupError::Totals { .. }
            | BackupError::Parameters { .. }
            | BackupError::TooLarge => damaged(),
            BackupError::Reading { error } => new(code::FILE).fact("the system says", error),
            BackupError::Io { error, .. } => new(code::FILE).fact("the system says", error),
            BackupError::Exists { path, data: false } => new(code::ALREADY_EXISTS)
                .halves("a new file", path.display())
                .hint("choose another name; --force replaces it"),
            BackupError::Exists { path, data: true } => new(code::ALREADY_EXISTS)
                .halves("a directory that does not exist, or is empty", path.display())
                .hint("restore to another --data-dir; nothing is ever restored over a manager"),
            BackupError::NoManager(error) => new(code::UNREACHABLE)
                .fact("socket", error.path.display())
                .fact("because", &error.error)
                .hint("the manager must run, and this command as its user: certus manager start"),
            BackupError::Refused { .. } | BackupError::NoRandomness | BackupError::NoKey => {
                new(code::UNAVAILABLE)
            }
            BackupError::Files(error) => error.explain(),
            // Nothing runs yet that could be unlocked.
            BackupError::Keys(error @ KeysError::Locked { .. }) => error
                .explain()
                .hint("certus cluster restore FILE --unlock-file FILE: the unlock key it had when the backup was made"),
            BackupError::Keys(error) => error.explain(),
            BackupError::Storage(error) => error.explain(),
            BackupError::Fault(error) => new(code::STORE).fact("because", error),
            BackupError::Open(error) => new(code::STORE).fact("because", error),
            BackupError::Unanswered(error) => error.explain(),
            BackupError::NoCertificate { why, .. } => {
                let mut told = why.clone();
                told.message = self.to_string();
                told
            }
        }
    }
}
