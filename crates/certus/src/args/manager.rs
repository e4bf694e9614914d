//! `certus manager …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What can be done with the managers of a cluster.
#[derive(Subcommand)]
pub(crate) enum ManagerVerb {
    /// The managers of the cluster, and which of them leads
    #[command(after_help = "Examples:
  certus manager list
  certus manager list --json")]
    List,
    /// Give a manager that follows the log a vote
    #[command(after_help = "certus node promote is the same. A manager that joined is given a vote by itself
when it has the whole log; this is for one that was not.

Examples:
  certus manager promote m2")]
    Promote {
        /// The manager's id, as `certus manager list` shows it
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Take a manager out of the cluster, and its issuer out of every bundle
    Remove(Remove),
    /// Leave the cluster: for the manager of this machine, while it runs
    #[command(
        after_help = "The command must run as the manager's user: it is let in by the manager's admin socket.

Examples:
  certus manager leave --data-dir m2"
    )]
    Leave {
        /// Where the manager keeps its data [default: $CERTUS_HOME/manager]
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
}

/// `certus manager remove`.
#[derive(Args)]
#[command(
    after_help = "The manager is refused everywhere at once, and nodes whose certificates it signed renew at the
others. It need not run; where it does, `certus manager leave` on its machine is gentler.

Examples:
  certus manager remove m2
      asks first; --yes does not
  certus manager remove m2 --compromised --yes
      somebody else may have its keys"
)]
pub(crate) struct Remove {
    /// The manager's id, as `certus manager list` shows it
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Somebody else may have what it had: its keys are revoked for that reason
    #[arg(long)]
    pub(crate) compromised: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}
