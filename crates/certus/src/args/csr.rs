//! `certus csr …`.

use std::path::PathBuf;

use certus_pki::Subject;
use clap::{Args, Subcommand};

use super::files::Names;

/// What can be done with certificate requests.
#[derive(Subcommand)]
pub(crate) enum CsrVerb {
    /// Make a request for a key
    New(CsrNew),
    /// What a request asks for, and whether its maker holds the key
    #[command(after_help = "Examples:
  certus csr info web.csr
  openssl req -new -key web.key -subj /CN=web | certus csr info -")]
    Info(CsrInfo),
}

/// `certus csr new`.
#[derive(Args)]
#[command(after_help = "Examples:
  certus csr new --key web-1.key --cn web-1 --dns web-1.internal --out web-1.csr
  certus csr new --key web-1.key --subject 'CN=web-1,O=Example' | ssh ca certus cert sign - --role server …")]
pub(crate) struct CsrNew {
    /// The key; `-` reads standard input
    #[arg(long, value_name = "FILE|-")]
    pub(crate) key: PathBuf,
    /// What opens it, where it is encrypted
    #[arg(long, value_name = "FILE|-")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// The common name
    #[arg(long, visible_aliases = ["name", "id"], value_name = "NAME", required_unless_present = "subject")]
    pub(crate) cn: Option<String>,
    /// The whole subject
    #[arg(long, value_name = "SUBJECT", conflicts_with = "cn")]
    pub(crate) subject: Option<Subject>,
    #[command(flatten)]
    pub(crate) names: Names,
    /// Where it goes [default: standard output]
    #[arg(long, value_name = "FILE|-", default_value = "-", hide_default_value = true)]
    pub(crate) out: PathBuf,
    /// Replace what is there
    #[arg(long)]
    pub(crate) force: bool,
}

/// `certus csr info`.
#[derive(Args)]
pub(crate) struct CsrInfo {
    /// The request, PEM or DER; `-` reads standard input
    #[arg(value_name = "FILE|-")]
    pub(crate) file: PathBuf,
}
