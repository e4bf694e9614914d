//! What an operator is told of a store that cannot be used.

use std::error::Error;

use certus_pki::code;
use certus_pki::explain::{Explain, Explanation};

use super::StorageError;

/// What can be done where a store is lost.
const ANEW: &str = "where other managers run: certus manager remove ID, certus token create --role manager \
    --id ID --replace, remove the data directory, certus manager join; a lone one: certus cluster restore FILE \
    --data-dir NEW_DIR";

impl Explain for StorageError {
    fn explain(&self) -> Explanation {
        let new = |code| Explanation::new(code, self.to_string());
        let told = match self {
            StorageError::NewerFormat { found, known, .. } => new(code::NEWER_FORMAT)
                .halves(format!("format {known} or older"), format!("format {found}"))
                .hint("use the version of certus that wrote it, or a newer one; nothing was changed"),
            StorageError::TooOpen { path, found, expected } => new(code::FILE_MODE)
                .halves(format!("mode {expected:04o}"), format!("mode {found:04o}"))
                .hint(format!("chmod {expected:o} {}", path.display())),
            StorageError::InUse { .. } => {
                new(code::STORE).hint("one manager runs on a directory: end the other process")
            }
            StorageError::Open { source, .. } => new(code::STORE).hint(certus_node::files::hint_of(source)),
            StorageError::NotOurs { .. } | StorageError::Damaged { .. } => new(code::STORE).hint(ANEW),
            StorageError::Failed { .. } => {
                new(code::STORE).hint(format!("free or repair the disk, and start it again; else {ANEW}"))
            }
            StorageError::Closed { .. } => new(code::STORE),
        };
        match self.source() {
            Some(because) => told.fact("because", because),
            None => told,
        }
    }
}
