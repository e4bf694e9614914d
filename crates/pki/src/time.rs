//! Instants and lifetimes as plain numbers, and how they are written for people.
//!
//! Never reads a clock: whoever needs "now" is handed it.

use std::fmt;
use std::str::FromStr;

/// Seconds since 1970-01-01T00:00:00Z, as certificates count time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(i64);

impl UnixTime {
    /// The instant `secs` seconds after the epoch.
    pub const fn from_secs(secs: i64) -> UnixTime {
        UnixTime(secs)
    }

    /// Seconds since the epoch.
    pub const fn secs(self) -> i64 {
        self.0
    }

    /// This instant, `lifetime` later.
    pub const fn plus(self, lifetime: Lifetime) -> UnixTime {
        UnixTime(self.0.saturating_add(lifetime.secs() as i64))
    }

    /// This instant, `lifetime` earlier.
    pub const fn minus(self, lifetime: Lifetime) -> UnixTime {
        UnixTime(self.0.saturating_sub(lifetime.secs() as i64))
    }

    /// Seconds from `earlier` to here; negative if it is later.
    pub const fn secs_since(self, earlier: UnixTime) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// How this instant stands to `now` in words: `in 12 d`, `3 h ago`.
    pub fn relative_to(self, now: UnixTime) -> String {
        match self.secs_since(now) {
            0 => "now".to_owned(),
            ahead if ahead > 0 => format!("in {}", Span(ahead)),
            behind => format!("{} ago", Span(behind)),
        }
    }

    /// The date alone, `2036-11-20`.
    pub fn date(self) -> String {
        self.to_string().chars().take(10).collect()
    }
}

impl fmt::Display for UnixTime {
    /// RFC 3339 in UTC: `2026-11-22T14:03:10Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0) {
            Ok(at) => write!(f, "{at}"),
            Err(_) => write!(f, "{}s after 1970", self.0),
        }
    }
}

impl FromStr for UnixTime {
    type Err = BadTime;

    /// RFC 3339, `2026-11-22T14:03:10Z` or with an offset; or a day alone, which begins at midnight UTC.
    fn from_str(text: &str) -> Result<UnixTime, BadTime> {
        let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
        let read = whole.parse::<jiff::Timestamp>();
        read.map(|at| UnixTime(at.as_second())).map_err(|_| BadTime(text.chars().take(40).collect()))
    }
}

/// Text that is not a moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time, expected 2026-11-22T14:03:10Z or 2026-11-22")]
pub struct BadTime(String);

/// A duration in whole seconds, written `90d`, `36h`, `5m`, `30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lifetime(u32);

impl Lifetime {
    /// A lifetime of `secs` seconds.
    pub const fn from_secs(secs: u32) -> Lifetime {
        Lifetime(secs)
    }

    /// A lifetime of `minutes` minutes.
    pub const fn from_minutes(minutes: u32) -> Lifetime {
        Lifetime(minutes.saturating_mul(60))
    }

    /// A lifetime of `hours` hours.
    pub const fn from_hours(hours: u32) -> Lifetime {
        Lifetime(hours.saturating_mul(3600))
    }

    /// A lifetime of `days` days of 86,400 seconds.
    pub const fn from_days(days: u32) -> Lifetime {
        Lifetime(days.saturating_mul(86_400))
    }

    /// Its length in seconds.
    pub const fn secs(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, letter) in [(86_400, 'd'), (3600, 'h'), (60, 'm')] {
            if self.0 >= unit && self.0.is_multiple_of(unit) {
                return write!(f, "{}{letter}", self.0 / unit);
            }
        }
        write!(f, "{}s", self.0)
    }
}

impl FromStr for Lifetime {
    type Err = BadLifetime;

    fn from_str(text: &str) -> Result<Lifetime, BadLifetime> {
        let bad = || BadLifetime(text.chars().take(40).collect());
        let (number, unit) = match text.char_indices().last().ok_or_else(bad)? {
            (at, 's') => (&text[..at], 1),
            (at, 'm') => (&text[..at], 60),
            (at, 'h') => (&text[..at], 3600),
            (at, 'd') => (&text[..at], 86_400),
            (at, 'y') => (&text[..at], 365 * 86_400),
            _ => return Err(bad()),
        };
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let secs = number.parse::<u32>().ok().and_then(|n| n.checked_mul(unit)).ok_or_else(bad)?;
        if secs == 0 { Err(bad()) } else { Ok(Lifetime(secs)) }
    }
}

/// Text that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration, expected a whole number above zero and a unit: 30s, 5m, 36h, 90d, 10y")]
pub struct BadLifetime(String);

/// A number of seconds in words, rounded down to its largest unit: `40 s`, `3 h`, `12 d`.
struct Span(i64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.unsigned_abs();
        match secs {
            0..120 => write!(f, "{secs} s"),
            120..7_200 => write!(f, "{} min", secs / 60),
            7_200..172_800 => write!(f, "{} h", secs / 3600),
            _ => write!(f, "{} d", secs / 86_400),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_read_and_print() {
        for text in ["90d", "36h", "5m", "30s", "25h"] {
            assert_eq!(text.parse::<Lifetime>().unwrap().to_string(), text);
        }
        assert_eq!("10y".parse::<Lifetime>().unwrap().to_string(), "3650d");
        assert_eq!("60m".parse::<Lifetime>().unwrap().to_string(), "1h");
    }

    #[test]
    fn what_is_not_a_lifetime_is_refused() {
        for text in ["", "d", "0d", "-1d", "1.5h", "90", "90 d", "999999y", "d9", "٣d"] {
            assert!(text.parse::<Lifetime>().is_err(), "{text}");
        }
    }

    #[test]
    fn instants_print_as_rfc_3339() {
        assert_eq!(UnixTime::from_secs(1_795_356_190).to_string(), "2026-11-22T14:03:10Z");
    }

    #[test]
    fn instants_read_as_they_print() {
        let at = UnixTime::from_secs(1_795_356_190);
        for text in ["2026-11-22T14:03:10Z", "2026-11-22T15:03:10+01:00"] {
            assert_eq!(text.parse(), Ok(at));
        }
        assert_eq!("2026-11-22".parse(), Ok(UnixTime::from_secs(1_795_305_600)));
        assert!("22.11.2026".parse::<UnixTime>().is_err() && "2026-13-01".parse::<UnixTime>().is_err());
    }

    #[test]
    fn relations_are_said_in_the_largest_unit() {
        let now = UnixTime::from_secs(1_000_000);
        assert_eq!(now.plus(Lifetime::from_days(12)).relative_to(now), "in 12 d");
        assert_eq!(now.minus(Lifetime::from_hours(3)).relative_to(now), "3 h ago");
        assert_eq!(now.minus(Lifetime::from_secs(40)).relative_to(now), "40 s ago");
    }
}
