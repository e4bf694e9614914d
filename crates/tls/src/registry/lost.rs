//! Which connections a new bundle no longer trusts. Decides only; what becomes of them is the registry's.

use std::ops::RangeInclusive;
use std::sync::Arc;

use certus_pki::{Bundle, CertId, Issuers, PeerQuery, Purpose, Rejection, Serial, Sha256, UnixTime};

use super::{ConnectionId, EndRules, Inner, query};
use crate::connection::Connection;
use crate::identity::Identity;
use crate::lifecycle::CutReason;

type Doomed = Vec<(ConnectionId, CutReason)>;

impl Inner {
    /// What was revoked or lost its issuer between `old` and `new`, of the peers' certificates and of ours.
    pub(super) fn no_longer_trusted(&self, old: &Bundle, new: &Bundle, doomed: &mut Doomed) {
        for revocation in new.revocations().filter(|one| old.revocation(&one.cert).is_none()) {
            let (cert, at, reason) = (revocation.cert, revocation.at, revocation.reason);
            let serial = cert.serial;
            for (_, id) in self.by_cert.range(all_with(cert)) {
                doomed.push((*id, CutReason::Peer(Rejection::Revoked { serial, at, reason })));
            }
            for (_, id) in self.by_own_cert.range(all_with(cert)) {
                doomed.push((*id, CutReason::OwnRevoked { serial }));
            }
        }
        for struck in old.issuers().filter(|issuer| !new.has_issuer(&issuer.key_hash)) {
            let issuer = struck.key_hash;
            for (_, id) in self.by_cert.range(all_of(issuer)) {
                doomed.push((*id, CutReason::Peer(Rejection::IssuerNotActive { issuer })));
            }
            for (_, id) in self.by_own_cert.range(all_of(issuer)) {
                let own = self.live.get(id).and_then(|connection| connection.own.as_ref());
                doomed.extend(own.map(|own| (*id, no_longer_ours(own))));
            }
        }
    }
}

/// What asks whether `bundle` trusts a connection's peer. Not whether its time is over: that is swept,
/// and where an end is to be kept, it must not hide that the root is gone.
pub(super) fn as_of_trust<'a>(
    connection: &Connection,
    rules: &EndRules,
    bundle: &'a Bundle,
    now: UnixTime,
) -> PeerQuery<'a> {
    let now = now.min(connection.last_moment());
    PeerQuery { purpose: connection.purpose, ..query(rules, bundle, now) }
}

/// The connections in which we showed a certificate below a root that `old` had and `new` has not. Who
/// trusts us outside a cluster is not written in our bundle.
pub(super) fn own_untrusted(
    connections: &[(Arc<Connection>, EndRules)],
    old: &Bundle,
    new: &Bundle,
    now: UnixTime,
) -> Doomed {
    let (mut doomed, mut seen) = (Doomed::new(), Vec::<(&Arc<Identity>, bool)>::new());
    if new.cluster().is_none() {
        return doomed;
    }
    for (connection, _) in connections {
        let Some(own) = &connection.own else { continue };
        let known = seen.iter().find(|(other, _)| Arc::ptr_eq(other, own)).map(|(_, lost)| *lost);
        let lost = known.unwrap_or_else(|| {
            let purpose = match connection.purpose {
                Purpose::Client => Purpose::Server,
                Purpose::Server => Purpose::Client,
            };
            let trusts = |bundle| {
                let query = PeerQuery::new(bundle, now.min(own.leaf().not_after), purpose);
                PeerQuery { issuers: Issuers::AnyBelowRoot, ..query }.verify(own.chain()).is_ok()
            };
            let lost = trusts(old) && !trusts(new);
            seen.push((own, lost));
            lost
        });
        if lost {
            doomed.push((connection.id, no_longer_ours(own)));
        }
    }
    doomed
}

fn no_longer_ours(own: &Identity) -> CutReason {
    CutReason::OwnUntrusted { issuer: own.leaf().issuer.clone() }
}

fn all_with(cert: CertId) -> RangeInclusive<(CertId, ConnectionId)> {
    (cert, ConnectionId(0))..=(cert, ConnectionId(u64::MAX))
}

fn all_of(issuer: Sha256) -> RangeInclusive<(CertId, ConnectionId)> {
    let lowest = Serial::from_be_bytes(&[]).map(|serial| CertId { issuer, serial });
    let highest = Serial::from_be_bytes(&[0xff; Serial::BYTES_MAX]).map(|serial| CertId { issuer, serial });
    let [lowest, highest] = [lowest, highest].map(|cert| cert.expect("20 bytes and none are serials"));
    (lowest, ConnectionId(0))..=(highest, ConnectionId(u64::MAX))
}
