//! Files that are there whole or not at all, and that only their owner can read.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use super::FileError;

/// What is larger is none of our files; a bundle of 100,000 revocations has about 14 MB as text.
const FILE_BYTES_MAX: u64 = 32 << 20;
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// Makes a directory for secrets, with those above it; one that is there must not be open to others.
pub(crate) fn make_dir(path: &Path) -> Result<(), FileError> {
    let made = DirBuilder::new().recursive(true).mode(DIR_MODE).create(path);
    made.map_err(|error| FileError::io("make the directory", path, error))?;
    let meta = fs::metadata(path).map_err(|error| FileError::io("look at", path, error))?;
    // Reading the list of names is harmless; changing it would let others put their files in place.
    refuse_mode(path, meta.mode(), 0o022, DIR_MODE)
}

/// Opens or makes a file of ours that carries a lock.
pub(crate) fn open_own(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(FILE_MODE).open(path)
}

/// The content of a secret file; nothing if it is not there.
///
/// # Errors
/// Others can read it, it is not a plain file, or it is larger than any of ours.
pub(crate) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
    let wrong = |error| FileError::io("read", path, error);
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error)),
    };
    // Of the open file, so that what is checked is what is read.
    let meta = file.metadata().map_err(wrong)?;
    if !meta.is_file() {
        return Err(wrong(io::Error::other("not a plain file")));
    }
    refuse_mode(path, meta.mode(), 0o077, FILE_MODE)?;
    if meta.len() > FILE_BYTES_MAX {
        let why = format!("{} bytes, at most {FILE_BYTES_MAX} are read", meta.len());
        return Err(wrong(io::Error::other(why)));
    }
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0)));
    Read::by_ref(&mut file).take(FILE_BYTES_MAX).read_to_end(&mut content).map_err(wrong)?;
    Ok(Some(content))
}

/// Puts `content` in the place of `path`: afterwards, also after a crash, it is there whole or the old
/// file is.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let wrong = |error| FileError::io("write", path, error);
    let dir = path.parent().ok_or_else(|| wrong(io::ErrorKind::InvalidInput.into()))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = dir.join(format!(".{name}.new"));
    // One left over by a crash may have any mode, and mode() holds only for a file that is made.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(wrong(error)),
        _ => {}
    }
    let written = (|| {
        let mut file = OpenOptions::new().create_new(true).write(true).mode(FILE_MODE).open(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(dir)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written.map_err(wrong)
}

/// The same, unless it says so already.
pub(crate) fn write_if_changed(path: &Path, content: &[u8]) -> Result<(), FileError> {
    // One that cannot be read, or that others can, is replaced.
    let same = matches!(read(path), Ok(Some(there)) if *there == content);
    if same { Ok(()) } else { write(path, content) }
}

/// Removes a file that may be there.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::io("remove", path, error)),
        _ => Ok(()),
    }
}

fn refuse_mode(path: &Path, mode: u32, forbidden: u32, expected: u32) -> Result<(), FileError> {
    if mode & forbidden == 0 {
        Ok(())
    } else {
        Err(FileError::Mode { path: path.to_owned(), mode, expected })
    }
}
