//! The bytes between members: appends, votes, the head of a snapshot, and their answers.
//!
//! They begin as everything persisted does, with a version and a kind, so that a newer or older
//! member is refused in words. Each request names whom it is for; each answer carries a clock.

use openraft::SnapshotMeta;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};

use super::codec::{
    self, DecodeError, KIND_APPEND, KIND_APPEND_ANSWER, KIND_SNAPSHOT_ANSWER, KIND_SNAPSHOT_HEAD,
    KIND_VOTE_ANSWER, KIND_VOTE_REQUEST, Reader, Writer,
};
use super::machine::Machine;
use super::types::{Member, MemberId, StoredMembership, Types, Vote};

/// What one member asks of another.
#[derive(Debug)]
pub(super) enum Request<M: Machine> {
    Append(AppendEntriesRequest<Types<M>>),
    Vote(VoteRequest<MemberId>),
}

/// What comes before the chunks of a snapshot.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) vote: Vote,
    pub(super) meta: SnapshotMeta<MemberId, Member>,
}

/// An answer, and the clock of who gave it.
#[derive(Debug)]
pub(super) struct Answer<A> {
    pub(super) clock: i64,
    pub(super) answer: A,
}

/// Who wrote a request or the head of a snapshot, and whom it is for.
pub(super) fn parties(bytes: &[u8]) -> Result<(MemberId, MemberId), DecodeError> {
    let mut input = Reader::new(REQUEST, bytes);
    input.head(&[KIND_APPEND, KIND_VOTE_REQUEST, KIND_SNAPSHOT_HEAD], "9, 11 or 13")?;
    let to = input.u64()?;
    // A member only ever asks in its own name: as the leader, or as a candidate.
    Ok((input.vote()?.leader_id.node_id, to))
}

pub(super) fn encode_append<M: Machine>(to: MemberId, request: &AppendEntriesRequest<Types<M>>) -> Vec<u8> {
    let mut out = Writer::new(KIND_APPEND);
    out.u64(to);
    out.vote(&request.vote);
    out.optional_log_id(request.prev_log_id.as_ref());
    out.optional_log_id(request.leader_commit.as_ref());
    out.length(request.entries.len());
    for entry in &request.entries {
        out.bytes(&codec::encode_entry(entry));
    }
    out.0
}

pub(super) fn encode_vote_request(to: MemberId, request: &VoteRequest<MemberId>) -> Vec<u8> {
    let mut out = Writer::new(KIND_VOTE_REQUEST);
    out.u64(to);
    out.vote(&request.vote);
    out.optional_log_id(request.last_log_id.as_ref());
    out.0
}

/// A request, and whom it is for.
pub(super) fn decode_request<M: Machine>(bytes: &[u8]) -> Result<(MemberId, Request<M>), DecodeError> {
    let mut input = Reader::new(REQUEST, bytes);
    let kind = input.head(&[KIND_APPEND, KIND_VOTE_REQUEST], "9 or 11")?;
    let (to, vote, first) = (input.u64()?, input.vote()?, input.optional_log_id()?);
    let request = match kind {
        KIND_APPEND => {
            let leader_commit = input.optional_log_id()?;
            let mut entries = Vec::new();
            let mut next = first.as_ref().map_or(0, |id| id.index.saturating_add(1));
            for _ in 0..input.length()? {
                let entry = codec::decode_entry::<M>(input.bytes()?)?;
                if entry.log_id.index != next {
                    return Err(DecodeError::Order { found: entry.log_id.index, expected: next });
                }
                next = next.saturating_add(1);
                entries.push(entry);
            }
            Request::Append(AppendEntriesRequest { vote, prev_log_id: first, entries, leader_commit })
        }
        _ => Request::Vote(VoteRequest { vote, last_log_id: first }),
    };
    input.end()?;
    Ok((to, request))
}

pub(super) fn encode_append_answer(clock: i64, answer: &AppendEntriesResponse<MemberId>) -> Vec<u8> {
    let mut out = answer_writer(KIND_APPEND_ANSWER, clock);
    match answer {
        AppendEntriesResponse::Success => out.u8(SUCCESS),
        AppendEntriesResponse::PartialSuccess(matched) => {
            out.u8(PARTIAL);
            out.optional_log_id(matched.as_ref());
        }
        AppendEntriesResponse::Conflict => out.u8(CONFLICT),
        AppendEntriesResponse::HigherVote(vote) => {
            out.u8(HIGHER_VOTE);
            out.vote(vote);
        }
    }
    out.0
}

pub(super) fn decode_append_answer(
    bytes: &[u8],
) -> Result<Answer<AppendEntriesResponse<MemberId>>, DecodeError> {
    let (mut input, clock) = answer_reader(KIND_APPEND_ANSWER, "10", bytes)?;
    let answer = match input.u8()? {
        SUCCESS => AppendEntriesResponse::Success,
        PARTIAL => AppendEntriesResponse::PartialSuccess(input.optional_log_id()?),
        CONFLICT => AppendEntriesResponse::Conflict,
        HIGHER_VOTE => AppendEntriesResponse::HigherVote(input.vote()?),
        found => return Err(DecodeError::Tag { what: ANSWER, found, expected: "1 to 4" }),
    };
    input.end()?;
    Ok(Answer { clock, answer })
}

pub(super) fn encode_vote_answer(clock: i64, answer: &VoteResponse<MemberId>) -> Vec<u8> {
    let mut out = answer_writer(KIND_VOTE_ANSWER, clock);
    out.vote(&answer.vote);
    out.u8(u8::from(answer.vote_granted));
    out.optional_log_id(answer.last_log_id.as_ref());
    out.0
}

pub(super) fn decode_vote_answer(bytes: &[u8]) -> Result<Answer<VoteResponse<MemberId>>, DecodeError> {
    let (mut input, clock) = answer_reader(KIND_VOTE_ANSWER, "12", bytes)?;
    let (vote, vote_granted) = (input.vote()?, input.u8()? != 0);
    let last_log_id = input.optional_log_id()?;
    input.end()?;
    Ok(Answer { clock, answer: VoteResponse { vote, vote_granted, last_log_id } })
}

pub(super) fn encode_head(to: MemberId, head: &Head) -> Vec<u8> {
    let mut out = Writer::new(KIND_SNAPSHOT_HEAD);
    out.u64(to);
    out.vote(&head.vote);
    out.optional_log_id(head.meta.last_log_id.as_ref());
    out.optional_log_id(head.meta.last_membership.log_id().as_ref());
    out.membership(head.meta.last_membership.membership());
    out.bytes(head.meta.snapshot_id.as_bytes());
    out.0
}

/// The head of a snapshot, and whom it is for.
pub(super) fn decode_head(bytes: &[u8]) -> Result<(MemberId, Head), DecodeError> {
    let mut input = Reader::new("the head of a snapshot", bytes);
    input.head(&[KIND_SNAPSHOT_HEAD], "13")?;
    let (to, vote, last_log_id) = (input.u64()?, input.vote()?, input.optional_log_id()?);
    let membership_id = input.optional_log_id()?;
    let last_membership = StoredMembership::new(membership_id, input.membership()?);
    let snapshot_id = input.text()?.to_owned();
    input.end()?;
    Ok((to, Head { vote, meta: SnapshotMeta { last_log_id, last_membership, snapshot_id } }))
}

pub(super) fn encode_snapshot_answer(clock: i64, answer: &SnapshotResponse<MemberId>) -> Vec<u8> {
    let mut out = answer_writer(KIND_SNAPSHOT_ANSWER, clock);
    out.vote(&answer.vote);
    out.0
}

pub(super) fn decode_snapshot_answer(
    bytes: &[u8],
) -> Result<Answer<SnapshotResponse<MemberId>>, DecodeError> {
    let (mut input, clock) = answer_reader(KIND_SNAPSHOT_ANSWER, "14", bytes)?;
    let vote = input.vote()?;
    input.end()?;
    Ok(Answer { clock, answer: SnapshotResponse { vote } })
}

fn answer_writer(kind: u8, clock: i64) -> Writer {
    let mut out = Writer::new(kind);
    out.u64(clock.cast_unsigned());
    out
}

fn answer_reader<'b>(
    kind: u8,
    expected: &'static str,
    bytes: &'b [u8],
) -> Result<(Reader<'b>, i64), DecodeError> {
    let mut input = Reader::new(ANSWER, bytes);
    input.head(&[kind], expected)?;
    let clock = input.u64()?.cast_signed();
    Ok((input, clock))
}

const REQUEST: &str = "a request of another manager";
const ANSWER: &str = "an answer of another manager";

const SUCCESS: u8 = 1;
const PARTIAL: u8 = 2;
const CONFLICT: u8 = 3;
const HIGHER_VOTE: u8 = 4;

#[cfg(test)]
mod tests;
