//! The part to embed: mutual TLS for the servers and clients of your own program.
//!
//! [`Node::builder`](crate::Node::builder) makes an [`Endpoint`]: one identity, whose certificates, trusted
//! roots, revocations and policy change while it runs. Of it are made [listeners](Endpoint::listen) and
//! [connectors](Endpoint::connector) that axum, hyper, tonic and tungstenite use as they are, and
//! [QUIC](Endpoint::quic_listen) connections. Handlers get the verified peer as a [`PeerInfo`].
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use certus_node::Node;
//! use certus_node::embed::{ListenOptions, PeerInfo, TlsOptions, TlsSource, alpn};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let source = TlsSource::files("/etc/app/node.crt", "/etc/app/node.key", "/etc/app/ca.crt");
//! let endpoint = Node::builder().name("orders").tls(TlsOptions::new(source)).build().await?;
//!
//! let hello = |peer: PeerInfo| async move { format!("hello, {}", peer.name()) };
//! let app = Router::new().route("/", get(hello));
//! let listener =
//!     endpoint.listen_with("0.0.0.0:8443", ListenOptions::default().alpn(alpn::HTTP)).await?;
//! axum::serve(listener, app.into_make_service_with_connect_info::<PeerInfo>()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Every handshake, full or resumed, ends with one check against the newest trust and policy, before a byte
//! reaches the application. A file source that breaks never replaces good material. Every validation
//! failure is an [audit event](Endpoint::audit).

mod builder;
pub mod danger;
mod endpoint;
mod error;
mod options;
mod source;

mod connector;
mod http;
mod listener;
mod quic;
mod stream;

mod audit;
mod expired;

pub use audit::{AUDIT_TARGET, AuditEvent, AuditKind};
pub use builder::{EndpointBuilder, explain_error};
pub use connector::Connector;
pub use endpoint::Endpoint;
pub use error::EndpointError;
pub use http::alpn;
pub use listener::{ListenOptions, Listener};
pub use options::{Policy, TlsOptions};
pub use quic::{QuicListener, QuicPeer};
pub use source::{SourceKind, TlsSource, UnknownSource};
pub use stream::{PeerInfo, PeerStream};

// The words of the rooms below that stand in this room's signatures: nobody needs those crates for them.
pub use certus_pki::accept::GRACE_MAX;
pub use certus_pki::request::NamePattern;
pub use certus_pki::{Allow, AltName, Explain, Explanation, KeyPolicy, Lifetime, Peer, San, SpiffeId};
pub use certus_tls::{
    Action, ClientCertificate, Cut, CutRecord, HandshakeError, Lifecycle, PeerIdentity, Versions,
};

pub use crate::metrics::Side;
