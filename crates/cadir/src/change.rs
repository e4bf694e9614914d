//! Changes that happen whole or not at all: several files and lines of the ledger in one step.
//!
//! First a draft says what will be written, then everything is written beside its place, then renaming
//! the draft decides. What was decided is finished by whoever opens the directory next; what was not is
//! removed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use certus_pki::Sha256;
use zeroize::Zeroizing;

use crate::disk::{Disk, PUBLIC_MODE, SECRET_MODE};
use crate::error::CaDirError;
use crate::layout::PENDING;
use crate::ledger::{Record, escaped, unescaped};

/// Files to be written and lines to be added, together.
#[derive(Default)]
pub(crate) struct Change {
    files: Vec<New>,
    gone: Vec<PathBuf>,
    records: Vec<Record>,
}

struct New {
    path: PathBuf,
    content: Zeroizing<Vec<u8>>,
    mode: u32,
}

impl Change {
    /// A file that anyone may read.
    pub(crate) fn public(&mut self, path: PathBuf, content: &str) {
        self.files.push(New { path, content: content.as_bytes().to_vec().into(), mode: PUBLIC_MODE });
    }

    /// A file for its owner alone.
    pub(crate) fn secret(&mut self, path: PathBuf, content: &str) {
        self.files.push(New { path, content: content.as_bytes().to_vec().into(), mode: SECRET_MODE });
    }

    /// A file to be removed.
    pub(crate) fn remove(&mut self, path: PathBuf) {
        self.gone.push(path);
    }

    /// A line for the ledger.
    pub(crate) fn record(&mut self, record: Record) {
        self.records.push(record);
    }

    /// The ledger's first line.
    pub(crate) fn record_first(&mut self, record: Record) {
        self.records.insert(0, record);
    }

    /// The first of its files that is there already.
    pub(crate) fn in_the_way(&self) -> Option<&Path> {
        self.files.iter().map(|new| new.path.as_path()).find(|path| path.symlink_metadata().is_ok())
    }

    /// Makes it so. The ledger is the caller's, locked; afterwards all is done, or nothing is.
    pub(crate) fn commit(&self, dir: &Path, ledger: &mut File, disk: &Disk) -> Result<(), CaDirError> {
        for new in &self.files {
            if new.path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
                let error = io::ErrorKind::IsADirectory.into();
                return Err(CaDirError::io("write", &new.path, error));
            }
        }
        let offset = ledger.metadata().map_err(|error| CaDirError::io("look at", dir, error))?.len();
        let plan = Plan {
            offset,
            put: self.files.iter().map(|new| new.path.clone()).collect(),
            gone: self.gone.clone(),
            lines: self.records.iter().map(Record::line).collect(),
        };
        let decided = self.prepare(dir, &plan, disk).and_then(|()| plan.carry_out(dir, ledger, disk));
        if decided.is_err() {
            plan.undo(dir, ledger, disk);
        }
        decided
    }

    /// Everything up to the decision.
    fn prepare(&self, dir: &Path, plan: &Plan, disk: &Disk) -> Result<(), CaDirError> {
        let (draft, pending) = (draft(dir), dir.join(PENDING));
        let text = plan.text(dir);
        disk.write_new(&draft, text.as_bytes(), SECRET_MODE)
            .and_then(|()| disk.sync_dir(dir))
            .map_err(|error| CaDirError::io("write", &draft, error))?;
        for new in &self.files {
            let write = || {
                disk.make_dir(parent(&new.path))?;
                disk.write_new(&beside(&new.path), &new.content, new.mode)
            };
            write().map_err(|error| CaDirError::io("write", &new.path, error))?;
        }
        for dir in plan.dirs() {
            disk.sync_dir(dir).map_err(|error| CaDirError::io("write to", dir, error))?;
        }
        let decide = disk.rename(&draft, &pending).and_then(|()| disk.sync_dir(dir));
        decide.map_err(|error| CaDirError::io("write", &pending, error))
    }
}

/// What a change will do, as it stands in the pending file.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    offset: u64,
    put: Vec<PathBuf>,
    gone: Vec<PathBuf>,
    lines: String,
}

/// Finishes what was decided and removes what was not. The ledger is the caller's, locked.
pub(crate) fn recover(dir: &Path, ledger: &mut File, disk: &Disk) -> Result<(), CaDirError> {
    let pending = dir.join(PENDING);
    let cannot_read = |error| CaDirError::io("read", &pending, error);
    match fs::read_to_string(&pending) {
        Ok(text) => {
            let damaged = CaDirError::Damaged { path: pending.clone(), line: 1, why: "it is not whole" };
            return Plan::read(&text, dir).ok_or(damaged)?.carry_out(dir, ledger, disk);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(cannot_read(error)),
    }
    let draft = draft(dir);
    // A draft that is not whole was the first thing written: there is nothing else.
    let plan = fs::read_to_string(&draft).ok().and_then(|text| Plan::read(&text, dir));
    let remove = || {
        for path in plan.iter().flat_map(|plan| &plan.put) {
            disk.remove(&beside(path))?;
        }
        if draft.symlink_metadata().is_ok() { disk.remove(&draft) } else { Ok(()) }
    };
    remove().map_err(|error| CaDirError::io("clean up", dir, error))
}

/// Whether something was decided and not finished.
pub(crate) fn is_pending(dir: &Path) -> bool {
    dir.join(PENDING).symlink_metadata().is_ok()
}

impl Plan {
    /// Does what was decided; the same again does no harm.
    fn carry_out(&self, dir: &Path, ledger: &mut File, disk: &Disk) -> Result<(), CaDirError> {
        let add = |ledger: &mut File| {
            if self.lines.is_empty() {
                return Ok(());
            }
            if ledger.metadata()?.len() != self.offset {
                disk.truncate(ledger, self.offset)?;
            }
            disk.append(ledger, self.lines.as_bytes())
        };
        add(ledger).map_err(|error| CaDirError::io("write the ledger in", dir, error))?;
        for path in &self.put {
            match disk.rename(&beside(path), path) {
                // Done before.
                Err(error) if error.kind() == io::ErrorKind::NotFound && path.exists() => {}
                done => done.map_err(|error| CaDirError::io("write", path, error))?,
            }
        }
        for path in &self.gone {
            disk.remove(path).map_err(|error| CaDirError::io("remove", path, error))?;
        }
        for dir in self.dirs() {
            disk.sync_dir(dir).map_err(|error| CaDirError::io("write to", dir, error))?;
        }
        let pending = dir.join(PENDING);
        disk.remove(&pending)
            .and_then(|()| disk.sync_dir(dir))
            .map_err(|error| CaDirError::io("remove", &pending, error))
    }

    /// Takes back a change that failed while nothing was renamed yet; as far as the disk lets us. What
    /// cannot be taken back is finished or removed when the directory is opened next.
    fn undo(&self, dir: &Path, ledger: &File, disk: &Disk) {
        let renamed = self.put.iter().any(|path| beside(path).symlink_metadata().is_err());
        let pending = dir.join(PENDING);
        if is_pending(dir) && renamed {
            return;
        }
        let undo = || {
            // In this order: while the pending file is there, the change would be carried out again.
            if ledger.metadata()?.len() > self.offset {
                disk.truncate(ledger, self.offset)?;
            }
            disk.remove(&pending)?;
            for path in &self.put {
                disk.remove(&beside(path))?;
                // Only one that was made for this and is empty goes.
                let _ = disk.remove_dir(parent(path));
            }
            disk.remove(&draft(dir))
        };
        let _: io::Result<()> = undo();
    }

    /// The directories whose names change, each once.
    fn dirs(&self) -> Vec<&Path> {
        let mut dirs: Vec<&Path> = self.put.iter().chain(&self.gone).map(|path| parent(path)).collect();
        dirs.sort_unstable();
        dirs.dedup();
        dirs
    }

    fn text(&self, dir: &Path) -> String {
        let mut text = format!("certus-ca-pending\t1\t{}\n", self.offset);
        for (word, paths) in [("put", &self.put), ("gone", &self.gone)] {
            for path in paths {
                // Relative where it can be: the directory may be mounted elsewhere next time.
                let path = path.strip_prefix(dir).unwrap_or(path);
                text.push_str(&format!("{word}\t{}\n", escaped(&path.to_string_lossy())));
            }
        }
        for line in self.lines.lines() {
            text.push_str(&format!("line\t{line}\n"));
        }
        let check = Sha256::of(text.as_bytes());
        text.push_str(&format!("end\t{check}\n"));
        text
    }

    fn read(text: &str, dir: &Path) -> Option<Plan> {
        let (body, end) = text.strip_suffix('\n')?.rsplit_once('\n')?;
        let body = format!("{body}\n");
        if end.strip_prefix("end\t")? != Sha256::of(body.as_bytes()).to_string() {
            return None;
        }
        let mut lines = body.lines();
        let offset = lines.next()?.strip_prefix("certus-ca-pending\t1\t")?.parse().ok()?;
        let mut plan = Plan { offset, put: Vec::new(), gone: Vec::new(), lines: String::new() };
        for line in lines {
            match line.split_once('\t')? {
                ("put", path) => plan.put.push(dir.join(unescaped(path)?)),
                ("gone", path) => plan.gone.push(dir.join(unescaped(path)?)),
                ("line", line) => {
                    plan.lines.push_str(line);
                    plan.lines.push('\n');
                }
                _ => return None,
            }
        }
        Some(plan)
    }
}

fn draft(dir: &Path) -> PathBuf {
    dir.join(format!("{PENDING}.new"))
}

/// Where a file is written before it takes its place.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests;
