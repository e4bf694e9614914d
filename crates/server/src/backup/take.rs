//! The operator's side: a backup into a file that is whole and was read back, or is not there.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use certus_node::admin::{self, Streamed};
use certus_node::files::admin_socket;
use certus_pki::Passphrase;

use super::BackupError;
use super::read::{self, Backup, Hashing, Progress};
use super::records::Nowhere;
use super::seal::{BackupKey, Head};
use crate::storage::blocking;

/// What is to be made.
#[derive(Clone)]
#[non_exhaustive]
pub struct BackupOptions {
    /// Where the running manager keeps its data.
    pub data_dir: PathBuf,
    /// Where the backup goes.
    pub file: PathBuf,
    /// What opens it.
    pub passphrase: Passphrase,
    /// Whether a file of that name is replaced.
    pub force: bool,
}

impl BackupOptions {
    /// A backup that replaces nothing.
    pub fn new(data_dir: PathBuf, file: PathBuf, passphrase: Passphrase) -> BackupOptions {
        BackupOptions { data_dir, file, passphrase, force: false }
    }
}

/// Makes a backup of the cluster by the running manager of this machine.
///
/// It is written beside its place, synced, read back and compared, and only then takes its name.
///
/// # Errors
/// The manager does not run, the disk refuses, or what was read back is not what was written. Then nothing
/// is left.
pub async fn backup(
    options: &BackupOptions,
    mut progress: impl FnMut(Progress) + Send,
) -> Result<Backup, BackupError> {
    let file = &options.file;
    if !options.force && fs::symlink_metadata(file).is_ok() {
        return Err(BackupError::Exists { path: file.clone(), data: false });
    }
    let beside = beside(file);
    let made = make(options, &beside, &mut progress).await;
    if made.is_err() {
        let _ = fs::remove_file(&beside);
    }
    made
}

async fn make(
    options: &BackupOptions,
    beside: &Path,
    progress: &mut (impl FnMut(Progress) + Send),
) -> Result<Backup, BackupError> {
    let (head, key) = blocking(|| BackupKey::new(&options.passphrase))?;
    let (bytes, written) = write(options, beside, (&head, &key), progress).await?;
    let backup = blocking(|| {
        let (head, input) = read::open(beside)?;
        read::read_with(&key, head, input, &mut Nowhere, |rows| progress(Progress::Checking { rows }))
    })?;
    if (backup.bytes, &backup.sha256) != (bytes, &written) {
        let (path, came) = (options.file.clone(), backup.sha256);
        return Err(BackupError::ReadBack { path, expected: written, came });
    }
    let renaming = |error| BackupError::io("put in place", &options.file, error);
    fs::rename(beside, &options.file).map_err(renaming)?;
    let dir = options.file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(renaming)?;
    Ok(backup)
}

/// Writes what the manager gives; its size and hash.
async fn write(
    options: &BackupOptions,
    beside: &Path,
    (head, key): (&Head, &BackupKey),
    progress: &mut (impl FnMut(Progress) + Send),
) -> Result<(u64, String), BackupError> {
    let writing = |error| BackupError::io("write", beside, error);
    // One left over by a crash may have any mode.
    let _ = fs::remove_file(beside);
    let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(beside).map_err(writing)?;
    let mut out = Hashing::new(BufWriter::with_capacity(256 << 10, &file));
    let mut ask = zeroize::Zeroizing::new(head.as_bytes().to_vec());
    ask.extend_from_slice(key.reveal());
    let socket = admin_socket(&options.data_dir);
    let given = admin::post_streamed(&socket, "/backup", &ask, |piece| {
        blocking(|| out.write_all(piece))?;
        progress(Progress::Writing { bytes: out.bytes() });
        Ok::<(), std::io::Error>(())
    });
    match given.await.map_err(BackupError::NoManager)? {
        Streamed::Whole => {}
        Streamed::Stopped(error) => return Err(writing(error)),
        Streamed::Refused(_, why) => {
            return Err(BackupError::Refused { why: why.trim().to_owned() });
        }
        Streamed::BrokeOff(error) => {
            let why = format!("it broke off ({error}): see the manager's log");
            return Err(BackupError::Refused { why });
        }
    }
    blocking(|| {
        out.flush()?;
        file.sync_all()?;
        // So that what is read back comes from the disk. Where the system does not, it is no error.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        Ok(())
    })
    .map_err(writing)?;
    let (bytes, sha256) = out.finish();
    Ok((bytes, sha256.to_string()))
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}
