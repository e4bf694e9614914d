//! The persisted bytes of votes, log ids, memberships and entries, and the layout of all others.
//!
//! Every value begins with a version and a kind; an unknown one is refused, never guessed.
//! Integers are big-endian, lengths are 32-bit. The commands inside a batch belong to the machine.

use std::collections::{BTreeMap, BTreeSet};

use openraft::{CommittedLeaderId, Entry, EntryPayload};

use super::machine::Machine;
use super::types::{Batch, LogId, Member, MemberId, Membership, StoredMembership, Types, Vote};

/// Bytes that are not what this version writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The value ends too early.
    #[error("{what} ends after {found} bytes, expected {expected} more")]
    Short {
        /// What was being read.
        what: &'static str,
        /// How many bytes were left.
        found: usize,
        /// How many were needed.
        expected: usize,
    },
    /// The value goes on after its end.
    #[error("{what} is followed by {found} bytes, expected none")]
    Long {
        /// What was read.
        what: &'static str,
        /// How many bytes are left.
        found: usize,
    },
    /// A version or kind this version does not know.
    #[error("{what} begins with version {version}, kind {kind}; expected version {VERSION}, kind {expected}")]
    Unknown {
        /// What was being read.
        what: &'static str,
        /// The version byte.
        version: u8,
        /// The kind byte.
        kind: u8,
        /// The kinds that would do.
        expected: &'static str,
    },
    /// A text that is not UTF-8.
    #[error("{what} holds a text that is not UTF-8")]
    Text {
        /// What was being read.
        what: &'static str,
    },
    /// A choice this version does not know.
    #[error("{what} has choice {found}, expected {expected}")]
    Tag {
        /// What was being read.
        what: &'static str,
        /// The tag.
        found: u8,
        /// The tags that would do.
        expected: &'static str,
    },
    /// Entries with a gap between them.
    #[error("entry {found} follows, expected entry {expected}")]
    Order {
        /// The index that was read.
        found: u64,
        /// The index after the one before.
        expected: u64,
    },
}

pub(super) fn encode_vote(vote: &Vote) -> Vec<u8> {
    let mut out = Writer::new(KIND_VOTE);
    out.vote(vote);
    out.0
}

pub(super) fn decode_vote(bytes: &[u8]) -> Result<Vote, DecodeError> {
    let mut input = Reader::new("a vote", bytes);
    input.head(&[KIND_VOTE], "1")?;
    let vote = input.vote()?;
    input.end()?;
    Ok(vote)
}

pub(super) fn encode_log_id(id: &LogId) -> Vec<u8> {
    let mut out = Writer::new(KIND_LOG_ID);
    out.log_id(id);
    out.0
}

pub(super) fn decode_log_id(bytes: &[u8]) -> Result<LogId, DecodeError> {
    let mut input = Reader::new("a log id", bytes);
    input.head(&[KIND_LOG_ID], "2")?;
    let id = input.log_id()?;
    input.end()?;
    Ok(id)
}

pub(super) fn encode_stored_membership(stored: &StoredMembership) -> Vec<u8> {
    let mut out = Writer::new(KIND_STORED_MEMBERSHIP);
    out.optional_log_id(stored.log_id().as_ref());
    out.membership(stored.membership());
    out.0
}

pub(super) fn decode_stored_membership(bytes: &[u8]) -> Result<StoredMembership, DecodeError> {
    let mut input = Reader::new("a stored membership", bytes);
    input.head(&[KIND_STORED_MEMBERSHIP], "3")?;
    let id = input.optional_log_id()?;
    let membership = input.membership()?;
    input.end()?;
    Ok(StoredMembership::new(id, membership))
}

pub(super) fn encode_entry<M: Machine>(entry: &Entry<Types<M>>) -> Vec<u8> {
    let kind = match &entry.payload {
        EntryPayload::Blank => KIND_BLANK,
        EntryPayload::Normal(_) => KIND_BATCH,
        EntryPayload::Membership(_) => KIND_MEMBERSHIP,
    };
    let mut out = Writer::new(kind);
    out.log_id(&entry.log_id);
    match &entry.payload {
        EntryPayload::Blank => {}
        EntryPayload::Normal(batch) => {
            out.u64(batch.at.cast_unsigned());
            out.length(batch.commands.len());
            for command in &batch.commands {
                out.bytes(command);
            }
        }
        EntryPayload::Membership(membership) => out.membership(membership),
    }
    out.0
}

pub(super) fn decode_entry<M: Machine>(bytes: &[u8]) -> Result<Entry<Types<M>>, DecodeError> {
    let mut input = Reader::new("a log entry", bytes);
    let kind = input.head(&[KIND_BLANK, KIND_BATCH, KIND_MEMBERSHIP], "4, 5 or 6")?;
    let log_id = input.log_id()?;
    let payload = match kind {
        KIND_BATCH => {
            let at = input.u64()?.cast_signed();
            let count = input.length()?;
            let mut commands = Vec::new();
            for _ in 0..count {
                commands.push(input.bytes()?.to_vec());
            }
            EntryPayload::Normal(Batch { at, commands })
        }
        KIND_MEMBERSHIP => EntryPayload::Membership(input.membership()?),
        _ => EntryPayload::Blank,
    };
    input.end()?;
    Ok(Entry { log_id, payload })
}

/// The log id of an entry, without its payload.
pub(super) fn decode_entry_log_id(bytes: &[u8]) -> Result<LogId, DecodeError> {
    let mut input = Reader::new("a log entry", bytes);
    input.head(&[KIND_BLANK, KIND_BATCH, KIND_MEMBERSHIP], "4, 5 or 6")?;
    input.log_id()
}

pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn new(kind: u8) -> Writer {
        Writer(vec![VERSION, kind])
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    /// Lengths are bounded far below 4 GiB by the proposer and by redb.
    pub(super) fn length(&mut self, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&length.to_be_bytes());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn vote(&mut self, vote: &Vote) {
        self.u64(vote.leader_id.term);
        self.u64(vote.leader_id.node_id);
        self.u8(u8::from(vote.committed));
    }

    fn log_id(&mut self, id: &LogId) {
        self.u64(id.leader_id.term);
        self.u64(id.leader_id.node_id);
        self.u64(id.index);
    }

    pub(super) fn optional_log_id(&mut self, id: Option<&LogId>) {
        match id {
            None => self.u8(0),
            Some(id) => {
                self.u8(1);
                self.log_id(id);
            }
        }
    }

    pub(super) fn membership(&mut self, membership: &Membership) {
        let configs = membership.get_joint_config();
        self.length(configs.len());
        for config in configs {
            self.length(config.len());
            config.iter().for_each(|id| self.u64(*id));
        }
        let nodes: Vec<_> = membership.nodes().collect();
        self.length(nodes.len());
        for (id, member) in nodes {
            self.u64(*id);
            self.bytes(member.address.as_bytes());
        }
    }
}

pub(super) struct Reader<'b> {
    what: &'static str,
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    pub(super) fn new(what: &'static str, rest: &'b [u8]) -> Reader<'b> {
        Reader { what, rest }
    }

    pub(super) fn head(&mut self, kinds: &[u8], expected: &'static str) -> Result<u8, DecodeError> {
        let (version, kind) = (self.u8()?, self.u8()?);
        if version == VERSION && kinds.contains(&kind) {
            return Ok(kind);
        }
        Err(DecodeError::Unknown { what: self.what, version, kind, expected })
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8], DecodeError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(DecodeError::Short { what: self.what, found: self.rest.len(), expected: count });
        };
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        let mut array = [0; 8];
        array.copy_from_slice(self.take(8)?);
        Ok(u64::from_be_bytes(array))
    }

    pub(super) fn length(&mut self) -> Result<usize, DecodeError> {
        let mut array = [0; 4];
        array.copy_from_slice(self.take(4)?);
        Ok(u32::from_be_bytes(array) as usize)
    }

    pub(super) fn bytes(&mut self) -> Result<&'b [u8], DecodeError> {
        let length = self.length()?;
        self.take(length)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(DecodeError::Long { what: self.what, found: self.rest.len() })
    }

    pub(super) fn text(&mut self) -> Result<&'b str, DecodeError> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| DecodeError::Text { what: self.what })
    }

    pub(super) fn vote(&mut self) -> Result<Vote, DecodeError> {
        let (term, member, committed) = (self.u64()?, self.u64()?, self.u8()? != 0);
        Ok(match committed {
            true => Vote::new_committed(term, member),
            false => Vote::new(term, member),
        })
    }

    pub(super) fn optional_log_id(&mut self) -> Result<Option<LogId>, DecodeError> {
        match self.u8()? {
            0 => Ok(None),
            _ => self.log_id().map(Some),
        }
    }

    fn log_id(&mut self) -> Result<LogId, DecodeError> {
        let (term, leader, index) = (self.u64()?, self.u64()?, self.u64()?);
        Ok(LogId::new(CommittedLeaderId::new(term, leader), index))
    }

    pub(super) fn membership(&mut self) -> Result<Membership, DecodeError> {
        let mut configs = Vec::new();
        for _ in 0..self.length()? {
            let mut config = BTreeSet::<MemberId>::new();
            for _ in 0..self.length()? {
                config.insert(self.u64()?);
            }
            configs.push(config);
        }
        let mut nodes = BTreeMap::new();
        for _ in 0..self.length()? {
            let id = self.u64()?;
            nodes.insert(id, Member::at(self.text()?));
        }
        Ok(Membership::new(configs, nodes))
    }
}

/// The one layout there is.
const VERSION: u8 = 1;
const KIND_VOTE: u8 = 1;
const KIND_LOG_ID: u8 = 2;
const KIND_STORED_MEMBERSHIP: u8 = 3;
const KIND_BLANK: u8 = 4;
const KIND_BATCH: u8 = 5;
const KIND_MEMBERSHIP: u8 = 6;
/// See [`super::snapshot`].
pub(super) const KIND_ROWS: u8 = 7;
pub(super) const KIND_SNAPSHOT_END: u8 = 8;
/// See [`super::message`].
pub(super) const KIND_APPEND: u8 = 9;
pub(super) const KIND_APPEND_ANSWER: u8 = 10;
pub(super) const KIND_VOTE_REQUEST: u8 = 11;
pub(super) const KIND_VOTE_ANSWER: u8 = 12;
pub(super) const KIND_SNAPSHOT_HEAD: u8 = 13;
pub(super) const KIND_SNAPSHOT_ANSWER: u8 = 14;

#[cfg(test)]
mod tests;
