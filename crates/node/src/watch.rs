//! The stream by which managers tell a node what changed, kept alive through their absence.
//!
//! Brings news and carries reports; what the news means is decided by the keeper.

use std::time::Duration;

use certus_pki::explain::Explanation;
use certus_pki::renewal::backoff_secs;
use certus_pki::{Bundle, Delta, Epoch, code, defaults};
use certus_tls::Credentials;
use certus_wire::{bundle_from_wire, epoch_to_wire, v1};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::api::{Api, ApiError, Watching};
use crate::clock::{duration, jitter, wait};
use crate::keeper::Wake;

/// What the stream brings.
#[derive(Debug)]
pub(crate) enum News {
    /// A manager answered the first report.
    Open,
    /// Everything, anew.
    Whole(Box<Bundle>),
    /// What changed.
    Changed(Delta),
    /// The manager lives.
    Alive,
    /// Where the managers are.
    Managers(Vec<String>),
    /// The stream is no more; the next attempt comes after a pause.
    Ended {
        /// Why.
        error: ApiError,
        /// How long until the next attempt.
        pause: Duration,
    },
}

/// What the keeper has put in force, for the stream to report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Enforced {
    /// The newest epoch in force.
    pub(crate) epoch: Epoch,
    /// Connections cut since the process began.
    pub(crate) cut: u64,
    /// Raised when the stream shall be opened anew, under a new identity.
    pub(crate) identity: u64,
}

/// A manager that is back is found within this, also after a long absence.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The nodes of a manager that ended come to the others within this: long enough for the handshakes of a
/// thousand, short enough that a revocation is heard of soon.
const SPREAD: Duration = Duration::from_secs(2);

/// A node watches at one manager for so long at least, and then chooses anew: a manager in a thief's hands
/// could keep news from those who watch at it, and shall not for longer than half of
/// [`defaults::REVOCATION_STALE_AFTER`]. It also evens out who watches where after managers came and went.
const STAY_MIN: Duration = Duration::from_secs(15 * 60);
/// So much longer at most, so that nodes do not move together.
const STAY_SPREAD: Duration = Duration::from_secs(15 * 60);

/// The first report and one more; later ones supersede each other before they are sent.
const REPORTS_QUEUED_MAX: usize = 2;

/// Watches until the keeper is gone or `stop`.
pub(crate) async fn run(
    api: Api,
    credentials: Credentials,
    keeper: mpsc::Sender<Wake>,
    mut enforced: watch::Receiver<Enforced>,
    stop: CancellationToken,
) {
    let mut failures = 0;
    loop {
        let mut heard = false;
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = one_stream(&api, &credentials, &keeper, &mut enforced, &mut heard) => ended,
        };
        let error = match ended {
            // Renewed: at once, and from where we are.
            Ended::IdentityChanged => continue,
            Ended::StayedLongEnough => {
                api.move_on();
                continue;
            }
            Ended::KeeperGone => return,
            Ended::Failed(error) => error,
        };
        failures = if heard { 1 } else { failures + 1 };
        let pause = match failures {
            // All nodes of a manager that ended notice it at once, and shall not run to the next at once.
            1 => wait(SPREAD.as_secs_f64() * f64::from(jitter()) / 255.0),
            _ => wait(backoff_secs(failures, i64::MAX, jitter())).min(PAUSE_MAX),
        };
        if keeper.send(Wake::Watch(News::Ended { error, pause })).await.is_err() {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        api.redial();
    }
}

enum Ended {
    IdentityChanged,
    /// It is time to hear another manager.
    StayedLongEnough,
    KeeperGone,
    Failed(ApiError),
}

async fn one_stream(
    api: &Api,
    credentials: &Credentials,
    keeper: &mpsc::Sender<Wake>,
    enforced: &mut watch::Receiver<Enforced>,
    heard: &mut bool,
) -> Ended {
    let (reports, outgoing) = mpsc::channel(REPORTS_QUEUED_MAX);
    let mut reported = *enforced.borrow_and_update();
    // What we have is what is published: the keeper's word of it may be on its way.
    reported.epoch = credentials.current().epoch();
    let first = v1::WatchReport { enforced: Some(epoch_to_wire(reported.epoch)), cut: 0 };
    if reports.send(first).await.is_err() {
        return Ended::KeeperGone;
    }
    let outgoing = ReceiverStream::new(outgoing);
    let mut watching = match api.watch(outgoing).await {
        Ok(watching) => watching,
        Err(error) => return Ended::Failed(error),
    };
    if keeper.send(Wake::Watch(News::Open)).await.is_err() {
        return Ended::KeeperGone;
    }
    let stay = STAY_MIN + STAY_SPREAD.mul_f64(f64::from(jitter()) / 255.0);
    let moves = tokio::time::Instant::now() + stay;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(moves), if api.addresses().len() > 1 => {
                return Ended::StayedLongEnough;
            }
            update = tokio::time::timeout(duration(defaults::SILENCE_MAX), watching.next()) => {
                let news = match update {
                    Ok(Ok(Some(update))) => news(&update),
                    Ok(Ok(None)) => Err(left(&watching, "the manager ended the stream")),
                    Ok(Err(error)) => Err(error),
                    Err(_) => Err(left(&watching, "the manager was silent for longer than a living one is")),
                };
                match news {
                    Ok(news) => {
                        *heard = true;
                        if keeper.send(Wake::Watch(news)).await.is_err() {
                            return Ended::KeeperGone;
                        }
                    }
                    Err(error) => return Ended::Failed(error),
                }
            }
            changed = enforced.changed() => {
                let now = *enforced.borrow_and_update();
                if changed.is_err() {
                    return Ended::KeeperGone;
                }
                if now.epoch > reported.epoch || now.cut > reported.cut {
                    let cut = u32::try_from(now.cut - reported.cut).unwrap_or(u32::MAX);
                    let report = v1::WatchReport { enforced: Some(epoch_to_wire(now.epoch)), cut };
                    if reports.send(report).await.is_err() {
                        return Ended::Failed(ended("the manager takes no more reports"));
                    }
                }
                if now.identity != reported.identity {
                    return Ended::IdentityChanged;
                }
                reported = now;
            }
        }
    }
}

fn news(update: &v1::WatchUpdate) -> Result<News, ApiError> {
    use v1::watch_update::Kind;
    match &update.kind {
        Some(Kind::Bundle(bundle)) => {
            let bundle = bundle_from_wire(bundle).map_err(|malformed| ApiError::bad_answer(&malformed))?;
            Ok(News::Whole(Box::new(bundle)))
        }
        Some(Kind::Delta(delta)) => {
            let delta = Delta::try_from(delta).map_err(|malformed| ApiError::bad_answer(&malformed))?;
            Ok(News::Changed(delta))
        }
        Some(Kind::Managers(managers)) => Ok(News::Managers(managers.addresses.clone())),
        // None is a kind that only a newer manager knows: a sign of life too.
        Some(Kind::Heartbeat(_)) | None => Ok(News::Alive),
    }
}

/// The stream ended without an error of its own; the next begins at another manager.
fn left(watching: &Watching, why: &str) -> ApiError {
    watching.leave(why);
    ended(why)
}

fn ended(why: &str) -> ApiError {
    ApiError::Refused(Explanation::new(code::UNAVAILABLE, why))
}
