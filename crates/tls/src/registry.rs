//! The connections that live, indexed by what can end them: certificate, issuer, end of validity,
//! accept policy. Only those a change affects are touched.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, OnceLock};

use certus_pki::verify::verify_peer;
use certus_pki::{Accept, Bundle, CertId, Epoch, Purpose, Rejection, Serial, Sha256, UnixTime};
use futures_util::task::AtomicWaker;
use tokio_util::sync::CancellationToken;

use crate::credentials::Snapshot;
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
    /// The certificate the peer had shown.
    pub cert: CertId,
    /// What the peer would be refused with now.
    pub reason: Rejection,
}

/// A live connection, for listings.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Its number.
    pub id: ConnectionId,
    /// With whom; nobody known where a listener does not ask for a certificate.
    pub peer: Option<PeerIdentity>,
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

    /// Cuts the connections that `snapshot` does not trust. Called by every publish.
    ///
    /// A revocation or a struck issuer is looked up in the index. Only where a root was removed is every
    /// connection verified again, outside the lock.
    pub fn enforce(&self, snapshot: &Snapshot, now: UnixTime) -> Vec<CutRecord> {
        let new = snapshot.bundle();
        let mut doomed = Vec::new();
        let mut to_verify = Vec::new();
        {
            let mut inner = lock(&self.inner);
            let old = inner.enforced.replace(new.clone());
            let old = old.filter(|old| !Arc::ptr_eq(old, new));
            if let Some(old) = old {
                if old.roots().iter().all(|root| new.roots().contains(root)) {
                    inner.no_longer_trusted(&old, new, &mut doomed);
                } else {
                    to_verify.extend(inner.live.values().cloned());
                }
            }
        }
        for connection in to_verify {
            let Some(peer) = &connection.peer else { continue };
            let verified = verify_peer(&connection.chain, new, now, connection.purpose);
            if let Err(reason) = verified {
                doomed.push((connection.id, peer.peer.cert, reason));
            }
        }
        let mut cuts = self.cut(doomed.into_iter().map(|(id, _, reason)| (id, reason)).collect());
        cuts.extend(self.sweep(now));
        cuts
    }

    /// Cuts the connections whose chain's last moment is before `now`.
    pub fn sweep(&self, now: UnixTime) -> Vec<CutRecord> {
        let doomed = {
            let inner = lock(&self.inner);
            let ended = inner.by_last_moment.iter().take_while(|(last, _)| *last < now);
            let expired = |(last, id): &(UnixTime, ConnectionId)| {
                let peer = inner.live.get(id)?.peer.as_ref()?;
                let own = peer.peer.not_after == *last;
                let what = if own { "the certificate" } else { "an issuer in the chain" };
                Some((*id, Rejection::Expired { what, now, not_after: *last }))
            };
            ended.filter_map(expired).collect()
        };
        self.cut(doomed)
    }

    /// Cuts the connections of one listener or dialer that its new policy does not accept.
    pub(crate) fn recheck(&self, end: EndId, accept: &Accept) -> Vec<CutRecord> {
        let doomed = {
            let inner = lock(&self.inner);
            let of_end = inner.by_end.range((end, ConnectionId(0))..=(end, ConnectionId(u64::MAX)));
            let refused = |(_, id): &(EndId, ConnectionId)| {
                let peer = inner.live.get(id)?.peer.as_ref()?;
                Some((*id, accept.check(&peer.peer).err()?))
            };
            of_end.filter_map(refused).collect()
        };
        self.cut(doomed)
    }

    pub(crate) fn new_end(&self) -> EndId {
        let mut inner = lock(&self.inner);
        inner.last_id += 1;
        EndId(inner.last_id)
    }

    pub(crate) fn register(self: &Arc<Self>, admitted: Admitted) -> Registered {
        let mut inner = lock(&self.inner);
        inner.last_id += 1;
        let id = ConnectionId(inner.last_id);
        let connection = Arc::new(Connection::new(id, admitted));
        if let Some(peer) = &connection.peer {
            inner.by_cert.insert((peer.peer.cert, id));
            inner.by_last_moment.insert((peer.peer.chain_not_after, id));
            inner.by_end.insert((connection.end, id));
        }
        inner.live.insert(id, connection.clone());
        Registered { connection, registry: Some(self.clone()) }
    }

    fn cut(&self, doomed: Vec<(ConnectionId, Rejection)>) -> Vec<CutRecord> {
        let mut cuts = Vec::with_capacity(doomed.len());
        for (id, reason) in doomed {
            let connection = lock(&self.inner).remove(id);
            let Some(connection) = connection else { continue };
            if let Some(peer) = &connection.peer {
                let (peer, cert) = (peer.peer.name(), peer.peer.cert);
                cuts.push(CutRecord { connection: id, peer, cert, reason: reason.clone() });
            }
            connection.cut(reason);
        }
        cuts
    }

    #[cfg(test)]
    pub(crate) fn indexed(&self) -> [usize; 4] {
        let inner = lock(&self.inner);
        [inner.live.len(), inner.by_cert.len(), inner.by_last_moment.len(), inner.by_end.len()]
    }
}

impl Inner {
    /// What lost its trust between `old` and `new`, where no root was removed.
    fn no_longer_trusted(
        &self,
        old: &Bundle,
        new: &Bundle,
        doomed: &mut Vec<(ConnectionId, CertId, Rejection)>,
    ) {
        for revocation in new.revocations().filter(|one| old.revocation(&one.cert).is_none()) {
            let (cert, at, reason) = (revocation.cert, revocation.at, revocation.reason);
            let every = (cert, ConnectionId(0))..=(cert, ConnectionId(u64::MAX));
            for (cert, id) in self.by_cert.range(every) {
                doomed.push((*id, *cert, Rejection::Revoked { serial: cert.serial, at, reason }));
            }
        }
        for struck in old.issuers().filter(|issuer| !new.has_issuer(&issuer.key_hash)) {
            let issuer = struck.key_hash;
            for (cert, id) in self.by_cert.range(all_of(issuer)) {
                doomed.push((*id, *cert, Rejection::IssuerNotActive { issuer }));
            }
        }
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Arc<Connection>> {
        let connection = self.live.remove(&id)?;
        if let Some(peer) = &connection.peer {
            self.by_cert.remove(&(peer.peer.cert, id));
            self.by_last_moment.remove(&(peer.peer.chain_not_after, id));
            self.by_end.remove(&(connection.end, id));
        }
        Some(connection)
    }
}

fn all_of(issuer: Sha256) -> RangeInclusive<(CertId, ConnectionId)> {
    let lowest = Serial::from_be_bytes(&[]).map(|serial| CertId { issuer, serial });
    let highest = Serial::from_be_bytes(&[0xff; Serial::BYTES_MAX]).map(|serial| CertId { issuer, serial });
    let [lowest, highest] = [lowest, highest].map(|cert| cert.expect("20 bytes and none are serials"));
    (lowest, ConnectionId(0))..=(highest, ConnectionId(u64::MAX))
}

/// What the registry is told of a connection.
pub(crate) struct Admitted {
    pub(crate) peer: Option<PeerIdentity>,
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) epoch: Epoch,
    pub(crate) purpose: Purpose,
    pub(crate) end: EndId,
    pub(crate) resumed: bool,
    pub(crate) since: UnixTime,
}

/// One connection, shared by its stream and the registry.
pub(crate) struct Connection {
    id: ConnectionId,
    pub(crate) peer: Option<PeerIdentity>,
    chain: Vec<Vec<u8>>,
    pub(crate) epoch: Epoch,
    purpose: Purpose,
    end: EndId,
    pub(crate) resumed: bool,
    since: UnixTime,
    reason: OnceLock<Rejection>,
    pub(crate) reader: AtomicWaker,
    pub(crate) writer: AtomicWaker,
    pub(crate) token: CancellationToken,
}

impl Connection {
    fn new(id: ConnectionId, admitted: Admitted) -> Connection {
        let Admitted { peer, chain, epoch, purpose, end, resumed, since } = admitted;
        Connection {
            id,
            peer,
            chain,
            epoch,
            purpose,
            end,
            resumed,
            since,
            reason: OnceLock::new(),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            token: CancellationToken::new(),
        }
    }

    /// Why it was cut, if it was.
    pub(crate) fn reason(&self) -> Option<&Rejection> {
        self.reason.get()
    }

    fn cut(&self, reason: Rejection) {
        if self.reason.set(reason).is_ok() {
            self.token.cancel();
            self.reader.wake();
            self.writer.wake();
        }
    }

    fn info(&self) -> ConnectionInfo {
        ConnectionInfo {
            id: self.id,
            peer: self.peer.clone(),
            purpose: self.purpose,
            resumed: self.resumed,
            since: self.since,
        }
    }
}

/// A place in the registry, given back on drop.
pub(crate) struct Registered {
    pub(crate) connection: Arc<Connection>,
    registry: Option<Arc<Registry>>,
}

impl Registered {
    /// A connection of no registry: the first dial, before there is any trust to follow.
    pub(crate) fn nowhere(admitted: Admitted) -> Registered {
        Registered { connection: Arc::new(Connection::new(ConnectionId(0), admitted)), registry: None }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(registry) = &self.registry {
            lock(&registry.inner).remove(self.connection.id);
        }
    }
}

impl EndId {
    /// The end of the first dial, in no registry.
    pub(crate) const NOWHERE: EndId = EndId(0);
}
