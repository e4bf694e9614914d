//! What daemons share: they run until the system tells them to end.

use certus_pki::{Explanation, code};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the system can tell a daemon.
pub(crate) enum Letter {
    /// End, by the signal of this name.
    End(&'static str),
    /// Read the configuration again.
    Reload,
}

/// The signals that end a daemon, listened to from its first moment on.
pub(crate) struct Ending {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Ending {
    /// Listens from now on; until then a signal ends the process at once.
    pub(crate) fn listen() -> Result<Ending, Explanation> {
        let cannot = |error: std::io::Error| {
            Explanation::new(code::UNAVAILABLE, "cannot listen to signals").fact("the system says", error)
        };
        Ok(Ending {
            interrupt: signal(SignalKind::interrupt()).map_err(cannot)?,
            terminate: signal(SignalKind::terminate()).map_err(cannot)?,
            hangup: signal(SignalKind::hangup()).map_err(cannot)?,
        })
    }

    /// The next thing that the system tells the daemon.
    pub(crate) async fn next(&mut self) -> Letter {
        tokio::select! {
            _ = self.interrupt.recv() => Letter::End("SIGINT"),
            _ = self.terminate.recv() => Letter::End("SIGTERM"),
            _ = self.hangup.recv() => Letter::Reload,
        }
    }

    /// Returns when the daemon shall end, with the signal's name; it has nothing to read again.
    pub(crate) async fn told(&mut self) -> &'static str {
        loop {
            match self.next().await {
                Letter::End(signal) => return signal,
                Letter::Reload => tracing::info!("SIGHUP: there is nothing to read again"),
            }
        }
    }

    /// Runs `work` unless the daemon is told to end before it is done.
    pub(crate) async fn unless_told<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            signal = self.told() => {
                tracing::info!(signal, "told to end before the start was done");
                None
            }
        }
    }
}
