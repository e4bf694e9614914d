//! End to end: a session between two agents inside any byte stream, whoever carries it.
//!
//! `Noise_IK_25519_ChaChaPoly_SHA256`: the dialler knows whom it expects, the other end learns and judges
//! who calls, and neither sees a byte of the application before both have proved who they are. What is
//! carried is sealed, in order, and its end is said: what is changed or cut off on the way is an error.
//!
//! On the stream each message follows its length as two bytes, the higher first:
//!
//! 1. dialler: Noise's first message, without payload;
//! 2. other end: Noise's second, its payload the verdict as two bytes: zero, or the code of the refusal.
//!    An end that cannot open the first message answers in the clear who it is and what it binds;
//! 3. dialler: a confirmation, sealed. Noise's first message can be replayed, this cannot: the other end
//!    believes nothing before it;
//! 4. both: records of at least one byte, then an empty one, which says that this direction ends.
//!
//! ```
//! use certus_node::e2e::{AgentKey, Prologue, accept, connect};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (web, database) = (AgentKey::generate()?, AgentKey::generate()?);
//! let (caller, expected) = (web.id(), database.id());
//! let plain = Prologue { transport: "tcp", exporter: None };
//! // Any two ends of a byte stream.
//! let (here, there) = tokio::io::duplex(1 << 10);
//! let serving = tokio::spawn(async move {
//!     let mut stream = accept(there, &database, plain, |_| Ok(())).await?;
//!     assert_eq!(stream.peer(), caller);
//!     stream.write_all(b"hello").await?;
//!     stream.shutdown().await?;
//!     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
//! });
//! let mut stream = connect(here, &web, expected, plain).await?;
//! let mut heard = String::new();
//! stream.read_to_string(&mut heard).await?;
//! assert_eq!(heard, "hello");
//! # drop(stream);
//! # serving.await?.map_err(|error| error.to_string())?;
//! # Ok(())
//! # }
//! ```

mod buffer;
mod error;
mod handshake;
mod key;
mod prologue;
mod resolver;
mod stream;

pub use error::E2eError;
pub use handshake::{accept, connect};
pub use key::AgentKey;
pub use prologue::{EXPORTER_LABEL, Prologue};
pub use stream::E2eStream;

/// The most that Noise puts into one message (revision 34 §3), and what two bytes of length can say.
const MESSAGE_BYTES_MAX: usize = 65_535;
/// The bytes in which a message's length stands before it.
const LENGTH_BYTES: usize = 2;

#[cfg(test)]
mod tests;
