//! Whether every page of a file is what was written: looked at before the file is opened.
//!
//! It never changes the file. Opening does, and would quietly take the last change back where its pages
//! are damaged, although it may have been acknowledged.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::{Database, DatabaseError, StorageBackend};

use super::{StorageError, failed};

/// Larger files are not looked through: a start must not take minutes. About 100,000 certificates;
/// this much is read in a second.
const LOOKED_THROUGH_MAX: u64 = 256 << 20;
/// For the look alone: pages are read once.
const CACHE_BYTES: usize = 8 << 20;
/// What the look would change is kept in pieces of this size.
const BLOCK: u64 = 4096;

/// Refuses a database whose checksums say that it is not what was written. One that is not there, or is
/// too large to look through, passes.
pub(super) fn refuse_damaged(path: &Path) -> Result<(), StorageError> {
    let opening = |source| StorageError::Open { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(opening(error)),
    };
    let length = file.metadata().map_err(opening)?.len();
    if length == 0 || length > LOOKED_THROUGH_MAX {
        return Ok(());
    }
    let name = path.display().to_string().into();
    let damaged =
        |what: &str| StorageError::Damaged { file: path.display().to_string().into(), what: what.into() };
    let look = || {
        let builder = &mut Database::builder();
        let opened = builder.set_cache_size(CACHE_BYTES).create_with_backend(Untouched::new(file, length));
        opened.and_then(|mut database| database.check_integrity())
    };
    // redb panics at some bytes that it does not expect; nothing of the look outlives the panic.
    let Ok(looked) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(look)) else {
        return Err(damaged("its pages hold what cannot have been written"));
    };
    match looked {
        Ok(true) => Ok(()),
        Ok(false) => Err(damaged("its newest pages do not have the checksums that were written")),
        Err(DatabaseError::Storage(redb::StorageError::Corrupted(what))) => Err(damaged(&what)),
        Err(DatabaseError::Storage(redb::StorageError::Io(error)))
            if error.kind() == io::ErrorKind::InvalidData =>
        {
            Err(damaged(&error.to_string()))
        }
        // Whoever wrote it with another version is told by the opening.
        Err(DatabaseError::UpgradeRequired(_)) => Ok(()),
        Err(error) => Err(failed(&name, "looking through", error)),
    }
}

/// A file as a database that may write: what it writes stays in memory.
#[derive(Debug)]
struct Untouched {
    file: File,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    length: u64,
    /// Up to here the file's own bytes count; beyond it was cut, and is zero.
    own: u64,
    written: BTreeMap<u64, Vec<u8>>,
}

impl Untouched {
    fn new(file: File, length: u64) -> Untouched {
        let state = State { length, own: length, written: BTreeMap::new() };
        Untouched { file, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One block as it is now.
    fn block(&self, state: &State, number: u64) -> io::Result<Vec<u8>> {
        if let Some(block) = state.written.get(&number) {
            return Ok(block.clone());
        }
        let mut block = vec![0; BLOCK as usize];
        let start = number * BLOCK;
        let own = state.own.saturating_sub(start).min(BLOCK) as usize;
        self.file.read_exact_at(&mut block[..own], start)?;
        Ok(block)
    }
}

/// The pieces of a stretch that lie in one block each: its number, and where in it and in the stretch.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % BLOCK) as usize;
        let piece = (BLOCK as usize - within).min(length - done);
        let from = done;
        done += piece;
        (piece > 0).then_some((at / BLOCK, within, from..from + piece))
    })
}

impl StorageBackend for Untouched {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > state.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, within, range) in pieces(offset, out.len()) {
            let block = self.block(&state, number)?;
            let length = range.len();
            out[range].copy_from_slice(&block[within..within + length]);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.state();
        if length < state.length {
            let last = length / BLOCK;
            let mut block = self.block(&state, last)?;
            block[(length % BLOCK) as usize..].fill(0);
            state.written.retain(|number, _| *number < last);
            state.written.insert(last, block);
            state.own = state.own.min(length);
        }
        state.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        for (number, within, range) in pieces(offset, data.len()) {
            let mut block = self.block(&state, number)?;
            let length = range.len();
            block[within..within + length].copy_from_slice(&data[range]);
            state.written.insert(number, block);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::storage::Storage;

    /// What a store holds, and the files it left.
    fn written(directory: &Path, kill: bool) {
        let storage = Storage::in_directory(directory).unwrap();
        for index in 0..200 {
            storage.append([(index, vec![index as u8; 700])], None).unwrap();
        }
        if kill {
            std::mem::forget(storage);
        } else {
            storage.close();
        }
    }

    #[test]
    fn a_byte_that_changed_is_noticed_or_matters_to_nobody() {
        for kill in [false, true] {
            let parent = tempfile::tempdir().unwrap();
            let directory = parent.path().join("store");
            written(&directory, kill);
            // A copy: the forgotten store still holds its files.
            let log = fs::read(directory.join("log.redb")).unwrap();
            let state = fs::read(directory.join("state.redb")).unwrap();
            let copy = parent.path().join("copy");
            let mut noticed = 0;
            // All over the header, and in most pages.
            for at in (0..512).step_by(61).chain((512..log.len()).step_by(4099)) {
                let mut bytes = log.clone();
                bytes[at] ^= 0x10;
                drop(fs::remove_dir_all(&copy));
                drop(Storage::in_directory(&copy).unwrap());
                fs::write(copy.join("log.redb"), &bytes).unwrap();
                fs::write(copy.join("state.redb"), &state).unwrap();
                match Storage::in_directory(&copy) {
                    Err(error) => {
                        noticed += 1;
                        assert!(matches!(error, StorageError::Damaged { .. }), "byte {at}: {error:?}");
                        assert_eq!(fs::read(copy.join("log.redb")).unwrap(), bytes, "it was not touched");
                    }
                    Ok(storage) => {
                        let entries = storage.entries(..).unwrap();
                        let last = entries.last().unwrap().0;
                        assert!(last == 199 || (kill && last == 198), "byte {at}: up to {last}");
                        let whole = entries.iter().all(|(index, entry)| *entry == vec![*index as u8; 700]);
                        assert!(whole, "byte {at} changed an entry, and nobody noticed");
                    }
                }
            }
            assert!(noticed > 20, "{noticed} of {}", log.len() / 4099);
        }
    }
}
