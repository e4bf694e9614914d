//! How many connections there are at once, and how many of them in the middle of a handshake.
//!
//! Who has not shown who they are gives way to those who came later, the longest first: a crowd that
//! says nothing, or begins a handshake and never ends it, holds nobody up for long.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use certus_pki::code;
use certus_pki::explain::Explanation;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// A handshake takes two round trips, and some networks are slow.
const PATIENCE: Duration = Duration::from_secs(1);
/// Patience is shared among those who wait, down to this part of it: with 10,000 of them who will never
/// end a handshake, an honest one still has its turn within some seconds.
const PATIENCE_PARTS_MAX: u32 = 4;

/// Those who can be asked to give way, in the order in which they came.
#[derive(Clone)]
struct Waiting {
    line: Arc<Mutex<Line>>,
    /// Nobody gives way before.
    patience: Duration,
}

#[derive(Default)]
struct Line {
    last: u64,
    waiting: BTreeMap<u64, (Instant, CancellationToken)>,
}

impl Waiting {
    fn of(patience: Duration) -> Waiting {
        Waiting { line: Arc::default(), patience }
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self) -> Waits {
        let wanted = CancellationToken::new();
        let mut line = self.lock();
        line.last += 1;
        let number = line.last;
        line.waiting.insert(number, (Instant::now(), wanted.clone()));
        Waits { line: self.clone(), number, wanted }
    }

    /// Asks the one who has been there for the longest, if that is long enough; else says from when on it
    /// will be.
    fn ask(&self, patience: Duration) -> Result<(), Option<Instant>> {
        let mut line = self.lock();
        let Some(longest) = line.waiting.first_entry() else { return Err(None) };
        let ripe = longest.get().0 + patience;
        if ripe > Instant::now() {
            return Err(Some(ripe));
        }
        longest.remove().1.cancel();
        Ok(())
    }
}

/// One of those.
struct Waits {
    line: Waiting,
    number: u64,
    wanted: CancellationToken,
}

impl Waits {
    fn leave(&self) {
        self.line.lock().waiting.remove(&self.number);
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A listener's connections.
pub(super) struct Seats {
    taken: Arc<()>,
    unsettled: Waiting,
}

/// One connection's.
pub(super) struct Seat {
    waits: Waits,
    _taken: Arc<()>,
}

impl Seats {
    /// All free.
    pub(super) fn new() -> Seats {
        Seats::of(PATIENCE)
    }

    fn of(patience: Duration) -> Seats {
        Seats { taken: Arc::default(), unsettled: Waiting::of(patience) }
    }

    /// A seat, where at most `limit` are taken at once; none where everybody else has settled, or came a
    /// moment ago.
    pub(super) fn take(&self, limit: usize) -> Option<Seat> {
        if self.taken() >= limit {
            self.unsettled.ask(self.unsettled.patience).ok()?;
        }
        Some(Seat { waits: self.unsettled.add(), _taken: self.taken.clone() })
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        // Itself is one.
        Arc::strong_count(&self.taken) - 1
    }

    /// Asks everybody to give way who has not settled and did not come a moment ago: what the system has
    /// is used up, though there may be seats. Says how many that are.
    pub(super) fn clear_unsettled(&self) -> usize {
        std::iter::from_fn(|| self.unsettled.ask(self.unsettled.patience).ok()).count()
    }
}

impl Seat {
    /// Waits until somebody else needs it more. Never, once settled.
    pub(super) async fn wanted(&self) {
        self.waits.wanted.cancelled().await;
    }

    /// It is known who sits here: from now on it is theirs.
    pub(super) fn settle(&self) {
        self.waits.leave();
    }

    /// What is said of one that was given up.
    pub(super) fn given_up() -> Explanation {
        Explanation::new(code::TOO_MANY_CONNECTIONS, "the caller did not say who it is, and others wait")
            .hint("raise `limits.connections` if those were honest callers")
    }
}

/// Handshakes at once on one listener.
pub(super) struct Handshakes {
    places: Arc<Semaphore>,
    limit: usize,
    holding: Waiting,
    /// How many wait for a place.
    waiting: AtomicU32,
}

/// One handshake's place.
pub(super) struct Place {
    waits: Waits,
    _permit: OwnedSemaphorePermit,
}

impl Handshakes {
    /// At most `limit` of them.
    pub(super) fn new(limit: usize) -> Handshakes {
        Handshakes::of(limit, PATIENCE)
    }

    fn of(limit: usize, patience: Duration) -> Handshakes {
        let limit = limit.clamp(1, Semaphore::MAX_PERMITS);
        Handshakes {
            places: Arc::new(Semaphore::new(limit)),
            limit,
            holding: Waiting::of(patience),
            waiting: AtomicU32::new(0),
        }
    }

    /// How many are going on.
    pub(super) fn taken(&self) -> usize {
        self.limit.saturating_sub(self.places.available_permits())
    }

    /// A place as soon as there is one. Who waits for one has no place, so only callers that have said
    /// something should.
    ///
    /// # Errors
    /// Never while the listener lives.
    pub(super) async fn place(&self) -> Result<Place, Explanation> {
        if let Ok(permit) = self.places.clone().try_acquire_owned() {
            return Ok(Place { waits: self.holding.add(), _permit: permit });
        }
        let _waits = Counts::new(&self.waiting);
        let mut free = std::pin::pin!(self.places.clone().acquire_owned());
        let mut look = Instant::now();
        loop {
            tokio::select! {
                biased;
                permit = &mut free => {
                    let permit = permit.map_err(|_| busy())?;
                    return Ok(Place { waits: self.holding.add(), _permit: permit });
                }
                () = sleep_until(look) => {
                    let patience = self.patience();
                    // The place of who gives way goes to whoever waits the longest; each that waits asks one.
                    let next = self.holding.ask(patience).err().flatten();
                    look = next.unwrap_or_else(|| Instant::now() + patience);
                }
            }
        }
    }

    fn patience(&self) -> Duration {
        let limit = u32::try_from(self.limit).unwrap_or(u32::MAX);
        let parts = 1 + self.waiting.load(Ordering::Relaxed) / limit;
        self.holding.patience / parts.min(PATIENCE_PARTS_MAX)
    }
}

/// One of a number.
struct Counts<'a>(&'a AtomicU32);

impl<'a> Counts<'a> {
    fn new(number: &'a AtomicU32) -> Counts<'a> {
        number.fetch_add(1, Ordering::Relaxed);
        Counts(number)
    }
}

impl Drop for Counts<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Place {
    /// Carries out a handshake, unless it takes long and others wait.
    ///
    /// # Errors
    /// Others wait.
    pub(super) async fn hold<T>(self, handshake: impl Future<Output = T>) -> Result<T, Explanation> {
        tokio::select! {
            () = self.waits.wanted.cancelled() => Err(busy()),
            done = handshake => Ok(done),
        }
    }
}

fn busy() -> Explanation {
    Explanation::new(code::HANDSHAKE_TIMEOUT, "the handshake took long, and others wait")
        .halves(format!("an end within {} s while all places are taken", PATIENCE.as_secs()), "none yet")
        .hint("raise `limits.handshakes` if those were honest callers")
}

#[cfg(test)]
mod tests;
