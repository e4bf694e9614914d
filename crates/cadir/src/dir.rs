//! An open CA directory: its lock, its ledger, its files.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use certus_pki::{Certificate, UnixTime};
use rustix::fs::{FlockOperation, flock};
use zeroize::Zeroizing;

use crate::change::{self, Change};
use crate::disk::{Disk, SECRET_MODE};
use crate::error::CaDirError;
use crate::layout::{LEDGER, Layout};
use crate::ledger::{self, BadLine, Record};

/// A fleet of a thousand takes a few seconds; who waits longer waits for something that hangs.
const LOCK_WAIT: Duration = Duration::from_secs(60);
const LOCK_LOOK: Duration = Duration::from_millis(20);

/// Larger than any file here but the ledger.
pub const FILE_BYTES_MAX: u64 = certus_pki::pem::TEXT_BYTES_MAX as u64;
/// About four million certificates.
const LEDGER_BYTES_MAX: u64 = 1 << 30;

/// An open CA directory. Others that want to change it wait until it is dropped.
#[derive(Debug)]
pub struct CaDir {
    path: PathBuf,
    layout: Layout,
    ledger: Option<File>,
    disk: Disk,
    /// Whether the ledger has its first line.
    begun: bool,
}

/// What the directory is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Looking at it, beside others.
    Read,
    /// Changing it, alone.
    Change,
}

impl CaDir {
    /// Opens the CA directory at `path`, which must hold one. What a crash left unfinished is finished
    /// or removed.
    pub fn open(path: &Path, access: Access) -> Result<CaDir, CaDirError> {
        // Before anything is made in a directory that is somebody else's.
        let files = [LEDGER.to_owned(), Layout::Mesh.root().cert, Layout::Dev.root().cert];
        if !files.iter().any(|file| path.join(file).exists()) {
            return Err(CaDirError::NoCa { path: path.to_owned() });
        }
        let dir = CaDir::at(path, access, None, Disk::default())?;
        if dir.has_root() { Ok(dir) } else { Err(CaDirError::NoCa { path: path.to_owned() }) }
    }

    /// Opens a directory for a new CA, made where there is none yet.
    pub fn make(path: &Path, layout: Layout) -> Result<CaDir, CaDirError> {
        CaDir::at(path, Access::Change, Some(layout), Disk::default())
    }

    /// The same over a disk of the caller's.
    pub(crate) fn at(
        path: &Path,
        access: Access,
        new: Option<Layout>,
        disk: Disk,
    ) -> Result<CaDir, CaDirError> {
        let absolute = std::path::absolute(path).map_err(|error| CaDirError::io("find", path, error))?;
        let path = absolute;
        if new.is_some() {
            disk.make_dir(&path).map_err(|error| CaDirError::io("make", &path, error))?;
        } else if !path.is_dir() {
            return Err(CaDirError::NoCa { path });
        }
        // What was decided and not finished is finished first, by whoever can.
        let access = if change::is_pending(&path) { Access::Change } else { access };
        let mut ledger = match open_ledger(&path, access) {
            Ok(ledger) => ledger,
            Err(error) => return Err(CaDirError::io("open", &path.join(LEDGER), error)),
        };
        if let Some(ledger) = &mut ledger {
            lock(ledger, &path, access)?;
            if access == Access::Change {
                change::recover(&path, ledger, &disk)?;
            }
        }
        let first = ledger.as_mut().map(|file| first_line(file, &path)).transpose()?.flatten();
        let layout = first.or(new).unwrap_or_else(|| guessed(&path));
        Ok(CaDir { path, layout, ledger, disk, begun: first.is_some() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names its files have.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Whether there is a root.
    pub fn has_root(&self) -> bool {
        self.file(&self.layout.root().cert).exists()
    }

    /// The path of a file of the directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether there is such a file.
    pub fn has(&self, name: &str) -> bool {
        self.file(name).exists()
    }

    /// The certificates in one of its files.
    pub fn certificates(&self, name: &str) -> Result<Vec<Certificate>, CaDirError> {
        let path = self.file(name);
        Certificate::many_from_pem(&read_text(&path)?).map_err(|error| CaDirError::pki_in(&path, &error))
    }

    /// Every line of the ledger, in order. A directory that another tool made has none.
    pub fn records(&self) -> Result<Vec<Record>, CaDirError> {
        let path = self.file(LEDGER);
        let Some(mut file) = self.ledger.as_ref() else { return Ok(Vec::new()) };
        let wrong = |error| CaDirError::io("read", &path, error);
        let length = file.metadata().map_err(wrong)?.len();
        if length > LEDGER_BYTES_MAX {
            return Err(wrong(io::Error::other(format!(
                "{length} bytes, at most {LEDGER_BYTES_MAX} are read"
            ))));
        }
        file.seek(SeekFrom::Start(0)).map_err(wrong)?;
        let mut text = String::with_capacity(usize::try_from(length).unwrap_or(0));
        file.read_to_string(&mut text).map_err(wrong)?;
        let records = ledger::records(&text);
        records.map(|(line, record)| record.map_err(|bad| bad_line(bad, &path, line))).collect()
    }

    /// Carries out a change. The ledger's first line goes with the first one.
    pub(crate) fn commit(&mut self, mut change: Change, at: UnixTime) -> Result<(), CaDirError> {
        let Some(ledger) = &mut self.ledger else {
            return Err(CaDirError::io("write", &self.path.join(LEDGER), io::ErrorKind::NotFound.into()));
        };
        if !self.begun {
            change.record_first(Record::Begun { at, layout: self.layout });
        }
        change.commit(&self.path, ledger, &self.disk)?;
        self.begun = true;
        Ok(())
    }
}

/// The text of a file that is not a secret.
pub(crate) fn read_text(path: &Path) -> Result<String, CaDirError> {
    let wrong = |error| CaDirError::io("read", path, error);
    let file = File::open(path).map_err(wrong)?;
    bounded(file, path)
}

/// The text of a key's file.
///
/// # Errors
/// Others can read it.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<String>, CaDirError> {
    let wrong = |error| CaDirError::io("read", path, error);
    let file = File::open(path).map_err(wrong)?;
    // Of the open file, so that what is checked is what is read.
    let mode = file.metadata().map_err(wrong)?.mode();
    if mode & 0o077 != 0 {
        return Err(CaDirError::Mode { path: path.to_owned(), mode });
    }
    bounded(file, path).map(Zeroizing::new)
}

fn bounded(file: File, path: &Path) -> Result<String, CaDirError> {
    let wrong = |error| CaDirError::io("read", path, error);
    let length = file.metadata().map_err(wrong)?.len();
    if length > FILE_BYTES_MAX {
        let why = format!("{length} bytes, at most {FILE_BYTES_MAX} are read");
        return Err(wrong(io::Error::other(why)));
    }
    // In one allocation: what grows leaves copies behind, and it may be a key.
    let mut text = String::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(wrong)?;
    Ok(text)
}

/// The ledger's file; none where one only looks and there is none.
fn open_ledger(dir: &Path, access: Access) -> io::Result<Option<File>> {
    let path = dir.join(LEDGER);
    let mut options = OpenOptions::new();
    options.read(true);
    if access == Access::Change {
        options.append(true).create(true).mode(SECRET_MODE);
    }
    match options.open(&path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && access == Access::Read => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits for the lock; it ends with the process that holds it.
fn lock(ledger: &File, dir: &Path, access: Access) -> Result<(), CaDirError> {
    let wanted = match access {
        Access::Read => FlockOperation::NonBlockingLockShared,
        Access::Change => FlockOperation::NonBlockingLockExclusive,
    };
    let start = Instant::now();
    loop {
        match flock(ledger, wanted) {
            Ok(()) => return Ok(()),
            Err(error) if error != rustix::io::Errno::WOULDBLOCK => {
                return Err(CaDirError::io("lock", dir, error.into()));
            }
            Err(_) if start.elapsed() > LOCK_WAIT => return Err(CaDirError::Busy { path: dir.to_owned() }),
            Err(_) => std::thread::sleep(LOCK_LOOK),
        }
    }
}

/// What the ledger's first line says; nothing for an empty one.
fn first_line(file: &mut File, dir: &Path) -> Result<Option<Layout>, CaDirError> {
    /// The first line is much shorter, whatever the version.
    const FIRST_BYTES: u64 = 1024;
    let path = dir.join(LEDGER);
    let mut start = Vec::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| (&*file).take(FIRST_BYTES).read_to_end(&mut start));
    read.map_err(|error| CaDirError::io("read", &path, error))?;
    if start.is_empty() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&start);
    let line = text.split('\n').next().unwrap_or_default();
    match Record::parse(line) {
        Ok(Record::Begun { layout, .. }) => Ok(Some(layout)),
        Ok(_) => Err(CaDirError::Damaged { path, line: 1, why: "it is not the first line of a ledger" }),
        Err(bad) => Err(bad_line(bad, &path, 1)),
    }
}

fn bad_line(bad: BadLine, path: &Path, line: usize) -> CaDirError {
    let path = path.to_owned();
    match bad {
        BadLine::Newer(came) => CaDirError::Newer { path, came },
        BadLine::Damaged(why) => CaDirError::Damaged { path, line, why },
    }
}

/// The layout of a directory that another tool made, by the files that are there.
fn guessed(dir: &Path) -> Layout {
    let has = |name: &str| dir.join(name).exists();
    let fleet = || {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.take(1000).any(|entry| entry.path().join("server.crt").exists())
    };
    if has("ca-cert.pem") && !has("ca.crt") {
        Layout::Dev
    } else if has("intermediate.crt") {
        Layout::Private
    } else if fleet() {
        Layout::Fleet
    } else {
        Layout::Mesh
    }
}

#[cfg(test)]
mod tests;
