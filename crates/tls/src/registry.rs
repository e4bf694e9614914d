//! The connections that live, indexed by what can end them: certificate, issuer, end of validity,
//! accept policy, and our own certificate. Only those a change affects are touched, each as the rules
//! of its listener or dialer say.

mod lost;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use certus_pki::{
    Accept, AgentId, Bundle, CertId, Issuers, Lifetime, Peer, PeerQuery, Purpose, Rejection, Sha256, UnixTime,
};

use crate::connection::{Admitted, Connection, Registered};
use crate::credentials::Snapshot;
use crate::identity::Identity;
use crate::lifecycle::{Action, CutReason, Lifecycle};
use crate::lock;
use crate::stream::PeerIdentity;

/// Every connection under one publisher's credentials.
pub struct Registry {
    inner: Mutex<Inner>,
}

/// A connection's number in its registry; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

/// A connection that was cut, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CutRecord {
    /// Which connection.
    pub connection: ConnectionId,
    /// With whom, by the name of [`certus_pki::Peer::name`].
    pub peer: String,
    /// The certificate the peer had shown, if it had to.
    pub cert: Option<CertId>,
    /// Why.
    pub reason: CutReason,
}

/// A live connection, for listings.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Its number.
    pub id: ConnectionId,
    /// With whom; nobody known where a listener does not ask for a certificate.
    pub peer: Option<PeerIdentity>,
    /// Which agent the end-to-end layer proved it to be.
    pub agent: Option<AgentId>,
    /// Whether it came in the clear.
    pub plaintext: bool,
    /// Which side the peer is on.
    pub purpose: Purpose,
    /// Whether its handshake was a resumption.
    pub resumed: bool,
    /// Since when.
    pub since: UnixTime,
}

/// Which listener or dialer a connection belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EndId(u64);

/// How the connections of one listener or dialer are judged, and what becomes of those that are refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndRules {
    pub(crate) lifecycle: Lifecycle,
    pub(crate) issuers: Issuers,
    pub(crate) grace: Option<Lifetime>,
}

impl Default for EndRules {
    fn default() -> EndRules {
        EndRules { lifecycle: Lifecycle::default(), issuers: Issuers::Known, grace: None }
    }
}

#[derive(Default)]
struct Inner {
    last_id: u64,
    /// The trust that was last enforced; the next is compared with it.
    enforced: Option<Arc<Bundle>>,
    live: BTreeMap<ConnectionId, Arc<Connection>>,
    /// Ordered by issuer, then serial: one index serves both.
    by_cert: BTreeSet<(CertId, ConnectionId)>,
    by_last_moment: BTreeSet<(UnixTime, ConnectionId)>,
    by_end: BTreeSet<(EndId, ConnectionId)>,
    by_own_cert: BTreeSet<(CertId, ConnectionId)>,
    by_own_end: BTreeSet<(UnixTime, ConnectionId)>,
    rules: BTreeMap<EndId, EndRules>,
}

impl Registry {
    pub(crate) fn new(bundle: Arc<Bundle>) -> Registry {
        Registry { inner: Mutex::new(Inner { enforced: Some(bundle), ..Inner::default() }) }
    }

    /// How many connections live.
    pub fn live(&self) -> usize {
        lock(&self.inner).live.len()
    }

    /// Every live connection, oldest first.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        lock(&self.inner).live.values().map(|connection| connection.info()).collect()
    }

    /// Ends the connections that `snapshot` does not trust, as their rules say; those that were cut are
    /// returned. Called by every publish.
    ///
    /// A revocation or a struck issuer is looked up in the index. Only where a root was removed is every
    /// connection verified again, outside the lock.
    pub fn enforce(self: &Arc<Self>, snapshot: &Snapshot, now: UnixTime) -> Vec<CutRecord> {
        let new = snapshot.bundle();
        let (mut doomed, mut indexed) = (Vec::new(), Vec::new());
        let mut to_verify = None;
        {
            let mut inner = lock(&self.inner);
            let old = inner.enforced.replace(new.clone());
            let old = old.filter(|old| !Arc::ptr_eq(old, new));
            if let Some(old) = old {
                inner.no_longer_trusted(&old, new, &mut indexed);
                if !old.roots().iter().all(|root| new.roots().contains(root)) {
                    to_verify = Some((old, inner.with_rules(inner.live.values())));
                }
            }
        }
        if let Some((old, mut connections)) = to_verify {
            let own = lost::own_untrusted(&connections, &old, new, now);
            // Who was found below a root that stays is below it still.
            let roots: BTreeSet<Sha256> = new.roots().iter().map(|root| Sha256::of(root.der())).collect();
            connections
                .retain(|(one, _)| one.peer.as_ref().is_some_and(|peer| !roots.contains(&peer.peer.root)));
            doomed
                .extend(self.judge_again(&connections, |one, rules| lost::as_of_trust(one, rules, new, now)));
            doomed.extend(own);
        }
        // Behind those whose root is gone, which says more than that its issuers are.
        doomed.extend(indexed);
        let mut cuts = self.end(doomed);
        cuts.extend(self.sweep(now));
        cuts
    }

    /// Ends the connections in which we showed another identity than `current`, where their rules want
    /// that.
    pub(crate) fn rotated(self: &Arc<Self>, current: &Arc<Identity>) -> Vec<CutRecord> {
        let doomed = {
            let inner = lock(&self.inner);
            let wanted = |connection: &&Arc<Connection>| {
                inner.rules_of(connection).lifecycle.on_rotation != Action::Keep
                    && connection.shows_another_than(current)
            };
            let older = inner.live.values().filter(wanted);
            older.map(|connection| (connection.id, CutReason::OwnReplaced)).collect()
        };
        self.end(doomed)
    }

    /// The same for one connection, whose handshake began before the identity was replaced.
    pub(crate) fn rotated_meanwhile(self: &Arc<Self>, connection: &Connection, current: &Arc<Identity>) {
        if connection.shows_another_than(current) {
            self.end(vec![(connection.id, CutReason::OwnReplaced)]);
        }
    }

    /// Ends the connections whose chain's last moment is before `now`, or the last moment of the
    /// certificate that we showed.
    pub fn sweep(self: &Arc<Self>, now: UnixTime) -> Vec<CutRecord> {
        let doomed = {
            let mut inner = lock(&self.inner);
            // Each is told once: what is kept past its end would be found again every second.
            let ended = take_before(&mut inner.by_last_moment, now);
            let own_ended = take_before(&mut inner.by_own_end, now);
            let expired = |(last, id): (UnixTime, ConnectionId)| {
                let connection = inner.live.get(&id)?;
                if connection.in_clear {
                    return Some((id, CutReason::PlaintextEnded { now, until: last }));
                }
                let peer = &connection.peer.as_ref()?.peer;
                // With a grace the last moment is after the certificate's own.
                let leaf = last >= peer.not_after;
                let what = if leaf { "the certificate" } else { "an issuer in the chain" };
                let not_after = if leaf { peer.not_after } else { last };
                Some((id, CutReason::Peer(Rejection::Expired { what, now, not_after })))
            };
            let own = |(not_after, id)| (id, CutReason::OwnExpired { now, not_after });
            let doomed: Vec<_> =
                ended.into_iter().filter_map(expired).chain(own_ended.into_iter().map(own)).collect();
            doomed
        };
        self.end(doomed)
    }

    /// Ends the connections of one listener or dialer that its new policy does not accept.
    pub(crate) fn recheck(
        self: &Arc<Self>,
        end: EndId,
        accept: &Accept,
        (bundle, now): (&Bundle, UnixTime),
    ) -> Vec<CutRecord> {
        let mut doomed = Vec::new();
        let mut to_verify = Vec::new();
        {
            let mut inner = lock(&self.inner);
            for connection in inner.of_end(end).filter(|connection| !connection.let_in) {
                let verdict = match &connection.peer {
                    Some(peer) => accept.check(&peer.peer),
                    None => Ok(()),
                };
                let verdict = verdict.and_then(|()| accept.allow().check(&connection.strictest_caller()));
                doomed.extend(verdict.err().map(|rejection| (connection.id, CutReason::Peer(rejection))));
            }
            let Some(rules) = inner.rules.get_mut(&end) else { return Vec::new() };
            if rules.grace != accept.grace() {
                rules.grace = accept.grace();
                to_verify = inner.with_rules(inner.of_end(end));
            }
        }
        // Another grace is another end of each.
        doomed.extend(self.judge_again(&to_verify, |_, rules| query(rules, bundle, now)));
        self.end(doomed)
    }

    /// Ends the connections of one listener or dialer that other roots do not lead to.
    pub(crate) fn judge_by(
        self: &Arc<Self>,
        end: EndId,
        rules: &EndRules,
        bundle: &Bundle,
        now: UnixTime,
    ) -> Vec<CutRecord> {
        let connections: Vec<_> = lock(&self.inner).of_end(end).map(|one| (one.clone(), *rules)).collect();
        let refused = self.judge_again(&connections, |one, rules| lost::as_of_trust(one, rules, bundle, now));
        let other = |(id, reason)| match reason {
            CutReason::Peer(rejection) => (id, CutReason::OtherRoots(rejection)),
            other => (id, other),
        };
        self.end(refused.into_iter().map(other).collect())
    }

    /// Verifies peers anew: those that are refused are returned, the others get their new last moment.
    fn judge_again<'a>(
        &self,
        connections: &[(Arc<Connection>, EndRules)],
        query: impl Fn(&Connection, &EndRules) -> PeerQuery<'a>,
    ) -> Vec<(ConnectionId, CutReason)> {
        let mut refused = Vec::new();
        for (connection, rules) in connections.iter().filter(|(connection, _)| connection.peer.is_some()) {
            let query = PeerQuery { purpose: connection.purpose, ..query(connection, rules) };
            match query.verify(&connection.chain) {
                Ok(peer) => self.lives_until(connection, &peer),
                Err(rejection) => refused.push((connection.id, CutReason::Peer(rejection))),
            }
        }
        refused
    }

    /// What ends the connection's time is what was found of its peer last.
    pub(crate) fn lives_until(&self, connection: &Connection, peer: &Peer) {
        let mut inner = lock(&self.inner);
        let (before, id) = (connection.last_moment(), connection.id);
        if before == peer.chain_not_after || !inner.live.contains_key(&id) {
            return;
        }
        inner.by_last_moment.remove(&(before, id));
        inner.by_last_moment.insert((peer.chain_not_after, id));
        connection.lives_until(peer.chain_not_after);
    }

    /// Ends the connections whose peers showed a certificate, as their rules for revocations say: since
    /// `since` nobody told whom to trust.
    pub fn trust_stale(self: &Arc<Self>, since: UnixTime) -> Vec<CutRecord> {
        let known = {
            let inner = lock(&self.inner);
            let known = inner.live.values().filter(|connection| connection.peer.is_some());
            known.map(|connection| (connection.id, CutReason::TrustStale { since })).collect()
        };
        self.end(known)
    }

    /// Connections of one listener that came in the clear live until then, as their rules say.
    pub(crate) fn clear_until(
        self: &Arc<Self>,
        end: EndId,
        until: UnixTime,
        now: UnixTime,
    ) -> Vec<CutRecord> {
        let mut doomed = Vec::new();
        {
            let mut inner = lock(&self.inner);
            let clear: Vec<_> = inner.of_end(end).filter(|one| one.in_clear).cloned().collect();
            for connection in clear {
                let id = connection.id;
                inner.by_last_moment.remove(&(connection.last_moment(), id));
                connection.lives_until(until);
                if until < now {
                    doomed.push((id, CutReason::PlaintextEnded { now, until }));
                } else {
                    inner.by_last_moment.insert((until, id));
                }
            }
        }
        self.end(doomed)
    }

    /// Which live connections `bundle` would not trust, and why; nothing is cut.
    pub fn shadow(&self, bundle: &Bundle, now: UnixTime) -> Vec<(ConnectionInfo, Rejection)> {
        let live = {
            let inner = lock(&self.inner);
            inner.with_rules(inner.live.values())
        };
        let refused = live.iter().filter(|(connection, _)| connection.peer.is_some());
        let refused = refused.filter_map(|(connection, rules)| {
            let verdict = lost::as_of_trust(connection, rules, bundle, now).verify(&connection.chain);
            Some((connection.info(), verdict.err()?))
        });
        refused.collect()
    }

    /// A new listener or dialer, whose connections live by `rules`.
    pub(crate) fn new_end(&self, rules: EndRules) -> EndId {
        let mut inner = lock(&self.inner);
        inner.last_id += 1;
        let end = EndId(inner.last_id);
        inner.rules.insert(end, rules);
        end
    }

    /// A listener or dialer that is no more, nor any connection of it.
    pub(crate) fn end_gone(&self, end: EndId) {
        let mut inner = lock(&self.inner);
        // Whoever holds a connection's admission holds its end too: none is left.
        inner.rules.remove(&end);
    }

    pub(crate) fn register(self: &Arc<Self>, admitted: Admitted) -> Registered {
        let mut inner = lock(&self.inner);
        inner.last_id += 1;
        let id = ConnectionId(inner.last_id);
        let connection = Arc::new(Connection::new(id, admitted));
        if let Some(peer) = &connection.peer {
            inner.by_cert.insert((peer.peer.cert, id));
        }
        if connection.peer.is_some() || connection.in_clear {
            inner.by_last_moment.insert((connection.last_moment(), id));
        }
        if let Some(own) = &connection.own {
            inner.by_own_end.insert((own.leaf().not_after, id));
            if let Some(cert) = own.cert_id() {
                inner.by_own_cert.insert((cert, id));
            }
        }
        inner.by_end.insert((connection.end, id));
        inner.live.insert(id, connection.clone());
        Registered { connection, registry: Some(self.clone()) }
    }

    pub(crate) fn forget(&self, id: ConnectionId) {
        lock(&self.inner).remove(id);
    }

    /// Does with each connection what its rules say, and returns those that were cut.
    fn end(self: &Arc<Self>, doomed: Vec<(ConnectionId, CutReason)>) -> Vec<CutRecord> {
        let mut to_cut = Vec::new();
        let mut to_drain: BTreeMap<Duration, Vec<(ConnectionId, CutReason)>> = BTreeMap::new();
        {
            let inner = lock(&self.inner);
            for (id, reason) in doomed {
                let Some(connection) = inner.live.get(&id) else { continue };
                match inner.rules_of(connection).lifecycle.action(reason.change()) {
                    Action::Keep => {}
                    Action::Cut => to_cut.push((id, reason)),
                    Action::Drain(grace) => to_drain.entry(grace).or_default().push((id, reason)),
                }
            }
        }
        for (grace, connections) in to_drain {
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn(drain(self.clone(), grace, connections))),
                // Nobody would come back for them.
                Err(_) => to_cut.extend(connections),
            }
        }
        self.cut(to_cut)
    }

    fn cut(&self, doomed: Vec<(ConnectionId, CutReason)>) -> Vec<CutRecord> {
        let mut cuts = Vec::with_capacity(doomed.len());
        for (id, reason) in doomed {
            let connection = lock(&self.inner).remove(id);
            let Some(connection) = connection else { continue };
            let cert = connection.peer.as_ref().map(|peer| peer.peer.cert);
            let peer = connection.peer_name();
            cuts.push(CutRecord { connection: id, peer, cert, reason: reason.clone() });
            connection.cut(reason);
        }
        cuts
    }

    #[cfg(test)]
    pub(crate) fn ends(&self) -> usize {
        lock(&self.inner).rules.len()
    }

    #[cfg(test)]
    pub(crate) fn indexed(&self) -> [usize; 6] {
        let inner = lock(&self.inner);
        let peers = [inner.live.len(), inner.by_cert.len(), inner.by_last_moment.len(), inner.by_end.len()];
        [peers[0], peers[1], peers[2], peers[3], inner.by_own_cert.len(), inner.by_own_end.len()]
    }
}

impl Inner {
    fn rules_of(&self, connection: &Connection) -> EndRules {
        self.rules.get(&connection.end).copied().unwrap_or_default()
    }

    fn with_rules<'a>(
        &self,
        connections: impl Iterator<Item = &'a Arc<Connection>>,
    ) -> Vec<(Arc<Connection>, EndRules)> {
        connections.map(|connection| (connection.clone(), self.rules_of(connection))).collect()
    }

    fn of_end(&self, end: EndId) -> impl Iterator<Item = &Arc<Connection>> {
        let of_end = self.by_end.range((end, ConnectionId(0))..=(end, ConnectionId(u64::MAX)));
        of_end.filter_map(|(_, id)| self.live.get(id))
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Arc<Connection>> {
        let connection = self.live.remove(&id)?;
        if let Some(peer) = &connection.peer {
            self.by_cert.remove(&(peer.peer.cert, id));
        }
        self.by_last_moment.remove(&(connection.last_moment(), id));
        if let Some(own) = &connection.own {
            self.by_own_end.remove(&(own.leaf().not_after, id));
            if let Some(cert) = own.cert_id() {
                self.by_own_cert.remove(&(cert, id));
            }
        }
        self.by_end.remove(&(connection.end, id));
        Some(connection)
    }
}

/// Asks both ends of each connection to finish, one after the other over the first half of `grace` so
/// that not all come back at once, and cuts what is left at its end.
async fn drain(registry: Arc<Registry>, grace: Duration, connections: Vec<(ConnectionId, CutReason)>) {
    // Not an instant to sleep until: a very long grace would be past the last one.
    let end = tokio::time::sleep(grace);
    let count = u32::try_from(connections.len()).unwrap_or(u32::MAX).max(1);
    for (id, _) in &connections {
        let connection = lock(&registry.inner).live.get(id).cloned();
        if let Some(connection) = connection {
            connection.draining.cancel();
            tokio::time::sleep(grace / 2 / count).await;
        }
    }
    end.await;
    registry.cut(connections);
}

/// What a peer of a listener or dialer with `rules` is verified by.
fn query<'a>(rules: &EndRules, bundle: &'a Bundle, now: UnixTime) -> PeerQuery<'a> {
    let query = PeerQuery::new(bundle, now, Purpose::Client);
    PeerQuery { issuers: rules.issuers, grace: rules.grace, ..query }
}

/// Takes out what ended before `now`.
fn take_before(
    index: &mut BTreeSet<(UnixTime, ConnectionId)>,
    now: UnixTime,
) -> BTreeSet<(UnixTime, ConnectionId)> {
    let rest = index.split_off(&(now, ConnectionId(0)));
    std::mem::replace(index, rest)
}

impl ConnectionId {
    /// The connection of no registry.
    pub(crate) const NOWHERE: ConnectionId = ConnectionId(0);
}

impl EndId {
    /// The end of the first dial, in no registry.
    pub(crate) const NOWHERE: EndId = EndId(0);
}
