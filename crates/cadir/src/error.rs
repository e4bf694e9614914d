//! What can go wrong with a CA directory, with the file it concerns.

use std::io;
use std::path::{Path, PathBuf};

use certus_pki::{Explain, Explanation, code};

/// A CA directory, or a file of it, that cannot be used as asked.
#[derive(Debug, thiserror::Error)]
pub enum CaDirError {
    /// The system refused.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        error: io::Error,
    },
    /// Others can read a key.
    #[error("others can read {}", path.display())]
    Mode {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// There is no CA.
    #[error("there is no certificate authority in {}", path.display())]
    NoCa {
        /// The directory.
        path: PathBuf,
    },
    /// Something would be overwritten.
    #[error("{} is there already", path.display())]
    Exists {
        /// The first file that is there.
        path: PathBuf,
    },
    /// Another process works in the directory.
    #[error("another process is working in {}", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// The ledger is not what was written.
    #[error("line {line} of {} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Written by a newer version.
    #[error("{} is of a newer format", path.display())]
    Newer {
        /// The ledger.
        path: PathBuf,
        /// Its format's version.
        came: String,
    },
    /// The key that must sign is elsewhere.
    #[error("the key of {subject} is not in {}", path.display())]
    KeyAbsent {
        /// Whose key.
        subject: String,
        /// Where it should be.
        path: PathBuf,
    },
    /// No issuer that is valid and whose key is there.
    #[error("nothing in {} can sign now", path.display())]
    NoIssuer {
        /// The directory.
        path: PathBuf,
        /// Why each cannot.
        why: Vec<String>,
    },
    /// A name that would be no file name of its own.
    #[error("`{came}` cannot be the name of a file here")]
    Name {
        /// The name.
        came: String,
        /// What it may be.
        expected: &'static str,
    },
    /// The ledger has no such certificate.
    #[error("`{came}` was not issued by this certificate authority")]
    Unknown {
        /// What was looked for.
        came: String,
    },
    /// It was revoked before.
    #[error("certificate {serial} was revoked before")]
    AlreadyRevoked {
        /// Its serial number.
        serial: certus_pki::Serial,
        /// When.
        at: certus_pki::UnixTime,
    },
    /// The step does not follow.
    #[error("{what}")]
    Order {
        /// What is in the way.
        what: &'static str,
        /// What to do first.
        hint: &'static str,
    },
    /// What the certificates say, in the words of `pki`.
    #[error("{}{}", told.message, file.as_ref().map(|file| format!(" ({})", file.display())).unwrap_or_default())]
    Pki {
        /// The file, where there is one.
        file: Option<PathBuf>,
        /// The reason.
        told: Box<Explanation>,
    },
}

impl CaDirError {
    pub(crate) fn io(verb: &'static str, path: &Path, error: io::Error) -> CaDirError {
        CaDirError::Io { verb, path: path.to_owned(), error }
    }

    pub(crate) fn pki(error: &impl Explain) -> CaDirError {
        CaDirError::Pki { file: None, told: Box::new(error.explain()) }
    }

    pub(crate) fn pki_in(file: &Path, error: &impl Explain) -> CaDirError {
        CaDirError::Pki { file: Some(file.to_owned()), told: Box::new(error.explain()) }
    }
}

impl Explain for CaDirError {
    fn explain(&self) -> Explanation {
        let told = |code| Explanation::new(code, self.to_string());
        match self {
            CaDirError::Io { error, .. } => told(code::FILE).fact("the system says", error),
            CaDirError::Mode { path, mode } => told(code::FILE_MODE)
                .halves("0600", format!("{:04o}", mode & 0o7777))
                .hint(format!("chmod 600 {}", path.display())),
            CaDirError::NoCa { .. } => told(code::NO_CA_HERE)
                .halves("ca.crt or ca-cert.pem", "neither")
                .hint("--ca DIR names another directory; certus ca init makes one"),
            CaDirError::Exists { .. } => told(code::ALREADY_EXISTS).hint("--force replaces it"),
            CaDirError::Busy { .. } => told(code::DIRECTORY_IN_USE).hint("try again when it has ended"),
            CaDirError::Damaged { .. } => told(code::LEDGER)
                .hint("restore the file from a copy; or move it away: the CA goes on with an empty ledger"),
            CaDirError::Newer { came, .. } => told(code::LEDGER).halves("format 1", format!("format {came}")),
            CaDirError::KeyAbsent { .. } => told(code::CA_KEY_ABSENT)
                .hint("bring the key back for this one command, or name it with --ca-key FILE"),
            CaDirError::NoIssuer { why, .. } => {
                let all = why.iter().fold(told(code::CA_KEY_ABSENT), |told, why| told.fact("not", why));
                all.hint("certus ca add-issuer makes the next issuer; it needs the root's key")
            }
            CaDirError::Name { expected, came } => told(code::BAD_NAME).halves(expected, came),
            CaDirError::Unknown { .. } => {
                told(code::UNKNOWN_CERTIFICATE).hint("certus cert list --ca DIR shows what was issued")
            }
            CaDirError::AlreadyRevoked { at, .. } => told(code::ALREADY_REVOKED).fact("since", at),
            CaDirError::Order { hint, .. } => told(code::OUT_OF_BOUNDS).hint(*hint),
            CaDirError::Pki { file, told } => match file {
                Some(file) => (**told).clone().fact("file", file.display()),
                None => (**told).clone(),
            },
        }
    }
}
