//! A line that would come many times a second: once a minute, with how often it was not said.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Whoever reads logs sees that it lasts; nothing fills them.
const EVERY: Duration = Duration::from_secs(60);

/// Says when a line is due.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// How often it was not said since the last time, if it is due again.
    pub(crate) fn says(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, unsaid) = &mut *state;
        if last.is_some_and(|last| now.saturating_duration_since(last) < EVERY) {
            *unsaid += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i6_one_line_a_minute_and_a_count() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        let said = (0..600).filter_map(|_| seldom.says(start)).count();
        assert_eq!(said, 1);
        assert_eq!(seldom.says(start + EVERY), Some(599));
        assert_eq!(seldom.says(start + EVERY), None);
    }
}
