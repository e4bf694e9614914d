//! Why a replica stopped, told once to everybody who waits for it.

use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// The disk or the state failed: the replica has stopped, and only opening it again can help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the replica has stopped: {what}")]
pub struct Failure {
    /// The whole chain of causes, in words.
    pub what: Arc<str>,
}

/// Where the first failure is put. Those that follow from it are not kept.
#[derive(Clone, Debug)]
pub(super) struct Failures {
    sender: watch::Sender<Option<Failure>>,
    stopping: Arc<AtomicBool>,
}

impl Failures {
    pub(super) fn new() -> Failures {
        Failures { sender: watch::Sender::new(None), stopping: Arc::default() }
    }

    pub(super) fn report(&self, error: &dyn Error) {
        self.report_words(chain(error));
    }

    pub(super) fn report_words(&self, what: String) {
        if self.stopping() {
            return;
        }
        self.sender.send_if_modified(|first| {
            if first.is_some() {
                return false;
            }
            tracing::error!(%what, "the replica stops");
            *first = Some(Failure { what: what.into() });
            true
        });
    }

    /// From now on an end is wanted and no failure.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    pub(super) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(super) fn first(&self) -> Option<Failure> {
        self.sender.borrow().clone()
    }

    /// Waits for a failure; for ever, if there is none.
    pub(super) async fn wait(&self) -> Failure {
        let mut receiver = self.sender.subscribe();
        let found = receiver.wait_for(Option::is_some).await;
        match found.ok().and_then(|failure| failure.clone()) {
            Some(failure) => failure,
            // Not reached: the sender is ours. Waiting is what no failure means.
            None => std::future::pending().await,
        }
    }
}

fn chain(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let _ = write!(words, ": {cause}");
        next = cause.source();
    }
    words
}
