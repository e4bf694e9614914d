//! Golden bytes: what one version wrote, every later one reads.

use std::collections::{BTreeMap, BTreeSet};

use super::super::tests::Ledger;
use super::*;

fn log_id() -> LogId {
    LogId::new(CommittedLeaderId::new(3, 1), 258)
}

fn membership() -> Membership {
    let member = |address: &str| Member { address: address.to_owned() };
    let nodes = BTreeMap::from([(1, member("m1:7443")), (2, member(""))]);
    Membership::new(vec![BTreeSet::from([1]), BTreeSet::from([1, 2])], nodes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn votes_and_log_ids_have_golden_bytes() {
    let vote = Vote::new_committed(7, 2);
    let bytes = encode_vote(&vote);
    assert_eq!(hex(&bytes), "01010000000000000007000000000000000201");
    assert_eq!(decode_vote(&bytes).unwrap(), vote);

    let bytes = encode_log_id(&log_id());
    assert_eq!(hex(&bytes), "0102000000000000000300000000000000010000000000000102");
    assert_eq!(decode_log_id(&bytes).unwrap(), log_id());
}

#[test]
fn entries_have_golden_bytes() {
    let batch = Batch { at: -2, commands: vec![b"ab".to_vec(), Vec::new()] };
    let head = "000000000000000300000000000000010000000000000102";
    let cases: [(EntryPayload<Types<Ledger>>, String); 3] = [
        (EntryPayload::Blank, format!("0104{head}")),
        (
            EntryPayload::Normal(batch),
            format!("0105{head}fffffffffffffffe00000002000000026162000000 00").replace(' ', ""),
        ),
        (
            EntryPayload::Membership(membership()),
            format!(
                "0106{head}00000002{}{}00000002{}{}",
                "000000010000000000000001",
                "0000000200000000000000010000000000000002",
                "0000000000000001000000076d313a37343433",
                "000000000000000200000000",
            ),
        ),
    ];
    for (payload, golden) in cases {
        let entry = Entry { log_id: log_id(), payload };
        let bytes = encode_entry(&entry);
        assert_eq!(hex(&bytes), golden);
        assert_eq!(decode_entry::<Ledger>(&bytes).unwrap(), entry);
        assert_eq!(decode_entry_log_id(&bytes).unwrap(), log_id());
    }
}

#[test]
fn stored_memberships_come_back() {
    for id in [None, Some(log_id())] {
        let stored = StoredMembership::new(id, membership());
        let bytes = encode_stored_membership(&stored);
        assert_eq!(decode_stored_membership(&bytes).unwrap(), stored);
    }
}

#[test]
fn cut_long_and_unknown_bytes_are_refused_in_words() {
    let bytes = encode_log_id(&log_id());
    for length in 0..bytes.len() {
        decode_log_id(&bytes[..length]).unwrap_err();
    }
    let long = [bytes.as_slice(), b"x"].concat();
    let words = decode_log_id(&long).unwrap_err().to_string();
    assert_eq!(words, "a log id is followed by 1 bytes, expected none");
    let newer = [&[9], &bytes[1..]].concat();
    let words = decode_log_id(&newer).unwrap_err().to_string();
    assert_eq!(words, "a log id begins with version 9, kind 2; expected version 1, kind 2");
}
