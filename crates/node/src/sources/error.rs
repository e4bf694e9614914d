//! Why a source yields nothing, with where it happened.

use std::io;
use std::path::{Path, PathBuf};

use certus_pki::{Code, Explain, Explanation, code};

use super::material::MaterialError;
use super::snapshot::FILE_BYTES_MAX;

/// A source that yields no generation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The system refused.
    #[error("cannot {verb} {}", .path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// Others can read or change the key.
    #[error("{} can be {} by others", .path.display(), if .mode & 0o022 == 0 { "read" } else { "changed" })]
    Mode {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// What it may be at most.
        expected: u32,
    },
    /// Larger than any such file.
    #[error("{} has {bytes} bytes", .path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// How many it has.
        bytes: u64,
    },
    /// Bytes that are not text.
    #[error("{} is not text", .path.display())]
    NotText {
        /// Which file.
        path: PathBuf,
        /// The first byte that is not UTF-8.
        at: usize,
    },
    /// Files that never stood still.
    #[error("{} changed each time it was read", .path.display())]
    Unsettled {
        /// Which file.
        path: PathBuf,
        /// How often it was read.
        tries: u32,
    },
    /// What was read cannot be used.
    #[error("what {place} gives cannot be used")]
    Material {
        /// The files or variables it came from.
        place: String,
        /// What is wrong with it.
        #[source]
        error: MaterialError,
    },
    /// An environment variable that is needed.
    #[error("the environment variable {variable} is {}", if *.empty { "empty" } else { "not set" })]
    Unset {
        /// Its name.
        variable: String,
        /// Whether it is set, to nothing.
        empty: bool,
    },
    /// A certificate without its key, or a key without its certificate.
    #[error("{given} is given without {missing}")]
    Half {
        /// What is given.
        given: &'static str,
        /// What is not.
        missing: &'static str,
    },
    /// A pair in two forms at once.
    #[error("a bundle and separate files are given for one key")]
    Twice,
    /// A development CA that cannot be used.
    #[error("the development CA in {} cannot be used: {}", .path.display(), .why.message)]
    Development {
        /// Its directory.
        path: PathBuf,
        /// What is wrong with it.
        why: Box<Explanation>,
    },
    /// A certificate could not be made.
    #[error("no certificate could be made: {}", .0.message)]
    NotMade(Box<Explanation>),
    /// The process is ending.
    #[error("reading was cut short by the end of the process")]
    Ended,
}

impl SourceError {
    pub(super) fn io(verb: &'static str, path: &Path, error: impl Into<io::Error>) -> SourceError {
        SourceError::Io { verb, path: path.to_owned(), error: error.into() }
    }

    pub(super) fn not_made(error: &impl Explain) -> SourceError {
        SourceError::NotMade(Box::new(error.explain()))
    }

    /// Whether reading again a moment later may end well: somebody is in the middle of writing.
    pub(super) fn may_settle(&self) -> bool {
        match self {
            SourceError::Unsettled { .. } => true,
            SourceError::Material { error, .. } => error.may_settle(),
            _ => false,
        }
    }

    /// Tells problems apart, where the words of one alone change from minute to minute.
    pub(super) fn same_problem(&self) -> (Code, String) {
        let told = self.explain();
        let timeless = told.facts.into_iter().filter(|(label, _)| label != "now");
        let facts: Vec<String> = timeless.map(|(label, value)| format!("{label} {value}")).collect();
        (told.code, facts.join("; "))
    }
}

impl Explain for SourceError {
    fn explain(&self) -> Explanation {
        let told = |code| Explanation::new(code, self.to_string());
        match self {
            SourceError::Io { path, error, .. } => {
                told(code::FILE).fact("file", path.display()).fact("the system says", error)
            }
            SourceError::Mode { path, mode, expected } => told(code::FILE_MODE)
                .halves(format!("mode {expected:04o}"), format!("mode {:04o}", mode & 0o7777))
                .fact("file", path.display())
                .hint(format!(
                    "chmod {expected:o} {}; for a Kubernetes secret `defaultMode: 0{expected:o}`",
                    path.display()
                )),
            SourceError::TooLarge { path, bytes } => told(code::OUT_OF_BOUNDS)
                .halves(format!("at most {FILE_BYTES_MAX} bytes"), bytes)
                .fact("file", path.display()),
            SourceError::NotText { path, at } => told(code::BAD_ENCODING)
                .halves("PEM text", format!("byte {at} is not UTF-8; DER perhaps"))
                .hint(format!("openssl x509 -inform der -in {} -out NEW", path.display())),
            SourceError::Unsettled { path, tries } => told(code::FILE)
                .halves("a file that stands still", format!("{tries} changes"))
                .fact("file", path.display())
                .hint("write it beside its place and rename it"),
            SourceError::Material { place, error } => error.explain().fact("from", place),
            SourceError::Unset { variable, empty } => {
                let came = if *empty { "an empty text" } else { "no such variable" };
                told(code::CONFIGURATION)
                    .halves("PEM text", came)
                    .fact("variable", variable)
                    .hint(format!("export {variable}=\"$(cat FILE)\""))
            }
            SourceError::Half { given, missing } => {
                told(code::CONFIGURATION).halves(format!("{given} and {missing}"), format!("{given} alone"))
            }
            SourceError::Twice => {
                told(code::CONFIGURATION).halves("a bundle, or a certificate and a key", "both")
            }
            SourceError::Development { path, why } => {
                let mut why = (**why).clone();
                why.message = self.to_string();
                why.fact("directory", path.display())
            }
            SourceError::NotMade(why) => {
                let mut why = (**why).clone();
                why.message = self.to_string();
                why
            }
            SourceError::Ended => told(code::UNAVAILABLE),
        }
    }
}
