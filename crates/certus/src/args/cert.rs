//! `certus cert …`.

use certus_pki::{Lifetime, Reason};
use clap::{Args, Subcommand};

use super::cert_files::{CertCheck, Export, Issue, Sign, Verify};
use super::files::Signs;

/// What can be done with certificates.
#[derive(Subcommand)]
pub(crate) enum CertVerb {
    /// Issue a certificate with a new key, from a CA in files
    Issue(Box<Issue>),
    /// Sign somebody else's request, from a CA in files
    Sign(Box<Sign>),
    /// Whether a certificate leads to a trusted root, and if not, why
    Verify(Verify),
    /// A key and its chain as PKCS#12, or a certificate as DER
    Export(Export),
    /// What ends soon: in a CA directory, in files, on servers
    Check(CertCheck),
    /// What has been issued, and how it is
    List(List),
    /// What a certificate says, in words
    Info(Info),
    /// Revoke a node or one certificate
    Revoke(Revoke),
    /// Tell a node to take a new key and certificate now
    Rotate(Rotate),
}

/// `certus cert list`.
#[derive(Args)]
#[command(after_help = "Examples:
  certus cert list
  certus cert list --expiring 30d
  certus cert list --node web-1 --all
      also those that were replaced, revoked, or have ended
  certus cert list --json | jq -r '.certificates[].serial'
  certus cert list --ca certs
      what a CA in files issued
  certus cert list --unknown
      after a restore: `certus cert revoke SERIAL` bars one of them

With --ca DIR (or CERTUS_CA) the list is that of a CA directory; no manager is asked.")]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) signs: Signs,
    /// Only those of one node: an id, or ROLE/ID
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// Only those that end within this time
    #[arg(long, value_name = "TIME")]
    pub(crate) expiring: Option<Lifetime>,
    /// Also those that were replaced or revoked, or have ended
    #[arg(long)]
    pub(crate) all: bool,
    /// Print no more than this many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    /// Those that call and are on no record: issued after a backup that was restored
    #[arg(long, conflicts_with_all = ["node", "expiring", "all", "limit"])]
    pub(crate) unknown: bool,
}

/// `certus cert info`.
#[derive(Args)]
#[command(after_help = "Examples:
  certus cert info
      this user's own
  certus cert info w1/certs/worker-web-1/node.crt
      a file; no manager is asked
  certus cert info web-1
  certus cert info 7c01f0…e9
  certus cert info host-a --ca certs
      from a CA in files
  certus cert info host-a.example.com:443
      what a server serves, and what it asks of clients
  openssl req -new -key web.key -subj /CN=web | certus cert info -

Files: certificates, bundles, requests, revocation lists, keys, PKCS#12; PEM or DER.")]
pub(crate) struct Info {
    /// A file, HOST:PORT, a serial, or a node's id; `-` reads standard input [default: this user's own]
    #[arg(value_name = "FILE|HOST:PORT|SERIAL|NODE")]
    pub(crate) object: Option<String>,
    #[command(flatten)]
    pub(crate) signs: Signs,
}

/// `certus cert revoke`.
#[derive(Args)]
#[command(after_help = "Examples:
  certus cert revoke web-2 --reason key-compromise --wait
      all certificates of web-2; returns when connected nodes refuse them
  certus cert revoke 7c01f0…e9 --reason superseded
  certus cert revoke host-a --ca certs && certus ca crl --ca certs
      from a CA in files: a name, a file or a serial; peers learn of it by the revocation list

Reasons: unspecified, key-compromise, affiliation-changed, superseded,
cessation-of-operation, privilege-withdrawn (RFC 5280 5.3.1)")]
pub(crate) struct Revoke {
    #[command(flatten)]
    pub(crate) signs: Signs,
    /// A node's id, ROLE/ID, or a serial
    #[arg(value_name = "NODE|SERIAL")]
    pub(crate) object: String,
    /// Why
    #[arg(long, value_name = "REASON", default_value = "unspecified")]
    pub(crate) reason: Reason,
    /// Return only when every connected node reports that it refuses it
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) timeout: Lifetime,
}

/// `certus cert rotate`.
#[derive(Args)]
#[command(after_help = "Examples:
  certus cert rotate --node web-1")]
pub(crate) struct Rotate {
    /// Which node: an id, or ROLE/ID
    #[arg(long, value_name = "NODE")]
    pub(crate) node: String,
}
