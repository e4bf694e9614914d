//! `certus cert …` over files: issuing and checking without a cluster.

use std::path::PathBuf;

use certus_pki::request::NamePattern;
use certus_pki::{AltName, KeyType, Lifetime, Subject, UnixTime};
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
#[command(
    after_help = "certus ca check-expiry is the same; certus cert needs-renewal is certus cert check --due.

Exits 3 where something ends soon or has ended, 0 where nothing does.

Examples:
  certus cert check --days 30 --ca certs
      everything a CA directory issued, from its ledger, and the CA itself
  certus cert check --days 14 /etc/nginx/tls/*.crt
  certus cert check host-a.example.com:443
  certus cert needs-renewal web-1.crt
      past two thirds of its life?"
)]
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

/// `certus cert sign`.
#[derive(Args)]
#[command(after_help = "certus ca sign is the same.

From a request only the key is taken, and its subject where none is given. Its names are taken with
--allow-name, which says which may be asked for; else they are those of --san, --dns and --ip.

Examples:
  certus cert sign web.csr --role server --dns web.example.com --ca certs
  certus cert sign web.csr --role server --allow-name '*.example.com,10.0.0.0/8' --ca certs --out web.crt
  ssh host openssl req -new -key web.key -subj /CN=web | certus cert sign - --role server --dns web --ca certs")]
pub(crate) struct Sign {
    /// The request, PEM or DER; `-` reads standard input
    #[arg(value_name = "CSR|-")]
    pub(crate) csr: PathBuf,
    /// What the certificate is for
    #[arg(long)]
    pub(crate) role: For,
    /// The subject's common name, instead of the request's subject
    #[arg(long, visible_aliases = ["name", "id"], value_name = "NAME", conflicts_with = "subject")]
    pub(crate) cn: Option<String>,
    /// The whole subject, instead of the request's
    #[arg(long, value_name = "SUBJECT")]
    pub(crate) subject: Option<Subject>,
    #[command(flatten)]
    pub(crate) names: Names,
    /// Take the request's names, if each is one of these: web.example.com, *.example.com, 10.0.0.0/8
    #[arg(long, alias = "allow", value_name = "NAMES,…", value_delimiter = ',', conflicts_with_all = ["san", "dns", "ip"])]
    pub(crate) allow_name: Vec<NamePattern>,
    #[command(flatten)]
    pub(crate) signs: Signs,
    #[command(flatten)]
    pub(crate) lives: Lives,
    /// Where the certificate goes, with its issuers [default: standard output]
    #[arg(long, value_name = "FILE|-", default_value = "-", hide_default_value = true)]
    pub(crate) out: PathBuf,
    /// Where its revocation list can be fetched, http://…
    #[arg(long, value_name = "URL")]
    pub(crate) crl_url: Vec<String>,
    /// Replace what is there
    #[arg(long)]
    pub(crate) force: bool,
}

/// Which side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Side {
    /// It serves
    Server,
    /// It dials
    Client,
}

/// `certus cert verify`.
#[derive(Args)]
#[command(
    after_help = "Exits 0 where the certificate holds, 1 where it does not, 2 where the command was wrong.

Examples:
  certus cert verify --ca certs/ca.crt certs/host-a/server.crt
  certus cert verify --ca certs --purpose server --name dns:host-a certs/host-a/server.crt
      --ca also takes a CA directory: its bundle
  certus cert verify --ca root.pem --intermediates chain.pem --crl root.crl --crl issuer.crl leaf.pem
  certus cert verify --ca root.pem --at 2027-01-01 leaf.pem"
)]
pub(crate) struct Verify {
    /// The certificate, PEM or DER, with intermediates behind it or without; `-` reads standard input
    #[arg(value_name = "FILE|-")]
    pub(crate) leaf: PathBuf,
    /// The trusted roots: PEM files, or CA directories
    #[arg(long, value_name = "FILE|DIR", required = true)]
    pub(crate) ca: Vec<PathBuf>,
    /// Certificates that may stand between
    #[arg(long, value_name = "FILE")]
    pub(crate) intermediates: Vec<PathBuf>,
    /// Revocation lists; with any, there must be one that covers the certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) crl: Vec<PathBuf>,
    /// Which side of a connection its holder is on
    #[arg(long)]
    pub(crate) purpose: Option<Side>,
    /// A name it must carry: dns:X, ip:X, email:X, uri:X
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Vec<AltName>,
    /// The time asked about [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<UnixTime>,
    /// How many CA certificates may stand between it and the root
    #[arg(long, value_name = "N")]
    pub(crate) max_depth: Option<u8>,
}

/// `certus cert export`.
#[derive(Args)]
#[command(after_help = "Examples:
  certus cert export certs/host-a/server.crt --key certs/host-a/server.key --passphrase-file p --out host-a.p12
      key and chain as PKCS#12, for Java, Windows, browsers; with --ca the root too
  certus cert export --trust certs/ca.crt --passphrase-file p --out trust.p12
      trusted certificates, as Java's trust stores are
  certus cert export certs/host-a/server.crt --der --out host-a.der")]
pub(crate) struct Export {
    /// The certificate with its issuers, PEM
    #[arg(value_name = "FILE")]
    pub(crate) cert: PathBuf,
    /// Its key; must be its own
    #[arg(long, value_name = "FILE", required_unless_present_any = ["trust", "der"])]
    pub(crate) key: Option<PathBuf>,
    /// What opens the key, where it is encrypted
    #[arg(long, value_name = "FILE|-")]
    pub(crate) key_passphrase_file: Option<PathBuf>,
    /// Roots to put in as well
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Only the certificates, as trusted ones
    #[arg(long, conflicts_with_all = ["key", "der"])]
    pub(crate) trust: bool,
    /// The first certificate alone, as DER
    #[arg(long, conflicts_with = "key")]
    pub(crate) der: bool,
    /// What is to open the container
    #[arg(long, value_name = "FILE|-", required_unless_present = "der")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Where it goes, mode 0600; `-` is standard output
    #[arg(long, value_name = "FILE|-")]
    pub(crate) out: PathBuf,
    /// Replace what is there
    #[arg(long)]
    pub(crate) force: bool,
}
