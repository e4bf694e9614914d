//! The last failures of handshakes and streams, for whoever asks why somebody cannot connect.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use certus_pki::{Explanation, UnixTime};
use certus_tls::Clock;

use crate::metrics::Side;

/// An afternoon of one misconfigured peer, or a minute of many; 100 KiB.
const KEPT_MAX: usize = 256;
/// A flood of strangers must not fill the logs: so many lines at once, and then one a second.
const LINES_BURST: u32 = 32;

/// One failure.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// When.
    pub at: UnixTime,
    /// Which side we were on.
    pub side: Side,
    /// The listener or peer.
    pub name: String,
    /// How it travelled: `tcp`, `h2`, `ws` or `quic`.
    pub transport: &'static str,
    /// The other end's address.
    pub from: String,
    /// What is known of the other end.
    pub peer: String,
    /// What was wrong.
    pub why: Explanation,
}

/// The last failures of one node. Cheap to clone; all clones keep the same.
#[derive(Clone)]
pub struct Failures {
    kept: Arc<Mutex<Kept>>,
    clock: Clock,
}

struct Kept {
    last: VecDeque<Failure>,
    total: u64,
    lines: u32,
    lines_at: UnixTime,
    unlogged: u64,
}

impl Failures {
    /// None yet.
    pub fn new(clock: Clock) -> Failures {
        let kept =
            Kept { last: VecDeque::new(), total: 0, lines: LINES_BURST, lines_at: clock(), unlogged: 0 };
        Failures { kept: Arc::new(Mutex::new(kept)), clock }
    }

    /// The last of them, newest first, and how many there were in all.
    pub fn last(&self) -> (Vec<Failure>, u64) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.last.iter().rev().cloned().collect(), kept.total)
    }

    pub(crate) fn record(
        &self,
        side: Side,
        name: &str,
        transport: &'static str,
        from: &str,
        peer: &str,
        why: Explanation,
    ) {
        let at = (self.clock)();
        let (logged, unlogged) = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.total += 1;
            if kept.last.len() == KEPT_MAX {
                kept.last.pop_front();
            }
            let (name, from, peer) = (name.to_owned(), from.to_owned(), peer.to_owned());
            kept.last.push_back(Failure { at, side, name, transport, from, peer, why: why.clone() });
            kept.may_log(at)
        };
        if unlogged > 0 {
            tracing::warn!(unlogged, "more failures than are logged; the last ones: certus node failures");
        }
        if logged {
            tracing::warn!(name, transport, from, peer, code = %why.code, %why, "a connection failed");
        }
    }
}

impl Kept {
    /// Whether this failure gets a line, and how many before it did not.
    fn may_log(&mut self, at: UnixTime) -> (bool, u64) {
        let passed = u32::try_from(at.secs_since(self.lines_at).max(0)).unwrap_or(u32::MAX);
        self.lines = self.lines.saturating_add(passed).min(LINES_BURST);
        self.lines_at = at;
        if self.lines == 0 {
            self.unlogged += 1;
            return (false, 0);
        }
        self.lines -= 1;
        (true, std::mem::take(&mut self.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    #[test]
    fn a_flood_keeps_the_last_and_logs_few() {
        let now = Arc::new(AtomicI64::new(1_000));
        let clock: Clock = {
            let now = now.clone();
            Arc::new(move || UnixTime::from_secs(now.load(Ordering::Relaxed)))
        };
        let failures = Failures::new(clock);
        let why = || Explanation::new(certus_pki::code::REVOKED, "the certificate was revoked");
        for place in 0..KEPT_MAX + 10 {
            failures.record(Side::Server, "web", "tcp", &place.to_string(), "", why());
        }
        let (last, total) = failures.last();
        assert_eq!((last.len(), total), (KEPT_MAX, KEPT_MAX as u64 + 10));
        assert_eq!(last[0].from, (KEPT_MAX + 9).to_string(), "newest first");
        let mut kept = failures.kept.lock().unwrap();
        assert_eq!(kept.lines, 0);
        let unlogged = kept.unlogged;
        assert!(unlogged > 0);
        assert_eq!(kept.may_log(UnixTime::from_secs(1_002)), (true, unlogged));
    }
}
