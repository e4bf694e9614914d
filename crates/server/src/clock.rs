//! A lone manager's clock, held against the cluster's own time when it starts.
//!
//! The cluster's time never goes back. Of several managers the majority's clocks decide; one that is alone
//! has nothing but the time of the last change to notice by that its clock is, or was, wrong
//! (`docs/decisions/0006-clock-of-a-lone-manager.md`).

use certus_pki::defaults::{CLOCK_BEHIND_MAX, CLOCK_LEAP_MAX};
use certus_pki::explain::{Explain, Explanation};
use certus_pki::{UnixTime, code};

use crate::manager::StartError;
use crate::truth::{Truth, Unanswered};

/// Refuses a clock that cannot be right, and has leaps of it refused from now on. `accepted` is the
/// operator's word that it is right however far it is ahead.
pub(crate) fn mind(truth: &Truth, accepted: bool) -> Result<(), StartError> {
    if !truth.replica.is_alone() {
        return Ok(());
    }
    let view = truth.replica.view().map_err(StartError::Storage)?;
    let applied = UnixTime::from_secs(view.at().map_err(StartError::Storage)?);
    let cluster = certus_ca::cluster(&view);
    let cluster = cluster.map_err(|fault| StartError::Unanswered(Unanswered::Fault(fault)))?;
    let Some(known) = cluster.map(|cluster| cluster.last_at.max(applied)) else { return Ok(()) };
    let now = truth.now();
    if known.secs_since(now) > i64::from(CLOCK_BEHIND_MAX.secs()) {
        return Err(StartError::Clock(ClockOff::Behind { now, known }));
    }
    if accepted {
        return Ok(());
    }
    let leap = i64::from(CLOCK_LEAP_MAX.secs());
    if now.secs_since(known) > leap {
        return Err(StartError::Clock(ClockOff::Ahead { now, known }));
    }
    truth.replica.bound_leaps(now.max(known).secs(), leap);
    Ok(())
}

/// Why a lone manager whose clock was set back while it ran cannot issue; nothing where it can.
pub(crate) fn why_not_ready(truth: &Truth) -> Option<Explanation> {
    if !truth.replica.is_alone() {
        return None;
    }
    let (known, now) = (UnixTime::from_secs(truth.replica.view().ok()?.at().ok()?), truth.now());
    let behind = known.secs_since(now) > i64::from(CLOCK_BEHIND_MAX.secs());
    behind.then(|| ClockOff::Behind { now, known }.explain())
}

/// The clock and the cluster's time are too far apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClockOff {
    /// The cluster's last change is in the future.
    #[error("the cluster's last change was at {known}, and this machine's clock says {now}: {} behind", apart(*known, *now))]
    Behind {
        /// The clock.
        now: UnixTime,
        /// The time of the last change.
        known: UnixTime,
    },
    /// The cluster's last change is longer ago than a manager is off.
    #[error("the cluster's last change was at {known}, and this machine's clock says {now}: {} ahead", apart(*now, *known))]
    Ahead {
        /// The clock.
        now: UnixTime,
        /// The time of the last change.
        known: UnixTime,
    },
}

impl Explain for ClockOff {
    fn explain(&self) -> Explanation {
        let told = |known: &UnixTime, now: &UnixTime| {
            Explanation::new(code::CLOCK_OFF, self.to_string())
                .fact("cluster's last change", known)
                .fact("clock", now)
        };
        match self {
            ClockOff::Behind { now, known } => told(known, now).hint(format!(
                "set the clock if it is behind (timedatectl). If it is right, it was ahead once, and nothing \
                 can be issued before {known}: wait until then, or certus cluster restore a backup made \
                 before that"
            )),
            ClockOff::Ahead { now, known } => told(known, now).hint(
                "set the clock if it is ahead (timedatectl). If it is right: certus manager start --accept-clock",
            ),
        }
    }
}

/// How far the first is after the second, in the largest unit that says it well.
fn apart(later: UnixTime, earlier: UnixTime) -> String {
    let secs = later.secs_since(earlier);
    match secs {
        ..=299 => format!("{secs} s"),
        300..=7_199 => format!("{} min", secs / 60),
        7_200..=172_799 => format!("{} h", secs / 3_600),
        _ => format!("{} d", secs / 86_400),
    }
}
