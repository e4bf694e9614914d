//! Connections to one peer that carry many streams: kept, shared, and left once they are of no more use.
//!
//! One is made at a time, and with its first stream: until the other end has answered that, nobody knows
//! whether it accepts us, or how many streams it takes. Who waited for an attempt that failed is not made
//! to wait for another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use certus_pki::code;
use certus_pki::explain::Explanation;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout};

/// Connections of one peer that are kept for their streams: 6,400 streams at once.
const KEPT_MAX: usize = 64;
/// What the first stream of a connection may take.
const FIRST_WITHIN: Duration = Duration::from_secs(10);
/// What a stream may take on a connection that carried one before; then the other end may have forgotten
/// the connection, and another is tried.
const NEXT_WITHIN: Duration = Duration::from_secs(3);
/// Connections that turn out to end are passed over so often; then something else is wrong.
const TRIES_MAX: usize = 4;

/// A connection that carries many streams.
pub(super) trait Shared: Clone + Send {
    /// One of its streams.
    type Stream: Send;

    /// Whether it may get another stream at all.
    fn is_usable(&self) -> bool;

    /// How many of its streams are open.
    fn streams(&self) -> &Arc<AtomicUsize>;

    /// How many it takes at once.
    fn streams_max(&self) -> usize;

    /// Asks the other end for a stream, and waits for its answer; and, if told to, for another to end.
    fn open(&self, wait: bool) -> impl Future<Output = Opened<Self::Stream>> + Send;

    /// Takes it out of use: it gets no more streams, and ends with those it has.
    fn retire(&self);
}

/// What became of the wish for a stream.
pub(super) enum Opened<S> {
    Stream(S),
    /// The other end says no to this one.
    Refused(Explanation),
    /// The connection takes none any more; another may.
    Gone(Explanation),
    /// It takes none as long as none ends.
    Full,
}

/// One of a connection's streams, counted while it lives.
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub(super) fn new(streams: &Arc<AtomicUsize>) -> Counted {
        streams.fetch_add(1, Ordering::Relaxed);
        Counted(streams.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connections that are kept.
pub(super) struct Pool<C>(Mutex<Kept<C>>);

struct Kept<C> {
    connections: Vec<C>,
    /// When the last attempt that failed began, and why it did.
    failed: Option<(Instant, Explanation)>,
}

impl<C> Default for Pool<C> {
    fn default() -> Pool<C> {
        Pool(Mutex::new(Kept { connections: Vec::new(), failed: None }))
    }
}

/// Where a stream can be had.
enum Found<'a, C> {
    /// On a connection that stands.
    Kept(C, Counted, Room),
    /// On one that is yet to be made, by whoever holds this.
    None(MutexGuard<'a, Kept<C>>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Free,
    /// Every connection is full, and there shall be no more of them.
    Awaited,
}

impl<C: Shared> Pool<C> {
    /// A stream of a connection that is kept, or of another that `connect` makes.
    pub(super) async fn open<F>(
        &self,
        connect: impl Fn() -> F + Send,
    ) -> Result<(C, C::Stream, Counted), Explanation>
    where
        F: Future<Output = Result<C, Explanation>> + Send,
    {
        let mut why = None;
        for _ in 0..TRIES_MAX {
            match self.find().await? {
                Found::Kept(kept, counted, room) => {
                    let (wait, limit) = match room {
                        Room::Free => (false, NEXT_WITHIN),
                        Room::Awaited => (true, FIRST_WITHIN),
                    };
                    match timeout(limit, kept.open(wait)).await {
                        Ok(Opened::Stream(stream)) => return Ok((kept, stream, counted)),
                        Ok(Opened::Refused(why)) => return Err(why),
                        Ok(Opened::Full) => {}
                        Err(_) if wait => return Err(late()),
                        Err(_) => {
                            kept.retire();
                            why = Some(late());
                        }
                        Ok(Opened::Gone(reason)) => {
                            kept.retire();
                            why = Some(reason);
                        }
                    }
                }
                Found::None(mut pool) => {
                    let began = Instant::now();
                    let outcome = first(connect()).await;
                    let (made, opened) =
                        outcome.inspect_err(|why| pool.failed = Some((began, why.clone())))?;
                    pool.connections.push(made.clone());
                    let counted = Counted::new(made.streams());
                    return opened.map(|stream| (made, stream, counted));
                }
            }
        }
        Err(why.unwrap_or_else(late))
    }

    /// Keeps none any longer; those with streams end with them.
    pub(super) async fn clear(&self) {
        for kept in self.0.lock().await.connections.drain(..) {
            kept.retire();
        }
    }

    async fn find(&self) -> Result<Found<'_, C>, Explanation> {
        let came = Instant::now();
        let mut pool = self.0.lock().await;
        pool.connections.retain(C::is_usable);
        let has_room = |kept: &&C| kept.streams().load(Ordering::Relaxed) < kept.streams_max();
        let free = pool.connections.iter().find(has_room).map(|kept| (kept, Room::Free));
        let full = || pool.connections.first().filter(|_| pool.connections.len() >= KEPT_MAX);
        if let Some((kept, room)) = free.or_else(|| full().map(|kept| (kept, Room::Awaited))) {
            return Ok(Found::Kept(kept.clone(), Counted::new(kept.streams()), room));
        }
        match &pool.failed {
            Some((began, why)) if *began >= came => Err(why.clone()),
            _ => Ok(Found::None(pool)),
        }
    }
}

/// A new connection, and its first stream unless that was refused.
async fn first<C: Shared>(
    connecting: impl Future<Output = Result<C, Explanation>>,
) -> Result<(C, Result<C::Stream, Explanation>), Explanation> {
    let made = connecting.await?;
    let why = match timeout(FIRST_WITHIN, made.open(true)).await {
        Ok(Opened::Stream(stream)) => return Ok((made, Ok(stream))),
        Ok(Opened::Refused(why)) => return Ok((made, Err(why))),
        Ok(Opened::Gone(why)) => why,
        Ok(Opened::Full) | Err(_) => late(),
    };
    made.retire();
    Err(why)
}

fn late() -> Explanation {
    Explanation::new(code::PEER_UNREACHABLE, "the peer opens no stream")
        .halves("an answer", format!("none within {} s", FIRST_WITHIN.as_secs()))
}
