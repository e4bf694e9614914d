//! What is done to the disk, one call each: whole files beside their place, renames, appends.
//!
//! The one door through which this room changes anything, so that its tests can stop it at any step,
//! also in the middle of a write.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// For keys, and for the ledger.
pub(crate) const SECRET_MODE: u32 = 0o600;
/// For certificates: whoever may enter the directory may read them.
pub(crate) const PUBLIC_MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o700;

/// The disk; in tests one that stops working after a number of steps.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    #[cfg(test)]
    steps_left: Option<std::cell::Cell<u32>>,
}

impl Disk {
    /// A disk that does this many steps and no more, as for a process that ends there.
    #[cfg(test)]
    pub(crate) fn stopping_after(steps: u32) -> Disk {
        Disk { steps_left: Some(std::cell::Cell::new(steps)) }
    }

    /// Makes a directory, with those above it.
    pub(crate) fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(path)
    }

    /// A new file with this content, on the disk when this returns. What a crash left there goes.
    pub(crate) fn write_new(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        self.remove(path)?;
        self.step()?;
        let mut file = OpenOptions::new().create_new(true).write(true).mode(SECRET_MODE).open(path)?;
        self.write(&mut file, content)?;
        // The process's mask must not decide.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()
    }

    /// Adds to the end of a file; on the disk when this returns.
    pub(crate) fn append(&self, file: &mut File, content: &[u8]) -> io::Result<()> {
        self.write(file, content)?;
        self.step()?;
        file.sync_data()
    }

    /// Cuts a file.
    pub(crate) fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        self.step()?;
        file.set_len(length)?;
        file.sync_data()
    }

    /// Puts a file in the place of another.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        fs::rename(from, to)
    }

    /// Removes a file that may be there.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes a directory that is empty.
    pub(crate) fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        fs::remove_dir(path)
    }

    /// Makes the names in a directory last.
    pub(crate) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        File::open(path)?.sync_all()
    }

    /// In two halves, so that a test can stop between them.
    fn write(&self, file: &mut File, content: &[u8]) -> io::Result<()> {
        let (first, second) = content.split_at(content.len() / 2);
        self.step()?;
        file.write_all(first)?;
        self.step()?;
        file.write_all(second)
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests count steps here")]
    fn step(&self) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn step(&self) -> io::Result<()> {
        let Some(left) = &self.steps_left else { return Ok(()) };
        if left.get() == 0 {
            return Err(io::Error::other("the test stopped here"));
        }
        left.set(left.get() - 1);
        Ok(())
    }
}
