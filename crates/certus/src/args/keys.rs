//! `certus cluster autolock …`, `certus cluster root …` and `certus node unlock`: a manager's keys at rest.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What can be done with a manager's lock.
#[derive(Subcommand)]
pub(crate) enum AutolockVerb {
    /// Put the cluster key under an unlock key, which is printed once
    #[command(
        after_help = "The manager must run, and the command must run as its user. It changes this manager only: each
manager of a cluster has a lock of its own.

Examples:
  certus cluster autolock on --data-dir m1
      prints CERTUSKEY-1-…: keep it apart from the machine
  certus cluster autolock on --data-dir m1 --passphrase-file pass
      a passphrase of your own; nothing is printed
  certus cluster autolock on --json | jq -r .unlock_key | vault kv put secret/m1 key=-"
    )]
    On(Lock),
    /// Keep the cluster key in a plain file of mode 0600 again
    #[command(after_help = "Examples:
  certus cluster autolock off --data-dir m1")]
    Off(Which),
    /// Another unlock key; the one before opens nothing any more
    #[command(after_help = "CERTUS_PASSPHRASE is not looked at: it would be the key before.

Examples:
  certus cluster autolock rotate --data-dir m1
  certus cluster autolock rotate --data-dir m1 --ask")]
    Rotate(Lock),
    /// Whether the cluster key is locked on disk
    #[command(after_help = "Examples:
  certus cluster autolock status --data-dir m1 --json")]
    Status(Which),
}

/// What can be done with the root's key.
#[derive(Subcommand)]
pub(crate) enum RootVerb {
    /// Write the root's key to a file, encrypted, and destroy it in the cluster
    TakeOffline(TakeOffline),
    /// Give the cluster the root's key back, and have the next issuers signed
    BringOnline(BringOnline),
}

/// Which manager of this machine.
#[derive(Args)]
pub(crate) struct Which {
    /// Where the manager keeps its data [default: $CERTUS_HOME/manager]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// `certus cluster autolock on` and `rotate`.
#[derive(Args)]
pub(crate) struct Lock {
    #[command(flatten)]
    pub(crate) which: Which,
    /// A passphrase of your own instead of a fresh key; `-` reads standard input
    #[arg(long, value_name = "FILE|-")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Be asked for a passphrase of your own
    #[arg(long, conflicts_with = "passphrase_file")]
    pub(crate) ask: bool,
}

/// `certus node unlock`.
#[derive(Args)]
#[command(
    after_help = "The key comes from --passphrase-file, else CERTUS_PASSPHRASE, else a question; never from the
command line, which other users can read. To start without this step:
certus manager start --passphrase-file FILE, with systemd
LoadCredential=unlock:/path and --passphrase-file ${CREDENTIALS_DIRECTORY}/unlock.

Examples:
  certus node unlock --data-dir m1
      asks for the key, returns when the manager serves
  certus node unlock --data-dir m1 --passphrase-file - < unlock.key"
)]
pub(crate) struct Unlock {
    #[command(flatten)]
    pub(crate) which: Which,
    /// A file that holds the unlock key or passphrase; `-` reads standard input
    #[arg(long, value_name = "FILE|-")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// `certus cluster root take-offline`.
#[derive(Args)]
#[command(
    after_help = "The file is PKCS#8 under a passphrase, as `certus key` and openssl read it. It is read back before
anything is destroyed. Afterwards issuers that were signed ahead go on; `certus cluster status` says until
when, and the manager's log alerts while there is time. The manager must run, and the command as its user.

Examples:
  certus cluster root take-offline /media/safe/prod-root.key --data-dir m1
      asks for a passphrase
  certus cluster root take-offline prod-root.key --data-dir m1 --passphrase-file pass
  certus key inspect prod-root.key --passphrase-file pass"
)]
pub(crate) struct TakeOffline {
    /// Where the root's key goes, mode 0600
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) which: Which,
    /// What the file is encrypted with; `-` reads standard input. Else CERTUS_PASSPHRASE, else a question
    #[arg(long, value_name = "FILE|-")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    pub(crate) force: bool,
}

/// `certus cluster root bring-online`.
#[derive(Args)]
#[command(after_help = "Only the key of the active root is taken. The file stays: keep it.

Examples:
  certus cluster root bring-online /media/safe/prod-root.key --data-dir m1
  certus cluster root bring-online prod-root.key --data-dir m1 --passphrase-file pass --json")]
pub(crate) struct BringOnline {
    /// The file that take-offline wrote; `-` reads standard input
    #[arg(value_name = "FILE|-")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) which: Which,
    /// What opens the file; `-` reads standard input. Else CERTUS_PASSPHRASE, else a question
    #[arg(long, value_name = "FILE|-")]
    pub(crate) passphrase_file: Option<PathBuf>,
}
