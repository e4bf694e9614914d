//! Messages come back as they were sent; no cut, tail or bit makes one into a panic.

use std::collections::BTreeMap;

use openraft::{CommittedLeaderId, Entry, EntryPayload};
use proptest::prelude::*;

use super::super::tests::Ledger;
use super::super::types::{Batch, LogId, Membership};
use super::*;

fn vote() -> impl Strategy<Value = Vote> {
    (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(term, member, committed)| match committed {
        true => Vote::new_committed(term, member),
        false => Vote::new(term, member),
    })
}

fn log_id(index: impl Strategy<Value = u64>) -> impl Strategy<Value = LogId> {
    (any::<u64>(), any::<u64>(), index)
        .prop_map(|(term, member, index)| LogId::new(CommittedLeaderId::new(term, member), index))
}

fn membership() -> impl Strategy<Value = Membership> {
    let voters = prop::collection::vec(prop::collection::btree_set(any::<u64>(), 1..4), 1..3);
    let nodes = prop::collection::btree_map(any::<u64>(), "[a-z0-9.:]{0,12}", 0..4);
    (voters, nodes).prop_map(|(voters, nodes)| {
        let nodes: BTreeMap<_, _> = nodes.into_iter().map(|(id, at)| (id, Member::at(at))).collect();
        Membership::new(voters, nodes)
    })
}

fn payload() -> impl Strategy<Value = EntryPayload<Types<Ledger>>> {
    let commands = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4);
    prop_oneof![
        Just(EntryPayload::Blank),
        membership().prop_map(EntryPayload::Membership),
        (any::<i64>(), commands).prop_map(|(at, commands)| EntryPayload::Normal(Batch { at, commands })),
    ]
}

fn append() -> impl Strategy<Value = AppendEntriesRequest<Types<Ledger>>> {
    let entries = prop::collection::vec((log_id(Just(0)), payload()), 0..4);
    let before = prop::option::of(log_id(0..u64::MAX / 2));
    (vote(), before, entries, prop::option::of(log_id(any::<u64>()))).prop_map(
        |(vote, prev_log_id, entries, leader_commit)| {
            let first = prev_log_id.map_or(0, |id| id.index + 1);
            let numbered = entries.into_iter().zip(first..);
            let entries = numbered
                .map(|((id, payload), index)| Entry { log_id: LogId::new(id.leader_id, index), payload })
                .collect();
            AppendEntriesRequest { vote, prev_log_id, entries, leader_commit }
        },
    )
}

/// Decodes whatever it is; only that it ends matters.
fn decode_any(bytes: &[u8]) -> [bool; 6] {
    [
        parties(bytes).is_ok(),
        decode_request::<Ledger>(bytes).is_ok(),
        decode_append_answer(bytes).is_ok(),
        decode_vote_answer(bytes).is_ok(),
        decode_head(bytes).is_ok(),
        decode_snapshot_answer(bytes).is_ok(),
    ]
}

/// Every cut and every longer message is refused, and no flipped bit does harm.
fn mistreat(bytes: &[u8]) {
    for length in 0..bytes.len() {
        assert_eq!(decode_any(&bytes[..length])[1..], [false; 5], "cut to {length} of {bytes:?}");
    }
    assert_eq!(decode_any(&[bytes, b"x"].concat())[1..], [false; 5]);
    let mut flipped = bytes.to_vec();
    for place in 0..flipped.len() {
        for bit in 0..8 {
            flipped[place] ^= 1 << bit;
            decode_any(&flipped);
            flipped[place] ^= 1 << bit;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn appends_come_back(request in append(), to: u64) {
        let bytes = encode_append(to, &request);
        prop_assert_eq!(parties(&bytes).unwrap(), (request.vote.leader_id.node_id, to));
        let (for_whom, decoded) = decode_request::<Ledger>(&bytes).unwrap();
        let Request::Append(decoded) = decoded else { panic!("{decoded:?}") };
        prop_assert_eq!(for_whom, to);
        prop_assert_eq!(format!("{decoded:?}"), format!("{request:?}"));
        mistreat(&bytes);
    }

    #[test]
    fn votes_come_back(vote in vote(), last in prop::option::of(log_id(any::<u64>())), to: u64, clock: i64) {
        let bytes = encode_vote_request(to, &VoteRequest { vote, last_log_id: last });
        prop_assert_eq!(parties(&bytes).unwrap(), (vote.leader_id.node_id, to));
        let (for_whom, decoded) = decode_request::<Ledger>(&bytes).unwrap();
        let Request::Vote(decoded) = decoded else { panic!("{decoded:?}") };
        prop_assert_eq!((for_whom, decoded.vote, decoded.last_log_id), (to, vote, last));
        mistreat(&bytes);
        let answer = VoteResponse { vote, vote_granted: to % 2 == 0, last_log_id: last };
        let bytes = encode_vote_answer(clock, &answer);
        let decoded = decode_vote_answer(&bytes).unwrap();
        prop_assert_eq!((decoded.clock, decoded.answer), (clock, answer));
        mistreat(&bytes);
    }

    #[test]
    fn answers_to_appends_come_back(
        vote in vote(), matched in prop::option::of(log_id(any::<u64>())), clock: i64, which in 0..4,
    ) {
        let answer = || match which {
            0 => AppendEntriesResponse::Success,
            1 => AppendEntriesResponse::PartialSuccess(matched),
            2 => AppendEntriesResponse::Conflict,
            _ => AppendEntriesResponse::HigherVote(vote),
        };
        let bytes = encode_append_answer(clock, &answer());
        let decoded = decode_append_answer(&bytes).unwrap();
        prop_assert_eq!((decoded.clock, decoded.answer), (clock, answer()));
        mistreat(&bytes);
        let bytes = encode_snapshot_answer(clock, &SnapshotResponse { vote });
        let decoded = decode_snapshot_answer(&bytes).unwrap();
        prop_assert_eq!((decoded.clock, decoded.answer.vote), (clock, vote));
        mistreat(&bytes);
    }

    #[test]
    fn heads_of_snapshots_come_back(
        vote in vote(), last in prop::option::of(log_id(any::<u64>())), membership in membership(),
        at in prop::option::of(log_id(any::<u64>())), to: u64,
    ) {
        let last_membership = StoredMembership::new(at, membership);
        let meta = SnapshotMeta { last_log_id: last, last_membership, snapshot_id: "1-2".to_owned() };
        let bytes = encode_head(to, &Head { vote, meta: meta.clone() });
        let (for_whom, decoded) = decode_head(&bytes).unwrap();
        prop_assert_eq!((for_whom, decoded.vote, decoded.meta), (to, vote, meta));
        mistreat(&bytes);
    }

    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decode_any(&bytes);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn messages_have_golden_bytes() {
    let id = LogId::new(CommittedLeaderId::new(3, 1), 258);
    let (id_hex, vote_hex) =
        ("000000000000000300000000000000010000000000000102", "000000000000000400000000000000010");
    let vote = Vote::new_committed(4, 1);
    let entry = Entry { log_id: LogId::new(CommittedLeaderId::new(4, 1), 259), payload: EntryPayload::Blank };
    let append: AppendEntriesRequest<Types<Ledger>> =
        AppendEntriesRequest { vote, prev_log_id: Some(id), entries: vec![entry], leader_commit: None };
    let entry_hex = "0104000000000000000400000000000000010000000000000103";
    assert_eq!(
        hex(&encode_append(2, &append)),
        format!("01090000000000000002{vote_hex}101{id_hex}00000000010000001a{entry_hex}")
    );
    assert_eq!(
        hex(&encode_append_answer(-2, &AppendEntriesResponse::PartialSuccess(Some(id)))),
        format!("010afffffffffffffffe0201{id_hex}")
    );
    assert_eq!(
        hex(&encode_vote_request(2, &VoteRequest { vote: Vote::new(4, 1), last_log_id: Some(id) })),
        format!("010b0000000000000002{vote_hex}001{id_hex}")
    );
    let granted = VoteResponse { vote, vote_granted: true, last_log_id: None };
    assert_eq!(hex(&encode_vote_answer(1, &granted)), format!("010c0000000000000001{vote_hex}10100"));
    assert_eq!(
        hex(&encode_snapshot_answer(1, &SnapshotResponse { vote })),
        format!("010e0000000000000001{vote_hex}1")
    );
    let nodes = BTreeMap::from([(1, Member::at("m1:7443"))]);
    let last_membership = StoredMembership::new(Some(id), Membership::new(vec![[1].into()], nodes));
    let meta = SnapshotMeta { last_log_id: Some(id), last_membership, snapshot_id: "s".to_owned() };
    assert_eq!(
        hex(&encode_head(2, &Head { vote, meta })),
        format!(
            "010d0000000000000002{vote_hex}101{id_hex}01{id_hex}{}{}{}",
            "00000001000000010000000000000001",
            "000000010000000000000001000000076d313a37343433",
            "0000000173"
        )
    );
}

#[test]
fn a_newer_member_is_refused_in_words() {
    let mut bytes = encode_vote_request(2, &VoteRequest { vote: Vote::new(4, 1), last_log_id: None });
    bytes[0] = 2;
    let words = decode_request::<Ledger>(&bytes).unwrap_err().to_string();
    assert_eq!(
        words,
        "a request of another manager begins with version 2, kind 11; expected version 1, kind 9 or 11"
    );
}

#[test]
fn entries_with_a_gap_are_refused() {
    let entry = |index| Entry {
        log_id: LogId::new(CommittedLeaderId::new(4, 1), index),
        payload: EntryPayload::<Types<Ledger>>::Blank,
    };
    let request = AppendEntriesRequest {
        vote: Vote::new_committed(4, 1),
        prev_log_id: None,
        entries: vec![entry(0), entry(2)],
        leader_commit: None,
    };
    let words = decode_request::<Ledger>(&encode_append(2, &request)).unwrap_err().to_string();
    assert_eq!(words, "entry 2 follows, expected entry 1");
}
