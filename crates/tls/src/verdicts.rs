//! Remembers which chains one listener or dialer found trusted, so that a peer that comes back costs no
//! signature checks again. Never remembers a refusal, and nothing beyond the view it was judged by.

use std::collections::HashMap;
use std::sync::Mutex;

use certus_pki::{Peer, Sha256, UnixTime};

use crate::admit::View;
use crate::lock;

/// Peers that come back between two changes of trust; 2 MiB.
const VERDICTS_MAX: usize = 1024;

/// What was found under one view.
#[derive(Default)]
pub(crate) struct Verdicts(Mutex<Option<Under>>);

struct Under {
    view: View,
    peers: HashMap<Sha256, (UnixTime, Peer)>,
}

impl Verdicts {
    /// The peer that `chain` was found to be by this very view, if time changes nothing of it: it can
    /// only end a certificate, and a clock that was set back can make one not valid yet.
    pub(crate) fn find(&self, view: &View, chain: &Sha256, now: UnixTime) -> Option<Peer> {
        let under = lock(&self.0);
        let (at, peer) = under.as_ref().filter(|under| under.view.same(view))?.peers.get(chain)?;
        let last = peer.not_after.min(peer.chain_not_after);
        (*at <= now && now <= last && !peer.expired).then(|| peer.clone())
    }

    /// Keeps what was found; what was found by another view is forgotten.
    pub(crate) fn keep(&self, view: &View, chain: Sha256, now: UnixTime, peer: &Peer) {
        let mut under = lock(&self.0);
        if under.as_ref().is_none_or(|under| !under.view.same(view)) {
            *under = Some(Under { view: view.clone(), peers: HashMap::new() });
        }
        if let Some(under) = under.as_mut() {
            if under.peers.len() >= VERDICTS_MAX {
                under.peers.clear();
            }
            under.peers.insert(chain, (now, peer.clone()));
        }
    }
}

/// A name for a whole chain: lengths keep two chains of the same bytes apart.
pub(crate) fn chain_hash<C: AsRef<[u8]>>(chain: &[C]) -> Sha256 {
    let mut bytes = Vec::with_capacity(chain.iter().map(|der| der.as_ref().len() + 8).sum());
    for der in chain {
        bytes.extend_from_slice(&(der.as_ref().len() as u64).to_be_bytes());
        bytes.extend_from_slice(der.as_ref());
    }
    Sha256::of(&bytes)
}
