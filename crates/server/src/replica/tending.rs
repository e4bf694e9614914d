//! What a member sees to besides proposals: unfinished changes of members, its own clock, and that it stands
//! for election in time.
//!
//! openraft 0.9 cannot hand the lead over. A leader that must not propose falls silent instead, so
//! that the others elect one of them.

use std::sync::Weak;

use openraft::ServerState;
use tokio::time::{Instant, sleep};

use super::error::{MembershipError, ProposeError};
use super::machine::Machine;
use super::{Inner, Replica, limits};

/// Looks after the replica until it is gone.
pub(super) async fn run<M: Machine>(replica: Weak<Inner<M>>) {
    // Since when our clock is off the others'.
    let mut off_since: Option<Instant> = None;
    loop {
        sleep(limits::HEARTBEAT).await;
        let Some(inner) = replica.upgrade() else { return };
        if inner.failures.stopping() || inner.raft.metrics().borrow().running_state.is_err() {
            return;
        }
        let replica = Replica { inner };
        off_since = replica.mind_clock(off_since);
        if off_since.is_none() {
            replica.stand().await;
        }
        replica.see_change_through().await;
    }
}

impl<M: Machine> Replica<M> {
    /// Falls silent for a while if our clock is off, then listens for a while, and again.
    fn mind_clock(&self, off_since: Option<Instant>) -> Option<Instant> {
        let raft = &self.inner.raft;
        let off = {
            let metrics = raft.metrics();
            let now = metrics.borrow();
            let clocks = &self.inner.clocks;
            let checked = clocks.check(clocks.now(), now.id, now.membership_config.membership());
            checked.err().filter(|error| {
                matches!(error, ProposeError::ClockOff { .. } | ProposeError::ClockLeapt { .. })
            })
        };
        let since = off.as_ref().map(|_| off_since.unwrap_or_else(Instant::now));
        if let (Some(error), None) = (&off, off_since) {
            tracing::error!(%error, "this manager does not propose until its clock is right");
        }
        let round = (limits::STAND_ASIDE + limits::STAND_ASIDE_PAUSE).as_millis();
        // A lone voter has nobody to stand aside for.
        let others = matches!(off, Some(ProposeError::ClockOff { .. }));
        let aside = others
            && since
                .is_some_and(|since| since.elapsed().as_millis() % round < limits::STAND_ASIDE.as_millis());
        raft.runtime_config().heartbeat(!aside);
        raft.runtime_config().elect(!aside);
        since
    }

    /// Stands for election if it is time.
    async fn stand(&self) {
        let due = self.inner.standing.is_due(&self.inner.raft.metrics().borrow());
        if due {
            tracing::info!("stands for election: no leader was heard in time");
            // A core that ended is seen to elsewhere.
            let _ = self.inner.raft.trigger().elect().await;
        }
    }

    /// Finishes a change of members that another leader began, once its first step is applied.
    async fn see_change_through(&self) {
        let applied = {
            let metrics = self.inner.raft.metrics();
            let now = metrics.borrow();
            let changed = now.membership_config.log_id().map(|id| id.index);
            now.state == ServerState::Leader && now.last_applied.map(|id| id.index) >= changed
        };
        if !applied || !self.is_between_steps() {
            return;
        }
        match self.finish_change().await {
            Ok(()) => tracing::info!("finished the change of members that another leader began"),
            // Its own leader is at it.
            Err(MembershipError::InProgress) => {}
            Err(error) => tracing::warn!(%error, "a change of members is not finished yet"),
        }
    }
}
