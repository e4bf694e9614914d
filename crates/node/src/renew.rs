//! Renewal: when it is due, how it is asked for, and what of the answer is believed.

use std::sync::Arc;
use std::time::Duration;

use certus_pki::csr::BadRequest;
use certus_pki::defaults::BACKDATE;
use certus_pki::explain::{Explain, Explanation};
use certus_pki::renewal::{backoff_secs, overdue_at, renew_at};
use certus_pki::{Certificate, Csr, PrivateKey, PublicKey, SpiffeId, UnixTime, code};
use certus_tls::{BadIdentity, NotPublished};
use certus_wire::{credentials_from_wire, v1};
use tokio::time::Instant;

use crate::api::{Api, ApiError};
use crate::clock::wait;
use crate::files::{FileError, IdentityDir};

/// A wall clock may jump, and a machine may sleep, so no wait is longer than this.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// When the next certificate is asked for. No clock, no chance: both are handed in.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    issued_at: UnixTime,
    not_after: UnixTime,
    jitter: u8,
    /// Somebody wants it now.
    asked: bool,
    failures: u32,
    retry_at: Option<Instant>,
}

/// What to do about renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing yet; look again then, at the latest.
    Wait(Duration),
    /// Ask a manager.
    Renew,
}

impl Schedule {
    /// The schedule of a leaf that was just put in force.
    pub(crate) fn of(leaf: &Certificate, jitter: u8) -> Schedule {
        let issued_at = leaf.not_before.plus(BACKDATE);
        // A leaf of another make may not be back-dated, or live no longer than that.
        let issued_at = if issued_at < leaf.not_after { issued_at } else { leaf.not_before };
        Schedule { issued_at, not_after: leaf.not_after, jitter, asked: false, failures: 0, retry_at: None }
    }

    /// When it is due.
    pub(crate) fn due(&self) -> UnixTime {
        renew_at(self.issued_at, self.not_after, self.jitter)
    }

    /// What to do now.
    pub(crate) fn step(&self, now: UnixTime, instant: Instant) -> Step {
        let due = self.due();
        if !self.asked && now < due {
            let left = u64::try_from(due.secs_since(now)).unwrap_or(0);
            return Step::Wait(Duration::from_secs(left).min(LOOK_AGAIN));
        }
        match self.retry_at.map(|at| at.saturating_duration_since(instant)) {
            Some(left) if !left.is_zero() => Step::Wait(left.min(LOOK_AGAIN)),
            _ => Step::Renew,
        }
    }

    /// Somebody wants it now, whatever failed before.
    pub(crate) fn ask(&mut self) {
        self.asked = true;
        self.retry_at = None;
    }

    /// An attempt failed; how long until the next.
    pub(crate) fn failed(&mut self, now: UnixTime, instant: Instant, jitter: u8) -> Duration {
        self.failures += 1;
        // Hurry ends with the certificate: afterwards nothing is left that could run out.
        let left = Some(self.not_after.secs_since(now)).filter(|left| *left > 0).unwrap_or(i64::MAX);
        let pause = wait(backoff_secs(self.failures, left, jitter));
        self.retry_at = Some(instant + pause);
        pause
    }

    /// How many attempts failed in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the last third has begun: what failed until now is worth a warning.
    pub(crate) fn is_overdue(&self, now: UnixTime) -> bool {
        now > overdue_at(self.issued_at, self.not_after)
    }
}

/// A new key with its chain, not yet in force.
pub(crate) struct Renewed {
    pub(crate) key: PrivateKey,
    pub(crate) chain: Vec<Vec<u8>>,
}

/// Asks for a certificate over a fresh key. The key is kept on disk until it has one.
pub(crate) async fn renew(
    api: Api,
    dir: IdentityDir,
    identity: SpiffeId,
    current: PublicKey,
) -> Result<Renewed, RenewError> {
    let pending = tokio::task::spawn_blocking(move || dir.pending_key(Some(&current))).await;
    let key = pending.map_err(|_| RenewError::Ended)?.map_err(|error| RenewError::File(Arc::new(error)))?;
    let csr = Csr::make(&key, identity.id.as_str()).map_err(RenewError::Request)?;
    // What is kept may be a connection of an identity that was since replaced.
    api.redial();
    let request = v1::RenewRequest { csr };
    let answer = api.node(async |mut node| node.renew(request).await).await.map_err(RenewError::Api)?;
    let (chain, _) = credentials_from_wire(&answer)
        .map_err(|malformed| RenewError::Api(ApiError::bad_answer(&malformed)))?;
    Ok(Renewed { key, chain })
}

/// A renewal that changed nothing.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenewError {
    /// No manager gave one.
    #[error(transparent)]
    Api(ApiError),
    /// The request could not be made.
    #[error("the certificate request could not be made")]
    Request(#[source] BadRequest),
    /// The new key or certificate could not be kept.
    #[error("the new credentials could not be kept")]
    File(#[source] Arc<FileError>),
    /// What came is no identity.
    #[error("the certificate that came is of no use")]
    Identity(#[source] BadIdentity),
    /// What came names somebody else.
    #[error("the certificate that came names somebody else")]
    AnotherIdentity {
        /// Who asked.
        expected: SpiffeId,
        /// Who is named.
        came: String,
    },
    /// What came is not trusted by what we trust.
    #[error("the certificate that came does not verify")]
    NotTrusted(#[source] NotPublished),
    /// The node was removed from the cluster.
    #[error("the node was removed from the cluster")]
    Removed,
    /// The node is ending.
    #[error("the node is ending")]
    Ended,
}

impl Explain for RenewError {
    fn explain(&self) -> Explanation {
        match self {
            RenewError::Api(error) => error.explain(),
            RenewError::Request(error) => error.explain(),
            RenewError::File(error) => error.explain(),
            RenewError::Identity(error) => error.explain(),
            RenewError::AnotherIdentity { expected, came } => {
                Explanation::new(code::BAD_MESSAGE, self.to_string()).halves(expected, came)
            }
            RenewError::NotTrusted(error) => error.explain(),
            RenewError::Removed => removed(),
            RenewError::Ended => Explanation::new(code::UNAVAILABLE, self.to_string()),
        }
    }
}

/// What a node that was removed tells its operator.
pub(crate) fn removed() -> Explanation {
    Explanation::new(code::REMOVED, "this node was removed from the cluster")
        .hint("if it shall come back: certus token create --id ID --replace, then start it with that token")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(life: i64) -> Schedule {
        let issued_at = UnixTime::from_secs(1_000_000);
        let not_after = UnixTime::from_secs(1_000_000 + life);
        Schedule { issued_at, not_after, jitter: 0, asked: false, failures: 0, retry_at: None }
    }

    fn at(secs: i64) -> UnixTime {
        UnixTime::from_secs(1_000_000 + secs)
    }

    #[test]
    fn waits_are_short_enough_for_a_clock_that_jumps() {
        let schedule = schedule(90 * 86_400);
        let begin = Instant::now();
        assert_eq!(schedule.step(at(0), begin), Step::Wait(LOOK_AGAIN));
        assert_eq!(schedule.step(at(60 * 86_400 + 3_000), begin), Step::Renew);
    }

    #[test]
    fn ten_seconds_of_life_renew_after_six() {
        let schedule = schedule(10);
        let begin = Instant::now();
        assert_eq!(schedule.step(at(2), begin), Step::Wait(Duration::from_secs(4)));
        assert_eq!(schedule.step(at(6), begin), Step::Renew);
    }

    #[test]
    fn failures_back_off_and_asking_overrides() {
        let mut schedule = schedule(90 * 86_400);
        let begin = Instant::now();
        let late = at(61 * 86_400);
        assert_eq!(schedule.failed(late, begin, 0), Duration::from_secs(1));
        assert_eq!(schedule.failed(late, begin, 0), Duration::from_secs(2));
        assert_eq!(schedule.step(late, begin), Step::Wait(Duration::from_secs(2)));
        assert_eq!(schedule.step(late, begin + Duration::from_secs(2)), Step::Renew);
        schedule.ask();
        assert_eq!(schedule.step(late, begin), Step::Renew);
        for _ in 0..20 {
            schedule.failed(at(91 * 86_400), begin, 0);
        }
        assert_eq!(schedule.failed(at(91 * 86_400), begin, 0), Duration::from_secs(600));
        assert!(schedule.is_overdue(late) && !schedule.is_overdue(at(60)));
    }
}
