//! `certus ca …`: who signs, as files.

use std::path::PathBuf;

use certus_cadir::Layout;
use certus_pki::constraints::Subtree;
use certus_pki::{KeyType, Lifetime, Subject};
use clap::{Args, Subcommand};

use super::files::{Lives, Signs};

/// What can be done with a CA in files.
#[derive(Subcommand)]
pub(crate) enum CaVerb {
    /// Make a CA, and certificates for hosts
    Init(Box<CaInit>),
    /// Make the next issuer below the root; the root's key can then be put away
    AddIssuer(AddIssuer),
    /// What the CA is made of, and what it issued
    #[command(after_help = "Examples:
  certus ca status --ca certs
  certus ca status --ca certs --json")]
    Status(Signs),
    /// The roots that peers are to trust, as PEM
    #[command(after_help = "Examples:
  certus ca bundle --ca certs > roots.pem
  certus ca bundle --ca certs | curl --cacert /dev/stdin https://host-a")]
    Bundle(Signs),
    /// Make the next revocation lists
    Crl(CaCrl),
    /// Change the root, step by step, with nobody locked out
    Rotate(CaRotate),
}

/// `certus ca crl`.
#[derive(Args)]
#[command(after_help = "Writes ca.crl, and intermediate.crl beside an intermediate, and keeps their numbers.

Examples:
  certus ca crl --ca certs
  certus ca crl --ca certs --lifetime 24h --out - | ssh host 'cat > /etc/certus/tls/ca.crl'
  openssl verify -CAfile certs/ca.crt -CRLfile certs/ca.crl -crl_check certs/host-a/server.crt")]
pub(crate) struct CaCrl {
    #[command(flatten)]
    pub(crate) signs: Signs,
    /// When the next list is due
    #[arg(long, value_name = "TIME", default_value = "7d")]
    pub(crate) lifetime: Lifetime,
    /// Also all lists in one file; `-` is standard output
    #[arg(long, value_name = "FILE|-")]
    pub(crate) out: Option<PathBuf>,
}

/// `certus ca rotate`.
#[derive(Args)]
#[command(after_help = "Without a step it does the first, or says what is next.

Examples:
  certus ca rotate --ca certs
      makes ca-next.crt, cross-signed both ways, and ca-bundle.crt with both roots: copy it to every peer
  certus ca rotate --ca certs --activate
      the next root signs; what it issues is accepted by peers that trust only the old one too
  certus ca rotate --ca certs --finish
      the old root leaves the bundle, once nothing in use leads to it
  certus ca rotate --ca certs --emergency --yes
      the key is in other hands: another root at once, nothing that the old one signed holds")]
pub(crate) struct CaRotate {
    #[command(flatten)]
    pub(crate) signs: Signs,
    /// Let the next root sign
    #[arg(long, conflicts_with_all = ["finish", "emergency"])]
    pub(crate) activate: bool,
    /// Let the old root go
    #[arg(long, conflicts_with = "emergency")]
    pub(crate) finish: bool,
    /// The root's key is in other hands
    #[arg(long, requires = "yes")]
    pub(crate) emergency: bool,
    /// The next root's key [default: of the present root's type]
    #[arg(long, value_name = "TYPE")]
    pub(crate) key_type: Option<KeyType>,
    #[command(flatten)]
    pub(crate) lives: Lives,
    /// Finish although certificates in use lead to the old root
    #[arg(long)]
    pub(crate) force: bool,
    /// Yes, everything must be issued again
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `certus ca init`.
#[derive(Args)]
#[command(after_help = "certus tls init is the same as certus ca init --preset fleet,
certus cert ca the same as certus ca init --preset mesh.

Presets:
  fleet     ca.crt, HOST/server.crt, client/client.crt; CA 10 years, others 1 year; Ed25519
  mesh      ca.crt, NAME.crt; CA 365 days, others 90 days; P-256
  private   ca.crt signs intermediate.crt, which signs; 10 years, 5 years, 90 days; P-256
  dev       ca-cert.pem, ID-cert.pem; CA 365 days, others 90 days; P-256; development only

Examples:
  certus tls init --output-dir certs --hosts host-a=192.168.1.10,host-b=192.168.1.11+alt.name,host-c
      a CA, a server certificate for each host, one client certificate, and what to copy where
  certus tls init --output-dir certs --hosts host-d --add-hosts
      only what is not there yet
  certus cert ca --cn 'My Mesh CA' -o certs
  certus ca init --preset private --cn 'Example' -o pki --permit example.com --passphrase-file -

A file of hosts:
  hosts:
    - name: host-a
      names: [192.168.1.10, alt.name]
    - host-b=192.168.1.11")]
pub(crate) struct CaInit {
    /// File names, lifetimes and keys: fleet, mesh, private, dev
    #[arg(long, value_name = "PRESET", default_value = "private")]
    pub(crate) preset: Layout,
    /// Where everything goes [default: certs]
    #[arg(short = 'o', long, value_name = "DIR", default_value = "certs", hide_default_value = true)]
    pub(crate) output_dir: PathBuf,
    /// The CA's common name [default: `Certus CA`]
    #[arg(long, visible_alias = "name", value_name = "NAME", conflicts_with = "subject")]
    pub(crate) cn: Option<String>,
    /// The CA's whole subject, as `CN=Example Root,O=Example`
    #[arg(long, value_name = "SUBJECT")]
    pub(crate) subject: Option<Subject>,
    /// Hosts that get a server certificate: NAME, NAME=IP, NAME=IP+OTHER-NAME, an IP, [IPv6]
    #[arg(long, value_name = "HOST,…", value_delimiter = ',')]
    pub(crate) hosts: Vec<String>,
    /// The same in a YAML file; `-` reads standard input
    #[arg(long, value_name = "FILE|-")]
    pub(crate) hosts_file: Option<PathBuf>,
    /// The CA is there already: make only what is missing
    #[arg(long)]
    pub(crate) add_hosts: bool,
    /// The client certificate's common name
    #[arg(long, value_name = "NAME", default_value = "certus-client")]
    pub(crate) client_cn: String,
    /// Every key: p256, p384, ed25519, rsa2048, rsa3072, rsa4096 [default: as the preset says]
    #[arg(long, value_name = "TYPE")]
    pub(crate) key_type: Option<KeyType>,
    #[command(flatten)]
    pub(crate) lives: Lives,
    /// How long the CA lives, in days
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=36_500), conflicts_with = "ca_lifetime")]
    pub(crate) ca_days: Option<u32>,
    /// How long the CA lives
    #[arg(long, value_name = "TIME")]
    pub(crate) ca_lifetime: Option<Lifetime>,
    /// How long the first issuer of `private` lives
    #[arg(long, value_name = "TIME")]
    pub(crate) issuer_lifetime: Option<Lifetime>,
    /// How many CAs may stand below the root [default: not limited]
    #[arg(long, value_name = "N")]
    pub(crate) path_length: Option<u8>,
    /// Only names in here may be signed for: example.com, .example.com, ip:10.0.0.0/8, email:example.com
    #[arg(long, value_name = "NAMES,…", value_delimiter = ',')]
    pub(crate) permit: Vec<Subtree>,
    /// Names in here may not be signed for
    #[arg(long, value_name = "NAMES,…", value_delimiter = ',')]
    pub(crate) exclude: Vec<Subtree>,
    /// Encrypt the CA's keys with the passphrase in this file; `-` reads standard input
    #[arg(long, value_name = "FILE|-")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Where the hosts will have their files; for the printed steps
    #[arg(long, value_name = "DIR", default_value = "/etc/certus/tls")]
    pub(crate) host_dir: PathBuf,
    /// Replace what is there
    #[arg(long)]
    pub(crate) force: bool,
}

/// `certus ca add-issuer`.
#[derive(Args)]
#[command(after_help = "certus ca create-intermediate is the same.

Examples:
  certus ca add-issuer --ca certs
      needs the root's key; from now on this issuer signs, and the root's key can be put away
  certus ca add-issuer --ca certs --ca-key /media/usb/ca.key --cn 'Example issuer 2027'")]
pub(crate) struct AddIssuer {
    #[command(flatten)]
    pub(crate) signs: Signs,
    /// Its common name [default: the root's with `issuer` and a number]
    #[arg(long, visible_alias = "name", value_name = "NAME", conflicts_with = "subject")]
    pub(crate) cn: Option<String>,
    /// Its whole subject
    #[arg(long, value_name = "SUBJECT")]
    pub(crate) subject: Option<Subject>,
    /// Its key [default: of the root's type]
    #[arg(long, value_name = "TYPE")]
    pub(crate) key_type: Option<KeyType>,
    #[command(flatten)]
    pub(crate) lives: Lives,
    /// How many CAs may stand below it
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) path_length: u8,
    /// Only names in here may be signed for
    #[arg(long, value_name = "NAMES,…", value_delimiter = ',')]
    pub(crate) permit: Vec<Subtree>,
    /// Names in here may not be signed for
    #[arg(long, value_name = "NAMES,…", value_delimiter = ',')]
    pub(crate) exclude: Vec<Subtree>,
}
