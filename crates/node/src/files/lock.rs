//! What an identity's private key is kept under, where its owner has a secret that is not in a file.
//!
//! A manager with autolock has: its cluster key, in memory. Nodes have not, and keep their keys in files
//! of mode 0600.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use certus_pki::key::Passphrase;

/// A passphrase for the private key of one identity, and whether it is in use.
pub struct KeyLock {
    pub(super) passphrase: Passphrase,
    on: AtomicBool,
    /// Held while the identity's files are written: they are read and written again when the lock changes.
    pub(super) writing: Mutex<()>,
}

impl KeyLock {
    /// A lock with this passphrase. Keys are read in either form, and written encrypted while it is `on`.
    pub fn new(passphrase: Passphrase, on: bool) -> KeyLock {
        KeyLock { passphrase, on: AtomicBool::new(on), writing: Mutex::default() }
    }

    pub(super) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }
}
