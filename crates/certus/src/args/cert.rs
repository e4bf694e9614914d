//! `certus cert …`.

use std::path::PathBuf;

use certus_pki::{Lifetime, Reason, Role};
use clap::{Args, Subcommand, ValueEnum};

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
    /// Take a new key and certificate now: one's own, a node's, or every node's
    Rotate(Rotate),
}

/// `certus cert list`.
#[derive(Args)]
#[command(
    after_help = "Each node's newest certificate that is neither revoked nor ended, unless more is asked for. The list
is printed as it comes, page by page, however long it is. With --limit the end names the cursor
to go on with, which stays good while certificates come and go.

Examples:
  certus cert list
  certus cert list --expiring 30d
  certus cert list --prefix web- --role worker
  certus cert list --node web-1 --all
      also those that were replaced, revoked, or have ended
  certus cert list --revoked
      those that are refused now
  certus cert list --issuer m2
      signed by this manager; or by the key that begins so, as certus cluster status shows it
  certus cert list --sort issued --limit 20
      the last 20
  certus cert list --limit 100 --json | jq -r .next
      the cursor for --after
  certus cert list --ca certs
      what a CA in files issued
  certus cert list --unknown
      after a restore: `certus cert revoke SERIAL` bars one of them

With --ca DIR (or CERTUS_CA) the list is that of a CA directory; no manager is asked."
)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) signs: Signs,
    /// Only those of one node: an id, or ROLE/ID
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// Only those of nodes of this role: manager, worker, client
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<Role>,
    /// Only those of nodes whose id begins so
    #[arg(long, value_name = "TEXT", conflicts_with = "node")]
    pub(crate) prefix: Option<String>,
    /// Only those that end within this time
    #[arg(long, value_name = "TIME")]
    pub(crate) expiring: Option<Lifetime>,
    /// Only those that were revoked; with --all also those that have ended since
    #[arg(long)]
    pub(crate) revoked: bool,
    /// Only those that this issuer signed: a manager's id, or how its key hash begins
    #[arg(long, value_name = "ISSUER")]
    pub(crate) issuer: Option<String>,
    /// Also those that were replaced or revoked, or have ended
    #[arg(long)]
    pub(crate) all: bool,
    /// Which come first: those that end first, those that were issued last, or by role and id
    /// [default: node where --node, --role or --prefix is given, else expires]
    #[arg(long, value_name = "ORDER", hide_default_value = true)]
    pub(crate) sort: Option<Order>,
    /// Print no more than this many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    /// Go on behind the end of an earlier list that had the same options
    #[arg(long, value_name = "CURSOR")]
    pub(crate) after: Option<String>,
    /// Those that call and are on no record: issued after a backup that was restored
    #[arg(long, conflicts_with_all = ["node", "role", "prefix", "expiring", "revoked", "issuer", "all", "sort",
        "limit", "after"])]
    pub(crate) unknown: bool,
}

/// The order of a list of certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    /// Those that end first
    Expires,
    /// Those that were issued last; the manager has no index for it, so that all are read
    Issued,
    /// By role and id
    Node,
}

/// `certus cert info`.
#[derive(Args)]
#[command(after_help = "Examples:
  certus cert info
      this user's own
  certus cert info --data-dir w1
      a node's of this machine
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
    /// The certificates in the data directory of a node of this machine
    #[arg(long, value_name = "DIR", conflicts_with = "object")]
    pub(crate) data_dir: Option<PathBuf>,
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
#[command(after_help = "A new key and certificate, without dropping a connection. Bare: this user's own.

With --all, workers and then managers are told, a few at a time, each next one when another has its new
certificate in force. Those that are away are told when they are back; clients renew when they are used.
Exits with 3 where a node did not renew in time.

Examples:
  certus cert rotate
      this user's own certificate
  certus cert rotate --data-dir w1
      that of the node of this machine with this data directory, which must run
  certus cert rotate --node web-1
  certus cert rotate --all
  certus cert rotate --all --at-once 50 --json")]
pub(crate) struct Rotate {
    /// One node: an id, or ROLE/ID
    #[arg(long, value_name = "NODE", conflicts_with_all = ["all", "data_dir"])]
    pub(crate) node: Option<String>,
    /// Every node of the cluster
    #[arg(long, conflicts_with = "data_dir")]
    pub(crate) all: bool,
    /// The node of this machine that keeps its data here; it is asked at its admin socket
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// With --all: how many nodes renew at a time
    #[arg(long, value_name = "N", default_value_t = 10, requires = "all",
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) at_once: u16,
    /// With --all: how long to wait for each
    #[arg(long, value_name = "TIME", default_value = "60s", requires = "all")]
    pub(crate) timeout: Lifetime,
}
