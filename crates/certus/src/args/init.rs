//! `certus init`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::files::Lives;

/// `certus init`: writes the configuration of an agent.
#[derive(Args)]
#[command(after_help = "On a terminal and without options it asks: does something keep running that signs?
The configuration is one file of mode 0600, with certificates and key in it.

--ca-key derives the CA's certificate from its key alone: agents that are set up apart
with the same key trust each other.

Examples:
  certus init --wizard
  certus init --self-signed --output certus.yaml
      nothing to keep: a certificate is made at each start, the id is a key in the data directory
  certus init --ca-pem ca.crt --cert-pem web-1.crt --key-pem web-1.key
  certus init --ca-key mesh-ca.key --cn web-1 --dns web-1.internal --ip 10.0.0.7
  certus agent start --config certus.yaml
      what comes next")]
pub(crate) struct Configure {
    /// Ask, step by step
    #[arg(long, conflicts_with_all = ["self_signed", "ca_pem", "cert_pem", "key_pem", "ca_key"])]
    pub(crate) wizard: bool,
    /// The file to write; `-` is standard output
    #[arg(long, short = 'o', value_name = "FILE|-", default_value = "certus.yaml")]
    pub(crate) output: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    pub(crate) force: bool,
    /// How connections travel
    #[arg(long, value_name = "TRANSPORT", default_value = "quic")]
    pub(crate) transport: InitTransport,
    /// Where to listen
    #[arg(long, value_name = "HOST:PORT", default_value = "0.0.0.0:4433")]
    pub(crate) address: String,
    /// What the agent is called, and the common name of its certificate
    #[arg(long, visible_aliases = ["name", "id"], value_name = "NAME")]
    pub(crate) cn: Option<String>,
    /// No certificates: one is made at each start, and nobody's is verified
    #[arg(long, conflicts_with_all = ["ca_pem", "cert_pem", "key_pem", "ca_key"])]
    pub(crate) self_signed: bool,
    /// The CA's certificate, to be put into the configuration
    #[arg(long, value_name = "FILE", requires_all = ["cert_pem", "key_pem"], conflicts_with = "ca_key")]
    pub(crate) ca_pem: Option<PathBuf>,
    /// The agent's certificate, its issuers behind it
    #[arg(long, value_name = "FILE", requires_all = ["ca_pem", "key_pem"])]
    pub(crate) cert_pem: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires_all = ["ca_pem", "cert_pem"])]
    pub(crate) key_pem: Option<PathBuf>,
    /// The key of the mesh's CA: its certificate is derived, and the agent's is made
    #[arg(long, value_name = "FILE", requires = "cn")]
    pub(crate) ca_key: Option<PathBuf>,
    /// What opens the CA's key: a file with the passphrase; `-` reads standard input
    #[arg(long, value_name = "FILE|-", requires = "ca_key")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// DNS names of the agent's certificate [default: its name, where that can be one]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', requires = "ca_key")]
    pub(crate) dns: Vec<String>,
    /// Addresses of the agent's certificate
    #[arg(long, value_name = "IP,…", value_delimiter = ',', requires = "ca_key")]
    pub(crate) ip: Vec<String>,
    #[command(flatten)]
    pub(crate) lives: Lives,
}

/// How connections travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InitTransport {
    Tcp,
    H2,
    Ws,
    Quic,
}

impl InitTransport {
    /// Its word in the configuration.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            InitTransport::Tcp => "tcp",
            InitTransport::H2 => "h2",
            InitTransport::Ws => "ws",
            InitTransport::Quic => "quic",
        }
    }
}
