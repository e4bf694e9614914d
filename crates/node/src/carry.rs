//! Carries plain services over mutual TLS: listeners accept and forward, peers dial out.
//!
//! Who may connect is decided in the handshake. A connection whose peer loses trust ends with its TLS.

mod accept;
mod inbound;
mod outbound;
mod pump;

pub mod proxy_protocol;
pub mod sniff;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use certus_pki::explain::{Explain, Explanation};
use certus_pki::{code, defaults};
use certus_tls::Credentials;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::duration;
use crate::metrics::Metrics;
use crate::spec::{ListenerSpec, PeerSpec};

/// Listeners and peers at work.
pub struct Carrier {
    listeners: Vec<(String, SocketAddr)>,
    peers: Vec<(String, SocketAddr)>,
    /// No new connections.
    closing: CancellationToken,
    /// No connections at all.
    ending: CancellationToken,
    tasks: TaskTracker,
}

impl Carrier {
    /// Binds every address and begins to accept; if one cannot be bound, none is.
    ///
    /// # Errors
    /// The address that could not be listened on.
    pub async fn start(
        credentials: &Credentials,
        metrics: &Metrics,
        listeners: Vec<ListenerSpec>,
        peers: Vec<PeerSpec>,
    ) -> Result<Carrier, CarryError> {
        let mut carrier = Carrier {
            listeners: Vec::new(),
            peers: Vec::new(),
            closing: CancellationToken::new(),
            ending: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let mut inbound = Vec::new();
        for spec in listeners {
            let (tcp, address) = bind(&spec.name, &spec.address).await?;
            carrier.listeners.push((spec.name.clone(), address));
            inbound.push((tcp, inbound::Inbound::new(spec, credentials.clone(), metrics.clone())));
        }
        let mut outbound = Vec::new();
        for spec in peers {
            let (tcp, address) = bind(&spec.name, spec.listen.as_deref().unwrap_or_default()).await?;
            carrier.peers.push((spec.name.clone(), address));
            outbound.push((tcp, outbound::Outbound::new(spec, credentials.clone(), metrics.clone())));
        }
        for (tcp, inbound) in inbound {
            carrier.serve(tcp, metrics, inbound);
        }
        for (tcp, outbound) in outbound {
            carrier.serve(tcp, metrics, outbound);
        }
        Ok(carrier)
    }

    /// Where the listener of this name is bound; else where the peer of this name is.
    pub fn bound(&self, name: &str) -> Option<SocketAddr> {
        let of = |ends: &[(String, SocketAddr)]| {
            ends.iter().find(|(known, _)| known == name).map(|(_, address)| *address)
        };
        of(&self.listeners).or_else(|| of(&self.peers))
    }

    /// Accepts no more, gives the connections that live [`defaults::DRAIN`] to end, then ends them.
    pub async fn shutdown(&self) {
        self.shutdown_within(duration(defaults::DRAIN)).await;
    }

    /// The same with another limit.
    pub async fn shutdown_within(&self, limit: Duration) {
        self.closing.cancel();
        self.tasks.close();
        if tokio::time::timeout(limit, self.tasks.wait()).await.is_err() {
            self.ending.cancel();
            // Each only says goodbye now, within a limit of its own.
            self.tasks.wait().await;
        }
    }

    fn serve(&self, tcp: TcpListener, metrics: &Metrics, end: impl accept::End) {
        let accepting = accept::Accepting {
            tcp,
            metrics: metrics.clone(),
            closing: self.closing.clone(),
            ending: self.ending.clone(),
            tasks: self.tasks.clone(),
        };
        self.tasks.spawn(accepting.run(end));
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.closing.cancel();
        self.ending.cancel();
    }
}

async fn bind(name: &str, address: &str) -> Result<(TcpListener, SocketAddr), CarryError> {
    let wrong = |error| CarryError::Listen { name: name.to_owned(), address: address.to_owned(), error };
    let tcp = TcpListener::bind(address).await.map_err(wrong)?;
    let bound = tcp.local_addr().map_err(wrong)?;
    Ok((tcp, bound))
}

/// A carrier that does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CarryError {
    /// An address is not to be had.
    #[error("`{name}` cannot listen on {address}")]
    Listen {
        /// The listener's or peer's name.
        name: String,
        /// The address.
        address: String,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

impl Explain for CarryError {
    fn explain(&self) -> Explanation {
        match self {
            CarryError::Listen { error, .. } => Explanation::new(code::LISTEN, self.to_string())
                .fact("the system says", error)
                .hint("see who has it: ss -ltnp"),
        }
    }
}
