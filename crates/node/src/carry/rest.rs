//! When a draining connection may be ended in order: while it rests between two requests.
//!
//! Knows nothing of what is carried. A service had the last word, and nothing moved for a while: then
//! nobody waits for an answer, and nothing is cut in half where the caller's direction ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Longer than pauses within a conversation; who keeps connections for later does so for minutes.
pub(super) const REST: Duration = Duration::from_secs(3);

/// What moved on one connection, and what asks it to end.
pub(super) struct Rest<'a> {
    /// What moved last, in the lowest two bits, and how often something did, in the others.
    moved: AtomicU64,
    asks: Asks<'a>,
    ends_with_answer: bool,
    pause: Duration,
}

/// The caller had the last word.
const ASKED: u64 = 1;
/// And it is not all with the service yet.
const ON_ITS_WAY: u64 = 2;
const ONE_MORE: u64 = 4;

/// What asks a connection to end.
pub(super) enum Asks<'a> {
    /// Its admission drains, or its node closes.
    Either(CancellationToken, &'a CancellationToken),
    /// Nothing: its streams are asked by the connection that they are of.
    Nothing,
}

impl<'a> Rest<'a> {
    pub(super) fn new(asks: Asks<'a>, ends_with_answer: bool) -> Rest<'a> {
        Rest { moved: AtomicU64::new(0), asks, ends_with_answer, pause: REST }
    }

    /// The caller said something, which is on its way now.
    pub(super) fn asked(&self) {
        self.turns(|moved| (moved | ASKED | ON_ITS_WAY).wrapping_add(ONE_MORE));
    }

    /// The service has what the caller said.
    pub(super) fn delivered(&self) {
        self.turns(|moved| (moved & !ON_ITS_WAY).wrapping_add(ONE_MORE));
    }

    /// The service said something.
    pub(super) fn answered(&self) {
        self.turns(|moved| (moved & !ASKED).wrapping_add(ONE_MORE));
    }

    // Both directions are one task's.
    fn turns(&self, turn: impl Fn(u64) -> u64) {
        self.moved.store(turn(self.moved.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    /// Whether the connection ends once the service has, for transports in which one side ends both ways.
    pub(super) fn ends_with_answer(&self) -> bool {
        self.ends_with_answer
    }

    /// Waits until it shall end and rests.
    pub(super) async fn begins(&self) {
        match &self.asks {
            Asks::Either(draining, closing) => tokio::select! {
                () = draining.cancelled() => {}
                () = closing.cancelled() => {}
            },
            Asks::Nothing => std::future::pending().await,
        }
        loop {
            let before = self.moved.load(Ordering::Relaxed);
            tokio::time::sleep(self.pause).await;
            if before & (ASKED | ON_ITS_WAY) == 0 && self.moved.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_rests_where_the_service_had_the_last_word_and_all_is_delivered() {
        let (draining, closing) = (CancellationToken::new(), CancellationToken::new());
        let asks = Asks::Either(draining.clone(), &closing);
        let rest = Rest { pause: Duration::from_millis(1), ..Rest::new(asks, false) };
        let long = || tokio::time::sleep(Duration::from_millis(50));
        let mut begins = std::pin::pin!(rest.begins());
        tokio::select! { () = &mut begins => panic!("nothing asks"), () = long() => {} }
        draining.cancel();
        rest.asked();
        rest.delivered();
        tokio::select! { () = &mut begins => panic!("an answer is awaited"), () = long() => {} }
        rest.asked();
        rest.answered();
        tokio::select! { () = &mut begins => panic!("half of it is on its way"), () = long() => {} }
        rest.delivered();
        begins.await;
    }
}
