//! `certus cert …` over files: issuing and checking without a cluster.

use std::path::PathBuf;

use certus_pki::{KeyType, Lifetime, Subject};
use clap::{Args, ValueEnum};

use super::files::{Lives, Names, Signs};

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum For {
    /// Serving
    Server,
    /// Dialing
    Client,
    /// Both
    Agent,
}

/// `certus cert issue`.
#[derive(Args)]
#[command(after_help = "certus cert agent is the same as certus cert issue --role agent,
certus ca create-server-cert as --role server, certus ca create-client-cert as --role client.

Examples:
  certus cert issue --role server web-1 --dns web-1.internal --ip 10.0.0.7 --ca certs
  certus cert agent --cn agent-1 --dns agent1.example.com --ip 192.168.1.10 -o certs
      the CA is found in the output directory
  certus cert issue --role client ann --ca certs --lifetime 12h -o /run/ann
  certus cert issue --role server web-1 --ca /etc/pki/ca.crt --ca-key /media/usb/ca.key -o .")]
pub(crate) struct Issue {
    /// What it is for
    #[arg(long)]
    pub(crate) role: For,
    /// Its common name, which is one of its names too where it can be
    #[arg(value_name = "NAME", required_unless_present_any = ["cn", "subject"], conflicts_with = "cn")]
    pub(crate) object: Option<String>,
    /// The same
    #[arg(long, visible_aliases = ["name", "id"], value_name = "NAME")]
    pub(crate) cn: Option<String>,
    /// The whole subject, as `CN=web-1,O=Example`
    #[arg(long, value_name = "SUBJECT", conflicts_with = "cn")]
    pub(crate) subject: Option<Subject>,
    #[command(flatten)]
    pub(crate) names: Names,
    #[command(flatten)]
    pub(crate) signs: Signs,
    #[command(flatten)]
    pub(crate) lives: Lives,
    /// Its key: p256, p384, ed25519, rsa2048, rsa3072, rsa4096 [default: of the CA's type]
    #[arg(long, value_name = "TYPE")]
    pub(crate) key_type: Option<KeyType>,
    /// Where NAME.crt and NAME.key go [default: their place in the CA directory]
    #[arg(short = 'o', long, value_name = "DIR")]
    pub(crate) output_dir: Option<PathBuf>,
    /// Where its revocation list can be fetched, http://…
    #[arg(long, value_name = "URL")]
    pub(crate) crl_url: Vec<String>,
    /// Replace what is there
    #[arg(long)]
    pub(crate) force: bool,
}

/// `certus cert check`.
#[derive(Args)]
#[command(after_help = "certus ca check-expiry is the same; certus cert needs-renewal is certus cert check --due.

Exits 3 where something ends soon or has ended, 0 where nothing does.

Examples:
  certus cert check --days 30 --ca certs
      everything a CA directory issued, from its ledger, and the CA itself
  certus cert check --days 14 /etc/nginx/tls/*.crt
  certus cert check host-a.example.com:443
  certus cert needs-renewal web-1.crt
      past two thirds of its life?")]
pub(crate) struct CertCheck {
    /// Files, CA directories, or HOST:PORT [default: the CA directory]
    #[arg(value_name = "FILE|DIR|HOST:PORT")]
    pub(crate) objects: Vec<String>,
    /// How soon is soon, in days
    #[arg(long, value_name = "N", default_value = "30", conflicts_with_all = ["within", "due"])]
    pub(crate) days: u32,
    /// The same as a time: 30d, 36h
    #[arg(long, value_name = "TIME", conflicts_with = "due")]
    pub(crate) within: Option<Lifetime>,
    /// Those past two thirds of their life instead
    #[arg(long)]
    pub(crate) due: bool,
    #[command(flatten)]
    pub(crate) signs: Signs,
}
