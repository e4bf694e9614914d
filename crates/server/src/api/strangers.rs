//! Connections whose callers have not shown a certificate: during the handshake, and after one without.
//!
//! They are few, so that whoever says nothing, or says it slowly, takes no place from nodes (I6).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::rate::Network;

/// Of all networks together: a fleet that dials again after a manager's restart shows its certificates
/// within milliseconds of a place; others are hung up on, and come again.
const STRANGERS_MAX: usize = 4096;
/// Of one network, so that one address cannot take all places.
const PER_NETWORK_MAX: usize = 1024;
/// After a handshake without a certificate there is a token to show, and nothing else to do.
pub(super) const STRANGER_LIFE: Duration = Duration::from_secs(60);

/// Who is here without a certificate.
#[derive(Default)]
pub(super) struct Strangers {
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    all: usize,
    by_network: HashMap<Network, usize>,
}

impl Strangers {
    /// A place for a caller from `address`; none where there are too many.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Stranger> {
        let network = Network::of(address);
        let mut counts = self.lock();
        let near = counts.by_network.get(&network).copied().unwrap_or_default();
        if counts.all >= STRANGERS_MAX || near >= PER_NETWORK_MAX {
            return None;
        }
        counts.all += 1;
        counts.by_network.insert(network, near + 1);
        drop(counts);
        Some(Stranger { among: self.clone(), network })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Nothing panics while it holds the lock.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stranger's place, given back on drop.
pub(super) struct Stranger {
    among: Arc<Strangers>,
    network: Network,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut counts = self.among.lock();
        counts.all -= 1;
        let left = counts.by_network.get(&self.network).map_or(0, |near| near - 1);
        if left == 0 {
            counts.by_network.remove(&self.network);
        } else {
            counts.by_network.insert(self.network, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i6_one_network_takes_its_share_and_all_take_no_more_than_there_is() {
        let strangers = Arc::new(Strangers::default());
        let network = |number: u8| IpAddr::from([10, 0, 0, number]);
        let mut held: Vec<Stranger> = (0..2000).filter_map(|_| strangers.admit(network(1))).collect();
        assert_eq!(held.len(), PER_NETWORK_MAX);
        assert!(strangers.admit(network(2)).is_some());
        for number in 2..10 {
            held.extend((0..2000).filter_map(|_| strangers.admit(network(number))));
        }
        assert_eq!(held.len(), STRANGERS_MAX);
        drop(held);
        assert_eq!(strangers.lock().all, 0);
        assert!(strangers.lock().by_network.is_empty(), "nothing is remembered of who left");
    }
}
