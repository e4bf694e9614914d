//! `certus cluster …`.

use std::net::SocketAddr;
use std::path::PathBuf;

use certus_pki::{ClusterName, KeyType, Lifetime, NodeId, defaults};
use clap::{Args, Subcommand, ValueEnum};

use super::backup::{Backup, Recover, Restore};
use super::keys::{AutolockVerb, RootVerb};

/// What can be done with a cluster.
#[derive(Subcommand)]
pub(crate) enum ClusterVerb {
    /// Found a cluster and run its first manager
    Init(Init),
    /// What the cluster is made of and how it is
    #[command(after_help = "Examples:
  certus cluster status
  certus cluster status --json")]
    Status,
    /// The roots, for clients that are not nodes
    Bundle(Bundle),
    /// Make an operator's identity anew, on the manager's machine
    Operator(Operator),
    /// Whether a manager needs an unlock key after a restart
    #[command(subcommand, arg_required_else_help = true)]
    Autolock(AutolockVerb),
    /// The root's key: take it out of the cluster, bring it back
    #[command(subcommand, arg_required_else_help = true)]
    Root(RootVerb),
    /// Copy the cluster into a file, under a passphrase
    Backup(Backup),
    /// Make a manager out of a backup, or only check it
    Restore(Restore),
    /// Bring the cluster back from one manager, when most are lost
    Recover(Recover),
}

/// `certus cluster bundle`.
#[derive(Args)]
#[command(after_help = "Examples:
  certus cluster bundle > prod-roots.pem
  certus cluster bundle --output prod-roots.pem --force
      written whole or not at all: for a job that keeps it fresh
  certus cluster bundle --format der --output root.der
  curl --cacert prod-roots.pem https://…")]
pub(crate) struct Bundle {
    /// PEM, however many roots there are; or DER, where there is one
    #[arg(long, value_name = "FORM", default_value = "pem")]
    pub(crate) format: BundleForm,
    /// Write them there instead of to standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long)]
    pub(crate) force: bool,
}

/// How roots are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BundleForm {
    Pem,
    Der,
}

/// `certus cluster operator`.
#[derive(Args)]
#[command(
    after_help = "For when the operator's identity was lost, was stolen, or ended. The manager must run, and the
command must run as its user: it is let in by the manager's admin socket. An identity that
was called the same is revoked.

Examples:
  certus cluster operator --data-dir m1
  certus cluster operator --data-dir m1 --id cli-ann-laptop --home /tmp/ann"
)]
pub(crate) struct Operator {
    /// Where the manager keeps its data [default: $CERTUS_HOME/manager]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The operator's id [default: cli-USER-MACHINE]
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<NodeId>,
}

/// `certus cluster init`.
#[derive(Args)]
#[command(after_help = "Examples:
  certus cluster init --name prod --data-dir m1 --listen 127.0.0.1:7443
      founds and stays in the foreground as the first manager; ctrl-c ends it,
      certus manager start --data-dir m1 resumes
  certus cluster init --name prod --data-dir m1 --no-start
      only founds
  certus cluster init --name lab --leaf-lifetime 2m
      nodes renew about every 80 seconds
  certus cluster init --name prod --data-dir m1 --autolock
      a stolen disk opens nothing: prints an unlock key, needed after every restart")]
pub(crate) struct Init {
    /// The cluster's name: a-z 0-9 . - _
    #[arg(long, alias = "cn", value_name = "NAME")]
    pub(crate) name: ClusterName,
    /// Where the manager keeps its data [default: $CERTUS_HOME/manager]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where the manager listens, and what commands on this machine dial
    #[arg(long, value_name = "IP:PORT", default_value = defaults::API_LISTEN)]
    pub(crate) listen: SocketAddr,
    /// Where managers, workers and operators reach this manager [default: where it listens, or the host's
    /// name]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: Option<String>,
    /// This manager's id [default: the host name]
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<NodeId>,
    /// Only found; `certus manager start` runs it
    #[arg(long)]
    pub(crate) no_start: bool,
    /// How long a node's certificate lives
    #[arg(long, value_name = "TIME", default_value_t = defaults::LEAF_LIFETIME)]
    pub(crate) leaf_lifetime: Lifetime,
    /// How long a manager's issuer lives
    #[arg(long, value_name = "TIME", default_value_t = defaults::ISSUER_LIFETIME)]
    pub(crate) issuer_lifetime: Lifetime,
    /// The root's key: p256, p384, ed25519, rsa2048, rsa3072, rsa4096
    #[arg(long, value_name = "TYPE", default_value = "p256")]
    pub(crate) root_key_type: KeyType,
    /// The keys of issuers and managers
    #[arg(long, value_name = "TYPE", default_value = "p256")]
    pub(crate) key_type: KeyType,
    /// Keep the cluster key under an unlock key, which is printed once and needed after every restart
    #[arg(long)]
    pub(crate) autolock: bool,
    /// With --autolock: a passphrase of your own instead; `-` reads standard input. Else CERTUS_PASSPHRASE
    #[arg(long, value_name = "FILE|-", requires = "autolock")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Replace the identity of another cluster that this user has
    #[arg(long)]
    pub(crate) force: bool,
}
