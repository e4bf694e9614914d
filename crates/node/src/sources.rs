//! Where a node without a cluster gets its key, its chain and its trusted roots from.
//!
//! A source yields whole generations: each is read, checked and handed on at once, or not at all, and the
//! last good one stays in force (I9). What becomes of one, TLS for example, is decided elsewhere.
//!
//! ```no_run
//! use certus_node::sources::{FilePaths, FileSource, Needs, Source};
//! use certus_node::system_clock;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let files = FilePaths::separate("tls/node.crt", "tls/node.key", Some("tls/ca.crt"));
//! let source = FileSource::new(files, Needs::BOTH)?;
//! let mut watch = Source::from(source).start(system_clock()).await?;
//! let generation = watch.current();
//! println!("{}", generation.digest());
//! while let Some(generation) = watch.changed().await {
//!     println!("rotated to {}", generation.digest());
//! }
//! # Ok(())
//! # }
//! ```

mod error;
mod material;
mod text;

mod development;
mod env;
mod ephemeral;
mod file;

mod notices;
mod snapshot;
mod watch;

pub(crate) mod publish;

pub use development::Development;
pub use env::{DEFAULT_CA, DEFAULT_CERT, DEFAULT_KEY, EnvSource};
pub use ephemeral::Ephemeral;
pub use error::SourceError;
pub use file::{FilePaths, FileSource, InlinePem, POLL_DEFAULT};
pub use material::{CHAIN_MAX, Material, MaterialError, Needs, Pair, ROOTS_MAX};
pub use snapshot::FILE_BYTES_MAX;
pub use text::{Part, Texts, read_bundle, read_texts};
pub use watch::{Source, SourceStatus, Watch};
