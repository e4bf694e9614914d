//! Carries plain services between nodes: listeners accept and forward, peers dial out, over TCP, HTTP/2,
//! WebSocket or QUIC.
//!
//! Who may connect is decided by one policy whatever the transport. A connection one of whose ends loses
//! trust ends.

mod accept;
mod backend;
mod clear;
mod dial;
mod enter;
mod failures;
mod fit;
mod h2;
mod inbound;
mod outbound;
mod pool;
mod pump;
mod quic;
mod reload;
mod rest;
mod seats;
mod stale;
mod told;
mod wallet;
mod wire;

pub mod proxy_protocol;
pub mod sniff;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use certus_pki::explain::{Explain, Explanation};
use certus_pki::{code, defaults};
use certus_tls::{Admission, Credentials, explain_source};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use clear::{ClearCaller, ClearSeen, InTheClear};
pub use failures::{Failure, Failures};
pub use reload::Reloaded;
pub(crate) use stale::{NEVER, Stale};
pub use wallet::Wallet;
pub(crate) use wallet::own_of;

use crate::clock::duration;
use crate::e2e::AgentKey;
use crate::metrics::Metrics;
use crate::spec::{ListenerSpec, PeerSpec, Transport};
use inbound::Inbound;
use outbound::Outbound;
use wire::Wire;

/// What TLS agrees on for a stream without an end-to-end session.
const ALPN: &[u8] = b"certus/1";
/// What it agrees on for one with it.
const ALPN_E2E: &[u8] = b"certus-e2e/1";
/// What a goodbye may take; the other end may be gone.
const GOODBYE: Duration = Duration::from_secs(1);

/// What listeners and peers work with. Cheap to clone.
#[derive(Clone)]
pub struct Means {
    /// Whose credentials.
    pub wallet: Wallet,
    /// The key of end-to-end sessions; without it there are none.
    pub key: Option<Arc<AgentKey>>,
    /// What is counted.
    pub metrics: Metrics,
    /// What failed last.
    pub failures: Failures,
    /// Who comes in the clear.
    pub clear: InTheClear,
    /// Whether trust is too old to accept anybody by it.
    pub(crate) stale: Stale,
}

impl Means {
    /// With the node's own credentials, and no key for end-to-end sessions.
    pub fn new(own: Credentials, metrics: Metrics) -> Means {
        let failures = Failures::new(own.clock().clone());
        let clear = InTheClear::new(own.clock().clone(), metrics.clone());
        Means { wallet: Wallet::new(own), key: None, metrics, failures, clear, stale: Stale::default() }
    }

    /// Says aloud that a peer was let in whose certificate has ended (`allow_expired`).
    fn note_expired(&self, name: &str, admission: &Admission) {
        let Some(peer) = admission.peer().map(|peer| &peer.peer).filter(|peer| peer.expired) else { return };
        self.metrics.expired_admitted(name);
        tracing::warn!(target: "certus::audit", name, peer = peer.name(), not_after = %peer.not_after,
            "a peer was let in though its certificate has ended: allow_expired");
    }
}

/// While what runs runs.
#[derive(Clone)]
struct Run {
    /// No new connections.
    closing: CancellationToken,
    /// No connections at all.
    ending: CancellationToken,
    tasks: TaskTracker,
}

/// A listener or peer that may be replaced by another at the same address.
struct Current<E>(Arc<RwLock<Arc<E>>>);

impl<E> Clone for Current<E> {
    fn clone(&self) -> Current<E> {
        Current(self.0.clone())
    }
}

impl<E> Current<E> {
    fn new(end: E) -> Current<E> {
        Current(Arc::new(RwLock::new(Arc::new(end))))
    }

    fn get(&self) -> Arc<E> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, end: Arc<E>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = end;
    }
}

/// One listener or peer at its address.
struct Place<E> {
    current: Current<E>,
    /// Those that it was before, as long as connections of theirs live.
    earlier: Vec<Weak<E>>,
    bound: Option<SocketAddr>,
    /// Ends accepting, and then connections, here alone.
    run: Run,
    /// Accepts, or keeps a link up.
    serving: JoinHandle<()>,
}

/// Listeners and peers at work.
pub struct Carrier {
    means: Means,
    listeners: Vec<Place<Inbound>>,
    peers: Vec<Place<Outbound>>,
    run: Run,
}

impl Carrier {
    /// Binds every address and begins to accept; if one cannot be bound, none is.
    ///
    /// # Errors
    /// The address that could not be listened on, credentials that cannot be used, or what a transport
    /// cannot give.
    pub async fn start(
        means: Means,
        listeners: Vec<ListenerSpec>,
        peers: Vec<PeerSpec>,
    ) -> Result<Carrier, CarryError> {
        let run = Run {
            closing: CancellationToken::new(),
            ending: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let mut carrier = Carrier { means, listeners: Vec::new(), peers: Vec::new(), run };
        let mut opened = Vec::new();
        for spec in listeners {
            opened.push(reload::open_listener(&carrier.means, spec).await?);
        }
        let mut dialing = Vec::new();
        for spec in peers {
            dialing.push(reload::open_peer(&carrier.means, spec).await?);
        }
        for opened in opened {
            carrier.serve_listener(opened);
        }
        for opened in dialing {
            carrier.serve_peer(opened);
        }
        Ok(carrier)
    }

    /// Where the listener of this name is bound; else where the peer of this name is.
    pub fn bound(&self, name: &str) -> Option<SocketAddr> {
        let listener = self.listeners.iter().find(|place| place.current.get().spec.name == name);
        let peer = || self.peers.iter().find(|place| place.current.get().dialer.spec.name == name);
        listener.map_or_else(|| peer().and_then(|place| place.bound), |place| place.bound)
    }

    /// Where everything is bound, listeners first.
    pub(crate) fn all_bound(&self) -> Vec<(String, SocketAddr)> {
        let listeners =
            self.listeners.iter().map(|place| (place.current.get().spec.name.clone(), place.bound));
        let peers =
            self.peers.iter().map(|place| (place.current.get().dialer.spec.name.clone(), place.bound));
        listeners.chain(peers).filter_map(|(name, bound)| Some((name, bound?))).collect()
    }

    /// What failed last.
    pub fn failures(&self) -> &Failures {
        &self.means.failures
    }

    /// Who comes in the clear, where that is taken for a while.
    pub fn clear(&self) -> &InTheClear {
        &self.means.clear
    }

    /// Accepts no more, gives the connections that live [`defaults::DRAIN`] to end, then ends them.
    pub async fn shutdown(&self) {
        self.shutdown_within(duration(defaults::DRAIN)).await;
    }

    /// The same with another limit.
    pub async fn shutdown_within(&self, limit: Duration) {
        self.run.closing.cancel();
        self.run.tasks.close();
        if tokio::time::timeout(limit, self.run.tasks.wait()).await.is_err() {
            self.run.ending.cancel();
            // Each only says goodbye now, within a limit of its own.
            self.run.tasks.wait().await;
        }
        for peer in &self.peers {
            peer.current.get().dialer.close().await;
        }
        self.means.wallet.stop();
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.run.closing.cancel();
        self.run.ending.cancel();
        self.means.wallet.stop();
    }
}

/// Holds a stream that carries nothing: a link. Ends with the other end, a cut, or the node; says why it
/// broke, if it did.
async fn hold(mut wire: Wire, admission: &Admission, run: &Run) -> Option<Explanation> {
    let (cut, draining) = (admission.cancelled(), admission.draining());
    let mut ignored = [0; 512];
    loop {
        let read = tokio::select! {
            biased;
            () = cut.cancelled() => {
                let why = admission.cut().map(|cut| cut.explain())?;
                wire.abort(&why).await;
                return Some(why);
            }
            () = run.ending.cancelled() => break,
            () = run.closing.cancelled() => break,
            () = draining.cancelled() => break,
            read = wire.read(&mut ignored) => read,
        };
        match read {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                return Some(outbound::explain_wire(&error).unwrap_or_else(|| {
                    Explanation::new(code::PEER_UNREACHABLE, "the link broke").fact("the system says", error)
                }));
            }
        }
    }
    let _ = tokio::time::timeout(GOODBYE, tokio::io::AsyncWriteExt::shutdown(&mut wire)).await;
    None
}

/// What is said where this node ends before a connection was carried.
fn ends() -> Explanation {
    Explanation::new(code::UNAVAILABLE, "this node ends")
}

/// What made a protocol fail: the refusal or the cut below it, if there is one, else what it says itself.
fn cause<E: std::error::Error + Explain + 'static>(error: &E) -> Explanation {
    explain_source(error).unwrap_or_else(|| error.explain())
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
    /// It asks something of QUIC that only transports over TCP have.
    #[error("`{name}`: {what}")]
    NotOverQuic {
        /// The listener's or peer's name.
        name: String,
        /// What it asks, and why not.
        what: &'static str,
    },
    /// Its certificates or roots cannot be used.
    #[error("`{name}`: {}", .why.message)]
    Material {
        /// The listener's or peer's name.
        name: String,
        /// Why.
        why: Explanation,
    },
}

impl Explain for CarryError {
    fn explain(&self) -> Explanation {
        match self {
            CarryError::Listen { error, .. } => Explanation::new(code::LISTEN, self.to_string())
                .fact("the system says", error)
                .hint("see who has it: ss -lnp"),
            CarryError::NotOverQuic { .. } => Explanation::new(code::CONFIGURATION, self.to_string())
                .halves("tcp, h2 or ws", Transport::Quic),
            CarryError::Material { name, why } => why.clone().fact("of", name),
        }
    }
}
