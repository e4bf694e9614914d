//! Whether what is known of revocations is too old to accept anybody by it, and the policy says so.
//!
//! A flag that the keeper sets and every new connection and stream reads. Decides nothing of live ones.

use std::sync::{Arc, Mutex, PoisonError};

use certus_pki::explain::Explanation;
use certus_pki::{UnixTime, code};

/// Open unless it was closed. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Stale(Arc<Mutex<Option<UnixTime>>>);

impl Stale {
    /// Nobody is accepted from now on: a manager was heard of at `since` for the last time.
    pub(crate) fn close(&self, since: UnixTime) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(since);
    }

    /// The managers are back.
    pub(crate) fn open(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Refuses where it is closed.
    pub(crate) fn check(&self) -> Result<(), Explanation> {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(since) => Err(explained(since)),
        }
    }
}

fn explained(since: UnixTime) -> Explanation {
    let when = if since == NEVER { "not since this node started".to_owned() } else { since.to_string() };
    Explanation::new(code::TRUST_STALE, "whom to trust is not known: no manager was heard of for too long")
        .fact("last heard of", when)
        .hint(
            "bring the managers back: certus cluster status; on_revocation_stale: open goes on without them",
        )
}

/// Before any manager was heard of.
pub(crate) const NEVER: UnixTime = UnixTime::from_secs(0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i9_it_refuses_only_while_it_is_closed() {
        let stale = Stale::default();
        assert!(stale.check().is_ok());
        stale.clone().close(NEVER);
        let why = stale.check().unwrap_err();
        assert_eq!(why.code, code::TRUST_STALE);
        assert!(why.to_string().contains("whom to trust"), "{why}");
        stale.open();
        assert!(stale.check().is_ok());
    }
}
