//! How often one address may call without a certificate.
//!
//! Local and bounded (I6): nothing that is not authenticated reaches the replicated log.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use certus_pki::defaults;

/// Calls that one network may make at once: a rack behind one address joins together.
const BURST: f64 = defaults::STRANGER_CALLS_BURST as f64;
/// Calls a second that one network may make on and on.
const PER_SECOND: f64 = defaults::STRANGER_CALLS_PER_SECOND as f64;
/// Networks that are remembered. When they are more, those with a full allowance are forgotten, and
/// when that frees nothing, newcomers share one allowance.
const NETWORKS_MAX: usize = 65_536;

/// The allowances of networks that call without a certificate.
pub(crate) struct RateLimit {
    buckets: Mutex<HashMap<Network, Bucket>>,
}

/// An IPv4 address, or the /64 that one IPv6 customer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Network {
    V4([u8; 4]),
    V6([u8; 8]),
    Others,
}

#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn refilled(self, now: Instant) -> Bucket {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * PER_SECOND;
        Bucket { left: (self.left + gained).min(BURST), at: now }
    }
}

impl RateLimit {
    /// Everybody has a full allowance.
    pub(crate) fn new() -> RateLimit {
        RateLimit { buckets: Mutex::default() }
    }

    /// Takes one call off `address`'s allowance at `now`; otherwise says how long to wait.
    pub(crate) fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut network = Network::of(address);
        if !buckets.contains_key(&network) && buckets.len() >= NETWORKS_MAX {
            buckets.retain(|_, bucket| bucket.refilled(now).left < BURST);
            if buckets.len() >= NETWORKS_MAX {
                network = Network::Others;
            }
        }
        let bucket = buckets.entry(network).or_insert(Bucket { left: BURST, at: now });
        *bucket = bucket.refilled(now);
        if bucket.left >= 1.0 {
            bucket.left -= 1.0;
            Ok(())
        } else {
            Err(Duration::from_secs_f64((1.0 - bucket.left) / PER_SECOND))
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Network::V4(address) => write!(f, "{}", Ipv4Addr::from(*address)),
            Network::V6(prefix) => {
                let mut address = [0; 16];
                address[..8].copy_from_slice(prefix);
                write!(f, "{}/64", Ipv6Addr::from(address))
            }
            Network::Others => f.write_str("others"),
        }
    }
}

impl Network {
    /// The network that `address` is counted under.
    pub(crate) fn of(address: IpAddr) -> Network {
        let of_v6 = |address: Ipv6Addr| {
            let mut prefix = [0; 8];
            prefix.copy_from_slice(&address.octets()[..8]);
            Network::V6(prefix)
        };
        match address.to_canonical() {
            IpAddr::V4(address) => Network::V4(address.octets()),
            IpAddr::V6(address) => of_v6(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_a_rate() {
        let limit = RateLimit::new();
        let start = Instant::now();
        let address: IpAddr = "10.0.0.7".parse().unwrap();
        let burst = (0..1000).filter(|_| limit.take(address, start).is_ok()).count();
        assert_eq!(burst, 200);
        let wait = limit.take(address, start).unwrap_err();
        assert!(limit.take(address, start + wait).is_ok());
        assert!(limit.take("10.0.0.8".parse().unwrap(), start).is_ok());
    }

    #[test]
    fn i6_the_memory_of_networks_is_bounded() {
        let limit = RateLimit::new();
        let now = Instant::now();
        for number in 0..(NETWORKS_MAX as u32 + 1000) {
            let _ = limit.take(IpAddr::from(number.to_be_bytes()), now);
        }
        assert!(limit.buckets.lock().unwrap().len() <= NETWORKS_MAX + 1);
    }
}
