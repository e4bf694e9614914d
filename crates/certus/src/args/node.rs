//! `certus node …`.

use std::path::PathBuf;

use certus_pki::NodeId;
use clap::{Args, Subcommand, ValueEnum};

use super::keys::Unlock;
use crate::config::MtlsWord;

/// What can be done with nodes.
#[derive(Subcommand)]
pub(crate) enum NodeVerb {
    /// Run a node in the foreground; a worker joins first if it has not
    Start(Box<Start>),
    /// Give a locked manager of this machine its unlock key
    Unlock(Unlock),
    /// The nodes of the cluster
    #[command(after_help = "Examples:
  certus node list
  certus node list --json")]
    List,
    /// The last failures of handshakes and streams that a node of this machine has seen
    #[command(after_help = "Examples:
  certus node failures --data-dir /var/lib/certus
  certus node failures --data-dir w1 --json")]
    Failures(Seen),
    /// The live connections of a node of this machine
    #[command(after_help = "Examples:
  certus node connections --data-dir w1")]
    Connections(Seen),
    /// Who still comes in the clear to permissive listeners of a node: is `mtls: true` safe?
    #[command(after_help = "Seen since the node's start, or the reload that made a listener permissive.
Exits with 3 where somebody came in the clear within the last day, or is here still.

Examples:
  certus node strict --data-dir w1")]
    Strict(Seen),
    /// Which live peers of a node would be refused if it trusted other roots; nobody is cut
    #[command(after_help = "Exits with 3 if somebody would be refused.

Examples:
  certus node shadow --bundle new.pem --data-dir w1
      is it safe to drop the old root?")]
    Shadow(Shadow),
}

/// Which node of this machine.
#[derive(Args)]
pub(crate) struct Seen {
    /// The node's data directory [default: $CERTUS_HOME/worker]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// `certus node shadow`.
#[derive(Args)]
pub(crate) struct Shadow {
    /// The roots that would be trusted, in PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: PathBuf,
    #[command(flatten)]
    pub(crate) seen: Seen,
}

/// The roles a node can be started in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NodeRole {
    Manager,
    Worker,
    Agent,
}

/// `certus node start`.
#[derive(Args)]
#[command(after_help = "certus worker start is the same as certus node start --role worker,
certus manager start the same as certus node start --role manager,
certus agent start the same as certus node start --role agent: a node without a cluster, known by its key.

Examples:
  certus manager start --data-dir m1
  certus manager start --data-dir m1 --passphrase-file unlock.key
      one that is locked, without the step certus node unlock
  certus worker start --manager 10.0.0.7:7443 --token-file web-1.token --id web-1 --data-dir w1
      joins and runs
  certus worker start --data-dir w1 --config certus.yaml
      runs again: no token, the manager's address is remembered
  certus token create --role worker | certus worker start --manager 10.0.0.7:7443 --token-file -
  certus agent start --config certus.yaml
      no cluster, no token; says its id")]
pub(crate) struct Start {
    /// What the node is
    #[arg(long)]
    pub(crate) role: NodeRole,
    /// A file that holds the token; `-` reads standard input. Else CERTUS_TOKEN, else a question
    #[arg(long, value_name = "FILE|-", conflicts_with = "token")]
    pub(crate) token_file: Option<PathBuf>,
    /// The token itself; other users of this machine can read it in the list of processes
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// The node's id [default: the host name]
    #[arg(long, visible_alias = "name", value_name = "ID")]
    pub(crate) id: Option<NodeId>,
    /// Where the node keeps its key and certificate [default: $CERTUS_HOME/worker, …/agent or …/manager]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// What the node carries, in YAML; its scalar keys are options here too
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Whether callers of listeners must show a certificate, in the place of the configuration's `mtls`
    #[arg(long, value_name = "true|false|permissive", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = mtls_word)]
    pub(crate) enable_mtls: Option<MtlsWord>,
    /// Managers only: what unlocks the cluster key; `-` reads standard input. Else CERTUS_PASSPHRASE, else
    /// a locked manager waits for `certus node unlock`
    #[arg(long, value_name = "FILE|-")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Managers only: where to listen, instead of what was founded
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: Option<std::net::SocketAddr>,
    /// Managers only: where the others reach it, instead of what was said last
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: Option<String>,
    /// Workers only: alarm after so long without a manager, in the place of the configuration's
    #[arg(long, value_name = "DURATION")]
    pub(crate) revocation_stale_after: Option<String>,
    /// Workers only: whether peers are accepted by what is known then
    #[arg(long, value_name = "open|closed")]
    pub(crate) on_revocation_stale: Option<String>,
    /// Managers only: the clock is right, however far it is ahead of what the cluster knew last
    #[arg(long)]
    pub(crate) accept_clock: bool,
}

fn mtls_word(text: &str) -> Result<MtlsWord, String> {
    let found = MtlsWord::WORDS.iter().find(|(word, _)| *word == text);
    found.map(|(_, word)| *word).ok_or_else(|| "expected true, false or permissive".to_owned())
}
