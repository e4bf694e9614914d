//! When a follower that has everything stands for election, where openraft would still wait.
//!
//! openraft 0.9 lets a member wait longer once it was told that another has more of the log, and forgets that
//! only when the member stands again: one that has long caught up would leave the group without a leader for
//! another `2 * ELECTION_MAX`. Nothing here decides an election; members grant and refuse votes as ever.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::{RaftMetrics, ServerState};
use tokio::time::Instant;

use super::limits::{ELECTION_MAX, ELECTION_MIN, STAND_APART};
use super::types::{LogId, Member, MemberId, Vote};

/// What a member knows of leaders and of the others' logs. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// When a leader was last heard, and its term.
    heard: Option<(Instant, u64)>,
    /// When another member was last found to have more of the log.
    behind: Option<Instant>,
    /// The vote, and since when it has been that one.
    vote: Option<(Vote, Instant)>,
}

impl Standing {
    /// The leader of `term` spoke.
    pub(super) fn heard(&self, term: u64) {
        self.state().heard = Some((Instant::now(), term));
    }

    /// Another member answered with the end of its log, when it was asked for its vote.
    pub(super) fn compared(&self, ours: Option<&LogId>, theirs: Option<&LogId>) {
        if theirs > ours {
            self.state().behind = Some(Instant::now());
        }
    }

    /// Whether this member should stand now: it is no leader, has the last leader's entries, knows nobody who
    /// has more, and openraft has let its own time pass.
    pub(super) fn is_due(&self, now: &RaftMetrics<MemberId, Member>) -> bool {
        let mut state = self.state();
        let since = match state.vote {
            Some((vote, since)) if vote == now.vote => since,
            _ => {
                state.vote = Some((now.vote, Instant::now()));
                return false;
            }
        };
        let membership = now.membership_config.membership();
        let votes = membership.voter_ids().any(|id| id == now.id) && membership.voter_ids().count() > 1;
        let Some((heard, term)) = state.heard else { return false };
        let has_all = now.last_applied.is_some_and(|last| last.leader_id.term == term);
        let behind = state.behind.is_some_and(|at| at.elapsed() < 2 * ELECTION_MAX);
        if !votes || now.state == ServerState::Leader || !has_all || behind {
            return false;
        }
        // Members with neighbouring numbers do not stand at once.
        let apart = STAND_APART * u32::try_from(now.id % 8).unwrap_or(0);
        let wait = match now.vote {
            // The leader's lease, and the longest that openraft waits after it.
            vote if vote.committed => 2 * ELECTION_MAX + apart,
            vote if vote.leader_id.node_id == now.id => ELECTION_MAX + apart,
            // Somebody stood who got no majority, or is getting it.
            _ => ELECTION_MIN + apart,
        };
        since.max(heard).elapsed() > wait
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use openraft::{CommittedLeaderId, Membership, StoredMembership};

    use super::*;

    fn at(term: u64, index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(term, 1), index)
    }

    fn ago(seconds: u64) -> Instant {
        Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap()
    }

    /// Member 2 of three, which has all of the leader of term 4, heard it ten seconds ago, and knew its vote since.
    fn silent() -> (Standing, RaftMetrics<MemberId, Member>) {
        let members: BTreeMap<MemberId, Member> = (1..=3).map(|id| (id, Member::default())).collect();
        let mut metrics = RaftMetrics::new_initial(2);
        metrics.vote = Vote::new_committed(4, 1);
        metrics.state = ServerState::Follower;
        metrics.last_applied = Some(at(4, 20));
        let voters = Membership::new(vec![members.keys().copied().collect()], members);
        metrics.membership_config = Arc::new(StoredMembership::new(None, voters));
        let state = State { heard: Some((ago(10), 4)), behind: None, vote: Some((metrics.vote, ago(10))) };
        (Standing(Arc::new(Mutex::new(state))), metrics)
    }

    #[test]
    fn a_follower_that_has_everything_stands_in_time() {
        let (standing, metrics) = silent();
        assert!(standing.is_due(&metrics));
        standing.heard(4);
        assert!(!standing.is_due(&metrics), "the leader lives");
    }

    #[test]
    fn whoever_stood_before_is_given_time() {
        let (standing, mut metrics) = silent();
        metrics.vote = Vote::new(5, 3);
        assert!(!standing.is_due(&metrics), "another stands now");
        standing.state().vote = Some((metrics.vote, ago(2)));
        assert!(standing.is_due(&metrics), "it got no majority");
    }

    #[test]
    fn who_lacks_entries_is_no_voter_or_leads_does_not_stand() {
        let (standing, mut metrics) = silent();
        standing.compared(Some(&at(4, 20)), Some(&at(4, 21)));
        assert!(!standing.is_due(&metrics), "another has more");
        standing.state().behind = Some(ago(10));
        assert!(standing.is_due(&metrics), "that was long ago");
        standing.compared(Some(&at(4, 20)), Some(&at(4, 20)));
        assert!(standing.is_due(&metrics), "another has as much");

        metrics.last_applied = Some(at(3, 20));
        assert!(!standing.is_due(&metrics), "nothing of the last leader's arrived");
        metrics.last_applied = Some(at(4, 20));
        metrics.state = ServerState::Leader;
        assert!(!standing.is_due(&metrics));
        metrics.state = ServerState::Follower;
        metrics.id = 9;
        assert!(!standing.is_due(&metrics), "a learner");
        assert!(!Standing::default().is_due(&metrics), "it heard nobody yet");
    }
}
