//! Listeners and peers come, change and go while the node runs, and no connection notices that need not.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use certus_pki::defaults;
use certus_pki::explain::Explanation;
use certus_tls::Credentials;
use tokio::net::TcpListener;

use super::accept::Accepting;
use super::dial::Dialer;
use super::inbound::Inbound;
use super::outbound::Outbound;
use super::{Carrier, CarryError, Current, Means, Place, Run, bind, fit, quic};
use crate::clock::duration;
use crate::spec::{ListenerSpec, MaterialSpec, PeerSpec, Pem, Transport};

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
    fit::listener_fits(&spec)?;
    let wrong = |why: Explanation| CarryError::Material { name: spec.name.clone(), why };
    let credentials = means.wallet.credentials(&spec.tls.material).await.map_err(wrong)?;
    Ok(Inbound::new(spec, credentials, means.clone()))
}

async fn outbound_of(means: &Means, spec: PeerSpec) -> Result<Outbound, CarryError> {
    fit::peer_fits(&spec)?;
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

/// What becomes of a place that stays.
struct Next<E> {
    /// Which of the places.
    place: usize,
    /// What it is from now on, if that is something else.
    end: Option<Arc<E>>,
}

impl Carrier {
    /// Goes over to other listeners and peers: what is the same stays, at every address that stays only
    /// new connections meet what changed, and live ones meet the new policy by their rules. Connections of
    /// what goes are given [`defaults::DRAIN`] to end.
    ///
    /// # Errors
    /// As of [`Carrier::start`]; then nothing changed.
    pub async fn reload(
        &mut self,
        listeners: Vec<ListenerSpec>,
        peers: Vec<PeerSpec>,
    ) -> Result<Reloaded, CarryError> {
        let materials = listeners.iter().map(|spec| &spec.tls.material);
        let materials = materials.chain(peers.iter().map(|spec| &spec.tls.material)).cloned();
        let materials: Vec<MaterialSpec> = materials.collect();
        // First everything that can fail.
        let (next_inbound, new_listeners) = self.next_listeners(listeners).await?;
        let (next_outbound, new_peers) = self.next_peers(peers).await?;
        // From here on nothing does.
        let mut done = Reloaded { added: new_listeners.len() + new_peers.len(), ..Reloaded::default() };
        for next in &next_inbound {
            let Some(end) = &next.end else { continue };
            done.changed += 1;
            done.cut += self.listeners[next.place].becomes(end.clone());
        }
        for next in &next_outbound {
            let Some(end) = &next.end else { continue };
            done.changed += 1;
            let place = &mut self.peers[next.place];
            done.cut += place.becomes(end.clone());
            if end.dialer.spec.listen.is_none() {
                // The link is made anew.
                place.run.closing.cancel();
                place.run = self.run.of_place();
                place.serving = self.run.tasks.spawn(end.clone().keep_linked(place.run.clone()));
            }
        }
        done.removed += keep(&mut self.listeners, &next_inbound).await;
        done.removed += keep(&mut self.peers, &next_outbound).await;
        new_listeners.into_iter().for_each(|opened| self.serve_listener(opened));
        new_peers.into_iter().for_each(|opened| self.serve_peer(opened));
        self.means.wallet.keep(&materials).await;
        Ok(done)
    }

    async fn next_listeners(
        &self,
        specs: Vec<ListenerSpec>,
    ) -> Result<(Vec<Next<Inbound>>, Vec<OpenListener>), CarryError> {
        let (mut stay, mut new) = (Vec::new(), Vec::new());
        for spec in specs {
            let fit = |known: &Inbound| {
                let known = &known.spec;
                let socket = |spec: &ListenerSpec| spec.transport == Transport::Quic;
                let here = known.address == spec.address && socket(known) == socket(&spec);
                Fit::of(here, known.name == spec.name, &spec.address, *known == spec)
            };
            match best(&self.listeners, &stay, fit) {
                Some((place, Fit::Equal)) => stay.push(Next { place, end: None }),
                Some((place, _)) => {
                    let end = Some(Arc::new(inbound_of(&self.means, spec).await?));
                    stay.push(Next { place, end });
                }
                None => new.push(open_listener(&self.means, spec).await?),
            }
        }
        Ok((stay, new))
    }

    async fn next_peers(
        &self,
        specs: Vec<PeerSpec>,
    ) -> Result<(Vec<Next<Outbound>>, Vec<OpenPeer>), CarryError> {
        let (mut stay, mut new) = (Vec::new(), Vec::new());
        for spec in specs {
            let fit = |known: &Outbound| {
                let known = &known.dialer.spec;
                let named = known.name == spec.name;
                let (here, address) = match &spec.listen {
                    Some(listen) => (known.listen.as_ref() == Some(listen), listen.as_str()),
                    None => (known.listen.is_none() && named, ""),
                };
                Fit::of(here, named, address, *known == spec)
            };
            match best(&self.peers, &stay, fit) {
                Some((place, Fit::Equal)) => stay.push(Next { place, end: None }),
                Some((place, _)) => {
                    let end = Some(Arc::new(outbound_of(&self.means, spec).await?));
                    stay.push(Next { place, end });
                }
                None => new.push(open_peer(&self.means, spec).await?),
            }
        }
        Ok((stay, new))
    }

    pub(super) fn serve_listener(&mut self, opened: OpenListener) {
        let OpenListener { inbound, socket, bound } = opened;
        let (current, run) = (Current::new(inbound), self.run.of_place());
        let serving = match socket {
            Socket::Quic(endpoint) => {
                self.run.tasks.spawn(quic::accept(endpoint, current.clone(), run.clone()))
            }
            Socket::Tcp(tcp) => {
                let accepting = Accepting { tcp, metrics: self.means.metrics.clone(), run: run.clone() };
                self.run.tasks.spawn(accepting.run(current.clone()))
            }
        };
        self.listeners.push(Place { current, earlier: Vec::new(), bound: Some(bound), run, serving });
    }

    pub(super) fn serve_peer(&mut self, opened: OpenPeer) {
        let OpenPeer { outbound, socket, bound } = opened;
        let (current, run) = (Current::new(outbound), self.run.of_place());
        let serving = match socket {
            Some(tcp) => {
                let accepting = Accepting { tcp, metrics: self.means.metrics.clone(), run: run.clone() };
                self.run.tasks.spawn(accepting.run(current.clone()))
            }
            None => self.run.tasks.spawn(current.get().keep_linked(run.clone())),
        };
        self.peers.push(Place { current, earlier: Vec::new(), bound, run, serving });
    }
}

impl Run {
    /// The run of one place, which can end before the others'.
    fn of_place(&self) -> Run {
        Run {
            closing: self.closing.child_token(),
            ending: self.ending.child_token(),
            tasks: self.tasks.clone(),
        }
    }
}

/// A listener or peer whose live connections are judged by the one that takes its place.
pub(super) trait Follows: Send + Sync + 'static {
    /// Takes over whom it accepts; counts the connections that this cuts.
    fn take_policy_of(&self, next: &Self) -> usize;

    /// Asks whether its roots lead to those who are here; counts the connections that this cuts.
    fn judge_by(&self, next: &Self) -> usize;

    /// The roots of its own, if it has some; nothing where nobody's certificate is verified.
    fn roots(&self) -> Option<Option<Pem>>;

    /// By what trust.
    fn credentials(&self) -> Credentials;
}

impl<E: Follows> Place<E> {
    /// Goes over to `end`, and gives earlier ones its policy and its roots; counts what that cuts.
    fn becomes(&mut self, end: Arc<E>) -> usize {
        self.earlier.push(Arc::downgrade(&self.current.get()));
        self.current.set(end.clone());
        self.earlier.retain(|earlier| earlier.strong_count() > 0);
        self.earlier.iter().filter_map(Weak::upgrade).map(|earlier| follow(&earlier, &end)).sum()
    }
}

fn follow<E: Follows>(earlier: &Arc<E>, next: &Arc<E>) -> usize {
    let cut = earlier.take_policy_of(next);
    if next.roots().is_none() || earlier.roots() == next.roots() {
        return cut;
    }
    let mut credentials = next.credentials();
    let cut = cut + earlier.judge_by(next);
    let (earlier, next) = (Arc::downgrade(earlier), Arc::downgrade(next));
    tokio::spawn(async move {
        // Its own connections the next one judges by itself.
        while credentials.changed().await {
            let (Some(earlier), Some(next)) = (earlier.upgrade(), next.upgrade()) else { return };
            earlier.judge_by(&next);
        }
    });
    cut
}

/// How well a place suits a specification.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Address,
    Name,
    Equal,
}

impl Fit {
    fn of(here: bool, named: bool, address: &str, equal: bool) -> Option<Fit> {
        match (here, named) {
            (false, _) => None,
            (true, true) => Some(if equal { Fit::Equal } else { Fit::Name }),
            // Two with any port are two addresses.
            (true, false) => (!address.ends_with(":0")).then_some(Fit::Address),
        }
    }
}

/// The place that suits best, of those that are not taken yet.
fn best<E>(places: &[Place<E>], taken: &[Next<E>], fit: impl Fn(&E) -> Option<Fit>) -> Option<(usize, Fit)> {
    let free = places.iter().enumerate().filter(|(place, _)| taken.iter().all(|next| next.place != *place));
    let fits = free.filter_map(|(place, known)| Some((place, fit(&known.current.get())?)));
    fits.max_by_key(|(_, fit)| *fit)
}

/// Ends accepting at the places that do not stay, and gives their connections a while; counts them.
async fn keep<E>(places: &mut Vec<Place<E>>, stay: &[Next<E>]) -> usize {
    let mut gone = Vec::new();
    for (place, known) in std::mem::take(places).into_iter().enumerate() {
        if stay.iter().any(|next| next.place == place) {
            places.push(known);
        } else {
            gone.push(known);
        }
    }
    let count = gone.len();
    for place in gone {
        place.run.closing.cancel();
        // The port is free for the next; a QUIC port only once its connections have ended.
        let _ = tokio::time::timeout(PORT_FREE, place.serving).await;
        let (ending, limit) = (place.run.ending, duration(defaults::DRAIN));
        tokio::spawn(async move {
            // Ends early with everything else.
            let _ = tokio::time::timeout(limit, ending.cancelled()).await;
            ending.cancel();
        });
    }
    count
}

/// A loop that accepts ends at once.
const PORT_FREE: Duration = Duration::from_millis(500);
