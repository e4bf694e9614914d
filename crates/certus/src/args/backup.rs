//! `certus cluster backup`, `restore` and `recover`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// `certus cluster backup`.
#[derive(Args)]
#[command(
    after_help = "On a manager's machine, as its user, while it runs: it is let in by the manager's admin socket. The
file holds the state and this manager's keys, under the passphrase. It is written beside its
place, read back whole, and only then takes its name.

Examples:
  certus cluster backup prod.backup --data-dir m1 --passphrase-file backup.pass
  certus cluster backup /mnt/safe/prod-$(date +%F).backup --passphrase-file backup.pass --json
      for a timer: revision, generation, rows, bytes, sha256, how long it took"
)]
pub(crate) struct Backup {
    /// The file to write
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Where the manager keeps its data [default: $CERTUS_HOME/manager]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The file with the passphrase, first line; `-` reads standard input [default: it is asked for]
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    pub(crate) force: bool,
}

/// `certus cluster restore`.
#[derive(Args)]
#[command(
    after_help = "Makes the only manager of a new generation of the cluster. Nodes on record go on: they take the
whole bundle and renew. All tokens are void. What happened after the backup is not known:
revocations among it must be made again, and nodes that joined since need a new token.
`certus cert list --unknown` names certificates that call and that nobody remembers.

Examples:
  certus cluster restore prod.backup --verify --passphrase-file backup.pass
      checks every byte and says what is in it; touches nothing
  certus cluster restore prod.backup --data-dir m1 --passphrase-file backup.pass
  certus manager start --data-dir m1"
)]
pub(crate) struct Restore {
    /// The backup
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Where the restored manager keeps its data; nothing may be there [default: $CERTUS_HOME/manager]
    #[arg(long, value_name = "DIR", conflicts_with = "verify")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Only check the backup and say what is in it
    #[arg(long)]
    pub(crate) verify: bool,
    /// Where the restored manager listens [default: where the manager of the backup did]
    #[arg(long, value_name = "IP:PORT", conflicts_with = "verify")]
    pub(crate) listen: Option<SocketAddr>,
    /// The file with the passphrase, first line; `-` reads standard input [default: it is asked for]
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// The file with the manager's unlock key, if autolock was on when the backup was made
    #[arg(long, value_name = "FILE", conflicts_with = "verify")]
    pub(crate) unlock_file: Option<PathBuf>,
}

/// `certus cluster recover`.
#[derive(Args)]
#[command(
    after_help = "For a cluster that lost more than half of its managers for good. Run it on one manager that is
left, stopped; of several, on the one whose last entry is the highest. It keeps all that this
manager knows. What only the lost ones had committed is gone, and they must never start again:
there would be two clusters of one name.

Examples:
  certus cluster recover --data-dir m1
      says what is at stake, and asks
  certus cluster recover --data-dir m1 --yes
  certus manager start --data-dir m1"
)]
pub(crate) struct Recover {
    /// Where the manager that is left keeps its data [default: $CERTUS_HOME/manager]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Do it without asking
    #[arg(long)]
    pub(crate) yes: bool,
}
