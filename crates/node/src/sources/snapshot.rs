//! Reading several files as one generation, however they are replaced meanwhile.
//!
//! Each directory is opened once. Where Kubernetes projects files into it, `..data` is resolved once too,
//! and every file is read below that one descriptor, so that a swap cannot mix two generations. Other
//! files must stand still from the first one read to a second look at all of them.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use certus_pki::Sha256;
use rustix::fs::{CWD, Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;
use zeroize::{Zeroize, Zeroizing};

use super::error::SourceError;

/// A bundle of public roots has 230 KiB.
pub const FILE_BYTES_MAX: u64 = 1 << 20;
/// Reads in a row before it is said that the files do not stand still; writers are far slower.
const TRIES_MAX: u32 = 16;
/// The symlink that Kubernetes' AtomicWriter swaps.
pub(super) const DATA_LINK: &str = "..data";

/// A file to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) path: PathBuf,
    /// What its mode may be at most, where it holds a secret.
    pub(super) mode_max: Option<u32>,
}

/// What the files held at one moment, in the order they were asked for. No `Debug`: a key may be among
/// them.
pub(super) struct Snapshot {
    pub(super) texts: Vec<Zeroizing<String>>,
    /// Of all bytes: whether anything changed.
    pub(super) raw: Sha256,
}

/// Reads the files as they were at one moment.
pub(super) fn read(wanted: &[Wanted]) -> Result<Snapshot, SourceError> {
    let mut last = SourceError::Ended;
    for _ in 0..TRIES_MAX {
        match attempt(wanted) {
            Ok(texts) => return Ok(Snapshot { raw: digest(&texts), texts }),
            Err(Failed::Moved(error)) => last = error,
            Err(Failed::For(error)) => return Err(error),
        }
    }
    Err(last)
}

/// Why one attempt yields nothing.
enum Failed {
    /// Files were being replaced: the next attempt may succeed.
    Moved(SourceError),
    /// Another attempt would fail likewise.
    For(SourceError),
}

/// An open directory of wanted files.
struct Dir<'a> {
    path: &'a Path,
    own: OwnedFd,
    /// What `..data` led to when the directory was opened.
    data: Option<OwnedFd>,
}

fn attempt(wanted: &[Wanted]) -> Result<Vec<Zeroizing<String>>, Failed> {
    let mut dirs: Vec<Dir<'_>> = Vec::new();
    let mut texts = Vec::with_capacity(wanted.len());
    let mut seen = Vec::with_capacity(wanted.len());
    for file in wanted {
        let (parent, name) = split(&file.path)?;
        let place = match dirs.iter().position(|dir| dir.path == parent) {
            Some(place) => place,
            None => {
                dirs.push(Dir::open(parent)?);
                dirs.len() - 1
            }
        };
        let (text, stands) = read_file(&dirs[place], name, file)?;
        texts.push(text);
        seen.push((place, name, stands));
    }
    // Every file as it was read, all of them at this moment: nothing between was another generation.
    for (file, (place, name, stands)) in wanted.iter().zip(&seen) {
        let Some(before) = stands else { continue };
        let after = open_in(&dirs[*place].own, name).and_then(|file| file.metadata());
        if !after.is_ok_and(|after| same(before, &after)) {
            return Err(moved(&file.path));
        }
    }
    Ok(texts)
}

impl Dir<'_> {
    fn open(path: &Path) -> Result<Dir<'_>, Failed> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let wrong = |error: Errno| Failed::For(SourceError::io("open the directory", path, error));
        let own = openat(CWD, path, flags, Mode::empty()).map_err(wrong)?;
        let data = openat(&own, DATA_LINK, flags, Mode::empty()).ok();
        Ok(Dir { path, own, data })
    }
}

/// The text of one file; with what it looked like, where it must be looked at again.
fn read_file(
    dir: &Dir<'_>,
    name: &OsStr,
    wanted: &Wanted,
) -> Result<(Zeroizing<String>, Option<Metadata>), Failed> {
    let path = &wanted.path;
    let wrong = |error: io::Error| Failed::For(SourceError::io("read", path, error));
    let inside = dir.data.as_ref().and_then(|data| Some((data, inside_data(&dir.own, name)?)));
    let file = match &inside {
        // The generation was removed between opening it and reading it.
        Some((data, inside)) => open_in(data, inside.as_os_str())
            .map_err(|error| Failed::Moved(SourceError::io("read", path, error)))?,
        None => open_in(&dir.own, name).map_err(wrong)?,
    };
    let before = file.metadata().map_err(wrong)?;
    if !before.is_file() {
        return Err(wrong(io::Error::other("not a plain file")));
    }
    if let Some(expected) = wanted.mode_max
        && before.mode() & 0o777 & !expected & !0o700 != 0
    {
        return Err(Failed::For(SourceError::Mode { path: path.clone(), mode: before.mode(), expected }));
    }
    if before.len() > FILE_BYTES_MAX {
        return Err(Failed::For(SourceError::TooLarge { path: path.clone(), bytes: before.len() }));
    }
    // In one allocation: what grows leaves copies behind, and it may be a key.
    let room = usize::try_from(before.len()).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    (&file).take(room as u64).read_to_end(&mut bytes).map_err(wrong)?;
    let after = file.metadata().map_err(wrong)?;
    if bytes.len() as u64 != before.len() || !same(&before, &after) {
        return Err(moved(path));
    }
    let text = String::from_utf8(std::mem::take(&mut *bytes)).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        error.into_bytes().zeroize();
        Failed::For(SourceError::NotText { path: path.clone(), at })
    })?;
    Ok((Zeroizing::new(text), inside.is_none().then_some(before)))
}

/// Where below `..data` a name of the directory leads, if it does.
fn inside_data(dir: &OwnedFd, name: &OsStr) -> Option<PathBuf> {
    let target = readlinkat(dir, name, Vec::new()).ok()?;
    let target = Path::new(OsStr::from_bytes(target.to_bytes()));
    let inside = target.strip_prefix(DATA_LINK).ok()?;
    let plain = inside.components().all(|part| matches!(part, Component::Normal(_)));
    (plain && inside.file_name().is_some()).then(|| inside.to_owned())
}

fn open_in(dir: &OwnedFd, name: &OsStr) -> io::Result<File> {
    // A pipe in the place of a file must not hold the reader up.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(File::from(openat(dir, name, flags, Mode::empty())?))
}

/// Whether two looks saw one file, unchanged.
fn same(before: &Metadata, after: &Metadata) -> bool {
    let of = |meta: &Metadata| {
        let (changed, modified) = ((meta.ctime(), meta.ctime_nsec()), (meta.mtime(), meta.mtime_nsec()));
        (meta.dev(), meta.ino(), meta.len(), modified, changed)
    };
    of(before) == of(after)
}

fn split(path: &Path) -> Result<(&Path, &OsStr), Failed> {
    let parent =
        path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    parent.zip(path.file_name()).ok_or_else(|| {
        Failed::For(SourceError::io("read", path, io::Error::other("it is not the name of a file")))
    })
}

fn moved(path: &Path) -> Failed {
    Failed::Moved(SourceError::Unsettled { path: path.to_owned(), tries: TRIES_MAX })
}

fn digest(texts: &[Zeroizing<String>]) -> Sha256 {
    let each: Vec<u8> = texts.iter().flat_map(|text| *Sha256::of(text.as_bytes()).as_bytes()).collect();
    Sha256::of(&each)
}

#[cfg(test)]
mod tests;
