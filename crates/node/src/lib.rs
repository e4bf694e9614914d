//! A running identity: a node joins with one token, renews and watches by itself, and carries services
//! over mutual TLS.
//!
//! It asks the managers over their API and never decides about certificates itself. The parts are of
//! use alone too: [`embed`] to programs that speak mutual TLS themselves, [`Api`] to command lines, [`admin`] and [`Metrics`] to the managers.
//!
//! ```no_run
//! use certus_node::{Node, NodeOptions};
//! use certus_pki::Role;
//!
//! # async fn run(token: certus_pki::JoinToken) -> Result<(), Box<dyn std::error::Error>> {
//! let mut options = NodeOptions::new("/var/lib/certus", Role::Worker);
//! options.id = Some("web-1".parse()?);
//! options.managers = vec!["10.0.0.7:7443".to_owned()];
//! options.token = Some(token);
//! let node = Node::start(options).await?;
//! println!("{} runs", node.name());
//! node.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod node;
mod spec;

mod enrol;
mod keeper;
mod renew;
mod seldom;
mod watch;

pub mod api;
pub mod carry;
pub mod e2e;
pub mod embed;
pub mod files;
pub mod sources;
pub mod transports;

pub mod admin;
pub mod clock;
pub mod metrics;

pub use api::{Api, ApiError, JoinError, Joined, join};
pub use carry::{
    Carrier, CarryError, ClearCaller, ClearSeen, Failure, Failures, InTheClear, Means, Reloaded, Wallet,
};
pub use clock::system_clock;
pub use e2e::{AgentKey, E2eError, E2eStream};
pub use embed::{Endpoint, EndpointBuilder, TlsOptions, TlsSource};
pub use enrol::{EnrolError, Enrolled, enrol};
pub use files::{FileError, Fresh, IdentityDir, NodeDir, Stored};
pub use metrics::Metrics;
pub use node::{Node, StartError};
pub use renew::RenewError;
pub use spec::{
    AgentOptions, Backend, E2e, Limits, ListenerSpec, MaterialSpec, Mtls, NodeOptions, OnStale, PeerId,
    PeerSpec, Pem, ProxyProtocol, Staleness, TlsSpec, Transport, WS_PATH,
};
