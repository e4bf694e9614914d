//! Keeps the log from being cut while a member is sent the state, and for a while after.
//!
//! The entries that follow the state are what the member needs next. Without them it would have to be sent
//! the state again, and so on for ever where changes come faster than the state travels.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::failure::Failures;

/// How often it is looked whether the log may be cut.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who holds the log back. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    state: Arc<Mutex<State>>,
    /// For how long after a state was sent.
    after: Duration,
}

#[derive(Debug, Default)]
struct State {
    sending: usize,
    until: Option<Instant>,
}

impl Hold {
    pub(super) fn new(after: Duration) -> Hold {
        Hold { state: Arc::default(), after }
    }

    /// A state is being sent, for as long as the value lives.
    pub(super) fn begin(&self) -> Held {
        self.state().sending += 1;
        Held(self.clone())
    }

    /// Waits until nothing holds the log back, or the replica stops.
    pub(super) async fn released(&self, failures: &Failures) {
        while self.holds() && !failures.stopping() {
            sleep(LOOK_EVERY).await;
        }
    }

    fn holds(&self) -> bool {
        let state = self.state();
        state.sending > 0 || state.until.is_some_and(|until| Instant::now() < until)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A state on its way.
#[derive(Debug)]
pub(super) struct Held(Hold);

impl Drop for Held {
    fn drop(&mut self) {
        let until = Instant::now() + self.0.after;
        let mut state = self.0.state();
        state.sending = state.sending.saturating_sub(1);
        state.until = Some(until);
    }
}
