//! Keys of a CA directory: opened with whatever opens them, written for their owner alone.

use std::path::{Path, PathBuf};

use certus_pki::PrivateKey;
use certus_pki::key::{BadKey, Passphrase};
use zeroize::Zeroizing;

use crate::dir::read_secret;
use crate::error::CaDirError;

/// What a user brings along to sign: a passphrase, a key from elsewhere. No `Debug`, no `Display` (I7).
#[derive(Default)]
pub struct Secrets {
    /// Opens, and where a CA is made closes, the CA's keys.
    pub passphrase: Option<Passphrase>,
    /// The key to sign with, where it is not in the directory.
    pub ca_key: Option<PathBuf>,
}

impl Secrets {
    /// The key in a file.
    pub fn open(&self, path: &Path) -> Result<PrivateKey, CaDirError> {
        let text = read_secret(path)?;
        PrivateKey::from_pem_with(&text, self.passphrase.as_ref())
            .map_err(|error| CaDirError::pki_in(path, &error))
    }

    /// A CA's key as it is to be written: encrypted where there is a passphrase.
    pub(crate) fn close(&self, key: &PrivateKey) -> Result<Zeroizing<String>, CaDirError> {
        let wrong = |error: BadKey| CaDirError::pki(&error);
        match &self.passphrase {
            Some(passphrase) => key.to_encrypted_pem(passphrase).map(Zeroizing::new).map_err(wrong),
            None => key.to_pem().map_err(wrong),
        }
    }
}
