//! The machine's clock, and chance for jitter. Read here and nowhere else in this room.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use certus_pki::{Serial, UnixTime};
use certus_tls::Clock;

/// The machine's clock.
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        UnixTime::from_secs(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    })
}

/// A random share for jitter, 0 to 255.
pub(crate) fn jitter() -> u8 {
    let mut share = [0];
    // Without randomness there is no jitter, and no TLS either.
    let _ = aws_lc_rs::rand::fill(&mut share);
    share[0]
}

/// A serial number of 128 random bits (I5).
pub(crate) fn serial() -> Serial {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness, or no key could be made either");
    Serial::from_random(bytes)
}

/// A wait of so many seconds; never zero, so that no loop spins.
pub(crate) fn wait(secs: f64) -> Duration {
    Duration::from_secs_f64(secs.clamp(0.05, 86_400.0))
}

/// A lifetime as a duration.
pub(crate) const fn duration(lifetime: certus_pki::Lifetime) -> Duration {
    Duration::from_secs(lifetime.secs() as u64)
}
