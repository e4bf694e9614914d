//! Backups: a consistent copy of a cluster's state with what makes a manager again, under a passphrase.
//!
//! Made of a running manager through its admin socket, checked after writing, and restored as the first
//! manager of a new generation. Nothing of it is ever whole in memory.

mod error;
mod give;
mod read;
mod records;
mod restore;
mod seal;
mod take;

pub use error::BackupError;
pub(crate) use give::router;
pub use read::{Backup, Progress, verify};
pub use restore::{RestoreOptions, Restored, restore};
pub use take::{BackupOptions, backup};

#[cfg(test)]
mod tests;
