//! The files of this machine: who can read and change them, and how much room there is for more.
//!
//! Follows no symbolic link.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use certus_node::Pem;
use certus_pki::{Explanation, code};

use super::{Check, Finding, Place, failure, warning};
use crate::terminal::count;

/// Deeper than any directory of ours.
const DEPTH_MAX: usize = 6;
/// More files than a data directory has.
const FILES_MAX: usize = 10_000;
/// The log of a manager grows by some MiB before it is cut, and a snapshot is spooled beside the state.
const MANAGER_ROOM: u64 = 256 << 20;
/// A node writes some KiB; logs and core files of others fill a disk by more.
const NODE_ROOM: u64 = 64 << 20;
/// A snapshot that is received stands beside the state that it replaces.
const ROOM_PER_STORE: u64 = 2;
/// Below this share of the room there should be, writing may fail at any moment.
const FAILS_BELOW: u64 = 8;
/// Others may not read it, nor write; its group neither.
const SECRET: u32 = 0o077;
/// Others may look, and change nothing.
const CHANGEABLE: u32 = 0o022;

pub(super) fn permissions(place: &Place) -> Check {
    let mut walk = Walk::default();
    // A home that is not there is nobody's fault; a directory that was named is.
    let home = Some(&place.home).filter(|home| home.exists());
    let beside = place.data_dirs.iter().filter(|dir| home.is_none_or(|home| !dir.starts_with(home)));
    for dir in beside.chain(home) {
        walk.look(dir, 0);
    }
    let files = place.config.iter().flat_map(|config| {
        let own = config.listeners.iter().map(|one| &one.tls).chain(config.peers.iter().map(|one| &one.tls));
        let keys = own.chain([&config.tls]).filter_map(|tls| match &tls.material.key {
            Some(Pem::File(path)) => Some(path.clone()),
            _ => None,
        });
        keys.chain(config.token_file.clone()).collect::<Vec<PathBuf>>()
    });
    for file in files.filter(|file| file.exists()) {
        walk.secret(&file);
    }
    if walk.seen == 0 && walk.findings.is_empty() {
        return Check::skipped("permissions", "there is no data directory, and no key");
    }
    Check::of("permissions", format!("{} looked at", count(walk.seen as u64, "file")), walk.findings)
}

#[derive(Default)]
struct Walk {
    seen: usize,
    findings: Vec<Finding>,
}

impl Walk {
    fn look(&mut self, path: &Path, depth: usize) {
        let Some(meta) = self.meta(path) else { return };
        if meta.is_file() {
            let forbidden = if is_public(path) { CHANGEABLE } else { SECRET };
            return self.judge(path, &meta, forbidden, 0o600);
        }
        if !meta.is_dir() || depth > DEPTH_MAX {
            return;
        }
        self.judge(path, &meta, CHANGEABLE, 0o700);
        match fs::read_dir(path) {
            Ok(entries) => {
                let mut paths: Vec<PathBuf> =
                    entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
                paths.sort();
                for path in paths {
                    if self.seen >= FILES_MAX {
                        return;
                    }
                    self.look(&path, depth + 1);
                }
            }
            Err(error) => self.unreadable(path, &error),
        }
    }

    fn secret(&mut self, path: &Path) {
        // Kubernetes and others keep keys behind links.
        match fs::metadata(path) {
            Ok(meta) => self.judge(path, &meta, SECRET, 0o600),
            Err(error) => self.unreadable(path, &error),
        }
    }

    fn meta(&mut self, path: &Path) -> Option<Metadata> {
        match fs::symlink_metadata(path) {
            Ok(meta) => Some(meta),
            Err(error) => {
                self.unreadable(path, &error);
                None
            }
        }
    }

    fn judge(&mut self, path: &Path, meta: &Metadata, forbidden: u32, expected: u32) {
        self.seen += 1;
        let mode = meta.mode() & 0o7777;
        if mode & forbidden == 0 {
            return;
        }
        let verb = if mode & forbidden & CHANGEABLE == 0 { "read" } else { "changed" };
        let told = Explanation::new(code::FILE_MODE, format!("{} can be {verb} by others", path.display()))
            .halves(format!("mode {expected:04o}"), format!("mode {mode:04o}"))
            .hint(format!("chmod {expected:o} {}", path.display()));
        self.findings.push(failure(told));
    }

    fn unreadable(&mut self, path: &Path, error: &std::io::Error) {
        let told = Explanation::new(code::FILE, format!("cannot look at {}", path.display()))
            .fact("the system says", error)
            .hint("run this as the user whose files they are, or name the directory with --data-dir");
        self.findings.push(failure(told));
    }
}

/// Certificates and roots, which other programs may be meant to read.
fn is_public(path: &Path) -> bool {
    let ends = |ending: &str| path.extension().is_some_and(|extension| extension == ending);
    ends("crt") || path.file_name().is_some_and(|name| name == "bundle.pem")
}

pub(super) fn disk(place: &Place, asked: Option<u64>) -> Check {
    let dirs: Vec<&PathBuf> = place.data_dirs.iter().filter(|dir| dir.exists()).collect();
    if dirs.is_empty() {
        return Check::skipped("disk", "there is no data directory");
    }
    let (mut seen, mut findings) = (Vec::new(), Vec::new());
    for dir in dirs {
        match rustix::fs::statvfs(dir) {
            Ok(disk) => {
                let free = disk.f_bavail.saturating_mul(disk.f_frsize);
                seen.push(format!("{} free for {}", size(free), dir.display()));
                findings.extend(room(dir, free, asked.unwrap_or_else(|| room_for(dir))));
                if disk.f_files > 0 && disk.f_favail == 0 {
                    let told = Explanation::new(code::DISK_ROOM, "the disk has no inode left");
                    let told = told.halves("at least one", 0).fact("directory", dir.display());
                    findings.push(failure(told.hint("df -i; remove small files of others")));
                }
            }
            Err(error) => {
                let told =
                    Explanation::new(code::FILE, format!("cannot look at the disk of {}", dir.display()));
                findings.push(failure(told.fact("the system says", error)));
            }
        }
    }
    Check::of("disk", seen.join("; "), findings)
}

/// Room that there should be.
fn room_for(dir: &Path) -> u64 {
    if !certus_server::is_founded(dir) {
        return NODE_ROOM;
    }
    let store = fs::read_dir(dir.join("manager").join("store")).into_iter().flatten().filter_map(Result::ok);
    let bytes: u64 = store.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum();
    MANAGER_ROOM.max(bytes.saturating_mul(ROOM_PER_STORE))
}

fn room(dir: &Path, free: u64, wanted: u64) -> Option<Finding> {
    if free >= wanted {
        return None;
    }
    let told = Explanation::new(code::DISK_ROOM, format!("the disk of {} has little room", dir.display()))
        .halves(format!("at least {} free", size(wanted)), size(free))
        .hint(format!(
            "df -h {}; a manager whose disk is full stops rather than lose something",
            dir.display()
        ));
    Some(if free < wanted / FAILS_BELOW { failure(told) } else { warning(told) })
}

/// `1.5 GiB`.
fn size(bytes: u64) -> String {
    let unit =
        [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")].into_iter().find(|(bits, _)| bytes >> bits > 0);
    unit.map_or_else(
        || format!("{bytes} B"),
        |(bits, name)| format!("{:.1} {name}", bytes as f64 / (1u64 << bits) as f64),
    )
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn room_is_judged_against_what_is_wanted() {
        let dir = Path::new("/d");
        let state = |free| room(dir, free, 800).map(|finding| finding.state);
        assert_eq!((state(800), state(799), state(99)), (None, Some(State::Warning), Some(State::Failure)));
        assert_eq!((size(512), size(3 << 29)), ("512 B".to_owned(), "1.5 GiB".to_owned()));
    }
}
