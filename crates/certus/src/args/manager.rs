//! `certus manager …`.

use std::net::SocketAddr;
use std::path::PathBuf;

use certus_pki::{KeyType, NodeId, defaults};
use clap::{Args, Subcommand};

/// What can be done with the managers of a cluster.
#[derive(Subcommand)]
pub(crate) enum ManagerVerb {
    /// Join a cluster as a further manager, and run
    Join(Join),
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

/// `certus manager join`.
#[derive(Args)]
#[command(
    after_help = "It makes its own key and its own issuer, is given the cluster's keys sealed, follows the log until it
has all of it, and then votes. It stays in the foreground; ctrl-c ends it, and
certus manager start --data-dir m2 resumes: no token is needed again.

A cluster of one manager that becomes two cannot lose either: go on to three.

Examples:
  certus token create --role manager --id m2 > m2.token
  certus manager join --manager 10.0.0.7:7443 --token-file m2.token --data-dir m2 --listen 10.0.0.8:7443
  certus manager join --manager 10.0.0.7:7443 --token-file - --id m3 --listen 0.0.0.0:7443 \\
      --advertise m3.internal:7443
  certus manager join --learner …
      follows the log and signs, and does not vote until certus manager promote"
)]
pub(crate) struct Join {
    /// A file that holds the token; `-` reads standard input. Else CERTUS_TOKEN, else a question
    #[arg(long, value_name = "FILE|-", conflicts_with = "token")]
    pub(crate) token_file: Option<PathBuf>,
    /// The token itself; other users of this machine can read it in the list of processes
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// The manager's id: the one that the token names [default: the host name]
    #[arg(long, visible_alias = "name", value_name = "ID")]
    pub(crate) id: Option<NodeId>,
    /// Where the manager keeps its data [default: $CERTUS_HOME/manager]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where the manager listens
    #[arg(long, value_name = "IP:PORT", default_value = defaults::API_LISTEN)]
    pub(crate) listen: SocketAddr,
    /// Where managers, workers and operators reach it [default: where it listens, or the host's name]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: Option<String>,
    /// Follow the log without a vote
    #[arg(long)]
    pub(crate) learner: bool,
    /// The key of its issuer: p256, p384, ed25519, rsa2048, rsa3072, rsa4096
    #[arg(long, value_name = "TYPE", default_value = "p256")]
    pub(crate) key_type: KeyType,
    /// Only join; `certus manager start` runs it
    #[arg(long)]
    pub(crate) no_start: bool,
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
