//! One replica from proposal to restart, with a machine small enough to check by eye.

mod golden;

use std::ops::Bound;
use std::sync::atomic::{AtomicI64, Ordering};

use certus_ca::store::{Fault, Store, Table, View};
use openraft::RaftSnapshotBuilder;
use openraft::storage::RaftStateMachine;
use redb::backends::InMemoryBackend;

use super::state::{Progress, StateMachine};
use super::*;

mod group;

/// Adds a name to a table, once; knows when it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ledger;

/// What a name was added as, or that it was there.
type LedgerReply = Result<(u64, i64), &'static str>;

impl Machine for Ledger {
    type Command = String;
    type Reply = LedgerReply;

    fn encode(command: &String) -> Vec<u8> {
        command.as_bytes().to_vec()
    }

    fn apply(store: &mut dyn Store, at: i64, command: &[u8]) -> Result<LedgerReply, Fault> {
        if command == b"fault" {
            return Err(Fault { table: Table::Meta, what: "a row that cannot be ours".to_owned() });
        }
        if store.get(Table::Nodes, command)?.is_some() {
            return Ok(Err("taken"));
        }
        let revision = Ledger::revision(store)? + 1;
        store.put(Table::Meta, b"revision", &revision.to_be_bytes())?;
        store.put(Table::Nodes, command, &at.to_be_bytes())?;
        Ok(Ok((revision, at)))
    }

    fn revision(view: &dyn View) -> Result<u64, Fault> {
        let bytes = view.get(Table::Meta, b"revision")?;
        Ok(bytes.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap())))
    }
}

struct Time(Arc<AtomicI64>);

impl Time {
    fn at(start: i64) -> Time {
        Time(Arc::new(AtomicI64::new(start)))
    }

    fn set(&self, at: i64) {
        self.0.store(at, Ordering::SeqCst);
    }

    fn clock(&self) -> Clock {
        let now = self.0.clone();
        Arc::new(move || now.load(Ordering::SeqCst))
    }
}

async fn found(storage: Storage, time: &Time) -> Replica<Ledger> {
    let replica = Replica::open(storage, time.clock()).await.unwrap();
    assert!(!replica.is_initialized().await.unwrap());
    replica.initialize().await.unwrap();
    replica
}

fn in_memory() -> Storage {
    Storage::on_backends(InMemoryBackend::new(), InMemoryBackend::new()).unwrap()
}

fn names(view: &dyn View) -> usize {
    view.scan(Table::Nodes, Bound::Unbounded, Bound::Unbounded, 100_000).unwrap().len()
}

async fn propose(replica: &Replica<Ledger>, name: &str) -> LedgerReply {
    replica.propose(&name.to_owned()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let time = Time::at(1_000);
    let storage = || Storage::in_directory(&directory.path().join("manager")).unwrap();
    let replica = found(storage(), &time).await;
    let mut revision = replica.revision();
    assert_eq!(propose(&replica, "web-1").await, Ok((1, 1_000)));
    assert_eq!(propose(&replica, "web-1").await, Err("taken"));
    assert_eq!(*revision.borrow_and_update(), 1);
    let status = replica.status();
    assert!(status.leading && status.applied == status.last_log, "{status:?}");
    replica.shutdown().await.unwrap();
    let after = replica.propose(&"web-2".to_owned()).await;
    assert_eq!(after, Err(ProposeError::Stopped));

    let replica: Replica<Ledger> = Replica::open(storage(), time.clock()).await.unwrap();
    assert!(replica.status().leading);
    assert_eq!(*replica.revision().borrow(), 1);
    let again = replica.initialize().await.unwrap_err();
    assert!(matches!(again, InitializeReplicaError::AlreadyInitialized { .. }));
    assert_eq!(propose(&replica, "web-1").await, Err("taken"));
    assert_eq!(propose(&replica, "web-2").await, Ok((2, 1_000)));
    replica.shutdown().await.unwrap();
}

#[tokio::test]
async fn i5_time_and_revision_never_go_back_with_the_clock() {
    let directory = tempfile::tempdir().unwrap();
    let time = Time::at(5_000);
    let storage = || Storage::in_directory(&directory.path().join("manager")).unwrap();
    let replica = found(storage(), &time).await;
    assert_eq!(propose(&replica, "a").await, Ok((1, 5_000)));
    time.set(4_000);
    assert_eq!(propose(&replica, "b").await, Ok((2, 5_000)));
    replica.shutdown().await.unwrap();

    let replica = Replica::open(storage(), time.clock()).await.unwrap();
    assert_eq!(propose(&replica, "c").await, Ok((3, 5_000)));
    time.set(6_000);
    assert_eq!(propose(&replica, "d").await, Ok((4, 6_000)));
    replica.shutdown().await.unwrap();
}

#[tokio::test]
async fn proposals_that_wait_share_an_entry() {
    let replica = found(in_memory(), &Time::at(1)).await;
    let before = replica.status().last_log.unwrap();
    let proposals = (0..600).map(|n| {
        let replica = replica.clone();
        tokio::spawn(async move { propose(&replica, &format!("node-{n}")).await })
    });
    let proposals: Vec<_> = proposals.collect();
    let mut revisions = Vec::new();
    for proposal in proposals {
        revisions.push(proposal.await.unwrap().unwrap().0);
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=600).collect::<Vec<u64>>());
    let entries = replica.status().last_log.unwrap() - before;
    assert!(entries <= 10, "600 commands took {entries} entries");
    assert_eq!(names(&replica.view().unwrap()), 600);
}

#[tokio::test]
async fn a_fault_stops_the_replica_and_is_no_answer() {
    let replica = found(in_memory(), &Time::at(1)).await;
    propose(&replica, "web-1").await.unwrap();
    let error = replica.propose(&"fault".to_owned()).await.unwrap_err();
    let ProposeError::Failed(failure) = error else { panic!("{error:?}") };
    assert!(failure.what.contains("a row that cannot be ours"), "{failure}");
    assert_eq!(replica.failed().await, failure);
    let later = replica.propose(&"web-2".to_owned()).await;
    assert_eq!(later, Err(ProposeError::Failed(failure)));
    assert_eq!(names(&replica.view().unwrap()), 1);
}

#[tokio::test]
async fn a_huge_command_is_refused_with_both_sizes() {
    let replica = found(in_memory(), &Time::at(1)).await;
    let huge = "x".repeat(limits::COMMAND_BYTES + 1);
    let words = replica.propose(&huge).await.unwrap_err().to_string();
    assert_eq!(words, "the command has 262145 bytes, expected at most 262144");
}

#[tokio::test]
async fn a_long_log_is_cut_and_the_rest_is_enough() {
    let directory = tempfile::tempdir().unwrap();
    let time = Time::at(1);
    let storage = || Storage::in_directory(&directory.path().join("manager")).unwrap();
    let replica = found(storage(), &time).await;
    let entries = limits::SNAPSHOT_ENTRIES + limits::LOG_KEEP_ENTRIES + limits::PURGE_ENTRIES;
    for n in 0..entries + 10 {
        propose(&replica, &format!("node-{n}")).await.unwrap();
    }
    let mut metrics = replica.inner.raft.metrics();
    metrics.wait_for(|now| now.purged.is_some()).await.unwrap();
    let kept = replica.inner.storage.entries(..).unwrap().len() as u64;
    assert!(kept < entries, "{kept} of {entries} entries are left");
    drop(metrics);
    replica.shutdown().await.unwrap();

    let replica = Replica::open(storage(), time.clock()).await.unwrap();
    assert_eq!(names(&replica.view().unwrap()) as u64, entries + 10);
    assert!(propose(&replica, "last").await.is_ok());
    replica.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_snapshot_carries_the_whole_state_or_nothing() {
    let replica = found(in_memory(), &Time::at(77)).await;
    for n in 0..500 {
        propose(&replica, &format!("node-{n:>0900}")).await.unwrap();
    }
    let source = &replica.inner;
    let mut sender: StateMachine<Ledger> = StateMachine::new(
        source.storage.clone(),
        Progress::new(0, 0),
        source.failures.clone(),
        10,
        Hold::new(Duration::ZERO),
    );
    let mut builder = sender.get_snapshot_builder().await;
    let built: openraft::Snapshot<Types<Ledger>> = builder.build_snapshot().await.unwrap();
    let SnapshotData::Live(mut outgoing) = *built.snapshot else { panic!("a built snapshot is live") };
    let mut chunks = Vec::new();
    while let Some(chunk) = outgoing.next_chunk().unwrap() {
        chunks.push(chunk);
    }
    assert!(chunks.len() > 2, "{} chunks", chunks.len());

    let storage = Arc::new(in_memory());
    let progress = Progress::new(0, 0);
    let mut receiver: StateMachine<Ledger> =
        StateMachine::new(storage.clone(), progress.clone(), Failures::new(), 10, Hold::new(Duration::ZERO));
    // A flipped bit, a lost chunk and a missing end are all found before the state is touched.
    for damage in 0..3 {
        let mut chunks = chunks.clone();
        match damage {
            0 => *chunks[0].last_mut().unwrap() ^= 1,
            1 => drop(chunks.remove(1)),
            _ => drop(chunks.pop()),
        }
        let data = receiver.begin_receiving_snapshot().await.unwrap();
        let SnapshotData::Received(mut incoming) = *data else { panic!("a begun snapshot is received") };
        let accepted: Result<(), _> = chunks.iter().try_for_each(|chunk| incoming.accept(chunk));
        let installed =
            receiver.install_snapshot(&built.meta, Box::new(SnapshotData::Received(incoming))).await;
        assert_eq!(accepted.is_ok(), damage == 2, "{accepted:?}");
        installed.unwrap_err();
        assert_eq!(names(&storage.view().unwrap()), 0);
    }

    let data = receiver.begin_receiving_snapshot().await.unwrap();
    let SnapshotData::Received(mut incoming) = *data else { panic!("a begun snapshot is received") };
    chunks.iter().try_for_each(|chunk| incoming.accept(chunk)).unwrap();
    receiver.install_snapshot(&built.meta, Box::new(SnapshotData::Received(incoming))).await.unwrap();
    let (here, there) = (replica.view().unwrap(), storage.view().unwrap());
    for table in Table::ALL {
        let all = |view: &dyn View| view.scan(table, Bound::Unbounded, Bound::Unbounded, 10_000);
        assert_eq!(all(&here), all(&there), "{table:?}");
    }
    assert_eq!(*progress.revision.borrow(), 500);
    let (applied, membership) = receiver.applied_state().await.unwrap();
    assert_eq!(applied, built.meta.last_log_id);
    assert_eq!(membership, built.meta.last_membership);
}
