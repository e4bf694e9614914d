//! Certificates that are good by signature and on no record: issued after the backup that the cluster was
//! restored from.
//!
//! This manager's own knowledge of who called it, never replicated. It bars nobody: whether one of them is
//! revoked is an operator's decision.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use certus_ca::UnrecordedCert;
use certus_ca::store::{Fault, View};
use certus_pki::{CertId, Peer, Serial, Sha256, UnixTime};

/// As many as one answer names; the one that was not seen for longest is forgotten first.
const SEEN_MAX: usize = 1000;
/// A certificate younger than this may be on its way to the record of this manager: no reason to warn.
const ON_ITS_WAY_SECS: i64 = 60;

/// What was seen.
#[derive(Default)]
pub(crate) struct Unrecorded {
    seen: Mutex<BTreeMap<CertId, Seen>>,
}

/// One that called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) cert: UnrecordedCert,
    /// SHA-256 of the certificate.
    pub(crate) fingerprint: Sha256,
    pub(crate) address: IpAddr,
    pub(crate) first_seen: UnixTime,
    pub(crate) last_seen: UnixTime,
    warned: bool,
}

/// Whether a certificate is on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnRecord {
    Yes,
    /// Not yet: it is so young that its record may be on its way to this manager.
    PerhapsSoon,
    No,
}

impl Unrecorded {
    /// What the state knows of `peer`'s certificate; asked only of a cluster that was restored once, which is
    /// the only one that can forget.
    pub(crate) fn standing(view: &dyn View, peer: &Peer, now: UnixTime) -> Result<OnRecord, Fault> {
        if certus_ca::cert(view, &peer.cert)?.is_some() {
            return Ok(OnRecord::Yes);
        }
        let Some(identity) = &peer.identity else { return Ok(OnRecord::Yes) };
        let Some(cluster) = certus_ca::cluster(view)? else { return Ok(OnRecord::Yes) };
        let issued_at = peer.not_after.minus(cluster.settings.lifetime_of(identity.role));
        let young = now.secs_since(issued_at) < ON_ITS_WAY_SECS;
        Ok(if young { OnRecord::PerhapsSoon } else { OnRecord::No })
    }

    /// Notes a caller that is not on record; whether it is to be warned of, which is once.
    pub(crate) fn note(&self, peer: &Peer, standing: OnRecord, address: IpAddr, now: UnixTime) -> bool {
        let Some(node) = peer.identity.clone() else { return false };
        let warned = standing == OnRecord::No;
        let mut seen = self.lock();
        if let Some(known) = seen.get_mut(&peer.cert) {
            (known.address, known.last_seen) = (address, now);
            return warned && !std::mem::replace(&mut known.warned, true);
        }
        if seen.len() >= SEEN_MAX {
            let oldest = seen.values().min_by_key(|seen| seen.last_seen).map(|seen| seen.cert.cert);
            oldest.map(|oldest| seen.remove(&oldest));
        }
        let (key_hash, not_after) = (peer.key_hash, peer.not_after);
        let cert = UnrecordedCert { cert: peer.cert, node, key_hash, not_after };
        let (fingerprint, first_seen, last_seen) = (peer.fingerprint, now, now);
        seen.insert(peer.cert, Seen { cert, fingerprint, address, first_seen, last_seen, warned });
        warned
    }

    /// Those that are still on no record and have not ended.
    pub(crate) fn list(&self, view: &dyn View, now: UnixTime) -> Result<Vec<Seen>, Fault> {
        let all: Vec<Seen> = self.lock().values().cloned().collect();
        let mut left = Vec::new();
        for seen in all {
            if seen.cert.not_after >= now && certus_ca::cert(view, &seen.cert.cert)?.is_none() {
                left.push(seen);
            }
        }
        left.sort_by_key(|seen| (seen.cert.node.clone(), seen.first_seen));
        Ok(left)
    }

    /// The one with this serial.
    pub(crate) fn find(&self, serial: &Serial) -> Option<UnrecordedCert> {
        self.lock().values().find(|seen| seen.cert.cert.serial == *serial).map(|seen| seen.cert.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<CertId, Seen>> {
        // Nothing panics while it holds the lock.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use certus_pki::KeyType;

    fn peer(number: u16) -> Peer {
        let mut random = [0x11; 16];
        random[..2].copy_from_slice(&number.to_be_bytes());
        Peer {
            identity: Some(format!("spiffe://prod/worker/w{number}").parse().unwrap()),
            subject: String::new(),
            sans: Vec::new(),
            cert: CertId { issuer: Sha256::of(b"issuer"), serial: Serial::from_random(random) },
            key_hash: Sha256::of(b"key"),
            key_type: KeyType::P256,
            fingerprint: Sha256::of(&number.to_be_bytes()),
            not_after: UnixTime::from_secs(1_000_000),
            root: Sha256::of(b"root"),
            chain_not_after: UnixTime::from_secs(1_000_000),
            expired: false,
        }
    }

    #[test]
    fn i6_who_called_is_remembered_once_and_within_bounds() {
        let unrecorded = Unrecorded::default();
        let address = IpAddr::from([127, 0, 0, 1]);
        let at = |secs: i64| UnixTime::from_secs(secs);
        assert!(!unrecorded.note(&peer(0), OnRecord::PerhapsSoon, address, at(1)));
        for warn in [true, false] {
            assert_eq!(unrecorded.note(&peer(0), OnRecord::No, address, at(5)), warn, "once");
        }
        for number in 1..=1000 {
            assert!(unrecorded.note(&peer(number), OnRecord::No, address, at(10 + i64::from(number))));
        }
        assert_eq!(unrecorded.lock().len(), SEEN_MAX);
        assert_eq!(unrecorded.find(&peer(0).cert.serial), None, "the oldest gave way");
        let store = certus_ca::store::MemStore::default();
        let listed = unrecorded.list(&store, at(2000)).unwrap();
        assert_eq!(listed.len(), SEEN_MAX);
        assert!(unrecorded.list(&store, at(1_000_001)).unwrap().is_empty(), "ended ones harm nobody");
        assert_eq!(unrecorded.find(&peer(7).cert.serial).unwrap().node, peer(7).identity.unwrap());
    }
}
