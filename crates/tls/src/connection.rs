//! One live connection: who is at its other end, and what has become of it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use certus_pki::{AgentId, AgentProof, Caller, Epoch, Purpose, Rejection, UnixTime, Verdict};
use futures_util::task::AtomicWaker;
use tokio_util::sync::CancellationToken;

use crate::admit::{Gate, View};
use crate::identity::Identity;
use crate::lifecycle::CutReason;
use crate::lock;
use crate::registry::{ConnectionId, ConnectionInfo, EndId, Registry};
use crate::stream::{Cut, PeerIdentity};

/// What the registry is told of a connection.
pub(crate) struct Admitted {
    pub(crate) peer: Option<PeerIdentity>,
    pub(crate) chain: Vec<Vec<u8>>,
    /// Who we were in its handshake.
    pub(crate) own: Option<Arc<Identity>>,
    /// It passes though nobody is known: see [`crate::admit::Unknown::LetIn`].
    pub(crate) let_in: bool,
    pub(crate) plaintext: bool,
    /// Where no TLS protects it: until when that is taken.
    pub(crate) clear_until: Option<UnixTime>,
    pub(crate) epoch: Epoch,
    pub(crate) purpose: Purpose,
    pub(crate) end: EndId,
    pub(crate) resumed: bool,
    pub(crate) since: UnixTime,
}

/// One connection, shared by its stream and the registry.
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) peer: Option<PeerIdentity>,
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) own: Option<Arc<Identity>>,
    pub(crate) let_in: bool,
    plaintext: bool,
    /// No TLS protects it, whoever its peer was proven to be.
    pub(crate) in_clear: bool,
    agent: Mutex<AgentProof>,
    /// Whether a stream without an end-to-end layer ran on it.
    bare: AtomicBool,
    pub(crate) epoch: Epoch,
    pub(crate) purpose: Purpose,
    pub(crate) end: EndId,
    pub(crate) resumed: bool,
    since: UnixTime,
    /// In Unix seconds: the last moment of the peer's chain by the newest judgement, or that of plaintext. Written under the
    /// registry's lock, whose index follows it.
    last_moment: AtomicI64,
    reason: OnceLock<CutReason>,
    pub(crate) reader: AtomicWaker,
    pub(crate) writer: AtomicWaker,
    pub(crate) token: CancellationToken,
    /// Cancelled when both ends shall finish.
    pub(crate) draining: CancellationToken,
}

impl Connection {
    pub(crate) fn new(id: ConnectionId, admitted: Admitted) -> Connection {
        let Admitted { peer, chain, own, let_in, plaintext, clear_until, .. } = admitted;
        let Admitted { epoch, purpose, end, resumed, since, .. } = admitted;
        let of_peer = peer.as_ref().map(|peer| peer.peer.chain_not_after);
        let last_moment = of_peer.or(clear_until).map_or(i64::MAX, UnixTime::secs);
        Connection {
            id,
            last_moment: AtomicI64::new(last_moment),
            peer,
            chain,
            own,
            let_in,
            plaintext,
            in_clear: clear_until.is_some(),
            agent: Mutex::new(if plaintext { AgentProof::Absent } else { AgentProof::Awaited }),
            bare: AtomicBool::new(false),
            epoch,
            purpose,
            end,
            resumed,
            since,
            reason: OnceLock::new(),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            token: CancellationToken::new(),
            draining: CancellationToken::new(),
        }
    }

    /// Why it was cut, if it was.
    pub(crate) fn reason(&self) -> Option<&CutReason> {
        self.reason.get()
    }

    pub(crate) fn cut(&self, reason: CutReason) {
        if self.reason.set(reason).is_ok() {
            // In this order: whoever waits for either must not take a cut for a drain.
            self.token.cancel();
            self.draining.cancel();
            self.reader.wake();
            self.writer.wake();
        }
    }

    /// After this the peer must not stay connected.
    pub(crate) fn last_moment(&self) -> UnixTime {
        UnixTime::from_secs(self.last_moment.load(Ordering::Acquire))
    }

    pub(crate) fn lives_until(&self, last_moment: UnixTime) {
        self.last_moment.store(last_moment.secs(), Ordering::Release);
    }

    /// Whether we were somebody in its handshake, and not `current`.
    pub(crate) fn shows_another_than(&self, current: &Arc<Identity>) -> bool {
        self.own.as_ref().is_some_and(|own| !Arc::ptr_eq(own, current))
    }

    /// What a policy is asked about it.
    pub(crate) fn caller(&self) -> Caller<'_> {
        let mut caller = Caller::known(self.peer.as_ref().map(|peer| &*peer.peer), *lock(&self.agent));
        caller.plaintext = self.plaintext;
        caller
    }

    /// The same, of those of its streams that can say least.
    pub(crate) fn strictest_caller(&self) -> Caller<'_> {
        let mut caller = self.caller();
        if caller.agent == AgentProof::Awaited && self.bare.load(Ordering::Relaxed) {
            caller.agent = AgentProof::Absent;
        }
        caller
    }

    /// What to call the peer in records.
    pub(crate) fn peer_name(&self) -> String {
        match (&self.peer, *lock(&self.agent)) {
            (Some(peer), _) => peer.peer.name(),
            (None, AgentProof::Is(agent)) => format!("agent:{agent}"),
            (None, _) if self.plaintext => "plaintext".to_owned(),
            (None, _) => "nobody known".to_owned(),
        }
    }

    pub(crate) fn info(&self) -> ConnectionInfo {
        let agent = match *lock(&self.agent) {
            AgentProof::Is(agent) => Some(agent),
            AgentProof::Awaited | AgentProof::Absent => None,
        };
        ConnectionInfo {
            id: self.id,
            peer: self.peer.clone(),
            agent,
            plaintext: self.plaintext,
            purpose: self.purpose,
            resumed: self.resumed,
            since: self.since,
        }
    }
}

/// A place in the registry, given back on drop.
pub(crate) struct Registered {
    pub(crate) connection: Arc<Connection>,
    pub(crate) registry: Option<Arc<Registry>>,
}

impl Registered {
    /// A connection of no registry: the first dial, before there is any trust to follow.
    pub(crate) fn nowhere(admitted: Admitted) -> Registered {
        Registered { connection: Arc::new(Connection::new(ConnectionId::NOWHERE, admitted)), registry: None }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(registry) = &self.registry {
            registry.forget(self.connection.id);
        }
    }
}

/// An admitted connection, for those who carry more than one stream over it, or learn more of its
/// peer than TLS could say. Cheap to clone; the last one dropped takes the connection out of the registry.
#[derive(Clone)]
pub struct Admission {
    registered: Arc<Registered>,
    /// None for the first dial, which no policy follows.
    gate: Option<Arc<Gate>>,
    /// The trust and policy by which it was last judged.
    judged: Arc<Mutex<Option<View>>>,
}

impl Admission {
    pub(crate) fn new(registered: Registered, gate: Option<Arc<Gate>>) -> Admission {
        Admission { registered: Arc::new(registered), gate, judged: Arc::default() }
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.registered.connection
    }

    /// Who TLS proved to be at the other end.
    pub fn peer(&self) -> Option<&PeerIdentity> {
        self.connection().peer.as_ref()
    }

    /// What to call the other end in logs: its identity, its agent's id, or that nobody is known.
    pub fn peer_name(&self) -> String {
        self.connection().peer_name()
    }

    /// The certificate that the peer showed, leaf first.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.connection().chain
    }

    /// The epoch of the trust at admission.
    pub fn epoch(&self) -> Epoch {
        self.connection().epoch
    }

    /// Whether the handshake resumed an earlier session.
    pub fn resumed(&self) -> bool {
        self.connection().resumed
    }

    /// Why it was cut, if it was.
    pub fn cut(&self) -> Option<Cut> {
        self.connection().reason().cloned().map(|reason| Cut { reason })
    }

    /// Whether it came in the clear.
    pub fn is_plaintext(&self) -> bool {
        self.connection().plaintext
    }

    /// Whether it is neither cut nor draining, its peer still accepted, and our certificate in it the one
    /// in force: fit for another stream.
    pub fn is_usable(&self) -> bool {
        let connection = self.connection();
        if connection.draining.is_cancelled() || self.recheck().is_err() {
            return false;
        }
        // A stream on an older certificate would be cut when that ends.
        match (&self.gate, &connection.own) {
            (Some(gate), Some(own)) => {
                gate.view().snapshot.identity().is_none_or(|current| Arc::ptr_eq(current, own))
            }
            _ => true,
        }
    }

    /// Whether both are of the same connection.
    pub fn is_same(&self, other: &Admission) -> bool {
        self.connection().id == other.connection().id
    }

    /// Says that the connection takes no more streams: its other end closed it, or said that it will.
    pub fn end(&self) {
        self.connection().draining.cancel();
    }

    /// Cancelled when the connection is cut.
    pub fn cancelled(&self) -> CancellationToken {
        self.connection().token.clone()
    }

    /// Cancelled when both ends shall finish what they began; a cut may follow.
    pub fn draining(&self) -> CancellationToken {
        self.connection().draining.clone()
    }

    /// Takes the word of an end-to-end layer for which agent the peer is, and asks the policy again.
    ///
    /// # Errors
    /// The policy does not accept the agent; then the connection is of no use and must be closed.
    pub fn prove_agent(&self, agent: AgentId) -> Result<(), Rejection> {
        self.settle(AgentProof::Is(agent))
    }

    /// An admission of its own for one stream of this connection whose end-to-end layer proved which
    /// agent sent it: streams of several agents may come over one connection.
    ///
    /// # Errors
    /// The policy does not accept the agent.
    pub fn for_agent(&self, agent: AgentId) -> Result<Admission, Rejection> {
        let Some(registry) = &self.registered.registry else { return Ok(self.clone()) };
        let connection = self.connection();
        let registered = registry.register(Admitted {
            peer: connection.peer.clone(),
            chain: connection.chain.clone(),
            own: connection.own.clone(),
            let_in: false,
            plaintext: false,
            clear_until: connection.in_clear.then(|| connection.last_moment()),
            epoch: connection.epoch,
            purpose: connection.purpose,
            end: connection.end,
            resumed: connection.resumed,
            since: connection.since,
        });
        let admission = Admission::new(registered, self.gate.clone());
        admission.prove_agent(agent).map(|()| admission)
    }

    /// Says that no end-to-end layer runs on this connection: nothing more will be known of the peer.
    ///
    /// # Errors
    /// The policy wants to know which agent it is.
    pub fn without_agent(&self) -> Result<(), Rejection> {
        self.settle(AgentProof::Absent)
    }

    /// Asks the policy about one stream of many, on which no end-to-end layer runs; others of this
    /// connection may have one.
    ///
    /// # Errors
    /// The policy does not accept the peer, or wants to know which agent it is.
    pub fn check_bare_stream(&self) -> Result<(), Rejection> {
        // Noted first: a policy that changes from here on is asked about it too.
        self.connection().bare.store(true, Ordering::Relaxed);
        self.recheck()?;
        let Some(gate) = &self.gate else { return Ok(()) };
        if self.connection().let_in {
            return Ok(());
        }
        gate.view().accept.allow().check(&self.connection().strictest_caller())
    }

    fn settle(&self, proof: AgentProof) -> Result<(), Rejection> {
        *lock(&self.connection().agent) = proof;
        *lock(&self.judged) = None;
        self.recheck()
    }

    /// Whether the peer is trusted and accepted now: asked for every new stream of a connection that
    /// carries many. Costs nothing where neither trust nor policy changed since the last time.
    ///
    /// # Errors
    /// Why it is not.
    pub fn recheck(&self) -> Result<(), Rejection> {
        let Some(gate) = &self.gate else { return Ok(()) };
        let connection = self.connection();
        let view = gate.view();
        let mut judged = lock(&self.judged);
        let expired = gate.now() > connection.last_moment();
        if !expired && judged.as_ref().is_some_and(|earlier| earlier.same(&view)) {
            return Ok(());
        }
        if connection.let_in {
            return Ok(());
        }
        if expired && connection.in_clear {
            return Err(Rejection::NotAllowed {
                came: connection.peer_name(),
                expected: format!("TLS (plaintext was taken until {})", connection.last_moment()),
            });
        }
        if connection.peer.is_some() {
            gate.judge(&view, &connection.chain)?;
        }
        let caller = connection.caller();
        view.accept.allow().check(&caller)?;
        if caller.plaintext && view.accept.allow().judge(&caller) != Verdict::Yes {
            return Err(Rejection::NotAllowed {
                came: connection.peer_name(),
                expected: view.accept.allow().to_string(),
            });
        }
        *judged = Some(view);
        Ok(())
    }
}
