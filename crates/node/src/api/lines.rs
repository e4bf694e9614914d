//! The connections to managers: the one that is kept, and who dials the next.
//!
//! Sends nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use certus_tls::Client;
use tokio::time::Instant;
use tonic::Status;

use super::book::Book;
use super::dial::{Dialer, Line};
use super::error::{Cause, Tried};
use crate::metrics::Metrics;

/// Shared by the clones of a client.
pub(super) struct Lines {
    pub(super) book: Book,
    dialer: Dialer,
    kept: Mutex<Option<Arc<Line>>>,
    /// Raised by every change of our identity: what was dialled before is not kept.
    identity: AtomicU64,
    /// Whoever dials; others wait for what it finds.
    dialing: tokio::sync::Mutex<()>,
}

impl Lines {
    pub(super) fn new(book: Book, client: Client, metrics: Metrics) -> Lines {
        let dialer = Dialer { client, metrics };
        let (kept, dialing) = (Mutex::default(), tokio::sync::Mutex::default());
        Lines { book, dialer, kept, identity: AtomicU64::new(0), dialing }
    }

    /// Every address, in the order in which to try them: the connection that is kept first.
    pub(super) fn order(&self) -> Vec<String> {
        let mut order = self.book.order();
        if let Some(kept) = self.kept(&[]) {
            order.retain(|address| *address != kept.address);
            order.insert(0, kept.address.clone());
        }
        order
    }

    pub(super) fn all(&self) -> Vec<String> {
        self.book.all()
    }

    /// The kept connection, unless it is to one of `asked`; else one to `address`.
    pub(super) async fn line(
        &self,
        address: &str,
        limit: Duration,
        asked: &[String],
    ) -> Result<Arc<Line>, Cause> {
        if let Some(kept) = self.kept(asked) {
            return Ok(kept);
        }
        let since = Instant::now();
        let turn = tokio::time::timeout(limit, self.dialing.lock()).await;
        let _turn = turn.map_err(|_| Cause::Io(format!("no answer within {:.1} s", limit.as_secs_f32())))?;
        if let Some(kept) = self.kept(asked) {
            return Ok(kept);
        }
        if let Some(cause) = self.book.failed_since(address, since) {
            return Err(cause);
        }
        let identity = self.identity.load(Ordering::Acquire);
        match self.dialer.dial(address, limit.saturating_sub(since.elapsed()), identity).await {
            Ok(line) => {
                let line = Arc::new(line);
                self.book.works(address);
                let mut kept = self.keep();
                if self.is_current(&line) {
                    *kept = Some(line.clone());
                }
                Ok(line)
            }
            Err(cause) => {
                self.book.failed(address, cause.clone());
                Err(cause)
            }
        }
    }

    /// It broke, or says nothing: nobody shall wait on it again, nor begin with its manager.
    pub(super) fn broken(&self, line: &Arc<Line>, cause: Cause) {
        self.book.failed(&line.address, cause);
        self.leave(line);
    }

    /// The same, in words.
    pub(super) fn silent(&self, line: &Arc<Line>, why: &str) {
        self.broken(line, Cause::Io(why.to_owned()));
    }

    /// A stream on it ended with `error`. What happened to the connection below, if anything did.
    pub(super) fn ended(&self, line: &Arc<Line>, status: &Status) -> Vec<Tried> {
        if !status.details().is_empty() {
            // The manager said so itself; it may be about to stop.
            self.book.failed(&line.address, Cause::Io(status.message().to_owned()));
            self.leave(line);
            return Vec::new();
        }
        let cause = line.cause(status);
        self.broken(line, cause.clone());
        vec![Tried { address: line.address.clone(), cause }]
    }

    /// It brought an answer: where none is kept, it is.
    pub(super) fn answered(&self, line: &Arc<Line>) {
        let mut kept = self.keep();
        if self.is_current(line) && kept.as_ref().is_none_or(|kept| !kept.is_usable()) {
            self.book.works(&line.address);
            *kept = Some(line.clone());
        }
    }

    /// Its manager cannot answer now: the next call may go elsewhere. Streams on it go on.
    pub(super) fn leave(&self, line: &Arc<Line>) {
        let mut kept = self.keep();
        if kept.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, line)) {
            *kept = None;
        }
    }

    /// Our identity changed: forgets the kept connection. Streams on it go on.
    pub(super) fn redial(&self) {
        let mut kept = self.keep();
        self.identity.fetch_add(1, Ordering::AcqRel);
        *kept = None;
    }

    fn is_current(&self, line: &Line) -> bool {
        line.identity == self.identity.load(Ordering::Acquire)
    }

    fn kept(&self, asked: &[String]) -> Option<Arc<Line>> {
        let kept = self.keep().clone();
        kept.filter(|line| line.is_usable() && !asked.contains(&line.address))
    }

    fn keep(&self) -> std::sync::MutexGuard<'_, Option<Arc<Line>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
