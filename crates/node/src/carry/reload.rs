//! Listeners and peers come, change and go while the node runs, and no connection notices that need not.

use std::net::SocketAddr;
use std::sync::Arc;

use certus_pki::explain::Explanation;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::accept::Accepting;
use super::dial::Dialer;
use super::inbound::{self, Inbound};
use super::outbound::Outbound;
use super::{Carrier, CarryError, Current, Means, Place, Run, bind, quic};
use crate::spec::{ListenerSpec, PeerSpec, Transport};

/// A socket that is bound and not served yet.
enum Socket {
    Tcp(TcpListener),
    Quic(quinn::Endpoint),
}

/// A listener, bound.
pub(super) struct OpenListener {
    inbound: Inbound,
    socket: Socket,
    bound: SocketAddr,
}

/// A peer, its local port bound if it has one.
pub(super) struct OpenPeer {
    outbound: Outbound,
    socket: Option<TcpListener>,
    bound: Option<SocketAddr>,
}

pub(super) async fn open_listener(means: &Means, spec: ListenerSpec) -> Result<OpenListener, CarryError> {
    let inbound = inbound_of(means, spec).await?;
    if inbound.spec.transport == Transport::Quic {
        let (endpoint, bound) = quic::bind(&inbound).await?;
        return Ok(OpenListener { inbound, socket: Socket::Quic(endpoint), bound });
    }
    let (tcp, bound) = bind(&inbound.spec.name, &inbound.spec.address).await?;
    Ok(OpenListener { inbound, socket: Socket::Tcp(tcp), bound })
}

pub(super) async fn open_peer(means: &Means, spec: PeerSpec) -> Result<OpenPeer, CarryError> {
    let outbound = outbound_of(means, spec).await?;
    let listen = outbound.dialer.spec.listen.clone();
    let (mut socket, mut bound) = (None, None);
    if let Some(listen) = listen {
        let (tcp, address) = bind(&outbound.dialer.spec.name, &listen).await?;
        (socket, bound) = (Some(tcp), Some(address));
    }
    Ok(OpenPeer { outbound, socket, bound })
}

async fn inbound_of(means: &Means, spec: ListenerSpec) -> Result<Inbound, CarryError> {
    let wrong = |why: Explanation| CarryError::Material { name: spec.name.clone(), why };
    let credentials = means.wallet.credentials(&spec.tls.material).await.map_err(wrong)?;
    Ok(Inbound::new(spec, credentials, means.clone()))
}

async fn outbound_of(means: &Means, spec: PeerSpec) -> Result<Outbound, CarryError> {
    let wrong = |why: Explanation| CarryError::Material { name: spec.name.clone(), why };
    let credentials = means.wallet.credentials(&spec.tls.material).await.map_err(wrong)?;
    Ok(Outbound { dialer: Dialer::new(spec, credentials, means.clone()) })
}

/// What a reload did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Listeners and peers that came.
    pub added: usize,
    /// Those that changed.
    pub changed: usize,
    /// Those that went.
    pub removed: usize,
    /// Live connections that a new policy does not accept, and that its rules cut.
    pub cut: usize,
}

impl Carrier {
    /// Goes over to other listeners and peers: what is the same stays, at every address that stays only
    /// new connections meet what changed, and live ones meet the new policy by their rules.
    ///
    /// # Errors
    /// A new address cannot be bound, or credentials cannot be used; then nothing changed.
    pub async fn reload(
        &mut self,
        listeners: Vec<ListenerSpec>,
        peers: Vec<PeerSpec>,
    ) -> Result<Reloaded, CarryError> {
        let mut done = Reloaded::default();
        // First everything that can fail.
        let (mut new_listeners, mut next_inbound) = (Vec::new(), Vec::new());
        for spec in listeners {
            let same = |place: &&Place<Inbound>| {
                let known = place.current.get();
                known.spec.address == spec.address
                    && (known.spec.transport == Transport::Quic) == (spec.transport == Transport::Quic)
            };
            match self.listeners.iter().find(same) {
                Some(place) if format!("{:?}", place.current.get().spec) == format!("{spec:?}") => {
                    next_inbound.push((place.current.clone(), None));
                }
                Some(place) => {
                    let inbound = inbound_of(&self.means, spec).await?;
                    next_inbound.push((place.current.clone(), Some(inbound)));
                }
                None => new_listeners.push(open_listener(&self.means, spec).await?),
            }
        }
        let (mut new_peers, mut next_outbound) = (Vec::new(), Vec::new());
        for spec in peers {
            let same = |place: &&Place<Outbound>| {
                let known = place.current.get();
                known.dialer.spec.listen == spec.listen
                    && (spec.listen.is_some() || known.dialer.spec.name == spec.name)
            };
            match self.peers.iter().find(same) {
                Some(place) if format!("{:?}", place.current.get().dialer.spec) == format!("{spec:?}") => {
                    next_outbound.push((place.current.clone(), None));
                }
                Some(place) => {
                    let outbound = outbound_of(&self.means, spec).await?;
                    next_outbound.push((place.current.clone(), Some(outbound)));
                }
                None => new_peers.push(open_peer(&self.means, spec).await?),
            }
        }
        // From here on nothing fails.
        done.removed += keep(&mut self.listeners, |place| {
            next_inbound.iter().any(|(kept, _)| Arc::ptr_eq(&kept.0, &place.current.0))
        });
        done.removed += keep(&mut self.peers, |place| {
            next_outbound.iter().any(|(kept, _)| Arc::ptr_eq(&kept.0, &place.current.0))
        });
        for (current, next) in next_inbound {
            let Some(next) = next else { continue };
            done.changed += 1;
            let before = current.get();
            let accept = inbound::accept_of(&next.spec);
            current.set(Arc::new(next));
            done.cut += before.server.set_accept(accept).len();
        }
        for (current, next) in next_outbound {
            let Some(next) = next else { continue };
            done.changed += 1;
            let (before, next) = (current.get(), Arc::new(next));
            current.set(next.clone());
            done.cut += before.dialer.set_accept(&next.dialer.spec);
        }
        done.added = new_listeners.len() + new_peers.len();
        new_listeners.into_iter().for_each(|opened| self.serve_listener(opened));
        new_peers.into_iter().for_each(|opened| self.serve_peer(opened));
        Ok(done)
    }

    pub(super) fn serve_listener(&mut self, opened: OpenListener) {
        let OpenListener { inbound, socket, bound } = opened;
        let (current, run) = (Current::new(inbound), self.run_of_place());
        let closing = run.closing.clone();
        match socket {
            Socket::Quic(endpoint) => {
                self.run.tasks.spawn(quic::accept(endpoint, current.clone(), run));
            }
            Socket::Tcp(tcp) => {
                let accepting = Accepting { tcp, metrics: self.means.metrics.clone(), run };
                self.run.tasks.spawn(accepting.run(current.clone()));
            }
        }
        self.listeners.push(Place { current, bound: Some(bound), closing });
    }

    pub(super) fn serve_peer(&mut self, opened: OpenPeer) {
        let OpenPeer { outbound, socket, bound } = opened;
        let (current, run) = (Current::new(outbound), self.run_of_place());
        let closing = run.closing.clone();
        match socket {
            Some(tcp) => {
                let accepting = Accepting { tcp, metrics: self.means.metrics.clone(), run };
                self.run.tasks.spawn(accepting.run(current.clone()));
            }
            None => {
                self.run.tasks.spawn(current.get().keep_linked(run));
            }
        }
        self.peers.push(Place { current, bound, closing });
    }

    /// The run of one place, whose accepting can end before the others'.
    fn run_of_place(&self) -> Run {
        Run { closing: self.run.closing.child_token(), ..self.run.clone() }
    }
}

/// Ends accepting at the places that are not kept, and counts them.
fn keep<E>(places: &mut Vec<Place<E>>, kept: impl Fn(&Place<E>) -> bool) -> usize {
    let before = places.len();
    places.retain(|place| {
        let stays = kept(place);
        if !stays {
            CancellationToken::cancel(&place.closing);
        }
        stays
    });
    before - places.len()
}
