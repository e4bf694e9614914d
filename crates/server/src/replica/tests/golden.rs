//! Examples of everything that the log, the state's own rows and snapshots are made of.
//!
//! `tests/golden/replica.hex` is as the version that first wrote them did; what it holds is read for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use certus_ca::store::{Store as _, Table};
use openraft::{CommittedLeaderId, Entry, EntryPayload};
use redb::backends::InMemoryBackend;

use super::super::codec;
use super::super::types::{Batch, LogId, Member, Membership, StoredMembership, Types, Vote};
use super::super::{Outgoing, Tally};
use super::Ledger;
use crate::storage::{Own, Settle, Storage, StorageError};

const GOLDEN: &str = include_str!("../../../tests/golden/replica.hex");

fn id() -> LogId {
    LogId::new(CommittedLeaderId::new(3, 1), 258)
}

fn membership() -> Membership {
    let member = |address: &str| Member { address: address.to_owned() };
    let nodes = BTreeMap::from([(1, member("m1:7443")), (2, member("m2:7443")), (3, member(""))]);
    Membership::new(vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([1, 2])], nodes)
}

fn entry(payload: EntryPayload<Types<Ledger>>) -> Vec<u8> {
    codec::encode_entry(&Entry { log_id: id(), payload })
}

fn snapshot() -> Vec<Vec<u8>> {
    let storage = Storage::on_backends(InMemoryBackend::new(), InMemoryBackend::new()).unwrap();
    let filled = storage.write_state(|pending| {
        pending.put(Table::Meta, b"counters", b"value").unwrap();
        pending.put(Table::Nodes, b"worker/web-1", b"record").unwrap();
        pending.put(Table::Nodes, b"worker/web-2", b"").unwrap();
        pending.put_own(Own::At, &1_795_305_600_i64.to_be_bytes())?;
        Ok::<_, StorageError>(((), Settle::Durable))
    });
    filled.unwrap();
    let mut outgoing = Outgoing::new(Arc::new(storage.view().unwrap()));
    std::iter::from_fn(|| outgoing.next_chunk().unwrap()).collect()
}

fn today() -> Vec<(String, Vec<u8>)> {
    let batch = Batch { at: 1_795_305_600, commands: vec![b"one".to_vec(), Vec::new()] };
    let stored = |id| codec::encode_stored_membership(&StoredMembership::new(id, membership()));
    let mut all: Vec<(String, Vec<u8>)> = [
        ("vote", codec::encode_vote(&Vote::new(7, 2))),
        ("vote-committed", codec::encode_vote(&Vote::new_committed(7, 2))),
        ("log-id", codec::encode_log_id(&id())),
        ("membership-stored", stored(Some(id()))),
        ("membership-stored-first", stored(None)),
        ("entry-blank", entry(EntryPayload::Blank)),
        ("entry-batch", entry(EntryPayload::Normal(batch))),
        ("entry-membership", entry(EntryPayload::Membership(membership()))),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into();
    all.extend(snapshot().into_iter().enumerate().map(|(n, chunk)| (format!("snapshot-{}", n + 1), chunk)));
    all
}

/// Where this fails, a form has changed: keep the line that is there, let it be read, and add the new form
/// under a new name.
#[test]
fn todays_bytes_are_those_of_the_examples() {
    let today: String = today().iter().map(|(name, bytes)| format!("{name} {}\n", hex(bytes))).collect();
    assert!(today == GOLDEN, "replica.hex would now be:\n{today}");
}

#[test]
fn every_example_is_still_read() {
    let mut tally = Tally::default();
    let mut ended = None;
    for line in GOLDEN.lines() {
        let (name, text) = line.split_once(' ').unwrap();
        let bytes = unhex(text);
        match name.split('-').next().unwrap() {
            "vote" => drop(codec::decode_vote(&bytes).unwrap()),
            "log" => assert_eq!(codec::decode_log_id(&bytes).unwrap(), id()),
            "membership" => {
                assert_eq!(codec::decode_stored_membership(&bytes).unwrap().membership(), &membership());
            }
            "entry" => assert_eq!(codec::decode_entry::<Ledger>(&bytes).unwrap().log_id, id()),
            "snapshot" => ended = tally.take(&bytes).unwrap(),
            other => panic!("nobody reads {other}"),
        }
    }
    assert_eq!(ended.unwrap().rows, 3);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
