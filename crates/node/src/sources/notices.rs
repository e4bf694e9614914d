//! Being told of changes by the system: directories are watched, not files, and again after they were
//! replaced. What is not told is found by polling; nothing here is needed for being right.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::snapshot::DATA_LINK;

/// One waiting notice stands for all: what changed is found by reading.
const WAITING_MAX: usize = 1;

/// Watches the directories of some files.
pub(super) struct Notices {
    files: Vec<PathBuf>,
    watcher: Option<RecommendedWatcher>,
    armed: BTreeMap<PathBuf, Option<Seen>>,
    heard: Arc<Mutex<Heard>>,
    sender: mpsc::Sender<()>,
    /// How often a watcher could not be made, or died.
    failures: u64,
    told: bool,
}

/// What the watcher's thread and ours both know.
#[derive(Default)]
struct Heard {
    /// Directories that are watched.
    dirs: BTreeSet<PathBuf>,
    /// Names in them that matter.
    names: BTreeSet<OsString>,
    /// Directories that were removed or moved: what is watched is no longer what is there.
    lost: BTreeSet<PathBuf>,
    /// Why the watcher is of no more use.
    died: Option<String>,
}

/// Which directory it is: a number can be given again.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    device: u64,
    inode: u64,
    made: Option<SystemTime>,
}

impl Notices {
    /// Of changes to `files`; of none, nothing is ever told.
    pub(super) fn new(files: Vec<PathBuf>) -> (Notices, mpsc::Receiver<()>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let files = files.iter().map(|file| std::path::absolute(file).unwrap_or_else(|_| file.clone()));
        let notices = Notices {
            files: files.collect(),
            watcher: None,
            armed: BTreeMap::new(),
            heard: Arc::default(),
            sender,
            failures: 0,
            told: false,
        };
        (notices, receiver)
    }

    /// How often a watcher could not be made, or died.
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// Watches whatever is to be watched now; whether all of it is. Blocks a little.
    ///
    /// Before the files are read, so that no change falls between.
    pub(super) fn arm(&mut self) -> bool {
        if self.files.is_empty() {
            return false;
        }
        let died = self.heard().died.take();
        if let Some(why) = died {
            self.failed(&why);
        }
        if self.watcher.is_none() {
            self.armed.clear();
            match self.watcher() {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => {
                    self.failed(&error.to_string());
                    return false;
                }
            }
        }
        let wanted = places(&self.files);
        let lost = {
            let mut heard = self.heard();
            heard.names = wanted.names;
            heard.dirs = wanted.needed.union(&wanted.helpful).cloned().collect();
            std::mem::take(&mut heard.lost)
        };
        self.disarm(|dir, seen| {
            lost.contains(dir)
                || !(wanted.needed.contains(dir) || wanted.helpful.contains(dir))
                || *seen != look(dir)
        });
        for dir in wanted.helpful.difference(&wanted.needed) {
            // Its changes are found by polling too.
            let _ = self.watch(dir);
        }
        for dir in &wanted.needed {
            if let Err(error) = self.watch(dir) {
                let gone = matches!(error.kind, notify::ErrorKind::PathNotFound) || look(dir).is_none();
                if !gone {
                    self.failed(&format!("{}: {error}", dir.display()));
                }
                return false;
            }
        }
        self.told = false;
        true
    }

    fn watch(&mut self, dir: &Path) -> notify::Result<()> {
        if self.armed.contains_key(dir) {
            return Ok(());
        }
        let Some(watcher) = &mut self.watcher else { return Ok(()) };
        let seen = look(dir);
        watcher.watch(dir, RecursiveMode::NonRecursive)?;
        self.armed.insert(dir.to_owned(), seen);
        Ok(())
    }

    /// Ends the watches that are of no more use.
    fn disarm(&mut self, is_over: impl Fn(&Path, &Option<Seen>) -> bool) {
        let over: Vec<PathBuf> =
            self.armed.iter().filter(|(dir, seen)| is_over(dir, seen)).map(|(dir, _)| dir.clone()).collect();
        for dir in over {
            self.armed.remove(&dir);
            if let Some(watcher) = &mut self.watcher {
                // The system ended it already where the directory was removed.
                let _ = watcher.unwatch(&dir);
            }
        }
    }

    fn watcher(&self) -> notify::Result<RecommendedWatcher> {
        let (heard, sender) = (self.heard.clone(), self.sender.clone());
        notify::recommended_watcher(move |event: notify::Result<Event>| {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            let matters = match event {
                Ok(event) => heard.matters(&event),
                Err(error) => {
                    heard.died = Some(error.to_string());
                    true
                }
            };
            if matters {
                // A notice that waits already stands for this one.
                let _ = sender.try_send(());
            }
        })
    }

    /// Said once, until all is watched again.
    fn failed(&mut self, why: &str) {
        self.failures += 1;
        self.watcher = None;
        self.armed.clear();
        if !self.told {
            self.told = true;
            tracing::warn!(why, "changes of files are not told by the system; they are found by polling");
        }
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    fn matters(&mut self, event: &Event) -> bool {
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
        // Our own reading is told too.
        if matches!(event.kind, EventKind::Access(_)) && event.kind != closed {
            return false;
        }
        let went = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
        let mut matters = event.paths.is_empty() || event.need_rescan();
        for path in &event.paths {
            let is_dir = self.dirs.contains(path);
            if is_dir && went {
                self.lost.insert(path.clone());
            }
            matters |= is_dir || path.file_name().is_some_and(|name| self.names.contains(name));
        }
        matters
    }
}

/// What there is to be watched.
#[derive(Default)]
struct Places {
    /// The directories of the files; where one is not there, the nearest above it.
    needed: BTreeSet<PathBuf>,
    /// Where directories and targets of symlinks are replaced.
    helpful: BTreeSet<PathBuf>,
    names: BTreeSet<OsString>,
}

fn places(files: &[PathBuf]) -> Places {
    let mut places = Places::default();
    places.names.insert(DATA_LINK.into());
    for file in files {
        let (Some(parent), Some(name)) = (file.parent(), file.file_name()) else { continue };
        places.names.insert(name.to_owned());
        // The nearest that is there, with the name below it that will come.
        let mut dir = parent;
        while !dir.is_dir()
            && let (Some(above), Some(name)) = (dir.parent(), dir.file_name())
        {
            places.names.insert(name.to_owned());
            dir = above;
        }
        places.needed.insert(dir.to_owned());
        if let (Some(above), Some(name)) = (dir.parent(), dir.file_name()) {
            places.names.insert(name.to_owned());
            places.helpful.insert(above.to_owned());
        }
        if let Ok(target) = fs::canonicalize(file)
            && let (Some(dir), Some(name)) = (target.parent(), target.file_name())
        {
            places.names.insert(name.to_owned());
            places.helpful.insert(dir.to_owned());
        }
    }
    places
}

fn look(dir: &Path) -> Option<Seen> {
    let meta = fs::metadata(dir).ok()?;
    Some(Seen { device: meta.dev(), inode: meta.ino(), made: meta.created().ok() })
}
