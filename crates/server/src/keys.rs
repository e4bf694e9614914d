//! A manager's own secrets on disk: the cluster key, and what is sealed under it.
//!
//! `manager/cluster.key` is 32 bytes of mode 0600; everything else here is sealed. None of it is ever
//! replicated.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::fill;
use certus_pki::explain::{Explain, Explanation};
use certus_pki::issue::NotIssued;
use certus_pki::key::BadKey;
use certus_pki::{ClusterName, Issuer, LeafPlan, PrivateKey, Serial, Sha256, code};
use zeroize::Zeroizing;

use crate::sealing::{Purpose, SealError, SealingKey};

const CLUSTER_KEY: &str = "cluster.key";
const ROOT_DATA_KEY: &str = "root-data-key.sealed";
const ISSUER_KEY: &str = "issuer-key.sealed";
const ISSUER: &str = "issuer.crt";
const STORE: &str = "store";
const LISTEN: &str = "listen";
const ADVERTISE: &str = "advertise";
const MEMBER: &str = "member";

/// No file here is larger: a sealed RSA-4096 key has some 2.4 KiB.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// A manager's directory: its secrets and its store.
#[derive(Clone, Debug)]
pub(crate) struct ManagerDir {
    path: PathBuf,
}

impl ManagerDir {
    /// The directory of the manager whose data is in `data_dir`.
    pub(crate) fn of(data_dir: &Path) -> ManagerDir {
        ManagerDir { path: data_dir.join("manager") }
    }

    /// Where founding builds it up, before it takes its place in one rename.
    pub(crate) fn unfinished(data_dir: &Path) -> ManagerDir {
        ManagerDir { path: data_dir.join("manager.unfinished") }
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

    /// Writes every secret of a new manager.
    pub(crate) fn write(
        &self,
        cluster: &ClusterName,
        cluster_key: &SealingKey,
        root: (&Sha256, &SealingKey),
        issuing: &IssuingKey,
    ) -> Result<(), KeysError> {
        let (root_hash, root_data_key) = root;
        self.write_keys(cluster, cluster_key, root_hash, Some(root_data_key))?;
        self.write_issuer(cluster, cluster_key, issuing)
    }

    /// Writes what a manager that joins was given: the cluster key, and the root data key where the root
    /// is online.
    pub(crate) fn write_keys(
        &self,
        cluster: &ClusterName,
        cluster_key: &SealingKey,
        root: &Sha256,
        root_data_key: Option<&SealingKey>,
    ) -> Result<(), KeysError> {
        self.put(CLUSTER_KEY, cluster_key.reveal())?;
        let Some(root_data_key) = root_data_key else { return Ok(()) };
        let sealed = cluster_key.seal(Purpose::RootDataKey, cluster, root, root_data_key.reveal());
        self.put(ROOT_DATA_KEY, &sealed.map_err(KeysError::Seal)?)
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
        self.forget_issuers_but(&format!("{key_hash}.{ISSUER_KEY}"))
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
    pub(crate) fn forget(&self) -> std::io::Result<()> {
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

    pub(crate) fn cluster_key(&self) -> Result<SealingKey, KeysError> {
        SealingKey::from_bytes(&self.get(CLUSTER_KEY)?).map_err(KeysError::Seal)
    }

    pub(crate) fn issuing_key(
        &self,
        cluster: &ClusterName,
        cluster_key: &SealingKey,
    ) -> Result<IssuingKey, KeysError> {
        let issuer = Issuer::from_der(&self.get(ISSUER)?).map_err(KeysError::Issuer)?;
        let key_hash = issuer.key_hash();
        let sealed = self.get(&format!("{key_hash}.{ISSUER_KEY}"))?;
        let key =
            cluster_key.open(Purpose::IssuerKey, cluster, &key_hash, &sealed).map_err(KeysError::Seal)?;
        let key = PrivateKey::from_pkcs8_der(&key).map_err(KeysError::Key)?;
        Ok(IssuingKey { issuer, key })
    }

    /// Opens the root's key, for as long as signing one issuer takes.
    pub(crate) fn root_key(
        &self,
        cluster: &ClusterName,
        cluster_key: &SealingKey,
        root: &Sha256,
        sealed: &[u8],
    ) -> Result<PrivateKey, KeysError> {
        let data_key = self.root_data_key(cluster, cluster_key, root)?;
        let key = data_key.open(Purpose::RootKey, cluster, root, sealed).map_err(KeysError::Seal)?;
        PrivateKey::from_pkcs8_der(&key).map_err(KeysError::Key)
    }

    /// The key that opens the root's.
    pub(crate) fn root_data_key(
        &self,
        cluster: &ClusterName,
        cluster_key: &SealingKey,
        root: &Sha256,
    ) -> Result<SealingKey, KeysError> {
        let data_key = self.get(ROOT_DATA_KEY)?;
        cluster_key
            .open(Purpose::RootDataKey, cluster, root, &data_key)
            .and_then(|bytes| SealingKey::from_bytes(&bytes))
            .map_err(KeysError::Seal)
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

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), KeysError> {
        let path = self.path.join(name);
        let aside = self.path.join(format!("{name}.new"));
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
            KeysError::File { error, .. } => {
                Explanation::new(code::FILE, self.to_string()).fact("because", error)
            }
            KeysError::Mode { path, came } => Explanation::new(code::FILE_MODE, self.to_string())
                .halves("mode 0600", format!("mode {came:04o}"))
                .hint(format!("chmod 600 {}", path.display())),
            KeysError::TooLong { .. } | KeysError::NotANumber { .. } => {
                Explanation::new(code::FILE, self.to_string())
            }
            KeysError::Seal(error) => error.explain(),
            KeysError::Key(error) => error.explain(),
            KeysError::Issuer(error) => error.explain(),
        }
    }
}
