//! Lone voters out of three-voter storage and out of a snapshot, as the next start finds them.

use std::ops::Bound;
use std::sync::Arc;

use certus_ca::store::{Store as _, Table, View as _};
use redb::backends::InMemoryBackend;

use super::super::tests::Ledger;
use super::super::types::{LogId, Vote};
use super::super::{Outgoing, Replica};
use super::*;

const TERM: u64 = 7;

fn storage() -> Storage {
    Storage::on_backends(InMemoryBackend::new(), InMemoryBackend::new()).unwrap()
}

fn id(term: u64, leader: MemberId, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, leader), index)
}

fn three() -> Membership {
    let member = |id: u64| (id, Member { address: format!("m{id}:7443") });
    Membership::new(vec![BTreeSet::from([1, 2, 3])], BTreeMap::from([1, 2, 3].map(member)))
}

fn batch(index: u64, names: &[&str]) -> Entry<Types<Ledger>> {
    let commands = names.iter().map(|name| name.as_bytes().to_vec()).collect();
    let payload = EntryPayload::Normal(Batch { at: 100, commands });
    Entry { log_id: id(TERM, 2, index), payload }
}

/// What is left of a group of three that another member led: entries up to 4, of which the state has
/// applied those up to 1; 3 was committed as far as this member knows, 4 perhaps.
fn left_of_three() -> Storage {
    let storage = storage();
    let membership =
        Entry::<Types<Ledger>> { log_id: id(TERM, 2, 0), payload: EntryPayload::Membership(three()) };
    let entries =
        [membership, batch(1, &["one"]), batch(2, &["two"]), batch(3, &["three"]), batch(4, &["four"])];
    let rows = entries.iter().map(|entry| (entry.log_id.index, codec::encode_entry(entry)));
    storage.append(rows, Some(&codec::encode_log_id(&id(TERM, 2, 3)))).unwrap();
    storage.set_word(Word::Vote, &codec::encode_vote(&Vote::new_committed(TERM, 2))).unwrap();
    let stored = StoredMembership::new(Some(id(TERM, 2, 0)), three());
    storage
        .write_state(|pending| {
            Ledger::apply(pending, 100, b"one").unwrap().unwrap();
            pending.put_own(Own::At, &100_i64.to_be_bytes())?;
            pending.put_own(Own::Applied, &codec::encode_log_id(&id(TERM, 2, 1)))?;
            pending.put_own(Own::AppliedNext, &2_u64.to_be_bytes())?;
            pending.put_own(Own::Membership, &codec::encode_stored_membership(&stored))?;
            Ok::<_, StorageError>(((), Settle::Durable))
        })
        .unwrap();
    storage
}

async fn open(storage: Storage) -> Replica<Ledger> {
    Replica::open(storage, Arc::new(|| 200)).await.unwrap()
}

fn has(replica: &Replica<Ledger>, name: &str) -> bool {
    replica.view().unwrap().get(Table::Nodes, name.as_bytes()).unwrap().is_some()
}

#[tokio::test]
async fn of_three_voters_the_one_that_is_left_leads_alone_and_has_lost_nothing_it_knew() {
    let storage = left_of_three();
    let before = group::<Ledger>(&storage).unwrap();
    assert_eq!((before.voters.len(), before.applied, before.last), (3, Some(1), Some(4)));
    assert_eq!(before.members[&3], "m3:7443");

    make_alone::<Ledger>(&storage, 1, 150, &"generation".to_owned()).unwrap();
    let replica = open(storage).await;
    let status = replica.status();
    assert!(status.leading && status.term > TERM, "{status:?}");
    for name in ["one", "two", "three", "four", "generation"] {
        assert!(has(&replica, name), "{name}");
    }
    replica.propose(&"after".to_owned()).await.unwrap().unwrap();
    replica.shutdown().await.unwrap();
}

#[tokio::test]
async fn without_it_the_one_that_is_left_waits_for_the_others() {
    let replica = open(left_of_three()).await;
    assert!(!replica.status().leading);
    replica.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_joint_membership_that_was_never_committed_gives_way_too() {
    let storage = left_of_three();
    let joint = Membership::new(
        vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3])],
        three().nodes().map(|(id, member)| (*id, member.clone())).collect::<BTreeMap<_, _>>(),
    );
    let entry = Entry::<Types<Ledger>> { log_id: id(TERM, 2, 5), payload: EntryPayload::Membership(joint) };
    storage.append([(5, codec::encode_entry(&entry))], None).unwrap();
    assert_eq!(group::<Ledger>(&storage).unwrap().voters.len(), 3);
    make_alone::<Ledger>(&storage, 1, 150, &"generation".to_owned()).unwrap();
    let replica = open(storage).await;
    assert!(replica.status().leading && has(&replica, "generation"));
    replica.shutdown().await.unwrap();
}

#[tokio::test]
async fn who_is_alone_already_or_no_member_is_refused_and_nothing_is_written() {
    let storage = left_of_three();
    let entries = storage.entries(..).unwrap();
    let stranger = make_alone::<Ledger>(&storage, 9, 150, &"x".to_owned()).unwrap_err();
    assert!(matches!(stranger, AloneError::NotAMember { own: 9, .. }), "{stranger:?}");
    assert_eq!(storage.entries(..).unwrap(), entries);
    let empty = make_alone::<Ledger>(&self::storage(), 1, 150, &"x".to_owned()).unwrap_err();
    assert!(matches!(empty, AloneError::Empty), "{empty:?}");
    make_alone::<Ledger>(&storage, 1, 150, &"x".to_owned()).unwrap();
    let again = make_alone::<Ledger>(&storage, 1, 150, &"x".to_owned()).unwrap_err();
    assert!(matches!(again, AloneError::Already), "{again:?}");
}

/// The rows of one group in the storage of another: what is put there counts as applied, its log begins
/// behind it, and time and terms go on from where they were.
#[tokio::test]
async fn rows_that_were_put_into_empty_storage_are_where_the_log_begins() {
    let storage = storage();
    storage
        .write_state(|pending| {
            pending.put(Table::Nodes, b"restored", b"row").unwrap();
            pending.put(Table::Meta, b"revision", &41_u64.to_be_bytes()).unwrap();
            Ok::<_, StorageError>(((), Settle::Later))
        })
        .unwrap();
    begin_alone(&storage, 1, (TERM, 900), &500_i64.to_be_bytes()).unwrap();
    let replica = open(storage).await;
    assert!(replica.status().leading && replica.status().term > TERM);
    assert!(replica.status().applied > Some(901));
    // Its clock says 200, the restored state was at 500.
    assert_eq!(replica.propose(&"next".to_owned()).await.unwrap(), Ok((42, 500)));
    let first = replica.inner.storage.entries(..).unwrap()[0].0;
    assert_eq!(first, 902, "nothing stands for entries before it: who joins is sent the state");
    let mut outgoing = Outgoing::new(Arc::new(replica.view().unwrap()));
    let mut tally = super::super::Tally::default();
    while let Some(chunk) = outgoing.next_chunk().unwrap() {
        tally.take(&chunk).unwrap();
    }
    let rows = replica.view().unwrap();
    let nodes = rows.scan(Table::Nodes, Bound::Unbounded, Bound::Unbounded, 10).unwrap();
    assert_eq!((tally.rows(), nodes.len()), (3, 2));
    replica.shutdown().await.unwrap();
}
