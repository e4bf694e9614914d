//! A disk that loses power: what was not synced may be kept, lost or torn.
//!
//! It also fills up and fails on command. Nothing here touches a real file.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use crate::chance::Chance;

/// A machine's disk with some files. Clones are handles to the same one.
#[derive(Clone)]
pub struct SimDisk {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    chance: Chance,
    files: BTreeMap<&'static str, Content>,
    /// Counts process lives: handles of an earlier one are dead.
    life: u64,
    operations: u64,
    syncs: u64,
    fault: Option<Fault>,
    capacity: Option<u64>,
}

#[derive(Default)]
struct Content {
    /// What a power cut leaves for certain.
    durable: Vec<u8>,
    /// What the process sees.
    seen: Vec<u8>,
    /// What happened since the last sync, in order.
    unsynced: Vec<Change>,
}

enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone, Copy, Debug)]
struct Fault {
    /// The operation, counted from the beginning, at which it happens.
    at: u64,
    what: FaultKind,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The power goes: this and every later operation fails.
    PowerCut,
    /// One operation fails (EIO); later ones work.
    Io,
}

impl SimDisk {
    /// An empty disk whose bad luck follows from `seed`.
    pub fn new(seed: u64) -> SimDisk {
        SimDisk {
            inner: Arc::new(Mutex::new(Inner {
                chance: Chance::new(seed),
                files: BTreeMap::new(),
                life: 0,
                operations: 0,
                syncs: 0,
                fault: None,
                capacity: None,
            })),
        }
    }

    /// A handle to a file, which is made if it is not there. It dies with this life of the process.
    pub fn open(&self, name: &'static str) -> SimFile {
        let mut inner = self.lock();
        inner.files.entry(name).or_default();
        SimFile { disk: self.clone(), name, life: inner.life }
    }

    /// Something goes wrong after `operations` more operations.
    pub fn fail_after(&self, operations: u64, what: FaultKind) {
        let mut inner = self.lock();
        let at = inner.operations + operations;
        inner.fault = Some(Fault { at, what });
    }

    /// Leaves room for `bytes` more than are used now, or for all there will be.
    pub fn leave_room(&self, bytes: Option<u64>) {
        let mut inner = self.lock();
        let used = inner.used();
        inner.capacity = bytes.map(|bytes| used + bytes);
    }

    /// Nothing goes wrong from now on, and there is room.
    pub fn mend(&self) {
        let mut inner = self.lock();
        inner.fault = None;
        inner.capacity = None;
    }

    /// The process dies and the machine lives: what was written stays, synced or not.
    pub fn kill(&self) {
        let mut inner = self.lock();
        inner.life += 1;
        inner.fault = None;
    }

    /// The machine dies: of what was not synced, each piece is kept, lost or torn.
    pub fn cut_power(&self) {
        let mut inner = self.lock();
        inner.life += 1;
        inner.fault = None;
        let Inner { chance, files, .. } = &mut *inner;
        for content in files.values_mut() {
            content.settle(chance);
        }
    }

    /// Operations and syncs so far.
    pub fn counts(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.operations, inner.syncs)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        write!(f, "SimDisk {{ life: {}, operations: {} }}", inner.life, inner.operations)
    }
}

impl Inner {
    fn used(&self) -> u64 {
        self.files.values().map(|file| file.seen.len() as u64).sum()
    }

    /// Counts an operation of a handle, and fails it if it is its turn.
    fn operate(&mut self, file: &SimFile) -> io::Result<&mut Content> {
        if file.life != self.life {
            return Err(io::Error::other("the process that held this file is dead"));
        }
        self.operations += 1;
        if let Some(fault) = self.fault.filter(|fault| self.operations >= fault.at) {
            match fault.what {
                FaultKind::PowerCut => return Err(io::Error::other("the power is off")),
                FaultKind::Io => {
                    self.fault = None;
                    return Err(io::Error::from_raw_os_error(EIO));
                }
            }
        }
        self.files.get_mut(file.name).ok_or_else(|| io::Error::other("no such file"))
    }

    fn check_room(&self, growth: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if growth > 0 && self.used() + growth > capacity => {
                Err(io::Error::from_raw_os_error(ENOSPC))
            }
            _ => Ok(()),
        }
    }
}

impl Content {
    fn write(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset..end].copy_from_slice(data);
    }

    fn settle(&mut self, chance: &mut Chance) {
        // Whole runs of luck are likelier than a fair mix: all lost, all kept, or piece by piece.
        let luck = chance.below(4);
        for change in self.unsynced.drain(..) {
            let fate = match luck {
                0 => 0,
                1 => 1,
                _ => chance.below(3),
            };
            match (change, fate) {
                (_, 0) => {}
                (Change::Length(length), _) => self.durable.resize(length, 0),
                (Change::Write { offset, bytes }, 1) => {
                    Content::write(&mut self.durable, offset, &bytes);
                }
                (Change::Write { offset, bytes }, _) => {
                    tear(&mut self.durable, offset, &bytes, chance);
                }
            }
        }
        self.seen = self.durable.clone();
    }
}

/// Writes each sector or does not. Sectors count from the start of the disk, not of the write.
fn tear(durable: &mut Vec<u8>, offset: usize, bytes: &[u8], chance: &mut Chance) {
    let mut from = offset;
    let end = offset + bytes.len();
    while from < end {
        let to = end.min((from / SECTOR_BYTES + 1) * SECTOR_BYTES);
        if chance.once_in(2) {
            Content::write(durable, from, &bytes[from - offset..to - offset]);
        }
        from = to;
    }
}

/// A file on a simulated disk.
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    name: &'static str,
    life: u64,
}

impl StorageBackend for SimFile {
    fn len(&self) -> io::Result<u64> {
        let mut inner = self.disk.lock();
        Ok(inner.operate(self)?.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut inner = self.disk.lock();
        let seen = &inner.operate(self)?.seen;
        let from = place(offset)?;
        let bytes = from
            .checked_add(out.len())
            .and_then(|to| seen.get(from..to))
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut inner = self.disk.lock();
        let length = place(length)?;
        let before = inner.operate(self)?.seen.len();
        inner.check_room(length.saturating_sub(before) as u64)?;
        if let Some(content) = inner.files.get_mut(self.name) {
            content.seen.resize(length, 0);
            content.unsynced.push(Change::Length(length));
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.disk.lock();
        let content = inner.operate(self)?;
        content.unsynced.clear();
        content.durable.clone_from(&content.seen);
        inner.syncs += 1;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut inner = self.disk.lock();
        let offset = place(offset)?;
        let before = inner.operate(self)?.seen.len();
        inner.check_room((offset + data.len()).saturating_sub(before) as u64)?;
        if let Some(content) = inner.files.get_mut(self.name) {
            Content::write(&mut content.seen, offset, data);
            content.unsynced.push(Change::Write { offset, bytes: data.to_vec() });
        }
        Ok(())
    }
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;
/// Linux's numbers, so that the words are those an operator would see.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;
