//! What a node keeps on disk: its credentials, what it trusts, the managers it knows.
//!
//! Whole files only: each is written beside its place, synced, and renamed. Secrets are 0600 in
//! directories of 0700, and one that others can read is refused.

pub(crate) mod atomic;
mod identity;
mod lock;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use certus_pki::bundle::Bundle;
use certus_pki::explain::{Explain, Explanation};
use certus_pki::{NodeId, PrivateKey, Role, code};

pub use identity::{IdentityDir, Looked, Stored};
pub use lock::KeyLock;

/// A daemon's data directory, held by this process alone for as long as the value lives.
pub struct NodeDir {
    root: PathBuf,
    // The lock ends with the file.
    _lock: File,
}

/// Whoever held the directory may just have ended, while a process that it was starting has not yet closed
/// what it inherited: that takes moments.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const LOCK_AGAIN: Duration = Duration::from_millis(10);

impl NodeDir {
    /// Opens a data directory, making it (0700) where it is not there yet.
    ///
    /// # Errors
    /// It belongs to a running process, others may write into it, or the system refuses.
    pub fn open(root: &Path) -> Result<NodeDir, FileError> {
        atomic::make_dir(root)?;
        let path = root.join(LOCK);
        let lock = atomic::open_own(&path).map_err(|error| FileError::io("open", &path, error))?;
        let since = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(NodeDir { root: root.to_owned(), _lock: lock }),
                Err(fs::TryLockError::WouldBlock) if since.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(LOCK_AGAIN);
                }
                Err(fs::TryLockError::WouldBlock) => {
                    return Err(FileError::InUse { path: root.to_owned() });
                }
                Err(fs::TryLockError::Error(error)) => return Err(FileError::io("lock", &path, error)),
            }
        }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The socket of the admin interface.
    pub fn admin_socket(&self) -> PathBuf {
        admin_socket(&self.root)
    }

    /// Where the credentials of `role` and `id` are kept.
    pub fn identity(&self, role: Role, id: &NodeId) -> IdentityDir {
        IdentityDir::at(self.root.join(CERTS).join(format!("{role}-{id}")))
    }

    /// The ids of `role` that have credentials here, in order.
    pub fn enrolled(&self, role: Role) -> Result<Vec<NodeId>, FileError> {
        let path = self.root.join(CERTS);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(FileError::io("read", &path, error)),
        };
        let prefix = format!("{role}-");
        let mut ids: Vec<NodeId> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().to_str()?.strip_prefix(&prefix)?.parse().ok())
            .filter(|id| self.identity(role, id).is_enrolled())
            .collect();
        ids.sort();
        Ok(ids)
    }

    /// The managers' addresses that were in use last; empty if none were kept.
    pub fn managers(&self) -> Result<Vec<String>, FileError> {
        let text = atomic::read(&self.root.join(MANAGERS))?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }

    /// Keeps the managers' addresses, so that a restart needs to be told none.
    pub fn keep_managers(&self, addresses: &[String]) -> Result<(), FileError> {
        let text: String = addresses.iter().map(|address| format!("{address}\n")).collect();
        atomic::write_if_changed(&self.root.join(MANAGERS), text.as_bytes())
    }
}

/// The socket of the admin interface of the daemon whose data is in `root`.
pub fn admin_socket(root: &Path) -> PathBuf {
    root.join(ADMIN_SOCKET)
}

/// The identities whose credentials are kept in `root`, in order. Nothing is made and nothing is locked, so
/// that a daemon may run on it.
pub fn identities(root: &Path) -> Vec<IdentityDir> {
    let entries = fs::read_dir(root.join(CERTS)).into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<IdentityDir> = entries.map(|entry| IdentityDir::at(entry.path())).collect();
    found.retain(IdentityDir::is_enrolled);
    found.sort_by(|a, b| a.path().cmp(b.path()));
    found
}

/// The managers' addresses that the daemon on `root` was told last; empty if none were kept.
pub fn managers(root: &Path) -> Vec<String> {
    let text = fs::read_to_string(root.join(MANAGERS)).unwrap_or_default();
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

const LOCK: &str = "lock";
const ADMIN_SOCKET: &str = "admin.sock";
const CERTS: &str = "certs";
const MANAGERS: &str = "managers";

/// Credentials as a join or a renewal yields them, to be stored.
pub struct Fresh<'a> {
    /// The private key, made here.
    pub key: &'a PrivateKey,
    /// Leaf first, then its issuers.
    pub chain: &'a [Vec<u8>],
    /// What the node trusts.
    pub bundle: &'a Bundle,
}

/// A file of the node cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("cannot {verb} {}", .path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// Others can read or change a secret.
    #[error("{} can be {} by others", .path.display(), if .mode & 0o022 == 0 { "read" } else { "changed" })]
    Mode {
        /// Which file or directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// What it may be at most.
        expected: u32,
    },
    /// Another process runs on the directory.
    #[error("another process runs on {}", .path.display())]
    InUse {
        /// Which directory.
        path: PathBuf,
    },
    /// It does not hold what it should.
    #[error("{} cannot be used: {}", .path.display(), .why.message)]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: Explanation,
    },
}

impl FileError {
    pub(crate) fn io(verb: &'static str, path: &Path, error: io::Error) -> FileError {
        FileError::Io { verb, path: path.to_owned(), error }
    }

    pub(crate) fn content(path: &Path, why: Explanation) -> FileError {
        FileError::Content { path: path.to_owned(), why }
    }
}

/// What to do about a file that cannot be read or written.
pub fn hint_of(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on the disk (df), then again",
        io::ErrorKind::ReadOnlyFilesystem => "make the file system writable again (mount, dmesg), then again",
        io::ErrorKind::PermissionDenied => "run it as the user whose files these are: ls -l",
        io::ErrorKind::NotFound => {
            "see whether the directory is the right one; if a file was lost, put it back"
        }
        _ => "see what is there, and whether the disk is well: ls -l, dmesg",
    }
}

impl Explain for FileError {
    fn explain(&self) -> Explanation {
        match self {
            FileError::Io { error, .. } => Explanation::new(code::FILE, self.to_string())
                .fact("the system says", error)
                .hint(hint_of(error)),
            FileError::Mode { path, mode, expected } => Explanation::new(code::FILE_MODE, self.to_string())
                .halves(format!("mode {expected:04o}"), format!("mode {:04o}", mode & 0o7777))
                .hint(format!("chmod {expected:o} {}", path.display())),
            FileError::InUse { .. } => Explanation::new(code::DIRECTORY_IN_USE, self.to_string())
                .hint("stop it, or give this one a directory of its own with --data-dir"),
            FileError::Content { path, why } => {
                let mut why = why.clone();
                why.message = self.to_string();
                why.fact("file", path.display())
            }
        }
    }
}
