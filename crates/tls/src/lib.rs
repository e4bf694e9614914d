//! Mutual TLS whose trust is enforced while connections live.
//!
//! One [`Publisher`] holds what a process trusts and who it is; [`Server`]s and [`Client`]s read it
//! through [`Credentials`]. Every handshake, full or resumed, ends with one function that checks the
//! peer against the newest snapshot (I11); publishing a newer one cuts exactly the connections that it
//! no longer trusts. Any byte stream will do, and the clock is handed in: nothing here opens a socket,
//! reads a file or asks the machine for the time.
//!
//! ```
//! use certus_tls::{Clock, Publisher, Server, ServerOptions, Snapshot, sweep_each_second};
//! # use certus_pki::Accept;
//! # async fn serve(snapshot: Snapshot, clock: Clock, accept: Accept, io: tokio::io::DuplexStream)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! let publisher = Publisher::new(snapshot, clock);
//! tokio::spawn(sweep_each_second(publisher.credentials(), |cuts| drop(cuts)));
//! let server = Server::new(publisher.credentials(), ServerOptions::new(accept));
//! let stream = server.accept(io).await?;
//! let caller = stream.peer().map(|peer| peer.peer.name());
//! # let _ = caller;
//! # Ok(())
//! # }
//! ```
//!
//! Where TLS cannot say who the peer is, a layer inside does, and the [`Admission`] asks the policy again.
//! It outlives the stream's hands, and tells what becomes of the connection:
//!
//! ```
//! # use certus_pki::{AgentId, Rejection};
//! # use certus_tls::TlsStream;
//! # async fn carry<IO>(stream: &TlsStream<IO>, proven: AgentId) -> Result<(), Rejection> {
//! let admission = stream.admission().clone();
//! admission.prove_agent(proven)?;
//! tokio::select! {
//!     () = admission.draining().cancelled_owned() => { /* finish what was begun */ }
//!     () = admission.cancelled().cancelled_owned() => { /* it was cut: see admission.cut() */ }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Over QUIC the handshake is the same. Each new stream asks whether the peer is still trusted, which costs
//! nothing while there is no news, and whoever holds the connection closes it when it is cut:
//!
//! ```
//! # use certus_tls::{HandshakeError, Server};
//! # async fn serve(server: &Server, endpoint: &quinn::Endpoint) -> Result<(), HandshakeError> {
//! while let Some(incoming) = endpoint.accept().await {
//!     let quic = server.accept_quic(incoming, 100).await?;
//!     let (admission, connection) = (quic.admission(), quic.connection());
//!     loop {
//!         let stream = tokio::select! {
//!             stream = connection.accept_bi() => stream,
//!             () = admission.cancelled().cancelled_owned() => break connection.close(0u32.into(), b"cut"),
//!         };
//!         match stream {
//!             Ok((send, receive)) if admission.recheck().is_ok() => drop((send, receive)),
//!             _ => break,
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod admit;
mod client;
mod connection;
mod credentials;
pub mod danger;
mod error;
mod identity;
mod lifecycle;
mod pinned;
mod provider;
pub mod quic;
mod registry;
mod server;
mod sessions;
mod stream;
mod verdicts;
mod verifier;

// The helpers that unit tests share with the integration tests name this crate from outside.
#[cfg(test)]
extern crate self as certus_tls;
#[cfg(test)]
mod tests;

pub use client::{Client, ClientOptions};
pub use connection::Admission;
pub use credentials::{Credentials, NotPublished, Publisher, Snapshot, sweep_each_second};
pub use error::{HandshakeError, explain_read_error, explain_source};
pub use identity::{BadIdentity, Identity};
pub use lifecycle::{Action, CutReason, Lifecycle};
pub use pinned::connect_pinned;
pub use registry::{ConnectionId, ConnectionInfo, CutRecord, Registry};
pub use server::{ClientCertificate, Server, ServerOptions, Versions};
pub use stream::{Cut, PeerIdentity, TlsStream};

/// Where the time comes from: the machine's clock in a daemon, a simulated one in tests.
pub type Clock = std::sync::Arc<dyn Fn() -> certus_pki::UnixTime + Send + Sync>;

/// Locks that guard plain data: a panic elsewhere leaves it whole, so poisoning is not passed on.
pub(crate) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
