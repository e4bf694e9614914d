//! What daemons share: they run until the system tells them to end, and tell it how they are.

mod notify;

use certus_pki::{Explanation, code};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use notify::{Notify, START_EVERY};

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
    notify: std::sync::Arc<Notify>,
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
            notify: std::sync::Arc::new(Notify::from_environment()),
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

    /// The daemon does its work now, in so many words; from here on the service manager gets the signs of
    /// life that it wants.
    pub(crate) fn ready(&self, status: &str) {
        self.notify.ready(status);
        let Some(every) = self.notify.watchdog() else { return };
        let notify = self.notify.clone();
        // On a thread of the runtime, where the work is done too: if none gets on, nothing is said.
        tokio::spawn(async move {
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                notify.alive();
            }
        });
    }

    /// The daemon ends.
    pub(crate) fn stopping(&self) {
        self.notify.stopping();
    }

    /// Runs `work`, which is the start, unless the daemon is told to end before it is done.
    pub(crate) async fn unless_told<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let notify = self.notify.clone();
        notify.starting();
        let patience = async move {
            loop {
                tokio::time::sleep(START_EVERY).await;
                notify.starting();
            }
        };
        tokio::select! {
            done = work => Some(done),
            () = patience => None,
            signal = self.told() => {
                tracing::info!(signal, "told to end before the start was done");
                None
            }
        }
    }
}
