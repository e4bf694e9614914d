//! What is said of callers who are refused: one line a minute for each reason and network, and a count.
//!
//! Local and bounded (I6): strangers fill no log, however many they are. What is counted by code in the
//! metrics is counted whole.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use certus_pki::Code;
use certus_pki::defaults::REFUSAL_LINES_MAX;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::rate::Network;

/// For so long one line of a reason and a network stands for all.
pub(crate) const PERIOD: Duration = Duration::from_secs(60);
/// Reasons and networks that are told apart in one period; the others are counted together.
const TOLD_APART_MAX: usize = 4096;
/// Counts that are said at the end of a period, the largest first.
const COUNTS_MAX: usize = 16;

/// What was refused in this period.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<Period>);

#[derive(Default)]
struct Period {
    began: Option<Instant>,
    lines: usize,
    unsaid: HashMap<(Code, Network), u64>,
    others: u64,
}

/// What was refused without a line of its own.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unsaid {
    /// The largest counts.
    pub(crate) largest: Vec<(Code, Network, u64)>,
    /// All the others.
    pub(crate) others: u64,
}

impl Refusals {
    /// Whether this refusal gets a line; otherwise it is counted.
    pub(crate) fn says(&self, code: Code, from: Option<IpAddr>) -> bool {
        self.says_at(code, from, Instant::now())
    }

    fn says_at(&self, code: Code, from: Option<IpAddr>, now: Instant) -> bool {
        let network = from.map_or(Network::Others, Network::of);
        let mut period = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        period.began.get_or_insert(now);
        let known = period.unsaid.len();
        if let Some(count) = period.unsaid.get_mut(&(code, network)) {
            *count += 1;
            return false;
        }
        if known >= TOLD_APART_MAX {
            period.others += 1;
            return false;
        }
        let says = period.lines < REFUSAL_LINES_MAX;
        period.lines += usize::from(says);
        period.unsaid.insert((code, network), u64::from(!says));
        says
    }

    /// What went without a line in the period that is over; none while it lasts.
    fn over(&self, now: Instant) -> Option<Unsaid> {
        let mut period = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let began = period.began?;
        if now.saturating_duration_since(began) < PERIOD {
            return None;
        }
        let Period { unsaid, others, .. } = std::mem::take(&mut *period);
        drop(period);
        let mut counts: Vec<_> = unsaid.into_iter().filter(|(_, count)| *count > 0).collect();
        counts.sort_unstable_by_key(|(_, count)| std::cmp::Reverse(*count));
        let rest = counts.split_off(counts.len().min(COUNTS_MAX));
        let others = others + rest.into_iter().map(|(_, count)| count).sum::<u64>();
        let largest = counts.into_iter().map(|((code, network), count)| (code, network, count)).collect();
        Some(Unsaid { largest, others })
    }

    /// Says at the end of every period what was counted in it.
    pub(crate) async fn tell(&self, stopping: CancellationToken) {
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let Some(unsaid) = self.over(Instant::now()) else { continue };
            for (code, network, more) in unsaid.largest {
                info!(%code, %network, more, "refused more often than is said");
            }
            if unsaid.others > 0 {
                info!(more = unsaid.others, "refused more often than is said, of other networks or reasons");
            }
        }
    }
}

/// How exactly a period ends.
const LOOK: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use certus_pki::code::{HANDSHAKE_FAILED, NO_CERTIFICATE};

    fn address(number: u32) -> Option<IpAddr> {
        Some(IpAddr::from(number.to_be_bytes()))
    }

    #[test]
    fn i6_a_flood_of_one_network_is_one_line_and_a_count() {
        let refusals = Refusals::default();
        let start = Instant::now();
        let said = (0..10_000).filter(|_| refusals.says_at(HANDSHAKE_FAILED, address(1), start)).count();
        assert_eq!(said, 1);
        assert!(refusals.says_at(NO_CERTIFICATE, address(1), start), "another reason is another line");
        assert!(refusals.says_at(HANDSHAKE_FAILED, address(2), start), "and so is another network");
        assert_eq!(refusals.over(start), None);
        let unsaid = refusals.over(start + PERIOD).unwrap();
        let Some(network) = address(1).map(Network::of) else { panic!() };
        assert_eq!(unsaid, Unsaid { largest: vec![(HANDSHAKE_FAILED, network, 9_999)], others: 0 });
        assert!(refusals.says_at(HANDSHAKE_FAILED, address(1), start + PERIOD), "a new period begins");
    }

    #[test]
    fn i6_however_many_networks_there_are_lines_and_memory_are_bounded() {
        let refusals = Refusals::default();
        let start = Instant::now();
        let flood = 0..u32::try_from(3 * TOLD_APART_MAX).unwrap();
        let said = flood.filter(|number| refusals.says_at(HANDSHAKE_FAILED, address(*number), start)).count();
        assert_eq!(said, REFUSAL_LINES_MAX);
        assert_eq!(refusals.0.lock().unwrap().unsaid.len(), TOLD_APART_MAX);
        let unsaid = refusals.over(start + PERIOD).unwrap();
        assert_eq!(unsaid.largest.len(), COUNTS_MAX);
        let counted = unsaid.others + unsaid.largest.iter().map(|(.., count)| count).sum::<u64>();
        assert_eq!(counted as usize, 3 * TOLD_APART_MAX - REFUSAL_LINES_MAX, "none is forgotten");
    }
}
