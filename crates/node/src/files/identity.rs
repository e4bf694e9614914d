//! The files of one identity: the one truth, what is made from it, and a key that waits for its
//! certificate.

use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, PoisonError};

use certus_pki::cert::Certificate;
use certus_pki::explain::{Explain, Explanation};
use certus_pki::pem;
use certus_pki::{Bundle, KeyType, PrivateKey, PublicKey, Signer, SpiffeId, code};
use certus_tls::{BadIdentity, Clock, Identity, Publisher, Snapshot};
use certus_wire::{bundle_from_wire, bundle_to_wire, v1};
use prost::Message;
use zeroize::Zeroizing;

use super::{FileError, Fresh, KeyLock, atomic};

/// The directory of one identity, `certs/ROLE-ID`.
#[derive(Clone)]
pub struct IdentityDir {
    path: PathBuf,
    lock: Option<Arc<KeyLock>>,
}

/// What was read back.
pub struct Stored {
    /// Whose it is.
    pub identity: SpiffeId,
    /// The private key.
    pub key: PrivateKey,
    /// Leaf first, then its issuers.
    pub chain: Vec<Vec<u8>>,
    /// The leaf.
    pub leaf: Certificate,
    /// What the node trusted last.
    pub bundle: Bundle,
}

/// What somebody sees who changes nothing.
pub struct Looked {
    /// Whose it is.
    pub identity: SpiffeId,
    /// The private key; none where it is kept under a passphrase.
    pub key: Option<PrivateKey>,
    /// Leaf first, then its issuers.
    pub chain: Vec<Vec<u8>>,
    /// The leaf.
    pub leaf: Certificate,
    /// What the node trusted last.
    pub bundle: Bundle,
    /// Whether a manager said that it is of the cluster no more.
    pub removed: bool,
}

impl Stored {
    /// These credentials at work: for the dialers and listeners of this process.
    ///
    /// # Errors
    /// Key and chain make no identity.
    pub fn publisher(&self, clock: Clock) -> Result<Publisher, BadIdentity> {
        let identity = Identity::new(&self.key, self.chain.clone())?;
        let snapshot = Snapshot::new(Some(Arc::new(identity)), Arc::new(self.bundle.clone()));
        Ok(Publisher::new(snapshot, clock))
    }
}

impl IdentityDir {
    /// An identity's files in any directory of its own: also a person's, in `CERTUS_HOME`.
    pub fn at(path: PathBuf) -> IdentityDir {
        IdentityDir { path, lock: None }
    }

    /// The same, with the private key kept under `lock` while that is on.
    #[must_use]
    pub fn under(self, lock: KeyLock) -> IdentityDir {
        IdentityDir { lock: Some(Arc::new(lock)), ..self }
    }

    /// Locks or unlocks the private key on disk, for this value and its clones.
    ///
    /// # Errors
    /// The files cannot be read or written. What is there stays usable; a later load finishes the change.
    pub fn set_lock(&self, on: bool) -> Result<(), FileError> {
        if let Some(lock) = &self.lock {
            lock.set(on);
        }
        self.load().map(drop)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether credentials are kept here, usable or not.
    pub fn is_enrolled(&self) -> bool {
        self.path.join(CREDENTIALS).exists()
    }

    /// Keeps key, chain and bundle. The chain and its key change together or not at all; the bundle is
    /// written first, because an old chain with a newer bundle is still usable.
    pub fn store(&self, fresh: &Fresh<'_>) -> Result<(), FileError> {
        let _one_at_a_time = self.writing();
        self.store_now(fresh)
    }

    fn store_now(&self, fresh: &Fresh<'_>) -> Result<(), FileError> {
        atomic::make_dir(&self.path)?;
        self.store_bundle(fresh.bundle)?;
        let path = self.path.join(CREDENTIALS);
        let key = self.key_pem(fresh.key, &path)?;
        let mut text = Zeroizing::new(String::with_capacity(16 << 10));
        text.push_str(&key);
        text.push_str(&certificates(fresh.chain));
        atomic::write(&path, text.as_bytes())?;
        self.store_derived(&key, fresh.chain, fresh.bundle)?;
        atomic::remove(&self.path.join(REMOVED))?;
        atomic::remove(&self.path.join(PENDING_KEY))
    }

    /// Keeps what the node trusts now.
    pub fn store_bundle(&self, bundle: &Bundle) -> Result<(), FileError> {
        atomic::make_dir(&self.path)?;
        let text = pem::encode(BUNDLE_LABEL, &bundle_to_wire(bundle).encode_to_vec());
        atomic::write(&self.path.join(BUNDLE), text.as_bytes())?;
        let roots: Vec<Vec<u8>> = bundle.roots().iter().map(|root| root.der().to_vec()).collect();
        atomic::write_if_changed(&self.path.join(ROOTS), certificates(&roots).as_bytes())
    }

    /// Reads back what was kept; nothing if nothing was.
    ///
    /// What is made from the one truth is made again where a crash left it behind.
    pub fn load(&self) -> Result<Option<Stored>, FileError> {
        let _one_at_a_time = self.writing();
        let path = self.path.join(CREDENTIALS);
        let Some(text) = read_text(&path)? else { return Ok(None) };
        let wrong = |why| FileError::content(&path, why);
        let passphrase = self.lock.as_ref().map(|lock| &lock.passphrase);
        let key = PrivateKey::from_pem_with(&text, passphrase).map_err(|error| wrong(error.explain()))?;
        let certificates = Certificate::many_from_pem(&text).map_err(|error| wrong(error.explain()))?;
        let leaf = certificates[0].clone();
        if leaf.public_key != *key.public_key() {
            let (expected, came) = (leaf.key_hash().short(), key.public_key().hash().short());
            let why = Explanation::new(code::KEY_MISMATCH, "the key does not fit the certificate");
            return Err(wrong(why.halves(expected, came)));
        }
        let no_identity = |error: certus_pki::cert::NoIdentity| {
            wrong(Explanation::new(code::NO_IDENTITY, error.to_string()))
        };
        let identity = leaf.identity().map_err(no_identity)?;
        let chain: Vec<Vec<u8>> = certificates.into_iter().map(|certificate| certificate.der).collect();
        let bundle = self.load_bundle()?;
        let is_locked = text.contains(pem::ENCRYPTED_PRIVATE_KEY);
        if self.is_locked() == is_locked {
            let key = match is_locked {
                false => self.key_pem(&key, &path)?,
                // Its own text: encrypted again it would look otherwise each time.
                true => {
                    Zeroizing::new(text.split("-----BEGIN CERTIFICATE").next().unwrap_or_default().to_owned())
                }
            };
            self.store_derived(&key, &chain, &bundle)?;
        } else {
            // The lock changed, or a crash came while it did.
            self.store_now(&Fresh { key: &key, chain: &chain, bundle: &bundle })?;
        }
        Ok(Some(Stored { identity, key, chain, leaf, bundle }))
    }

    /// What is kept, without writing anything: also while a daemon runs on it, and where the key is locked.
    ///
    /// # Errors
    /// A file cannot be read, or does not hold what it should.
    pub fn look(&self) -> Result<Option<Looked>, FileError> {
        let path = self.path.join(CREDENTIALS);
        let Some(text) = read_text(&path)? else { return Ok(None) };
        let wrong = |why| FileError::content(&path, why);
        let mut certificates = Certificate::many_from_pem(&text).map_err(|error| wrong(error.explain()))?;
        let chain = certificates.iter().map(|certificate| certificate.der.clone()).collect();
        let leaf = certificates.swap_remove(0);
        let key = match text.contains(pem::ENCRYPTED_PRIVATE_KEY) {
            true => None,
            false => Some(PrivateKey::from_pem_with(&text, None).map_err(|error| wrong(error.explain()))?),
        };
        if let Some(key) = key.as_ref().filter(|key| *key.public_key() != leaf.public_key) {
            let (expected, came) = (leaf.key_hash().short(), key.public_key().hash().short());
            let why = Explanation::new(code::KEY_MISMATCH, "the key does not fit the certificate");
            return Err(wrong(why.halves(expected, came)));
        }
        let identity =
            leaf.identity().map_err(|error| wrong(Explanation::new(code::NO_IDENTITY, error.to_string())))?;
        let (bundle, removed) = (self.load_bundle()?, self.is_removed(&leaf)?);
        Ok(Some(Looked { identity, key, chain, leaf, bundle, removed }))
    }

    /// The key for the next certificate, kept until there is one: who asks again after a lost answer
    /// asks with the same key, and is given the same certificate.
    pub fn pending_key(&self, current: Option<&PublicKey>) -> Result<PrivateKey, FileError> {
        atomic::make_dir(&self.path)?;
        let path = self.path.join(PENDING_KEY);
        let wrong = |why| FileError::content(&path, why);
        if let Some(text) = read_text(&path)?
            && let Ok(key) = PrivateKey::from_pem_with(&text, self.lock.as_ref().map(|lock| &lock.passphrase))
            // A crash between storing a certificate and forgetting that its key was pending.
            && current.is_none_or(|current| current != key.public_key())
        {
            return Ok(key);
        }
        let key = PrivateKey::generate(KeyType::P256).map_err(|error| wrong(error.explain()))?;
        atomic::write(&path, self.key_pem(&key, &path)?.as_bytes())?;
        Ok(key)
    }

    /// Keeps that the certificate `leaf` is of the cluster no more.
    pub fn mark_removed(&self, leaf: &Certificate) -> Result<(), FileError> {
        atomic::write(&self.path.join(REMOVED), leaf.fingerprint().to_string().as_bytes())
    }

    /// Whether a manager said so of the certificate `leaf`.
    pub fn is_removed(&self, leaf: &Certificate) -> Result<bool, FileError> {
        let marked = atomic::read(&self.path.join(REMOVED))?;
        Ok(marked.is_some_and(|mark| *mark == leaf.fingerprint().to_string().into_bytes()))
    }

    /// Where managers said that they are; empty if they never did.
    pub fn managers(&self) -> Result<Vec<String>, FileError> {
        let text = read_text(&self.path.join(MANAGERS))?;
        let lines = text.iter().flat_map(|text| text.lines());
        Ok(lines.map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }

    /// Keeps where managers say that they are: of use also when all that the configuration names are gone.
    pub fn keep_managers(&self, addresses: &[String]) -> Result<(), FileError> {
        atomic::make_dir(&self.path)?;
        let text: String = addresses.iter().map(|address| format!("{address}\n")).collect();
        atomic::write_if_changed(&self.path.join(MANAGERS), text.as_bytes())
    }

    /// Removes the identity, key and all: for who is not of the cluster any more, by its own wish.
    pub fn forget(&self) -> Result<(), FileError> {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(FileError::io("remove", &self.path, error))
            }
            _ => Ok(()),
        }
    }

    /// Forgets a pending key: its asking was refused for good.
    pub fn forget_pending_key(&self) -> Result<(), FileError> {
        atomic::remove(&self.path.join(PENDING_KEY))
    }

    fn is_locked(&self) -> bool {
        self.lock.as_ref().is_some_and(|lock| lock.is_on())
    }

    /// Where a lock may change, its identity is read and written by one at a time.
    fn writing(&self) -> Option<MutexGuard<'_, ()>> {
        self.lock.as_ref().map(|lock| lock.writing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn key_pem(&self, key: &PrivateKey, path: &Path) -> Result<Zeroizing<String>, FileError> {
        let text = match &self.lock {
            Some(lock) if lock.is_on() => key.to_encrypted_pem(&lock.passphrase).map(Zeroizing::new),
            _ => key.to_pem(),
        };
        text.map_err(|error| FileError::content(path, error.explain()))
    }

    fn load_bundle(&self) -> Result<Bundle, FileError> {
        let path = self.path.join(BUNDLE);
        let wrong = |what: &str| FileError::content(&path, Explanation::new(code::BAD_ENCODING, what));
        let text = read_text(&path)?.ok_or_else(|| wrong("it is not there"))?;
        let blocks = pem::decode(&text).map_err(|error| FileError::content(&path, error.explain()))?;
        let block = blocks.iter().find(|block| block.label == BUNDLE_LABEL);
        let block = block.ok_or_else(|| wrong("it holds no bundle"))?;
        let bundle = v1::Bundle::decode(block.der.as_slice());
        let bundle = bundle.map_err(|_| wrong("its bundle is not well-formed"))?;
        bundle_from_wire(&bundle).map_err(|error| FileError::content(&path, error.explain()))
    }

    /// For other programs: the same in the three files that they expect.
    fn store_derived(&self, key: &str, chain: &[Vec<u8>], bundle: &Bundle) -> Result<(), FileError> {
        let roots: Vec<Vec<u8>> = bundle.roots().iter().map(|root| root.der().to_vec()).collect();
        atomic::write_if_changed(&self.path.join(CERTIFICATE), certificates(chain).as_bytes())?;
        atomic::write_if_changed(&self.path.join(KEY), key.as_bytes())?;
        atomic::write_if_changed(&self.path.join(ROOTS), certificates(&roots).as_bytes())
    }
}

const CREDENTIALS: &str = "credentials.pem";
const BUNDLE: &str = "bundle.pem";
const CERTIFICATE: &str = "node.crt";
const KEY: &str = "node.key";
const MANAGERS: &str = "managers";
const REMOVED: &str = "removed";
const ROOTS: &str = "ca.crt";
const PENDING_KEY: &str = "pending.key";
/// The label of a bundle's block: the bytes are a `certus.v1.Bundle`.
const BUNDLE_LABEL: &str = "CERTUS BUNDLE";

fn certificates(chain: &[Vec<u8>]) -> String {
    chain.iter().map(|der| pem::encode(pem::CERTIFICATE, der)).collect()
}

fn read_text(path: &Path) -> Result<Option<Zeroizing<String>>, FileError> {
    let Some(bytes) = atomic::read(path)? else { return Ok(None) };
    let text = std::str::from_utf8(&bytes).map(|text| Zeroizing::new(text.to_owned()));
    let not_text = |_| FileError::content(path, Explanation::new(code::BAD_ENCODING, "it is not text"));
    text.map(Some).map_err(not_text)
}
