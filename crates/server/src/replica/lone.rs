//! Storage that a lone voter begins with: after a restore, and after a majority was lost.
//!
//! Written while no replica runs on it. What openraft wants of storage at its start is kept: what is purged
//! is applied, the log follows without a gap, and no term is met twice.

use std::collections::{BTreeMap, BTreeSet};

use openraft::{CommittedLeaderId, Entry, EntryPayload};

use super::codec::{self, DecodeError};
use super::limits::REPLICATE_ENTRIES;
use super::machine::Machine;
use super::snapshot::SnapshotError;
use super::types::{Batch, LogId, Member, MemberId, Membership, StoredMembership, Types};
use crate::storage::log::Word;
use crate::storage::{Own, Settle, StateView, Storage, StorageError};

/// Raft's term and index of the last entry that a state has applied.
pub(crate) fn applied_in(view: &StateView) -> Result<(u64, u64), SnapshotError> {
    let Some(bytes) = view.own(Own::Applied)? else { return Ok((0, 0)) };
    let id = codec::decode_log_id(&bytes)?;
    Ok((id.leader_id.term, id.index))
}

/// Makes rows that were put into empty storage the applied state of a new group with one voter, `own`.
///
/// `term` and `applied` are those of the state's former group: the new one begins after them. Its log begins
/// there too, so that whoever joins is sent the state and not only the log.
pub(crate) fn begin_alone(
    storage: &Storage,
    own: MemberId,
    (term, applied): (u64, u64),
    at: &[u8],
) -> Result<(), StorageError> {
    let begin = LogId::new(CommittedLeaderId::new(term + 1, own), applied + 1);
    let members = BTreeMap::from([(own, Member::default())]);
    let membership = Membership::new(vec![BTreeSet::from([own])], members);
    let stored = codec::encode_stored_membership(&StoredMembership::new(Some(begin), membership));
    let id = codec::encode_log_id(&begin);
    storage.write_state(|pending| {
        pending.put_own(Own::Applied, &id)?;
        pending.put_own(Own::AppliedNext, &(begin.index + 1).to_be_bytes())?;
        pending.put_own(Own::Membership, &stored)?;
        if !at.is_empty() {
            pending.put_own(Own::At, at)?;
        }
        Ok::<_, StorageError>(((), Settle::Durable))
    })?;
    let vote = codec::encode_vote(&super::types::Vote::new(term + 1, own));
    storage.set_word(Word::Vote, &vote)?;
    storage.set_word(Word::Purged, &id)?;
    storage.set_word(Word::Committed, &id)
}

/// The group that a manager's storage tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// Voters of the membership in force, a joint one's of both halves.
    pub(crate) voters: BTreeSet<MemberId>,
    /// Everybody in it, with where they are reached.
    pub(crate) members: BTreeMap<MemberId, String>,
    /// The last entry whose effects are in the state.
    pub(crate) applied: Option<u64>,
    /// The last entry of the log.
    pub(crate) last: Option<u64>,
}

/// Reads which group a storage belongs to.
pub(crate) fn group<M: Machine>(storage: &Storage) -> Result<Group, AloneError> {
    let stand = Stand::read::<M>(storage)?;
    let membership = &stand.membership;
    Ok(Group {
        voters: membership.voter_ids().collect(),
        members: membership.nodes().map(|(id, member)| (*id, member.address.clone())).collect(),
        applied: stand.applied.map(|id| id.index),
        last: stand.last.map(|id| id.index),
    })
}

/// Makes `own` the only voter of the group, and puts `command` at time `at` behind the change: one write,
/// so that there is never one without the other.
///
/// Every entry of the log stays: one that was acknowledged may be known by nothing else. What was not yet
/// committed becomes so, which is one of the two outcomes it could always have had.
pub(crate) fn make_alone<M: Machine>(
    storage: &Storage,
    own: MemberId,
    at: i64,
    command: &M::Command,
) -> Result<(), AloneError> {
    let stand = Stand::read::<M>(storage)?;
    let last = stand.last.ok_or(AloneError::Empty)?;
    let voters: BTreeSet<MemberId> = stand.membership.voter_ids().collect();
    if voters == BTreeSet::from([own]) {
        return Err(AloneError::Already);
    }
    let member = stand.membership.get_node(&own).cloned();
    let member = member.ok_or(AloneError::NotAMember { own, voters })?;
    let term = stand.term.max(last.leader_id.term) + 1;
    let leader = CommittedLeaderId::new(term, own);
    let membership = Membership::new(vec![BTreeSet::from([own])], BTreeMap::from([(own, member)]));
    let entries: [Entry<Types<M>>; 2] = [
        Entry { log_id: LogId::new(leader, last.index + 1), payload: EntryPayload::Membership(membership) },
        Entry {
            log_id: LogId::new(leader, last.index + 2),
            payload: EntryPayload::Normal(Batch { at, commands: vec![M::encode(command)] }),
        },
    ];
    // The vote first: a higher one alone harms nothing, entries above the vote would.
    storage.set_word(Word::Vote, &codec::encode_vote(&super::types::Vote::new(term, own)))?;
    let rows: Vec<_> = entries.iter().map(|entry| (entry.log_id.index, codec::encode_entry(entry))).collect();
    Ok(storage.append(rows, None)?)
}

/// Grows the group of a lone first member to three voters, of which two never were, for tests.
#[cfg(test)]
pub(crate) fn make_three(storage: &Storage) -> Result<(), AloneError> {
    let stand = Stand::read::<crate::truth::CaMachine>(storage)?;
    let last = stand.last.ok_or(AloneError::Empty)?;
    let member = |id: MemberId| (id, Member { address: format!("m{id}:7443") });
    let membership = Membership::new(vec![BTreeSet::from([1, 2, 3])], BTreeMap::from([1, 2, 3].map(member)));
    let log_id = LogId::new(last.leader_id, last.index + 1);
    let entry: Entry<Types<crate::truth::CaMachine>> =
        Entry { log_id, payload: EntryPayload::Membership(membership) };
    Ok(storage.append([(log_id.index, codec::encode_entry(&entry))], None)?)
}

/// Where a storage stands.
struct Stand {
    term: u64,
    applied: Option<LogId>,
    last: Option<LogId>,
    membership: Membership,
}

impl Stand {
    fn read<M: Machine>(storage: &Storage) -> Result<Stand, AloneError> {
        let view = storage.view()?;
        let applied = view.own(Own::Applied)?.map(|bytes| codec::decode_log_id(&bytes)).transpose()?;
        let stored = match view.own(Own::Membership)? {
            Some(bytes) => codec::decode_stored_membership(&bytes)?,
            None => StoredMembership::default(),
        };
        let vote = storage.word(Word::Vote)?.map(|bytes| codec::decode_vote(&bytes)).transpose()?;
        let purged = storage.word(Word::Purged)?.map(|bytes| codec::decode_log_id(&bytes)).transpose()?;
        let entry = storage.last_entry()?;
        let last = entry.map(|(_, bytes)| codec::decode_entry_log_id(&bytes)).transpose()?;
        let last = last.max(purged).max(applied);
        // A membership holds from the entry that carries it on, applied or not.
        let mut membership = stored.membership().clone();
        let mut next = applied.map_or(0, |id| id.index + 1);
        let end = last.map_or(0, |id| id.index + 1);
        while next < end {
            for (_, bytes) in storage.entries(next..end.min(next + REPLICATE_ENTRIES))? {
                if let EntryPayload::Membership(newer) = codec::decode_entry::<M>(&bytes)?.payload {
                    membership = newer;
                }
            }
            next += REPLICATE_ENTRIES;
        }
        Ok(Stand { term: vote.map_or(0, |vote| vote.leader_id.term), applied, last, membership })
    }
}

/// A storage cannot be made that of a lone voter.
#[derive(Debug, thiserror::Error)]
pub enum AloneError {
    /// There is nothing in it.
    #[error("the log is empty: this manager never belonged to a group")]
    Empty,
    /// It is that already.
    #[error("this manager is the only voter of its group already")]
    Already,
    /// Its group does not know it.
    #[error("member {own} is none of its group's: voters are {voters:?}")]
    NotAMember {
        /// Its number.
        own: MemberId,
        /// The group's voters.
        voters: BTreeSet<MemberId>,
    },
    /// The storage refuses.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What is in it cannot be read.
    #[error("the manager's log cannot be read")]
    Decode(#[from] DecodeError),
}

#[cfg(test)]
mod tests;
