//! A certificate authority in files: one directory format, whatever file names it goes by.
//!
//! What a directory holds is described in `docs/ca-directory.md`. This room reads and writes it: keys and
//! certificates under the names of a [`Layout`], a ledger of what was issued, a lock, and changes that
//! happen whole or not at all. Never opens a socket; the time and serial numbers are handed in.

mod change;
mod dir;
mod disk;
mod error;
mod layout;
mod ledger;

pub use dir::{Access, CaDir, FILE_BYTES_MAX};
pub use error::CaDirError;
pub use layout::{BadWord, LEDGER, Layout, Pair, Role};
pub use ledger::{Issued, Phase, Record, Revoked};
