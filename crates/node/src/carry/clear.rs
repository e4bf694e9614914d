//! Who still comes in the clear, for each permissive listener: what says when `mtls: true` harms nobody.
//!
//! Decides nothing, and remembers only while the node runs: a weekly caller is seen after a week.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use certus_pki::{Lifetime, UnixTime};
use certus_tls::Clock;

use crate::metrics::Metrics;
use crate::spec::{ListenerSpec, Mtls, Transport};

/// Addresses that are remembered of each listener, those that came last: more are no longer a list that
/// somebody works off. 64 bytes each.
const CALLERS_MAX: usize = 256;
/// A listener where nobody came in the clear that long is said to be ready. Whoever comes once a day was
/// seen by then; whoever comes more seldom may not have been, so the time is said too.
const QUIET: Lifetime = Lifetime::from_days(1);

/// Somebody who came in the clear, by address.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClearCaller {
    /// From where.
    pub from: IpAddr,
    /// When first.
    pub first: UnixTime,
    /// When last.
    pub last: UnixTime,
    /// How often.
    pub connections: u64,
}

/// What was seen of one permissive listener.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClearSeen {
    /// Its name.
    pub name: String,
    /// How connections travel.
    pub transport: Transport,
    /// When plaintext ends.
    pub until: UnixTime,
    /// Since when it is watched: the node's start, or the reload that made it permissive.
    pub since: UnixTime,
    /// When the last connection in the clear came or ended.
    pub last: Option<UnixTime>,
    /// How many live.
    pub live: u64,
    /// How many there were.
    pub connections: u64,
    /// Who came, the last first.
    pub callers: Vec<ClearCaller>,
    /// How many addresses were forgotten.
    pub forgotten: u64,
}

impl ClearSeen {
    /// For how long nobody has been here in the clear; nothing while somebody is.
    pub fn quiet(&self, now: UnixTime) -> Option<Lifetime> {
        let since = self.last.unwrap_or(self.since);
        let quiet = u32::try_from(now.secs_since(since).max(0)).unwrap_or(u32::MAX);
        (self.live == 0).then(|| Lifetime::from_secs(quiet))
    }

    /// Whether `mtls: true` refuses nobody who comes at least once a day.
    pub fn is_ready(&self, now: UnixTime) -> bool {
        self.quiet(now).is_some_and(|quiet| quiet >= QUIET)
    }
}

/// The permissive listeners of one node. Cheap to clone; all clones see the same.
#[derive(Clone)]
pub struct InTheClear {
    watched: Arc<Mutex<Vec<Weak<Watched>>>>,
    clock: Clock,
    metrics: Metrics,
}

/// One permissive listener.
pub(super) struct Watched {
    name: String,
    transport: Transport,
    since: UnixTime,
    clock: Clock,
    metrics: Metrics,
    seen: Mutex<Callers>,
}

struct Callers {
    /// None where the listener is permissive no more; connections of it may live on.
    until: Option<UnixTime>,
    last: Option<UnixTime>,
    live: u64,
    connections: u64,
    by_address: BTreeMap<IpAddr, ClearCaller>,
    forgotten: u64,
}

/// A connection in the clear, while it lives.
pub(super) struct Clear(Arc<Watched>);

impl InTheClear {
    /// None watched yet.
    pub fn new(clock: Clock, metrics: Metrics) -> InTheClear {
        InTheClear { watched: Arc::default(), clock, metrics }
    }

    /// What was seen, listener by listener.
    pub fn seen(&self) -> Vec<ClearSeen> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.iter().filter_map(Weak::upgrade).filter_map(|one| one.told()).collect()
    }

    /// Watches a listener, if it is permissive. One of the same name and transport that is watched goes on
    /// being so: a reload forgets nothing.
    pub(super) fn watch(&self, spec: &ListenerSpec) -> Option<Arc<Watched>> {
        let Mtls::Permissive { until } = spec.tls.mtls else { return None };
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|one| one.strong_count() > 0);
        let same = |one: &Arc<Watched>| {
            one.name == spec.name && one.transport == spec.transport && one.lock().until.is_some()
        };
        if let Some(known) = watched.iter().filter_map(Weak::upgrade).find(same) {
            return Some(known);
        }
        let since = (self.clock)();
        let by_address = BTreeMap::new();
        let until = Some(until);
        let seen = Callers { until, last: None, live: 0, connections: 0, by_address, forgotten: 0 };
        let new = Arc::new(Watched {
            name: spec.name.clone(),
            transport: spec.transport,
            since,
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            seen: Mutex::new(seen),
        });
        self.metrics.plaintext_watched(&spec.name, since);
        watched.push(Arc::downgrade(&new));
        Some(new)
    }
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, Callers> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The date is another; with none, the listener is permissive no more.
    pub(super) fn ends(&self, until: Option<UnixTime>) {
        self.lock().until = until;
    }

    /// Somebody came in the clear, and was let in.
    pub(super) fn came(self: &Arc<Watched>, from: IpAddr) -> Clear {
        let now = (self.clock)();
        let mut seen = self.lock();
        seen.last = Some(now);
        (seen.live, seen.connections) = (seen.live + 1, seen.connections + 1);
        let new = ClearCaller { from, first: now, last: now, connections: 0 };
        let caller = seen.by_address.entry(from).or_insert(new);
        (caller.last, caller.connections) = (now, caller.connections + 1);
        if seen.by_address.len() > CALLERS_MAX {
            let others = seen.by_address.values().filter(|caller| caller.from != from);
            if let Some(oldest) = others.min_by_key(|caller| caller.last).map(|caller| caller.from) {
                seen.by_address.remove(&oldest);
                seen.forgotten += 1;
            }
        }
        self.metrics.plaintext_seen(&self.name, now, seen.live);
        Clear(self.clone())
    }

    fn told(&self) -> Option<ClearSeen> {
        let seen = self.lock();
        let until = seen.until?;
        let mut callers: Vec<_> = seen.by_address.values().cloned().collect();
        callers.sort_by_key(|caller| std::cmp::Reverse(caller.last));
        Some(ClearSeen {
            name: self.name.clone(),
            transport: self.transport,
            until,
            since: self.since,
            last: seen.last,
            live: seen.live,
            connections: seen.connections,
            callers,
            forgotten: seen.forgotten,
        })
    }
}

impl Drop for Clear {
    fn drop(&mut self) {
        let now = (self.0.clock)();
        let mut seen = self.0.lock();
        (seen.last, seen.live) = (Some(now), seen.live.saturating_sub(1));
        self.0.metrics.plaintext_seen(&self.0.name, now, seen.live);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Backend;
    use certus_pki::Allow;
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicI64, Ordering};

    const DAY: i64 = 86_400;

    fn watching() -> (Arc<AtomicI64>, InTheClear, ListenerSpec) {
        let now = Arc::new(AtomicI64::new(1_000));
        let clock: Clock = {
            let now = now.clone();
            Arc::new(move || UnixTime::from_secs(now.load(Ordering::Relaxed)))
        };
        let backend = Backend::Tcp("a:1".to_owned());
        let mut spec = ListenerSpec::new("web", Transport::Tcp, "a:1", backend, Allow::Plaintext);
        spec.tls.mtls = Mtls::Permissive { until: UnixTime::from_secs(100 * DAY) };
        (now, InTheClear::new(clock, Metrics::new()), spec)
    }

    #[test]
    fn strict_is_safe_once_nobody_came_for_a_day_and_nobody_is_here() {
        let (now, clear, spec) = watching();
        let passes = |days| UnixTime::from_secs(now.fetch_add(days * DAY, Ordering::Relaxed) + days * DAY);
        let watched = clear.watch(&spec).unwrap();
        let ready = |at: UnixTime| clear.seen()[0].is_ready(at);
        assert!(!ready(UnixTime::from_secs(1_000)) && ready(passes(1)), "nobody ever came");
        let caller = watched.came(Ipv4Addr::LOCALHOST.into());
        let at = passes(3);
        assert_eq!((ready(at), clear.seen()[0].quiet(at)), (false, None), "somebody is here still");
        drop(caller);
        assert!(!ready(at) && ready(passes(1)));
        assert_eq!(clear.seen()[0].last, Some(at), "when the last one left");
        // A reload keeps what was seen; the end of the listener ends it.
        let again = clear.watch(&spec).unwrap();
        drop(watched);
        assert_eq!((again.told().unwrap().connections, clear.seen().len()), (1, 1));
        drop(again);
        assert_eq!(clear.seen(), []);
    }

    #[test]
    fn the_last_callers_are_remembered() {
        let (now, clear, spec) = watching();
        let watched = clear.watch(&spec).unwrap();
        for number in 0..CALLERS_MAX as u32 + 10 {
            now.fetch_add(1, Ordering::Relaxed);
            drop(watched.came(Ipv4Addr::from(number).into()));
        }
        drop(watched.came(Ipv4Addr::from(10).into()));
        let seen = &clear.seen()[0];
        assert_eq!((seen.callers.len(), seen.forgotten), (CALLERS_MAX, 10));
        let newest = seen.callers.iter().find(|caller| caller.from == Ipv4Addr::from(10)).unwrap();
        assert_eq!((newest.connections, newest.last), (2, seen.callers[0].last));
    }
}
