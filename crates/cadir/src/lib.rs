//! A certificate authority in files: one directory format, whatever file names it goes by.
//!
//! What a directory holds is described in `docs/ca-directory.md`. This room reads and writes it: keys and
//! certificates under the names of a [`Layout`], a ledger of what was issued, a lock, and changes that
//! happen whole or not at all. Never opens a socket; the time and serial numbers are handed in.

mod account;
mod authority;
mod change;
mod dir;
mod disk;
mod error;
mod issue;
mod keys;
mod layout;
mod ledger;
mod lists;
mod rotate;

pub use account::{Account, Standing};
pub use authority::{MadeAuthority, NewAuthority, Signing};
pub use dir::{Access, CaDir, FILE_BYTES_MAX};
pub use error::CaDirError;
pub use issue::{Existing, LeafKey, MadeLeaf, NewLeaf, Place};
pub use keys::Secrets;
pub use layout::{BadWord, LEDGER, Layout, Pair, Role};
pub use ledger::{Issued, Phase, Record, Revoked};
pub use lists::MadeList;
pub use rotate::NextRoot;
