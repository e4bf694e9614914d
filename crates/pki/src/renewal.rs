//! Renewal planning: when a certificate is due, and how long to wait after a failure.
//!
//! No clock, no chance: the run loop supplies both.

use crate::cert::Certificate;
use crate::defaults::{BACKOFF_FIRST, BACKOFF_MAX, RENEW_AT_PERMILLE, RENEW_JITTER_PERMILLE};
use crate::time::UnixTime;

/// When the certificate issued at `issued_at` and ending at `not_after` is due.
///
/// Two thirds of its life, earlier by `jitter` (0 to 255, of the whole jitter window).
pub fn renew_at(issued_at: UnixTime, not_after: UnixTime, jitter: u8) -> UnixTime {
    let life = not_after.secs_since(issued_at).max(0);
    let due = life * i64::from(RENEW_AT_PERMILLE) / 1000;
    let window = life * i64::from(RENEW_JITTER_PERMILLE) / 1000;
    UnixTime::from_secs(issued_at.secs() + due - window * i64::from(jitter) / 255)
}

/// Whether `share_permille` thousandths of a certificate's life have passed at `now`: what a program with
/// certificates in files asks before it makes the next ones. Two thirds are [`RENEW_AT_PERMILLE`].
///
/// The five minutes by which a beginning is back-dated count as life; they matter to none but tests.
pub fn needs_rotation(certificate: &Certificate, now: UnixTime, share_permille: u32) -> bool {
    let life = certificate.not_after.secs_since(certificate.not_before).max(0);
    let gone = now.secs_since(certificate.not_before);
    gone >= life / 1000 * i64::from(share_permille.min(1000))
}

/// The moment after which a renewal that has not happened is worth a warning: the last third.
pub fn overdue_at(issued_at: UnixTime, not_after: UnixTime) -> UnixTime {
    renew_at(issued_at, not_after, 0)
}

/// How many seconds to wait after `failures` failed attempts in a row.
///
/// Doubles from one second; never above ten minutes, and never above an eighth of what is left, so
/// that several attempts always fit before the end. `jitter` (0 to 255) shortens it by up to a half.
pub fn backoff_secs(failures: u32, left_secs: i64, jitter: u8) -> f64 {
    let doubled = f64::from(BACKOFF_FIRST.secs()) * 2f64.powi(failures.saturating_sub(1).min(16) as i32);
    let share = (left_secs.max(0) as f64 / 8.0).max(0.25);
    let wait = doubled.min(f64::from(BACKOFF_MAX.secs())).min(share);
    wait * (1.0 - f64::from(jitter) / 510.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Lifetime;

    #[test]
    fn ninety_days_renew_at_sixty_and_up_to_nine_earlier() {
        let issued = UnixTime::from_secs(1_000_000);
        let end = issued.plus(Lifetime::from_days(90));
        let day = |at: UnixTime| at.secs_since(issued) / 86_400;
        assert_eq!(day(renew_at(issued, end, 0)), 60);
        assert_eq!(day(renew_at(issued, end, 255)), 51);
    }

    #[test]
    fn waits_double_and_stay_within_what_is_left() {
        assert_eq!(backoff_secs(1, 1_000_000, 0), 1.0);
        assert_eq!(backoff_secs(4, 1_000_000, 0), 8.0);
        assert_eq!(backoff_secs(40, 1_000_000, 0), 600.0);
        assert_eq!(backoff_secs(40, 80, 0), 10.0);
        assert_eq!(backoff_secs(4, 1_000_000, 255), 4.0);
        assert!(backoff_secs(9, -5, 0) > 0.0);
    }
}
