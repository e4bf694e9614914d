//! Connections whose callers have not shown a certificate: during the handshake, and after one without.
//!
//! They are few, so that whoever says nothing, or says it slowly, takes no place from nodes (I6); and the
//! oldest of them gives way to the next, so that they take none from each other for long.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use certus_pki::defaults::{STRANGERS_MAX, STRANGERS_PER_NETWORK_MAX};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::rate::Network;

/// Hung up on at once when the system has no file descriptor left: room for the next callers, and for files.
const GIVE_WAY: usize = 64;
/// How long whoever showed none may stay.
pub(super) const STRANGER_LIFE: Duration =
    Duration::from_secs(certus_pki::defaults::STRANGER_LIFE.secs() as u64);

/// Who is here without a certificate.
#[derive(Default)]
pub(super) struct Strangers {
    here: Mutex<Here>,
}

#[derive(Default)]
struct Here {
    last: u64,
    /// In the order in which they came.
    all: BTreeMap<u64, (Network, CancellationToken)>,
    by_network: HashMap<Network, BTreeSet<u64>>,
}

impl Here {
    fn remove(&mut self, number: u64) -> Option<CancellationToken> {
        let (network, gone) = self.all.remove(&number)?;
        if let Some(near) = self.by_network.get_mut(&network) {
            near.remove(&number);
            if near.is_empty() {
                self.by_network.remove(&network);
            }
        }
        Some(gone)
    }

    /// Hangs up on who came first, of one network or of all.
    fn hang_up(&mut self, network: Option<&Network>) -> bool {
        let oldest = match network {
            Some(network) => self.by_network.get(network).and_then(|near| near.first()),
            None => self.all.keys().next(),
        };
        let Some(gone) = oldest.copied().and_then(|number| self.remove(number)) else { return false };
        gone.cancel();
        true
    }
}

impl Strangers {
    /// A place for a caller from `address`, and whether somebody had to give way for it: whoever came
    /// first from the same network where that has its share, else whoever came first.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> (Stranger, bool) {
        let network = Network::of(address);
        let mut here = self.lock();
        let near = here.by_network.get(&network).map_or(0, BTreeSet::len);
        let gave_way = if near >= STRANGERS_PER_NETWORK_MAX {
            here.hang_up(Some(&network))
        } else {
            here.all.len() >= STRANGERS_MAX && here.hang_up(None)
        };
        here.last += 1;
        let (number, gone) = (here.last, CancellationToken::new());
        here.all.insert(number, (network, gone.clone()));
        here.by_network.entry(network).or_default().insert(number);
        drop(here);
        (Stranger { among: self.clone(), number, gone }, gave_way)
    }

    /// Makes room where the system has none left.
    pub(super) fn give_way(&self) {
        let mut here = self.lock();
        for _ in 0..GIVE_WAY {
            if !here.hang_up(None) {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Here> {
        // Nothing panics while it holds the lock.
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stranger's place, given back on drop.
pub(super) struct Stranger {
    among: Arc<Strangers>,
    number: u64,
    gone: CancellationToken,
}

impl Stranger {
    /// Ends when the place is somebody else's.
    pub(super) fn gone(&self) -> WaitForCancellationFutureOwned {
        self.gone.clone().cancelled_owned()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.among.lock().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    fn here(strangers: &[Stranger]) -> usize {
        strangers.iter().filter(|stranger| !stranger.gone.is_cancelled()).count()
    }

    #[test]
    fn i6_one_network_takes_its_share_and_all_take_no_more_than_there_is() {
        let strangers = Arc::new(Strangers::default());
        let mut held: Vec<Stranger> = (0..2000).map(|_| strangers.admit(network(1)).0).collect();
        assert_eq!(here(&held), STRANGERS_PER_NETWORK_MAX);
        assert!(held[0].gone.is_cancelled() && !held[1999].gone.is_cancelled(), "the first give way");
        let (quiet, gave_way) = strangers.admit(network(200));
        assert!(!gave_way, "another network is not affected");
        for number in 2..10 {
            held.extend((0..STRANGERS_PER_NETWORK_MAX).map(|_| strangers.admit(network(number)).0));
        }
        assert_eq!(here(&held), STRANGERS_MAX);
        assert!(quiet.gone.is_cancelled(), "4096 came since");
        strangers.give_way();
        assert_eq!(here(&held), STRANGERS_MAX - GIVE_WAY);
        drop((held, quiet));
        assert!(strangers.lock().all.is_empty());
        assert!(strangers.lock().by_network.is_empty(), "nothing is remembered of who left");
    }
}
