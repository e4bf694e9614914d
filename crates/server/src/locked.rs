//! Autolock at work: a locked manager that waits for its unlock key, and an open one whose lock changes.
//!
//! A locked manager has opened nothing but its admin socket: no store, no address. It says that it is
//! locked, takes the key, and goes on.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use certus_node::admin::{self, Admin};
use certus_node::files::NodeDir;
use certus_pki::explain::{Explain, Explanation};
use certus_pki::key::Passphrase;
use certus_pki::{ClusterName, code};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::house::House;
use crate::keys::{Kept, KeysError, ManagerDir};
use crate::lock::WrappedKey;
use crate::manager::StartError;
use crate::sealing::SealingKey;
use crate::socket::{answer, secret_text};
use crate::storage::blocking;

/// After the first wrong key; it doubles with each further one. A mistyped key costs a moment, and
/// guessing through the socket is never quicker than the 0.2 s of work that a copy of the file costs.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// The longest pause: an operator who found the right key at last is not kept waiting for hours.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// For the answer to leave, and for others at the socket to end, before the open manager takes it over.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// Opens the cluster key, so that `place` holds it from then on: plain as it is, or with `passphrase`, or
/// with the one that is brought to the admin socket, however long that takes. Says whether it was locked.
pub(crate) async fn open_cluster_key(
    place: &ManagerDir,
    dir: &NodeDir,
    passphrase: Option<&Passphrase>,
) -> Result<bool, StartError> {
    let kept = place.kept_cluster_key().map_err(StartError::Keys)?;
    let autolock = matches!(kept, Kept::Locked(_));
    let key = match (kept, passphrase) {
        (Kept::Plain(key), None) => key,
        (Kept::Plain(key), Some(_)) => {
            info!("the cluster key is not locked: the passphrase was not needed");
            key
        }
        (Kept::Locked(wrapped), Some(passphrase)) => {
            let opened = blocking(|| wrapped.open(passphrase));
            opened.map_err(|error| StartError::Keys(KeysError::Lock(error)))?
        }
        (Kept::Locked(wrapped), None) => brought(wrapped, dir).await?,
    };
    place.hold(key);
    Ok(autolock)
}

/// Serves the admin socket until somebody brings the right key.
async fn brought(wrapped: WrappedKey, dir: &NodeDir) -> Result<SealingKey, StartError> {
    let (opened, opens) = oneshot::channel();
    let cluster = wrapped.cluster().clone();
    let locked = locked(&cluster, &dir.root().display().to_string());
    let door = Arc::new(Door {
        wrapped,
        locked: locked.clone(),
        attempts: tokio::sync::Mutex::default(),
        opened: std::sync::Mutex::new(Some(opened)),
    });
    let reason = locked.clone();
    let admin = Admin {
        reasons: Arc::new(move || vec![reason.clone()]),
        metrics: Arc::default(),
        refresh: Arc::new(|| {}),
    };
    let router = admin::router(admin).merge(self::door(door));
    let stop = CancellationToken::new();
    // Also where the start is given up.
    let _stop_with_us = stop.clone().drop_guard();
    let serving = admin::serve_unix(&dir.admin_socket(), router, stop.clone()).await;
    let mut serving = serving.map_err(StartError::Admin)?;
    warn!(explanation = %locked, "the manager waits for its unlock key");
    let Ok(key) = opens.await else {
        // The socket's task ended, and the door with it.
        return Err(StartError::Keys(KeysError::Locked { cluster }));
    };
    stop.cancel();
    if tokio::time::timeout(LEAVE_WITHIN, &mut serving).await.is_err() {
        serving.abort();
        let _ = serving.await;
    }
    info!("the manager is unlocked");
    Ok(key)
}

fn locked(cluster: &ClusterName, data_dir: &str) -> Explanation {
    Explanation::new(code::LOCKED, KeysError::Locked { cluster: cluster.clone() }.to_string())
        .halves("the unlock key", "none yet")
        .hint(format!("certus node unlock --data-dir {data_dir}"))
}

/// What the key is brought to.
struct Door {
    wrapped: WrappedKey,
    locked: Explanation,
    /// One attempt at a time.
    attempts: tokio::sync::Mutex<Attempts>,
    opened: std::sync::Mutex<Option<oneshot::Sender<SealingKey>>>,
}

/// Wrong keys in a row, and since when the last one was.
#[derive(Default)]
struct Attempts {
    wrong: u32,
    last: Option<Instant>,
}

impl Attempts {
    /// How long nobody is heard yet.
    fn pause(&self, now: Instant) -> Option<Duration> {
        let pause = PAUSE_FIRST.saturating_mul(1 << self.wrong.saturating_sub(1).min(16)).min(PAUSE_MAX);
        let waited = now.saturating_duration_since(self.last?);
        pause.checked_sub(waited).filter(|left| !left.is_zero())
    }

    fn note_wrong(&mut self, now: Instant) {
        self.wrong = self.wrong.saturating_add(1);
        self.last = Some(now);
    }
}

/// `POST /unlock` with the key as its body; everything else that an open manager serves is refused.
fn door(door: Arc<Door>) -> Router {
    let refusal = door.locked.clone();
    Router::new()
        .route("/unlock", post(unlock))
        .fallback(move || std::future::ready(answer(Err(refusal.clone()))))
        .with_state(door)
}

async fn unlock(State(door): State<Arc<Door>>, body: Bytes) -> Response {
    answer(try_key(&door, body).await)
}

async fn try_key(door: &Door, body: Bytes) -> Result<Value, Explanation> {
    let passphrase = Passphrase::new(secret_text(body)?);
    let Ok(mut attempts) = door.attempts.try_lock() else {
        return Err(too_soon("while another key is tried"));
    };
    if let Some(left) = attempts.pause(Instant::now()) {
        let secs = left.as_millis().div_ceil(1000);
        return Err(too_soon(&format!("{secs} s after a wrong key")));
    }
    match blocking(|| door.wrapped.open(&passphrase)) {
        Ok(key) => {
            let opened = door.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
            // Whoever comes second finds it open.
            let _ = opened.map(|opened| opened.send(key));
            Ok(json!({ "was_locked": true }))
        }
        Err(error) => {
            attempts.note_wrong(Instant::now());
            let why = error.explain();
            warn!(explanation = %why, wrong = attempts.wrong, "the manager was not unlocked");
            Err(why)
        }
    }
}

fn too_soon(when: &str) -> Explanation {
    Explanation::new(code::RATE_LIMITED, format!("no key is taken {when}")).hint("try again after that")
}

/// `GET /autolock`, `POST /autolock/{on,off,rotate}` with the new unlock key as its body, and `/unlock`,
/// which an open manager has nothing to do for.
pub(crate) fn router(house: House) -> Router {
    let lock = Arc::new(Lock { house, one_at_a_time: tokio::sync::Mutex::default() });
    Router::new()
        .route("/unlock", post(async || answer(Ok(json!({ "was_locked": false })))))
        .route("/autolock", get(status))
        .route("/autolock/{change}", post(change))
        .with_state(lock)
}

struct Lock {
    house: House,
    one_at_a_time: tokio::sync::Mutex<()>,
}

async fn status(State(lock): State<Arc<Lock>>) -> Response {
    answer(lock.is_on().map(|on| json!({ "autolock": on })))
}

async fn change(State(lock): State<Arc<Lock>>, Path(change): Path<String>, body: Bytes) -> Response {
    answer(lock.change(&change, body).await)
}

impl Lock {
    fn is_on(&self) -> Result<bool, Explanation> {
        let kept = self.house.place.kept_cluster_key().map_err(|error| error.explain())?;
        Ok(matches!(kept, Kept::Locked(_)))
    }

    async fn change(&self, change: &str, body: Bytes) -> Result<Value, Explanation> {
        let passphrase = Passphrase::new(secret_text(body)?);
        let _one_at_a_time = self.one_at_a_time.lock().await;
        let lock = match (change, self.is_on()?) {
            ("on", false) | ("rotate", true) => Some(&passphrase),
            ("off", true) => None,
            ("on", true) => {
                return Err(Explanation::new(code::ALREADY_EXISTS, "autolock is on already")
                    .hint("certus cluster autolock rotate makes a new unlock key"));
            }
            ("off" | "rotate", false) => {
                return Err(Explanation::new(code::NOT_LOCKED, "autolock is not on")
                    .halves("a cluster key under an unlock key", "a plain one")
                    .hint("certus cluster autolock on"));
            }
            _ => return Err(Explanation::new(code::BAD_MESSAGE, "autolock goes on, off or is rotated")),
        };
        let place = &self.house.place;
        let (cluster, _) = self.house.signing().map_err(|error| error.explain())?;
        let key = place.cluster_key().map_err(|error| error.explain())?;
        let written = blocking(|| place.write_cluster_key(&cluster.name, &key, lock));
        written.map_err(|error| error.explain())?;
        // This manager's own key follows; should it fail, the next start finishes it.
        let followed = blocking(|| self.house.files.set_lock(lock.is_some()));
        followed.map_err(|error| error.explain())?;
        self.house.shared.autolock.store(lock.is_some(), Ordering::Relaxed);
        warn!(change, manager = %self.house.shared.identity, "autolock was changed at the admin socket");
        Ok(json!({ "autolock": lock.is_some() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i6_each_wrong_key_is_followed_by_a_longer_pause() {
        let now = Instant::now();
        let mut attempts = Attempts::default();
        assert_eq!(attempts.pause(now), None);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            attempts.note_wrong(now);
            pauses.push(attempts.pause(now).unwrap().as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(attempts.pause(now + Duration::from_secs(60)), None);
        attempts.wrong = u32::MAX;
        assert_eq!(attempts.pause(now), Some(PAUSE_MAX));
    }
}
