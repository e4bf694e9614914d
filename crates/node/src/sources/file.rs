//! Key, chain and roots in files, or inline in a configuration; files may be replaced at any time.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use certus_pki::{Sha256, UnixTime};
use zeroize::Zeroizing;

use super::error::SourceError;
use super::material::{Material, Needs};
use super::snapshot::{self, Wanted};
use super::text::{Texts, read_texts};
use super::watch::{Habits, Origin};

/// How often files are read again where nothing told of a change: file systems over networks tell nothing.
pub const POLL_DEFAULT: Duration = Duration::from_secs(10);
/// A poll more often than this is a busy loop.
const POLL_MIN: Duration = Duration::from_millis(20);
/// How long a pair that does not fit may be in the middle of being written.
const SETTLE_DEFAULT: Duration = Duration::from_secs(5);

/// A key that only its owner can read.
const MODE_OWN: u32 = 0o600;
/// A key in a Kubernetes secret, that its pod's group can read.
const MODE_GROUP: u32 = 0o640;

/// Which files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilePaths {
    /// Key, chain and perhaps roots in one file, `credentials.pem`; in the place of `cert` and `key`.
    pub bundle: Option<PathBuf>,
    /// The leaf and its issuers; with `key`.
    pub cert: Option<PathBuf>,
    /// The private key; with `cert`.
    pub key: Option<PathBuf>,
    /// The roots; in the place of those that a bundle holds.
    pub ca: Option<PathBuf>,
}

impl FilePaths {
    /// A certificate, its key, and perhaps roots, each in a file of its own.
    pub fn separate(
        cert: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        ca: Option<impl Into<PathBuf>>,
    ) -> FilePaths {
        FilePaths { bundle: None, cert: Some(cert.into()), key: Some(key.into()), ca: ca.map(Into::into) }
    }

    /// All in one file.
    pub fn bundle(path: impl Into<PathBuf>) -> FilePaths {
        FilePaths { bundle: Some(path.into()), ..FilePaths::default() }
    }
}

/// PEM texts that stand in a configuration. No `Debug`: one is a secret (I7).
#[derive(Clone, Default)]
pub struct InlinePem {
    /// The leaf and its issuers; with `key`.
    pub cert: Option<String>,
    /// The private key; with `cert`.
    pub key: Option<Zeroizing<String>>,
    /// The roots.
    pub ca: Option<String>,
}

/// Files, and texts in their place. No `Debug`: it may hold a secret (I7).
pub struct FileSource {
    paths: FilePaths,
    inline: InlinePem,
    needs: Needs,
    allow_group_read: bool,
    poll: Duration,
    notify: bool,
    settle: Duration,
    /// What the files held when the generation with this digest was read.
    taken: Mutex<Option<(Sha256, Sha256)>>,
}

impl FileSource {
    /// These files.
    ///
    /// # Errors
    /// A certificate without its key or the other way round, a bundle beside either, nothing where something
    /// is needed.
    pub fn new(paths: FilePaths, needs: Needs) -> Result<FileSource, SourceError> {
        FileSource::combined(paths, InlinePem::default(), needs)
    }

    /// These files, and texts that win over them: the pair as a pair, the roots by themselves.
    ///
    /// # Errors
    /// As [`FileSource::new`].
    pub fn combined(
        mut paths: FilePaths,
        inline: InlinePem,
        needs: Needs,
    ) -> Result<FileSource, SourceError> {
        half(inline.cert.is_some(), inline.key.is_some(), ["the inline certificate", "the inline key"])?;
        if inline.cert.is_some() {
            (paths.bundle, paths.cert, paths.key) = (None, None, None);
        }
        half(paths.cert.is_some(), paths.key.is_some(), ["the certificate's file", "the key's file"])?;
        if paths.bundle.is_some() && paths.cert.is_some() {
            return Err(SourceError::Twice);
        }
        if inline.ca.is_some() {
            paths.ca = None;
        }
        let source = FileSource {
            paths,
            inline,
            needs,
            allow_group_read: false,
            poll: POLL_DEFAULT,
            notify: true,
            settle: SETTLE_DEFAULT,
            taken: Mutex::new(None),
        };
        source.gives(needs)?;
        Ok(source)
    }

    /// Whether a key may be readable by its group, mode 0640: secrets in Kubernetes often are, for a
    /// process that does not run as root.
    #[must_use]
    pub fn allow_group_read(mut self, allow: bool) -> FileSource {
        self.allow_group_read = allow;
        self
    }

    /// How often files are read where nothing told of a change; ten seconds unless set.
    #[must_use]
    pub fn poll(mut self, every: Duration) -> FileSource {
        self.poll = every.max(POLL_MIN);
        self
    }

    /// Whether the system is asked to tell of changes; it is unless set. Polling goes on in any case.
    #[must_use]
    pub fn notify(mut self, notify: bool) -> FileSource {
        self.notify = notify;
        self
    }

    /// How long a pair that does not fit, or a file that is cut off, may be in the middle of being
    /// written before it is a failure; five seconds unless set.
    #[must_use]
    pub fn settle_within(mut self, limit: Duration) -> FileSource {
        self.settle = limit;
        self
    }

    /// Whether no file is read: such a source cannot rotate.
    pub fn is_static(&self) -> bool {
        self.wanted().is_empty()
    }

    /// Reads and checks one generation, once. Blocks.
    ///
    /// # Errors
    /// [`SourceError`]; a pair that is being written right now is one too, [`super::Source::start`] waits.
    pub fn read(&self, now: UnixTime) -> Result<Material, SourceError> {
        self.read_changed(None, now).map(|(material, _)| material)?.ok_or(SourceError::Ended)
    }

    /// The generation, unless the files hold what they held when `current` was read; and what they hold.
    fn read_changed(
        &self,
        current: Option<&Material>,
        now: UnixTime,
    ) -> Result<(Option<Material>, Sha256), SourceError> {
        let wanted = self.wanted();
        let snapshot = snapshot::read(&wanted)?;
        let known = *self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if current.is_some_and(|current| known == Some((snapshot.raw, current.digest()))) {
            return Ok((None, snapshot.raw));
        }
        let of = |path: &Option<PathBuf>| {
            let place = wanted.iter().position(|wanted| Some(&wanted.path) == path.as_ref())?;
            snapshot.texts.get(place).map(|text| text.as_str())
        };
        let texts = Texts {
            bundle: of(&self.paths.bundle),
            chain: self.inline.cert.as_deref().or_else(|| of(&self.paths.cert)),
            key: self.inline.key.as_ref().map(|key| key.as_str()).or_else(|| of(&self.paths.key)),
            roots: self.inline.ca.as_deref().or_else(|| of(&self.paths.ca)),
        };
        let wrong = |error| SourceError::Material { place: self.place(), error };
        let material = read_texts(texts).map_err(wrong)?;
        material.check(now, self.needs).map_err(wrong)?;
        Ok((Some(material), snapshot.raw))
    }

    /// The files that are read; the same path once, though it hold a certificate and its key.
    fn wanted(&self) -> Vec<Wanted> {
        let secret = if self.allow_group_read { MODE_GROUP } else { MODE_OWN };
        let mut all: Vec<Wanted> = Vec::new();
        let FilePaths { bundle, cert, key, ca } = &self.paths;
        for (path, mode_max) in [(bundle, Some(secret)), (key, Some(secret)), (cert, None), (ca, None)] {
            let Some(path) = path else { continue };
            if !all.iter().any(|wanted| wanted.path == *path) {
                all.push(Wanted { path: path.clone(), mode_max });
            }
        }
        all
    }

    /// Whether what is needed is named at all.
    fn gives(&self, needs: Needs) -> Result<(), SourceError> {
        let pair = self.inline.cert.is_some() || self.paths.cert.is_some() || self.paths.bundle.is_some();
        let roots = self.inline.ca.is_some() || self.paths.ca.is_some() || self.paths.bundle.is_some();
        let missing = if needs.identity && !pair {
            super::MaterialError::NoIdentity
        } else if needs.roots && !roots {
            super::MaterialError::NoRoots
        } else {
            return Ok(());
        };
        Err(SourceError::Material { place: self.place(), error: missing })
    }

    /// The files and texts, for people.
    fn place(&self) -> String {
        let inline = [
            self.inline.cert.as_ref().map(|_| "the inline certificate and key"),
            self.inline.ca.as_ref().map(|_| "the inline CA"),
        ];
        let inline = inline.into_iter().flatten().map(str::to_owned);
        let FilePaths { bundle, cert, key, ca } = &self.paths;
        let files = [bundle, cert, key, ca].into_iter().flatten().map(|path: &PathBuf| shown(path));
        let all: Vec<String> = inline.chain(files).collect();
        if all.is_empty() { "an empty configuration".to_owned() } else { all.join(", ") }
    }
}

impl Origin for FileSource {
    fn read(&self, current: Option<&Material>, now: UnixTime) -> Result<Option<Material>, SourceError> {
        let (material, raw) = self.read_changed(current, now)?;
        if let Some(material) = &material {
            *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some((raw, material.digest()));
        }
        Ok(material)
    }

    fn habits(&self) -> Habits {
        let files: Vec<PathBuf> = self.wanted().into_iter().map(|wanted| wanted.path).collect();
        Habits {
            is_static: files.is_empty(),
            rotates: self.inline.cert.is_none() && !files.is_empty(),
            poll: self.poll,
            settle: self.settle,
            files: if self.notify { files } else { Vec::new() },
        }
    }
}

fn half(first: bool, second: bool, [a, b]: [&'static str; 2]) -> Result<(), SourceError> {
    match (first, second) {
        (true, false) => Err(SourceError::Half { given: a, missing: b }),
        (false, true) => Err(SourceError::Half { given: b, missing: a }),
        _ => Ok(()),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
