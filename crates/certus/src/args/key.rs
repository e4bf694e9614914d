//! `certus key …`.

use std::path::PathBuf;

use certus_pki::KeyType;
use clap::{Args, Subcommand};

/// What can be done with private keys.
#[derive(Subcommand)]
pub(crate) enum KeyVerb {
    /// Make a private key
    New(KeyNew),
    /// What a private key is, without showing it
    #[command(after_help = "Examples:
  certus key inspect web-1.key
  certus key inspect ca.key --passphrase-file - < passphrase")]
    Inspect(KeyInspect),
    /// Encrypt a private key with a passphrase, with another one, or with none
    ChangePassphrase(ChangePassphrase),
}

/// `certus key new`.
#[derive(Args)]
#[command(after_help = "Examples:
  certus key new --out web-1.key
  certus key new --key-type rsa3072 --out - | ssh host 'umask 077; cat > web.key'")]
pub(crate) struct KeyNew {
    /// p256, p384, ed25519, rsa2048, rsa3072, rsa4096
    #[arg(long, value_name = "TYPE", default_value = "p256")]
    pub(crate) key_type: KeyType,
    /// Where it goes, mode 0600; `-` is standard output
    #[arg(long, value_name = "FILE|-")]
    pub(crate) out: PathBuf,
    /// Encrypt it with the passphrase in this file; `-` reads standard input
    #[arg(long, value_name = "FILE|-")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Replace what is there
    #[arg(long)]
    pub(crate) force: bool,
}

/// `certus key inspect`.
#[derive(Args)]
pub(crate) struct KeyInspect {
    /// The key's file; `-` reads standard input
    #[arg(value_name = "FILE|-")]
    pub(crate) file: PathBuf,
    /// What opens it
    #[arg(long, value_name = "FILE|-")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// `certus key change-passphrase`.
#[derive(Args)]
#[command(after_help = "Examples:
  certus key change-passphrase certs/ca.key --new-passphrase-file new
  certus key change-passphrase certs/ca.key --passphrase-file old --new-passphrase-file new
  certus key change-passphrase certs/ca.key --passphrase-file old --none")]
pub(crate) struct ChangePassphrase {
    /// The key's file, which is replaced
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// What opens it now
    #[arg(long, value_name = "FILE|-")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// What is to open it
    #[arg(long, value_name = "FILE|-", required_unless_present = "none", conflicts_with = "none")]
    pub(crate) new_passphrase_file: Option<PathBuf>,
    /// Leave it unencrypted
    #[arg(long)]
    pub(crate) none: bool,
}
