//! Where an endpoint's key, chain and trusted roots come from.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use certus_pki::code;
use certus_pki::explain::{Explain, Explanation};
use certus_tls::Credentials;
use zeroize::Zeroizing;

use crate::node::Node;
use crate::sources::{DEFAULT_CA, DEFAULT_CERT, DEFAULT_KEY, FilePaths, InlinePem};

/// Where an endpoint's key, chain and trusted roots come from. No `Debug`: it may hold a secret (I7).
///
/// | source | rotates |
/// |---|---|
/// | [`files`](TlsSource::files), [`bundle`](TlsSource::bundle) | when the files change, as a whole generation or not at all |
/// | [`env`](TlsSource::env), [`inline`](TlsSource::inline) | never: an alarm is raised when a third of the lifetime is left |
/// | [`ephemeral`](TlsSource::ephemeral), [`development`](TlsSource::development) | by itself, at two thirds of the lifetime |
/// | [`cluster`](TlsSource::cluster) | when the node renews or the cluster's trust changes |
#[derive(Clone)]
#[non_exhaustive]
pub enum TlsSource {
    /// A certificate, its key and roots, each in a PEM file of its own.
    File {
        /// The leaf, its issuers behind it.
        cert: PathBuf,
        /// Its key; a file that others can read is refused.
        key: PathBuf,
        /// The roots that peers are judged by; may be left out where peers show no certificate.
        ca: Option<PathBuf>,
    },
    /// Key, chain and roots in one PEM file.
    Bundle(PathBuf),
    /// PEM texts in environment variables.
    Env {
        /// The variable with the leaf and its issuers.
        cert: String,
        /// The variable with the key.
        key: String,
        /// The variable with the roots.
        ca: String,
    },
    /// PEM texts.
    Inline {
        /// The leaf, its issuers behind it.
        cert: String,
        /// Its key.
        key: Zeroizing<String>,
        /// The roots.
        ca: Option<String>,
    },
    /// A certificate made at start and kept in memory only. Nobody vouches for it, and it trusts nobody.
    Ephemeral,
    /// A CA and a certificate made on first use in the builder's directory. For development only.
    Development,
    /// Those of a node that runs in this process.
    Cluster(Credentials),
}

impl TlsSource {
    /// Three PEM files.
    pub fn files(cert: impl Into<PathBuf>, key: impl Into<PathBuf>, ca: impl Into<PathBuf>) -> TlsSource {
        TlsSource::File { cert: cert.into(), key: key.into(), ca: Some(ca.into()) }
    }

    /// One PEM file: key, chain and roots, as a node's `credentials.pem` and Kubernetes' pod certificates
    /// are.
    pub fn bundle(path: impl Into<PathBuf>) -> TlsSource {
        TlsSource::Bundle(path.into())
    }

    /// The environment variables `CERTUS_TLS_CERT`, `CERTUS_TLS_KEY` and `CERTUS_TLS_CA`.
    pub fn env() -> TlsSource {
        TlsSource::env_named(DEFAULT_CERT, DEFAULT_KEY, DEFAULT_CA)
    }

    /// Other environment variables.
    pub fn env_named(cert: impl Into<String>, key: impl Into<String>, ca: impl Into<String>) -> TlsSource {
        TlsSource::Env { cert: cert.into(), key: key.into(), ca: ca.into() }
    }

    /// Three PEM texts.
    pub fn inline(cert: impl Into<String>, key: impl Into<String>, ca: impl Into<String>) -> TlsSource {
        TlsSource::Inline { cert: cert.into(), key: Zeroizing::new(key.into()), ca: Some(ca.into()) }
    }

    /// A certificate made at start and kept in memory only.
    pub fn ephemeral() -> TlsSource {
        TlsSource::Ephemeral
    }

    /// A CA and a certificate made on first use in the directory of
    /// [`cert_dir`](super::EndpointBuilder::cert_dir).
    pub fn development() -> TlsSource {
        TlsSource::Development
    }

    /// Those of `node`, which keeps them renewed; keep it running.
    pub fn cluster(node: &Node) -> TlsSource {
        TlsSource::Cluster(node.credentials())
    }

    /// Its kind, for logs.
    pub fn kind(&self) -> SourceKind {
        match self {
            TlsSource::File { .. } => SourceKind::File,
            TlsSource::Bundle(_) => SourceKind::Bundle,
            TlsSource::Env { .. } => SourceKind::Env,
            TlsSource::Inline { .. } => SourceKind::Inline,
            TlsSource::Ephemeral => SourceKind::Ephemeral,
            TlsSource::Development => SourceKind::Development,
            TlsSource::Cluster(_) => SourceKind::Cluster,
        }
    }

    /// The files that are read, if files are.
    pub(super) fn paths(&self) -> Option<FilePaths> {
        match self {
            TlsSource::File { cert, key, ca } => Some(FilePaths::separate(cert, key, ca.as_ref())),
            TlsSource::Bundle(path) => Some(FilePaths::bundle(path)),
            TlsSource::Inline { .. } => Some(FilePaths::default()),
            _ => None,
        }
    }

    /// The texts that stand here.
    pub(super) fn texts(&self) -> InlinePem {
        match self {
            TlsSource::Inline { cert, key, ca } => {
                InlinePem { cert: Some(cert.clone()), key: Some(key.clone()), ca: ca.clone() }
            }
            _ => InlinePem::default(),
        }
    }
}

/// A kind of source, as one word of a configuration.
///
/// ```
/// use certus_node::embed::SourceKind;
///
/// assert_eq!("env".parse(), Ok(SourceKind::Env));
/// let planned = "vault".parse::<SourceKind>().unwrap_err();
/// assert_eq!(planned.to_string(), "the source `vault` does not exist yet");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SourceKind {
    /// `file`
    File,
    /// `bundle`
    Bundle,
    /// `env`
    Env,
    /// `inline`
    Inline,
    /// `ephemeral`
    Ephemeral,
    /// `development`
    Development,
    /// `cluster`
    Cluster,
}

impl SourceKind {
    /// Every kind.
    pub const ALL: [SourceKind; 7] = [
        SourceKind::File,
        SourceKind::Bundle,
        SourceKind::Env,
        SourceKind::Inline,
        SourceKind::Ephemeral,
        SourceKind::Development,
        SourceKind::Cluster,
    ];

    /// The kind as a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            SourceKind::File => "file",
            SourceKind::Bundle => "bundle",
            SourceKind::Env => "env",
            SourceKind::Inline => "inline",
            SourceKind::Ephemeral => "ephemeral",
            SourceKind::Development => "development",
            SourceKind::Cluster => "cluster",
        }
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for SourceKind {
    type Err = UnknownSource;

    fn from_str(word: &str) -> Result<SourceKind, UnknownSource> {
        let known = SourceKind::ALL.into_iter().find(|kind| kind.as_str() == word);
        known.ok_or_else(|| {
            let planned = PLANNED.contains(&word);
            UnknownSource { came: word.chars().take(WORD_SHOWN).collect(), planned }
        })
    }
}

/// Sources that are promised by name, so that who asks for one is told so.
const PLANNED: [&str; 2] = ["vault", "acme"];
/// An error repeats a word, not a document.
const WORD_SHOWN: usize = 40;

/// A word that names no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", if *.planned { format!("the source `{came}` does not exist yet") }
    else { format!("`{came}` is not a source of certificates") })]
#[non_exhaustive]
pub struct UnknownSource {
    /// The beginning of what came.
    pub came: String,
    /// Whether a later version is to have it.
    pub planned: bool,
}

impl Explain for UnknownSource {
    fn explain(&self) -> Explanation {
        let all = SourceKind::ALL.map(SourceKind::as_str).join(", ");
        let told = Explanation::new(code::CONFIGURATION, self.to_string()).halves(all, &self.came);
        if self.planned { told.hint("let its agent write files, and name them: file") } else { told }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back_and_no_other() {
        for kind in SourceKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        for word in ["vault", "acme"] {
            let told = word.parse::<SourceKind>().unwrap_err();
            assert!(told.planned);
            assert!(told.to_string().contains("does not exist yet"), "{told}");
        }
        for word in ["", "File", "vaults", &"x".repeat(1_000)] {
            let told = word.parse::<SourceKind>().unwrap_err();
            assert!(!told.planned);
            assert!(told.explain().to_string().len() < 300);
        }
    }
}
