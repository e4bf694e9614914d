//! The connections that live, indexed by what can end them: certificate, issuer, end of validity,
//! accept policy, and our own certificate. Only those a change affects are touched, each as the rules
//! of its listener or dialer say.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use certus_pki::{
    Accept, AgentId, Bundle, CertId, Peer, PeerQuery, Purpose, Rejection, Serial, Sha256, UnixTime,
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
    rules: BTreeMap<EndId, Lifecycle>,
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
        let mut doomed = Vec::new();
        let mut to_verify = Vec::new();
        {
            let mut inner = lock(&self.inner);
            let old = inner.enforced.replace(new.clone());
            let old = old.filter(|old| !Arc::ptr_eq(old, new));
            if let Some(old) = old {
                inner.own_revoked(&old, new, &mut doomed);
                if old.roots().iter().all(|root| new.roots().contains(root)) {
                    inner.no_longer_trusted(&old, new, &mut doomed);
                } else {
                    to_verify.extend(inner.live.values().cloned());
                }
            }
        }
        for connection in to_verify {
            doomed.extend(untrusted(&connection, new, now).map(|reason| (connection.id, reason)));
        }
        let mut cuts = self.end(doomed);
        cuts.extend(self.sweep(now));
        cuts
    }

    /// Ends the connections in which we showed another identity than `current`, where their rules want
    /// that.
    pub(crate) fn rotated(self: &Arc<Self>, current: &Arc<Identity>) -> Vec<CutRecord> {
        let doomed = {
            let inner = lock(&self.inner);
            let older = |connection: &&Arc<Connection>| {
                let rules = inner.rules.get(&connection.end).copied().unwrap_or_default();
                rules.on_rotation != Action::Keep
                    && connection.own.as_ref().is_some_and(|own| !Arc::ptr_eq(own, current))
            };
            let older = inner.live.values().filter(older);
            older.map(|connection| (connection.id, CutReason::OwnReplaced)).collect()
        };
        self.end(doomed)
    }

    /// Ends the connections whose chain's last moment is before `now`, or the last moment of the
    /// certificate that we showed.
    pub fn sweep(self: &Arc<Self>, now: UnixTime) -> Vec<CutRecord> {
        let doomed = {
            let inner = lock(&self.inner);
            let ended = inner.by_last_moment.iter().take_while(|(last, _)| *last < now);
            let expired = |(last, id): &(UnixTime, ConnectionId)| {
                let peer = inner.live.get(id)?.peer.as_ref()?;
                let own = peer.peer.not_after == *last;
                let what = if own { "the certificate" } else { "an issuer in the chain" };
                Some((*id, CutReason::Peer(Rejection::Expired { what, now, not_after: *last })))
            };
            let own_ended = inner.by_own_end.iter().take_while(|(last, _)| *last < now);
            let own = own_ended.map(|(last, id)| (*id, CutReason::OwnExpired { now, not_after: *last }));
            let doomed: Vec<_> = ended.filter_map(expired).chain(own).collect();
            doomed
        };
        {
            // Each is told once: what is kept past its end would be found again every second.
            let mut inner = lock(&self.inner);
            inner.by_last_moment.retain(|(last, _)| *last >= now);
            inner.by_own_end.retain(|(last, _)| *last >= now);
        }
        self.end(doomed)
    }

    /// Ends the connections of one listener or dialer that its new policy does not accept.
    pub(crate) fn recheck(self: &Arc<Self>, end: EndId, accept: &Accept, now: UnixTime) -> Vec<CutRecord> {
        let doomed = {
            let inner = lock(&self.inner);
            let of_end = inner.by_end.range((end, ConnectionId(0))..=(end, ConnectionId(u64::MAX)));
            let refused = |(_, id): &(EndId, ConnectionId)| {
                let connection = inner.live.get(id).filter(|connection| !connection.let_in)?;
                let verdict = match &connection.peer {
                    Some(peer) => {
                        within_grace(&peer.peer, accept, now).and_then(|()| accept.check(&peer.peer))
                    }
                    None => Ok(()),
                };
                let verdict = verdict.and_then(|()| accept.allow().check(&connection.caller()));
                Some((*id, CutReason::Peer(verdict.err()?)))
            };
            of_end.filter_map(refused).collect()
        };
        self.end(doomed)
    }

    /// Which live connections `bundle` would not trust, and why; nothing is cut.
    pub fn shadow(&self, bundle: &Bundle, now: UnixTime) -> Vec<(ConnectionInfo, Rejection)> {
        let live: Vec<_> = lock(&self.inner).live.values().cloned().collect();
        let refused = live.iter().filter_map(|connection| match untrusted(connection, bundle, now)? {
            CutReason::Peer(rejection) => Some((connection.info(), rejection)),
            _ => None,
        });
        refused.collect()
    }

    /// A new listener or dialer, whose connections live by `rules`.
    pub(crate) fn new_end(&self, rules: Lifecycle) -> EndId {
        let mut inner = lock(&self.inner);
        inner.last_id += 1;
        let end = EndId(inner.last_id);
        inner.rules.insert(end, rules);
        end
    }

    /// A listener or dialer that is no more; its connections live on by its rules until they end.
    pub(crate) fn end_gone(&self, end: EndId) {
        let mut inner = lock(&self.inner);
        let of_end = inner.by_end.range((end, ConnectionId(0))..=(end, ConnectionId(u64::MAX)));
        if of_end.count() == 0 {
            inner.rules.remove(&end);
        }
    }

    pub(crate) fn register(self: &Arc<Self>, admitted: Admitted) -> Registered {
        let mut inner = lock(&self.inner);
        inner.last_id += 1;
        let id = ConnectionId(inner.last_id);
        let connection = Arc::new(Connection::new(id, admitted));
        if let Some(peer) = &connection.peer {
            inner.by_cert.insert((peer.peer.cert, id));
            inner.by_last_moment.insert((peer.peer.chain_not_after, id));
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
                let rules = inner.rules.get(&connection.end).copied().unwrap_or_default();
                match rules.action(reason.change()) {
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
    pub(crate) fn indexed(&self) -> [usize; 6] {
        let inner = lock(&self.inner);
        let peers = [inner.live.len(), inner.by_cert.len(), inner.by_last_moment.len(), inner.by_end.len()];
        [peers[0], peers[1], peers[2], peers[3], inner.by_own_cert.len(), inner.by_own_end.len()]
    }
}

impl Inner {
    /// What lost its trust between `old` and `new`, where no root was removed.
    fn no_longer_trusted(&self, old: &Bundle, new: &Bundle, doomed: &mut Vec<(ConnectionId, CutReason)>) {
        for revocation in new.revocations().filter(|one| old.revocation(&one.cert).is_none()) {
            let (cert, at, reason) = (revocation.cert, revocation.at, revocation.reason);
            let every = (cert, ConnectionId(0))..=(cert, ConnectionId(u64::MAX));
            for (cert, id) in self.by_cert.range(every) {
                let revoked = Rejection::Revoked { serial: cert.serial, at, reason };
                doomed.push((*id, CutReason::Peer(revoked)));
            }
        }
        for struck in old.issuers().filter(|issuer| !new.has_issuer(&issuer.key_hash)) {
            let issuer = struck.key_hash;
            for (_, id) in self.by_cert.range(all_of(issuer)) {
                doomed.push((*id, CutReason::Peer(Rejection::IssuerNotActive { issuer })));
            }
        }
    }

    /// The connections in which we showed a certificate that was revoked between `old` and `new`.
    fn own_revoked(&self, old: &Bundle, new: &Bundle, doomed: &mut Vec<(ConnectionId, CutReason)>) {
        for revocation in new.revocations().filter(|one| old.revocation(&one.cert).is_none()) {
            let cert = revocation.cert;
            let every = (cert, ConnectionId(0))..=(cert, ConnectionId(u64::MAX));
            for (_, id) in self.by_own_cert.range(every) {
                doomed.push((*id, CutReason::OwnRevoked { serial: cert.serial }));
            }
        }
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Arc<Connection>> {
        let connection = self.live.remove(&id)?;
        if let Some(peer) = &connection.peer {
            self.by_cert.remove(&(peer.peer.cert, id));
            self.by_last_moment.remove(&(peer.peer.chain_not_after, id));
        }
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
    let ends = tokio::time::Instant::now() + grace;
    let count = u32::try_from(connections.len()).unwrap_or(u32::MAX).max(1);
    for (id, _) in &connections {
        let connection = lock(&registry.inner).live.get(id).cloned();
        if let Some(connection) = connection {
            connection.draining.cancel();
            tokio::time::sleep(grace / 2 / count).await;
        }
    }
    tokio::time::sleep_until(ends).await;
    registry.cut(connections);
}

/// Whether a peer whose certificate has ended is still taken by a policy that may be another than the one
/// it came by.
fn within_grace(peer: &Peer, accept: &Accept, now: UnixTime) -> Result<(), Rejection> {
    let ends = accept.grace().map_or(peer.not_after, |grace| peer.not_after.plus(grace));
    if !peer.expired || now <= ends {
        return Ok(());
    }
    Err(Rejection::Expired { what: "the certificate", now, not_after: peer.not_after })
}

/// Why `bundle` does not trust a connection's peer.
fn untrusted(connection: &Connection, bundle: &Bundle, now: UnixTime) -> Option<CutReason> {
    connection.peer.as_ref()?;
    let verified = PeerQuery::new(bundle, now, connection.purpose).verify(&connection.chain);
    verified.err().map(CutReason::Peer)
}

fn all_of(issuer: Sha256) -> RangeInclusive<(CertId, ConnectionId)> {
    let lowest = Serial::from_be_bytes(&[]).map(|serial| CertId { issuer, serial });
    let highest = Serial::from_be_bytes(&[0xff; Serial::BYTES_MAX]).map(|serial| CertId { issuer, serial });
    let [lowest, highest] = [lowest, highest].map(|cert| cert.expect("20 bytes and none are serials"));
    (lowest, ConnectionId(0))..=(highest, ConnectionId(u64::MAX))
}

impl ConnectionId {
    /// The connection of no registry.
    pub(crate) const NOWHERE: ConnectionId = ConnectionId(0);
}

impl EndId {
    /// The end of the first dial, in no registry.
    pub(crate) const NOWHERE: EndId = EndId(0);
}
