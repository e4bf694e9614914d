//! Keys of a CA directory: opened with whatever opens them, written for their owner alone.

use std::path::{Path, PathBuf};

use certus_pki::{PrivateKey, pem};
use zeroize::Zeroizing;

use crate::dir::read_secret;
use crate::error::CaDirError;

/// What a user brings along to sign: a passphrase, a key from elsewhere. No `Debug`, no `Display` (I7).
#[derive(Default)]
pub struct Secrets {
    /// Opens, and where a CA is made closes, the CA's keys.
    pub passphrase: Option<Zeroizing<String>>,
    /// The key to sign with, where it is not in the directory.
    pub ca_key: Option<PathBuf>,
}

impl Secrets {
    /// The key in a file.
    pub fn open(&self, path: &Path) -> Result<PrivateKey, CaDirError> {
        let text = read_secret(path)?;
        if is_encrypted(&text) {
            let Some(_passphrase) = &self.passphrase else {
                return Err(CaDirError::Passphrase { path: path.to_owned() });
            };
        }
        PrivateKey::from_pem(&text).map_err(|error| CaDirError::pki_in(path, &error))
    }

    /// A CA's key as it is to be written: encrypted where there is a passphrase.
    pub(crate) fn close(&self, key: &PrivateKey) -> Result<Zeroizing<String>, CaDirError> {
        key.to_pem().map_err(|error| CaDirError::pki(&error))
    }
}

/// Whether a key's text needs a passphrase.
pub fn is_encrypted(text: &str) -> bool {
    let encrypted_pkcs8 = || {
        let blocks = pem::decode(text).unwrap_or_default();
        blocks.iter().any(|block| block.label == "ENCRYPTED PRIVATE KEY")
    };
    text.contains("Proc-Type: 4,ENCRYPTED") || encrypted_pkcs8()
}
