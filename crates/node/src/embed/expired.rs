//! Peers whose certificate has ended: taken for a while, and only where our own authority issued it.

use certus_pki::{Bundle, Lifetime, PeerQuery, Purpose, Rejection, UnixTime};
use certus_tls::{Admission, HandshakeError};

use super::audit::Place;
use super::endpoint::Inner;
use crate::metrics::Side;

/// Looks once more at a peer that was admitted: one that has ended is told of aloud, or refused where an
/// authority that does not vouch for us issued it.
pub(super) fn judge(inner: &Inner, place: &Place, admission: &Admission) -> Result<(), HandshakeError> {
    let Some(identity) = admission.peer().filter(|known| known.peer.expired) else { return Ok(()) };
    let now = inner.credentials.now();
    let purpose = match place.side {
        Side::Server => Purpose::Client,
        Side::Client => Purpose::Server,
    };
    if !is_of_our_authority(inner, admission.chain(), purpose, now) {
        let (what, not_after) = ("the certificate", identity.peer.not_after);
        return Err(HandshakeError::Rejected(Rejection::Expired { what, now, not_after }));
    }
    inner.audit.expired(place, identity);
    Ok(())
}

fn is_of_our_authority(inner: &Inner, chain: &[Vec<u8>], purpose: Purpose, now: UnixTime) -> bool {
    let snapshot = inner.credentials.current();
    let bundle = snapshot.bundle();
    if bundle.cluster().is_some() {
        return true;
    }
    let Some(own) = snapshot.identity() else { return false };
    let grace = inner.grace();
    // Our own may have ended with everybody's, in the outage that the grace is for.
    let own_at = now.min(own.leaf().not_after);
    bundle.roots().iter().any(|root| {
        let alone = Bundle::of_authorities(bundle.epoch(), vec![root.clone()], []);
        let vouches = |chain: &[Vec<u8>], purpose, at, grace: Option<Lifetime>| {
            PeerQuery { grace, ..PeerQuery::new(&alone, at, purpose) }.verify(chain).is_ok()
        };
        let ours = [Purpose::Server, Purpose::Client];
        vouches(chain, purpose, now, grace)
            && ours.into_iter().any(|purpose| vouches(own.chain(), purpose, own_at, None))
    })
}
