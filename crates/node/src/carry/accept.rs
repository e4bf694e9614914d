//! Accepting: a loop that nothing a caller does can end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use certus_pki::code;
use certus_pki::explain::Explanation;
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};

use super::seats::{Seat, Seats};
use super::{Current, Run};
use crate::api::tune;
use crate::metrics::Metrics;
use crate::seldom::Seldom;

/// Out of file descriptors or memory: others must end first, and asking at once only burns time.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// What is done with a connection that was accepted.
pub(super) trait End: Send + Sync + 'static {
    /// Its name in logs.
    fn name(&self) -> &str;

    /// How many connections there may be at once.
    fn connections_max(&self) -> usize;

    /// A connection was turned away.
    fn refused(&self, from: SocketAddr, why: Explanation);

    /// Carries one connection until it ends, or until the run ends.
    fn carry(
        self: Arc<Self>,
        tcp: TcpStream,
        from: SocketAddr,
        seat: Seat,
        run: Run,
    ) -> impl Future<Output = ()> + Send;
}

/// One bound address.
pub(super) struct Accepting {
    pub(super) tcp: TcpListener,
    pub(super) metrics: Metrics,
    pub(super) run: Run,
}

impl Accepting {
    /// Accepts until closing. Each connection is carried by a task of its own, so that a slow handshake
    /// holds up nobody.
    pub(super) async fn run<E: End>(self, current: Current<E>) {
        let (seats, seldom) = (Seats::new(), Seldom::default());
        loop {
            let accepted = tokio::select! {
                () = self.run.closing.cancelled() => return,
                accepted = self.tcp.accept() => accepted,
            };
            let end = current.get();
            let (tcp, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.refused_by_system(end.name(), &error, &seats, &seldom).await;
                    continue;
                }
            };
            let limit = end.connections_max();
            let Some(seat) = seats.take(limit) else {
                end.refused(from, too_many(limit));
                continue;
            };
            let run = self.run.clone();
            self.run.tasks.spawn(async move {
                tune(&tcp);
                end.carry(tcp, from, seat, run).await;
            });
        }
    }

    async fn refused_by_system(&self, name: &str, error: &io::Error, seats: &Seats, seldom: &Seldom) {
        self.metrics.accept_failed();
        let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
        if exhausted.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) {
            let asked = seats.clear_unsettled();
            if let Some(before) = seldom.says(Instant::now()) {
                tracing::warn!(name, %error, asked, before, "cannot accept now; trying again");
            }
            tokio::time::sleep(EXHAUSTED_PAUSE).await;
        } else {
            // The caller went away before it was accepted.
            tracing::debug!(name, %error, "a connection was gone before it was accepted");
        }
    }
}

/// A listener that is full.
pub(super) fn too_many(limit: usize) -> Explanation {
    Explanation::new(code::TOO_MANY_CONNECTIONS, "too many connections at once")
        .halves(format!("{limit} at most"), "one more")
}
