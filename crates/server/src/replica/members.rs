//! Who the members are, and changing that, one change at a time.
//!
//! Voters change in two steps of the log (joint consensus). A change that was interrupted between
//! them is finished by whoever leads next (`tending`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, RaftMetrics};
use tokio::time::timeout;

use super::Replica;
use super::error::{MembershipError, ProposeError};
use super::limits;
use super::machine::Machine;
use super::proposer;
use super::types::{Member, MemberId};

/// A member as the membership that is in force here says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberStatus {
    /// Its number.
    pub id: MemberId,
    /// Where the others reach it.
    pub address: String,
    /// Whether it votes; a learner only receives.
    pub voter: bool,
    /// Whether it leads, as far as is known.
    pub leader: bool,
    /// The last entry it is known to have. Only the leader knows.
    pub matched: Option<u64>,
}

impl<M: Machine> Replica<M> {
    /// The members, by number.
    pub fn members(&self) -> Vec<MemberStatus> {
        let metrics = self.inner.raft.metrics();
        let now = metrics.borrow();
        let membership = now.membership_config.membership();
        let voters: BTreeSet<MemberId> = membership.voter_ids().collect();
        let status = |(id, member): (&MemberId, &Member)| MemberStatus {
            id: *id,
            address: member.address.clone(),
            voter: voters.contains(id),
            leader: now.current_leader == Some(*id),
            matched: matched(&now, *id),
        };
        membership.nodes().map(status).collect()
    }

    /// Adds a member that receives and does not vote, and waits until it has caught up. The leader
    /// does it. Adding one again waits again; another address replaces the one it had.
    pub async fn add_learner(&self, id: MemberId, member: Member) -> Result<(), MembershipError> {
        let known = self.members().into_iter().find(|known| known.id == id);
        if known.is_none_or(|known| known.address != member.address) {
            self.change(ChangeMembers::SetNodes(BTreeMap::from([(id, member)]))).await?;
        }
        self.wait_caught_up(id, limits::CATCH_UP).await
    }

    /// Makes a learner a voter. It must have the newest entries first.
    pub async fn promote(&self, id: MemberId) -> Result<(), MembershipError> {
        match self.member(id)?.voter {
            // A change that was interrupted has it among the voters already.
            true => self.change(ChangeMembers::AddVoterIds(BTreeSet::new())).await,
            false => {
                self.wait_caught_up(id, limits::CATCH_UP_TO_VOTE).await?;
                self.change(ChangeMembers::AddVoterIds(BTreeSet::from([id]))).await
            }
        }
    }

    /// Removes a voter or a learner. A leader may remove itself: it leads until that is committed.
    pub async fn remove(&self, id: MemberId) -> Result<(), MembershipError> {
        let ids = BTreeSet::from([id]);
        if !self.member(id)?.voter {
            return self.change(ChangeMembers::RemoveNodes(ids)).await;
        }
        if self.members().iter().filter(|member| member.voter).count() == 1 {
            return Err(MembershipError::LastVoter { id });
        }
        self.change(ChangeMembers::RemoveVoters(ids)).await
    }

    /// Says where a member is reached from now on.
    pub async fn set_address(&self, id: MemberId, address: impl Into<String>) -> Result<(), MembershipError> {
        let member = Member::at(address);
        match self.member(id)?.address == member.address {
            true => Ok(()),
            false => self.change(ChangeMembers::SetNodes(BTreeMap::from([(id, member)]))).await,
        }
    }

    fn member(&self, id: MemberId) -> Result<MemberStatus, MembershipError> {
        proposer::leads(&self.inner.raft.metrics().borrow()).map_err(not_changed)?;
        let members = self.members();
        let found = members.iter().find(|member| member.id == id).cloned();
        found.ok_or_else(|| MembershipError::NotAMember {
            id,
            members: members.iter().map(|member| member.id).collect(),
        })
    }

    async fn change(&self, changes: ChangeMembers<MemberId, Member>) -> Result<(), MembershipError> {
        let Ok(_alone) = self.inner.changing.try_lock() else { return Err(MembershipError::InProgress) };
        // On top of an unfinished change, openraft would mix the two, and a leader that the first one
        // removes would panic at the second.
        if self.is_between_steps() {
            self.take_steps(ChangeMembers::AddVoterIds(BTreeSet::new())).await?;
        }
        self.take_steps(changes).await
    }

    /// Takes the second step of a change whose leader was lost after the first.
    pub(super) async fn finish_change(&self) -> Result<(), MembershipError> {
        let Ok(_alone) = self.inner.changing.try_lock() else { return Err(MembershipError::InProgress) };
        match self.is_between_steps() {
            true => self.take_steps(ChangeMembers::AddVoterIds(BTreeSet::new())).await,
            false => Ok(()),
        }
    }

    /// Whether a change has taken its first step only.
    pub(super) fn is_between_steps(&self) -> bool {
        let metrics = self.inner.raft.metrics();
        let now = metrics.borrow();
        now.membership_config.membership().get_joint_config().len() > 1
    }

    /// The change itself. Voters that are removed are not kept as learners.
    async fn take_steps(&self, changes: ChangeMembers<MemberId, Member>) -> Result<(), MembershipError> {
        let raft = &self.inner.raft;
        let before = {
            let metrics = raft.metrics();
            let now = metrics.borrow();
            proposer::leads(&now).map_err(not_changed)?;
            // A leader that was removed leads for a moment more, but openraft panics at a further change.
            if now.membership_config.membership().get_node(&now.id).is_none() {
                return Err(MembershipError::NotLeading { leader: None });
            }
            *now.membership_config.log_id()
        };
        let changed = timeout(limits::MEMBERSHIP, raft.change_membership(changes, false)).await;
        let Ok(changed) = changed else { return Err(MembershipError::Unknown) };
        // What is refused after the members changed was refused its second step: the first was taken.
        let begun = *raft.metrics().borrow().membership_config.log_id() != before;
        changed.map(drop).map_err(|error| match error {
            RaftError::APIError(_) if begun => MembershipError::Unknown,
            // As with commands: it may be in the log of another member.
            RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => MembershipError::Unknown,
            RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
                ChangeMembershipError::InProgress(_) => MembershipError::InProgress,
                ChangeMembershipError::EmptyMembership(_) => {
                    MembershipError::LastVoter { id: self.inner.member }
                }
                ChangeMembershipError::LearnerNotFound(missing) => MembershipError::NotAMember {
                    id: missing.node_id,
                    members: self.members().iter().map(|member| member.id).collect(),
                },
            },
            RaftError::Fatal(fatal) => not_changed(proposer::ended(&fatal, &self.inner.failures)),
        })
    }

    async fn wait_caught_up(&self, id: MemberId, limit: Duration) -> Result<(), MembershipError> {
        let mut metrics = self.inner.raft.metrics();
        let target = metrics.borrow().membership_config.log_id().map_or(0, |id| id.index);
        let waited = metrics.wait_for(|now| {
            let last = now.last_log_index.unwrap_or(0);
            let near = last.saturating_sub(limits::CAUGHT_UP_ENTRIES).max(target);
            // Once it leads no more it will never know.
            now.replication.is_none() || matched(now, id).is_some_and(|matched| matched >= near)
        });
        let waited = timeout(limit, waited).await.map(|waited| waited.is_ok());
        let now = metrics.borrow();
        if now.replication.is_none() {
            return Err(proposer::leads(&now).map_or_else(not_changed, |()| MembershipError::Unknown));
        }
        match waited {
            Ok(true) => Ok(()),
            Ok(false) => Err(MembershipError::Stopped),
            Err(_) => Err(MembershipError::NotCaughtUp {
                id,
                matched: matched(&now, id),
                last: now.last_log_index,
                waited_s: limit.as_secs(),
            }),
        }
    }
}

fn matched(now: &RaftMetrics<MemberId, Member>, id: MemberId) -> Option<u64> {
    let log_id = now.replication.as_ref()?.get(&id)?.as_ref()?;
    Some(log_id.index)
}

/// The same reason, as a change of the members knows it.
fn not_changed(error: ProposeError) -> MembershipError {
    match error {
        ProposeError::NotLeading { leader } => MembershipError::NotLeading { leader },
        ProposeError::Failed(failure) => MembershipError::Failed(failure),
        ProposeError::Stopped => MembershipError::Stopped,
        ProposeError::TooLarge { .. }
        | ProposeError::ClockOff { .. }
        | ProposeError::ClockLeapt { .. }
        | ProposeError::Unknown => MembershipError::Unknown,
    }
}
