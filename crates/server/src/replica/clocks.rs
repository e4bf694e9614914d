//! What the other members' clocks say, and whether ours is the one that is wrong.
//!
//! A leader that is far off the majority of the others must not propose: its time would void tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::error::ProposeError;
use super::limits::CLOCK_OFF_S;
use super::types::MemberId;
use super::{Clock, Membership};

/// The clocks of the others, as their answers told them. Clones are handles to the same ones.
#[derive(Clone)]
pub(super) struct Clocks {
    own: Clock,
    heard: Arc<Mutex<BTreeMap<MemberId, Heard>>>,
    /// What a lone voter holds its own clock against, which nobody else can.
    leap: Arc<Mutex<Option<Leap>>>,
}

/// The last time that was taken for right, and how far the clock may be ahead of it.
#[derive(Clone, Copy)]
struct Leap {
    known: Heard,
    max: i64,
}

#[derive(Clone, Copy)]
struct Heard {
    clock: i64,
    at: Instant,
}

impl Clocks {
    pub(super) fn new(own: Clock) -> Clocks {
        Clocks { own, heard: Arc::default(), leap: Arc::default() }
    }

    /// Our own clock.
    pub(super) fn now(&self) -> i64 {
        (self.own)()
    }

    /// From now on a lone voter does not propose while its clock is more than `max` seconds ahead of
    /// `known`, or of what it proposed since.
    pub(super) fn bound_leaps(&self, known: i64, max: i64) {
        let known = Heard { clock: known, at: Instant::now() };
        *self.leap.lock().unwrap_or_else(PoisonError::into_inner) = Some(Leap { known, max });
    }

    fn check_leap(&self, own: i64) -> Result<(), ProposeError> {
        let mut leap = self.leap.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(leap) = leap.as_mut() else { return Ok(()) };
        let known = leap.known.clock_now();
        if own.saturating_sub(known) > leap.max {
            return Err(ProposeError::ClockLeapt { own, known });
        }
        if own > known {
            leap.known = Heard { clock: own, at: Instant::now() };
        }
        Ok(())
    }

    /// Notes what a member's answer said.
    pub(super) fn note(&self, member: MemberId, clock: i64) {
        self.lock().insert(member, Heard { clock, at: Instant::now() });
    }

    /// Refuses if `own` is off most of the other voters that were heard of, or if too few were: a
    /// leader that was restarted leads on at once, before anybody has answered it.
    pub(super) fn check(
        &self,
        own: i64,
        member: MemberId,
        membership: &Membership,
    ) -> Result<(), ProposeError> {
        let voters: BTreeSet<MemberId> = membership.voter_ids().collect();
        if voters.len() <= 1 {
            return self.check_leap(own);
        }
        let heard = self.lock();
        let others = voters.iter().filter(|id| **id != member);
        let mut others: Vec<i64> = others.filter_map(|id| heard.get(id)).map(Heard::clock_now).collect();
        others.sort_unstable();
        if others.len() < voters.len() / 2 {
            return Err(ProposeError::NotLeading { leader: None });
        }
        let off = others.iter().filter(|other| own.abs_diff(**other) > CLOCK_OFF_S).count();
        if off * 2 > others.len() {
            return Err(ProposeError::ClockOff { own, others: others[others.len() / 2] });
        }
        Ok(())
    }

    /// How far the clocks of the members that were heard of are ahead of ours, in seconds.
    pub(super) fn offsets(&self) -> BTreeMap<MemberId, i64> {
        let own = self.now();
        let heard = self.lock();
        heard.iter().map(|(member, heard)| (*member, heard.clock_now().saturating_sub(own))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<MemberId, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    /// What it must say now, if nobody has set it since.
    fn clock_now(&self) -> i64 {
        let since = i64::try_from(self.at.elapsed().as_secs()).unwrap_or(i64::MAX);
        self.clock.saturating_add(since)
    }
}

impl fmt::Debug for Clocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members: Vec<_> = self.lock().keys().copied().collect();
        write!(f, "Clocks {{ heard of {members:?} }}")
    }
}
