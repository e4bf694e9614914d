//! Options that several verbs over files share: who signs, how long, which names.

use std::path::PathBuf;

use certus_pki::{AltName, Lifetime};
use clap::Args;

/// Who signs.
#[derive(Args, Clone, Default)]
pub(crate) struct Signs {
    /// Who signs: a CA directory, or its ca.crt [env: CERTUS_CA; else the output directory, `.`, `certs`]
    #[arg(long, value_name = "DIR|FILE", env = "CERTUS_CA", hide_env = true)]
    pub(crate) ca: Option<PathBuf>,
    /// The CA's key, where it is not beside its certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_key: Option<PathBuf>,
    /// What opens the CA's key: a file with the passphrase; `-` reads standard input
    #[arg(long, value_name = "FILE|-")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// How long a certificate lives.
#[derive(Args, Clone, Copy, Default)]
pub(crate) struct Lives {
    /// How long it lives: 90d, 36h, 10y
    #[arg(long, alias = "ttl", value_name = "TIME", conflicts_with = "days")]
    lifetime: Option<Lifetime>,
    /// The same in days
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: Option<u32>,
}

impl Lives {
    /// What was asked for.
    pub(crate) fn asked(self) -> Option<Lifetime> {
        self.lifetime.or(self.days.map(Lifetime::from_days))
    }
}

/// Which names a certificate carries beside its common name.
#[derive(Args, Clone, Default)]
pub(crate) struct Names {
    /// Names: web.internal, 10.0.0.7, or with their kind dns:X, ip:X, email:X, uri:X
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) san: Vec<AltName>,
    /// DNS names
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) dns: Vec<String>,
    /// Addresses
    #[arg(long, value_name = "IP,…", value_delimiter = ',')]
    pub(crate) ip: Vec<String>,
}

impl Names {
    /// All of them, in the order of the options.
    pub(crate) fn all(&self) -> Result<Vec<AltName>, certus_pki::alt::BadAltName> {
        let dns = self.dns.iter().map(|name| AltName::dns(name));
        let ip = self.ip.iter().map(|ip| AltName::ip(ip));
        self.san.iter().cloned().map(Ok).chain(dns).chain(ip).collect()
    }

    /// Whether none was given.
    pub(crate) fn is_empty(&self) -> bool {
        self.san.is_empty() && self.dns.is_empty() && self.ip.is_empty()
    }
}
