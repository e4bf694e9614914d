//! A manager's own secrets on disk: the cluster key, and what is sealed under it.
//!
//! `manager/cluster.key` is 32 bytes of mode 0600, or the same under a passphrase (`lock.rs`); everything
//! else here is sealed. None of it is ever replicated.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use aws_lc_rs::rand::fill;
use certus_pki::explain::{Explain, Explanation};
use certus_pki::issue::NotIssued;
use certus_pki::key::{BadKey, Passphrase};
use certus_pki::{ClusterName, Issuer, LeafPlan, PrivateKey, Serial, Sha256, code};
use zeroize::Zeroizing;

use crate::lock::{LockError, Work, WrappedKey};
use crate::sealing::{Purpose, SealError, SealingKey};

const CLUSTER_KEY: &str = "cluster.key";
const ROOT_DATA_KEY: &str = "root-data-key.sealed";
const ISSUER_KEY: &str = "issuer-key.sealed";
const ISSUER: &str = "issuer.crt";
/// The issuer that follows, signed ahead.
const NEXT_ISSUER: &str = "issuer-next.crt";
const STORE: &str = "store";
const LISTEN: &str = "listen";
const ADVERTISE: &str = "advertise";
const MEMBER: &str = "member";

/// No file here is larger: a sealed RSA-4096 key has some 2.4 KiB.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// A manager's directory: its secrets and its store. All clones know the cluster key once one does.
#[derive(Clone)]
pub(crate) struct ManagerDir {
    path: PathBuf,
    cluster_key: Arc<OnceLock<SealingKey>>,
}

/// The cluster key as it is kept.
pub(crate) enum Kept {
    /// As it is, for whoever can read the file.
    Plain(SealingKey),
    /// Under a passphrase.
    Locked(WrappedKey),
}

impl ManagerDir {
    /// The directory of the manager whose data is in `data_dir`.
    pub(crate) fn of(data_dir: &Path) -> ManagerDir {
        ManagerDir::at(data_dir.join("manager"))
    }

    /// Where founding builds it up, before it takes its place in one rename.
    pub(crate) fn unfinished(data_dir: &Path) -> ManagerDir {
        ManagerDir::at(data_dir.join("manager.unfinished"))
    }

    fn at(path: PathBuf) -> ManagerDir {
        ManagerDir { path, cluster_key: Arc::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }

    pub(crate) fn exists(&self) -> bool {
        self.path.exists()
    }

    pub(crate) fn create(&self) -> Result<(), KeysError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path);
        made.map_err(|error| KeysError::file("create", &self.path, error))
    }

    /// Writes every secret of a new manager; the cluster key under `lock`, where there is one.
    pub(crate) fn write(
        &self,
        cluster: &ClusterName,
        cluster_key: &SealingKey,
        root: (&Sha256, &SealingKey),
        issuing: &IssuingKey,
        lock: Option<&Passphrase>,
    ) -> Result<(), KeysError> {
        let (root_hash, root_data_key) = root;
        self.write_cluster_key(cluster, cluster_key, lock)?;
        self.write_root_data_key(cluster, cluster_key, root_hash, root_data_key)?;
        self.write_issuer(cluster, cluster_key, issuing)
    }

    /// Keeps the cluster key under `lock`, or as it is; whole or not at all. What stood in its place is
    /// overwritten.
    pub(crate) fn write_cluster_key(
        &self,
        cluster: &ClusterName,
        cluster_key: &SealingKey,
        lock: Option<&Passphrase>,
    ) -> Result<(), KeysError> {
        match lock {
            None => self.put_over(CLUSTER_KEY, cluster_key.reveal()),
            Some(passphrase) => {
                let wrapped = WrappedKey::wrap(cluster_key, cluster, passphrase, Work::USUAL);
                self.put_over(CLUSTER_KEY, &wrapped.map_err(KeysError::Lock)?.to_bytes())
            }
        }
    }

    /// The cluster key's file.
    pub(crate) fn kept_cluster_key(&self) -> Result<Kept, KeysError> {
        let bytes = self.get(CLUSTER_KEY)?;
        if bytes.len() == SealingKey::BYTES {
            return SealingKey::from_bytes(&bytes).map(Kept::Plain).map_err(KeysError::Seal);
        }
        WrappedKey::from_bytes(&bytes).map(Kept::Locked).map_err(KeysError::Lock)
    }

    /// Keeps the cluster key in memory, for this directory's whole life.
    pub(crate) fn hold(&self, cluster_key: SealingKey) {
        // A second one could only be the same: it has opened what is sealed here.
        let _ = self.cluster_key.set(cluster_key);
    }

    /// Keeps the key that opens the root's, sealed under the cluster key: for the founder, for who brings
    /// the root back, and for a manager that was sent it.
    pub(crate) fn write_root_data_key(
        &self,
        cluster: &ClusterName,
        cluster_key: &SealingKey,
        root: &Sha256,
        root_data_key: &SealingKey,
    ) -> Result<(), KeysError> {
        let sealed = cluster_key.seal(Purpose::RootDataKey, cluster, root, root_data_key.reveal());
        self.put_over(ROOT_DATA_KEY, &sealed.map_err(KeysError::Seal)?)
    }

    /// Destroys the key that opens the root's; returns whether there was one.
    pub(crate) fn destroy_root_data_key(&self) -> Result<bool, KeysError> {
        let path = self.path.join(ROOT_DATA_KEY);
        let destroyed = open_to_overwrite(&path)
            .and_then(|old| fs::remove_file(&path).map(|()| old))
            .and_then(|old| fs::File::open(&self.path)?.sync_all().map(|()| old))
            .and_then(overwrite);
        match destroyed {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(KeysError::file("destroy", &path, error)),
        }
    }

    /// The cluster key, and the key that opens the root's where it is here: in memory only, to be sealed
    /// to a manager that joins and to nobody else.
    pub(crate) fn reveal_for_sealing(
        &self,
        cluster: &ClusterName,
        root: &Sha256,
    ) -> Result<(SealingKey, Option<SealingKey>), KeysError> {
        let cluster_key = self.cluster_key()?;
        match self.root_data_key(cluster, &cluster_key, root) {
            Ok(root_data_key) => Ok((cluster_key, Some(root_data_key))),
            Err(KeysError::RootNotHere { .. }) => Ok((cluster_key, None)),
            Err(error) => Err(error),
        }
    }

    /// Removes what a crash left half written: it may hold a key that is kept otherwise by now.
    pub(crate) fn remove_unfinished(&self) -> Result<(), KeysError> {
        let entries = fs::read_dir(&self.path).map_err(|error| KeysError::file("read", &self.path, error))?;
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == ASIDE) {
                let gone = open_to_overwrite(&path).and_then(|old| fs::remove_file(&path).map(|()| old));
                gone.and_then(overwrite).map_err(|error| KeysError::file("remove", &path, error))?;
            }
        }
        Ok(())
    }

    /// Writes this manager's issuer, certificate and sealed key.
    pub(crate) fn write_issuer(
        &self,
        cluster: &ClusterName,
        cluster_key: &SealingKey,
        issuing: &IssuingKey,
    ) -> Result<(), KeysError> {
        let key_hash = issuing.issuer.key_hash();
        let key = issuing.key.to_pkcs8_der().map_err(KeysError::Key)?;
        let sealed = cluster_key.seal(Purpose::IssuerKey, cluster, &key_hash, &key);
        // The certificate last: it is what names the key that is read.
        self.put(&format!("{key_hash}.{ISSUER_KEY}"), &sealed.map_err(KeysError::Seal)?)?;
        self.put(ISSUER, &issuing.issuer.certificate().der)?;
        self.forget(NEXT_ISSUER)?;
        self.forget_issuers_but(&format!("{key_hash}.{ISSUER_KEY}"))
    }

    /// Keeps the issuer that follows, certificate and sealed key.
    pub(crate) fn write_next_issuer(
        &self,
        cluster: &ClusterName,
        cluster_key: &SealingKey,
        next: &IssuingKey,
    ) -> Result<(), KeysError> {
        let key_hash = next.issuer.key_hash();
        let key = next.key.to_pkcs8_der().map_err(KeysError::Key)?;
        let sealed = cluster_key.seal(Purpose::IssuerKey, cluster, &key_hash, &key);
        self.put(&format!("{key_hash}.{ISSUER_KEY}"), &sealed.map_err(KeysError::Seal)?)?;
        self.put(NEXT_ISSUER, &next.issuer.certificate().der)
    }

    /// The certificate of the issuer that follows, where one was signed ahead and does not sign yet.
    pub(crate) fn next_issuer(&self) -> Result<Option<Issuer>, KeysError> {
        if !self.path.join(NEXT_ISSUER).exists() {
            return Ok(None);
        }
        let next = Issuer::from_der(&self.get(NEXT_ISSUER)?).map_err(KeysError::Issuer)?;
        // A crash while it took over left its certificate in both places.
        let present = Issuer::from_der(&self.get(ISSUER)?).map_err(KeysError::Issuer)?;
        Ok((next.key_hash() != present.key_hash()).then_some(next))
    }

    fn forget(&self, name: &str) -> Result<(), KeysError> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(KeysError::file("remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    /// Removes the sealed keys of issuers that sign no more: a key that is not there cannot be stolen.
    fn forget_issuers_but(&self, present: &str) -> Result<(), KeysError> {
        let entries = fs::read_dir(&self.path).map_err(|error| KeysError::file("read", &self.path, error))?;
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name();
            let former = name.to_str().is_some_and(|name| name.ends_with(ISSUER_KEY) && name != present);
            if former {
                let path = entry.path();
                fs::remove_file(&path).map_err(|error| KeysError::file("remove", &path, error))?;
            }
        }
        Ok(())
    }

    /// Removes the whole directory, the keys first.
    pub(crate) fn remove(&self) -> std::io::Result<()> {
        for entry in fs::read_dir(&self.path)?.filter_map(Result::ok) {
            if entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
            }
        }
        fs::remove_dir_all(&self.path)
    }

    /// Keeps the address that the API listens on.
    pub(crate) fn write_listen(&self, address: SocketAddr) -> Result<(), KeysError> {
        self.put(LISTEN, format!("{address}\n").as_bytes())
    }

    /// The address that the API listened on last; none if it is not there or not an address.
    pub(crate) fn listen(&self) -> Option<SocketAddr> {
        let text = self.get(LISTEN).ok()?;
        std::str::from_utf8(&text).ok()?.trim().parse().ok()
    }

    /// The cluster key: from memory where it was opened, else from its file if that is not locked.
    pub(crate) fn cluster_key(&self) -> Result<SealingKey, KeysError> {
        if let Some(key) = self.cluster_key.get() {
            return SealingKey::from_bytes(key.reveal()).map_err(KeysError::Seal);
        }
        match self.kept_cluster_key()? {
            Kept::Plain(key) => Ok(key),
            Kept::Locked(wrapped) => Err(KeysError::Locked { cluster: wrapped.cluster().clone() }),
        }
    }

    pub(crate) fn issuing_key(
        &self,
        cluster: &ClusterName,
        cluster_key: &SealingKey,
    ) -> Result<IssuingKey, KeysError> {
        let issuer = Issuer::from_der(&self.get(ISSUER)?).map_err(KeysError::Issuer)?;
        self.issuing_key_of(cluster, cluster_key, issuer)
    }

    /// An issuer of this manager, with its key.
    pub(crate) fn issuing_key_of(
        &self,
        cluster: &ClusterName,
        cluster_key: &SealingKey,
        issuer: Issuer,
    ) -> Result<IssuingKey, KeysError> {
        let key_hash = issuer.key_hash();
        let sealed = self.get(&format!("{key_hash}.{ISSUER_KEY}"))?;
        let key =
            cluster_key.open(Purpose::IssuerKey, cluster, &key_hash, &sealed).map_err(KeysError::Seal)?;
        let key = PrivateKey::from_pkcs8_der(&key).map_err(KeysError::Key)?;
        Ok(IssuingKey { issuer, key })
    }

    /// The key that opens the root's, where it is here.
    fn root_data_key(
        &self,
        cluster: &ClusterName,
        cluster_key: &SealingKey,
        root: &Sha256,
    ) -> Result<SealingKey, KeysError> {
        if !self.path.join(ROOT_DATA_KEY).exists() {
            return Err(KeysError::RootNotHere { root: *root });
        }
        let data_key = self.get(ROOT_DATA_KEY)?;
        cluster_key
            .open(Purpose::RootDataKey, cluster, root, &data_key)
            .and_then(|bytes| SealingKey::from_bytes(&bytes))
            .map_err(KeysError::Seal)
    }

    /// Opens the root's key, for as long as signing one issuer takes.
    ///
    /// # Errors
    /// [`KeysError::RootOffline`] where it was taken out of the cluster, [`KeysError::RootNotHere`] where
    /// it came back to another manager.
    pub(crate) fn root_key(
        &self,
        cluster: &ClusterName,
        cluster_key: &SealingKey,
        root: &Sha256,
        sealed: &[u8],
    ) -> Result<PrivateKey, KeysError> {
        if sealed.is_empty() {
            return Err(KeysError::RootOffline { root: *root });
        }
        let data_key = self.root_data_key(cluster, cluster_key, root)?;
        let key = data_key.open(Purpose::RootKey, cluster, root, sealed).map_err(KeysError::Seal)?;
        PrivateKey::from_pkcs8_der(&key).map_err(KeysError::Key)
    }

    /// Keeps this manager's number among those that replicate.
    pub(crate) fn write_member(&self, member: u64) -> Result<(), KeysError> {
        self.put(MEMBER, format!("{member}\n").as_bytes())
    }

    /// This manager's number; none for the founder, whose is 1.
    pub(crate) fn member(&self) -> Result<Option<u64>, KeysError> {
        let path = self.path.join(MEMBER);
        if !path.exists() {
            return Ok(None);
        }
        let text = self.get(MEMBER)?;
        let number = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
        number.map(Some).ok_or(KeysError::NotANumber { path })
    }

    /// Keeps where the other managers reach this one.
    pub(crate) fn write_advertise(&self, address: &str) -> Result<(), KeysError> {
        self.put(ADVERTISE, format!("{address}\n").as_bytes())
    }

    /// Where the other managers reach this one, if that was said.
    pub(crate) fn advertise(&self) -> Option<String> {
        let text = self.get(ADVERTISE).ok()?;
        std::str::from_utf8(&text).ok().map(|text| text.trim().to_owned())
    }

    /// As `put`, and what stood there before is overwritten: its blocks would outlive its name. A file
    /// system or a disk that writes elsewhere instead keeps them all the same.
    fn put_over(&self, name: &str, bytes: &[u8]) -> Result<(), KeysError> {
        let path = self.path.join(name);
        let old = match open_to_overwrite(&path) {
            Ok(old) => Some(old),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(KeysError::file("open", &path, error)),
        };
        self.put(name, bytes)?;
        old.map_or(Ok(()), overwrite).map_err(|error| KeysError::file("overwrite", &path, error))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), KeysError> {
        let path = self.path.join(name);
        let aside = self.path.join(format!("{name}.{ASIDE}"));
        let write = || -> std::io::Result<()> {
            let mut options = fs::OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&aside, &path)?;
            fs::File::open(&self.path)?.sync_all()
        };
        write().map_err(|error| KeysError::file("write", &path, error))
    }

    fn get(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, KeysError> {
        let path = self.path.join(name);
        let unread = |error| KeysError::file("read", &path, error);
        let about = fs::metadata(&path).map_err(unread)?;
        let mode = about.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeysError::Mode { path, came: mode });
        }
        if about.len() > FILE_BYTES_MAX {
            return Err(KeysError::TooLong { path, came: about.len() });
        }
        fs::read(&path).map(Zeroizing::new).map_err(unread)
    }
}

/// How a file is called until it is whole.
const ASIDE: &str = "new";

fn open_to_overwrite(path: &Path) -> std::io::Result<fs::File> {
    fs::OpenOptions::new().write(true).open(path)
}

fn overwrite(mut old: fs::File) -> std::io::Result<()> {
    let length = old.metadata()?.len().min(FILE_BYTES_MAX);
    old.write_all(&vec![0; usize::try_from(length).unwrap_or(0)])?;
    old.sync_all()
}

/// An issuer with its key: what signs leaves. No `Debug` (I7).
pub(crate) struct IssuingKey {
    pub(crate) issuer: Issuer,
    pub(crate) key: PrivateKey,
}

impl IssuingKey {
    /// Signs what was planned, with a serial of 128 fresh random bits (I5).
    pub(crate) fn sign(&self, plan: &LeafPlan) -> Result<Vec<u8>, KeysError> {
        self.issuer.sign_leaf(plan, fresh_serial()?, &self.key).map_err(KeysError::Issuer)
    }
}

/// 128 random bits.
pub(crate) fn fresh_serial() -> Result<Serial, KeysError> {
    let mut random = [0; 16];
    fill(&mut random).map_err(|_| KeysError::Seal(SealError::NoRandomness))?;
    Ok(Serial::from_random(random))
}

/// A manager's secrets could not be written, read or used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file could not be read or written.
    #[error("could not {what} {}", .path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// A secret that others can read.
    #[error("{} can be read by others", .path.display())]
    Mode {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        came: u32,
    },
    /// A file that is not one of ours.
    #[error("{} has {came} bytes, at most {FILE_BYTES_MAX} are read", .path.display())]
    TooLong {
        /// Which file.
        path: PathBuf,
        /// How long it is.
        came: u64,
    },
    /// A file that should hold a number.
    #[error("{} holds no number", .path.display())]
    NotANumber {
        /// Which file.
        path: PathBuf,
    },
    /// Something does not open.
    #[error(transparent)]
    Seal(SealError),
    /// The cluster key does not open, or was not wrapped.
    #[error(transparent)]
    Lock(LockError),
    /// The cluster key is under a passphrase that was not given.
    #[error("the manager of cluster {cluster} is locked")]
    Locked {
        /// Which cluster.
        cluster: ClusterName,
    },
    /// The root's key is kept outside the cluster.
    #[error("the key of root {} is offline", .root.short())]
    RootOffline {
        /// Which root.
        root: Sha256,
    },
    /// The root's key is in the cluster, but what opens it is not on this manager.
    #[error("this manager does not hold what opens the key of root {}", .root.short())]
    RootNotHere {
        /// Which root.
        root: Sha256,
    },
    /// A key that is none.
    #[error("the manager's key cannot be used")]
    Key(#[source] BadKey),
    /// A certificate was not issued, or the issuer is none.
    #[error(transparent)]
    Issuer(NotIssued),
}

impl KeysError {
    fn file(what: &'static str, path: &Path, error: std::io::Error) -> KeysError {
        KeysError::File { what, path: path.to_owned(), error }
    }
}

impl Explain for KeysError {
    fn explain(&self) -> Explanation {
        match self {
            KeysError::File { error, .. } => Explanation::new(code::FILE, self.to_string())
                .fact("because", error)
                .hint(certus_node::files::hint_of(error)),
            KeysError::Mode { path, came } => Explanation::new(code::FILE_MODE, self.to_string())
                .halves("mode 0600", format!("mode {came:04o}"))
                .hint(format!("chmod 600 {}", path.display())),
            KeysError::TooLong { .. } | KeysError::NotANumber { .. } => Explanation::new(
                code::FILE,
                self.to_string(),
            )
            .hint(
                "it is not what was written: put it back, or certus cluster restore FILE --data-dir NEW_DIR",
            ),
            KeysError::Seal(error) => error.explain(),
            KeysError::Lock(error) => error.explain(),
            KeysError::Locked { .. } => {
                Explanation::new(code::LOCKED, self.to_string()).hint("certus node unlock --data-dir DIR")
            }
            KeysError::RootOffline { .. } => Explanation::new(code::ROOT_OFFLINE, self.to_string())
                .hint("certus cluster root bring-online FILE"),
            KeysError::RootNotHere { .. } => Explanation::new(code::ROOT_OFFLINE, self.to_string())
                .hint("ask a manager that holds it: the one where it was brought online"),
            KeysError::Key(error) => error.explain(),
            KeysError::Issuer(error) => error.explain(),
        }
    }
}

#[cfg(test)]
mod tests;
