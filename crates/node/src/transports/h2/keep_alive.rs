//! Notices that the other end is gone: a ping now and then, and a limit for its answer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ::h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

use super::Limits;
use super::error::H2Error;

/// Polled along with the connection, which moves the pings.
pub(super) struct KeepAlive {
    pings: Option<PingPong>,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
    every: Duration,
    answer: Duration,
}

impl KeepAlive {
    pub(super) fn new(pings: Option<PingPong>, limits: &Limits) -> KeepAlive {
        KeepAlive {
            pings,
            timer: Box::pin(sleep(limits.keep_alive)),
            waiting: false,
            every: limits.keep_alive,
            answer: limits.keep_alive_answer,
        }
    }

    /// Ready when the other end is dead.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<H2Error> {
        let Some(pings) = &mut self.pings else { return Poll::Pending };
        loop {
            if self.waiting {
                match pings.poll_pong(cx) {
                    Poll::Ready(Ok(_)) => {
                        self.waiting = false;
                        self.timer.as_mut().reset(Instant::now() + self.every);
                    }
                    // The connection itself says why it ended.
                    Poll::Ready(Err(_)) => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if self.waiting {
                return Poll::Ready(H2Error::Silent { limit: self.answer });
            }
            if pings.send_ping(Ping::opaque()).is_err() {
                return Poll::Pending;
            }
            self.waiting = true;
            self.timer.as_mut().reset(Instant::now() + self.answer);
        }
    }
}
