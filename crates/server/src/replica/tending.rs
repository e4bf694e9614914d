//! What a leader sees to besides proposals: unfinished changes of members, and its own clock.
//!
//! openraft 0.9 cannot hand the lead over. A leader that must not propose falls silent instead, so
//! that the others elect one of them.

use std::collections::BTreeSet;
use std::sync::Weak;

use openraft::{ChangeMembers, ServerState};
use tokio::time::{Instant, sleep};

use super::error::ProposeError;
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
        replica.finish_change().await;
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
            checked.err().filter(|error| matches!(error, ProposeError::ClockOff { .. }))
        };
        let since = off.as_ref().map(|_| off_since.unwrap_or_else(Instant::now));
        if let (Some(error), None) = (&off, off_since) {
            tracing::error!(%error, "this manager does not propose until its clock is right");
        }
        let round = (limits::STAND_ASIDE + limits::STAND_ASIDE_PAUSE).as_millis();
        let aside =
            since.is_some_and(|since| since.elapsed().as_millis() % round < limits::STAND_ASIDE.as_millis());
        raft.runtime_config().heartbeat(!aside);
        raft.runtime_config().elect(!aside);
        since
    }

    /// Takes the second step of a change whose leader was lost after the first.
    async fn finish_change(&self) {
        let unfinished = {
            let metrics = self.inner.raft.metrics();
            let now = metrics.borrow();
            let applied = now.last_applied.map(|id| id.index);
            let stored = &now.membership_config;
            now.state == ServerState::Leader
                && stored.membership().get_joint_config().len() > 1
                && applied >= stored.log_id().map(|id| id.index)
        };
        if !unfinished {
            return;
        }
        let Ok(_alone) = self.inner.changing.try_lock() else { return };
        let finished = self.change_alone(ChangeMembers::AddVoterIds(BTreeSet::new())).await;
        match finished {
            Ok(()) => tracing::info!("finished the change of members that another leader began"),
            Err(error) => tracing::warn!(%error, "a change of members is not finished yet"),
        }
    }
}
