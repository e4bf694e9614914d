//! The replicated state over the storage, as openraft wants it: entries in, replies out.
//!
//! What an entry does and the fact that it is applied are one transaction. Between barriers the
//! disk may lag behind; after a crash openraft replays from what the disk holds.

use std::marker::PhantomData;
use std::sync::Arc;

use certus_ca::store::Fault;
use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, Entry, EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageIOError,
};
use tokio::sync::watch;

use super::codec::{self, DecodeError};
use super::failure::Failures;
use super::hold::Hold;
use super::limits::BARRIER_BYTES;
use super::machine::Machine;
use super::snapshot::{Incoming, Outgoing, SnapshotData, SnapshotError};
use super::types::{Batch, LogId, Member, MemberId, RaftStorageError, Replies, StoredMembership, Types};
use crate::storage::{Own, Pending, Settle, Storage, StorageError, blocking};

/// How far the state is, for whoever waits for it.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// The machine's revision.
    pub(super) revision: watch::Sender<u64>,
    /// One more than the index of the last applied entry.
    pub(super) applied_next: watch::Sender<u64>,
}

impl Progress {
    pub(super) fn new(revision: u64, applied_next: u64) -> Progress {
        Progress { revision: watch::Sender::new(revision), applied_next: watch::Sender::new(applied_next) }
    }

    fn moved(&self, revision: u64, applied_next: u64) {
        for (sender, new) in [(&self.revision, revision), (&self.applied_next, applied_next)] {
            sender.send_if_modified(|known| std::mem::replace(known, new) != new);
        }
    }
}

/// The state of this replica; applies entries in order.
#[derive(Debug)]
pub(super) struct StateMachine<M> {
    storage: Arc<Storage>,
    progress: Progress,
    failures: Failures,
    /// Entries between barriers.
    barrier: u64,
    /// Bytes of commands applied since the last barrier that was made here.
    bytes: u64,
    /// Who keeps the log from being cut.
    hold: Hold,
    machine: PhantomData<M>,
}

impl<M: Machine> StateMachine<M> {
    pub(super) fn new(
        storage: Arc<Storage>,
        progress: Progress,
        failures: Failures,
        barrier: u64,
        hold: Hold,
    ) -> StateMachine<M> {
        StateMachine { storage, progress, failures, barrier, bytes: 0, hold, machine: PhantomData }
    }

    fn apply_all(&mut self, entries: Vec<Entry<Types<M>>>) -> Result<Vec<Replies<M>>, StateError> {
        let bytes = self.bytes + entries.iter().map(command_bytes).sum::<u64>();
        let (barrier, durable_next) = (self.barrier, self.storage.durable_next());
        let (replies, revision, applied_next, settle) = self.storage.write_state(|pending| {
            let mut at = pending.at()?;
            let mut replies = Vec::with_capacity(entries.len());
            for entry in &entries {
                replies.push(apply_entry::<M>(pending, &mut at, entry)?);
            }
            pending.put_own(Own::At, &at.to_be_bytes())?;
            if let Some(last) = entries.last() {
                put_applied(pending, &last.log_id)?;
            }
            let revision = M::revision(pending)?;
            let applied_next = pending.applied_next()?;
            let waiting = applied_next.saturating_sub(durable_next);
            let settle = match waiting >= barrier || bytes >= BARRIER_BYTES {
                true => Settle::Durable,
                false => Settle::Later,
            };
            Ok::<_, StateError>(((replies, revision, applied_next, settle), settle))
        })?;
        self.bytes = match settle {
            Settle::Durable => 0,
            Settle::Later => bytes,
        };
        self.progress.moved(revision, applied_next);
        Ok(replies)
    }

    fn install(
        &mut self,
        meta: &SnapshotMeta<MemberId, Member>,
        incoming: Incoming,
    ) -> Result<(), StateError> {
        let (revision, applied_next) = self.storage.write_state(|pending| {
            incoming.install(pending)?;
            if let Some(last) = &meta.last_log_id {
                put_applied(pending, last)?;
            }
            let membership = codec::encode_stored_membership(&meta.last_membership);
            pending.put_own(Own::Membership, &membership)?;
            let revision = M::revision(pending)?;
            Ok::<_, StateError>(((revision, pending.applied_next()?), Settle::Durable))
        })?;
        self.progress.moved(revision, applied_next);
        Ok(())
    }

    #[expect(clippy::result_large_err, reason = "the error is openraft's own")]
    fn written<T>(&self, result: Result<T, StateError>) -> Result<T, RaftStorageError> {
        result.map_err(|error| {
            self.failures.report(&error);
            StorageIOError::write_state_machine(AnyError::new(&error)).into()
        })
    }

    #[expect(clippy::result_large_err, reason = "the error is openraft's own")]
    fn read<T>(&self, result: Result<T, StateError>) -> Result<T, RaftStorageError> {
        result.map_err(|error| {
            self.failures.report(&error);
            StorageIOError::read_state_machine(AnyError::new(&error)).into()
        })
    }
}

impl<M: Machine> RaftStateMachine<Types<M>> for StateMachine<M> {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), RaftStorageError> {
        self.read(blocking(|| applied(&self.storage)))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Replies<M>>, RaftStorageError>
    where
        I: IntoIterator<Item = Entry<Types<M>>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        let replies = blocking(|| self.apply_all(entries));
        self.written(replies)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { storage: self.storage.clone(), failures: self.failures.clone(), hold: self.hold.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotData>, RaftStorageError> {
        let spool = blocking(|| self.storage.spool());
        let incoming = spool.map(Incoming::new).map_err(StateError::from);
        self.written(incoming.map(|incoming| Box::new(SnapshotData::Received(incoming))))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<MemberId, Member>,
        snapshot: Box<SnapshotData>,
    ) -> Result<(), RaftStorageError> {
        let installed = match *snapshot {
            SnapshotData::Received(incoming) => blocking(|| self.install(meta, incoming)),
            SnapshotData::Live(_) => Err(StateError::OwnSnapshot),
        };
        self.written(installed)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types<M>>>, RaftStorageError> {
        self.read(blocking(|| live_snapshot(&self.storage)))
            .map(|snapshot| snapshot.filter(|snapshot| snapshot.meta.last_log_id.is_some()))
    }
}

/// Makes a "snapshot": a barrier, and a live reading of the state. Nothing is dumped.
#[derive(Debug)]
pub(super) struct Builder {
    storage: Arc<Storage>,
    failures: Failures,
    hold: Hold,
}

impl<M: Machine> RaftSnapshotBuilder<Types<M>> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types<M>>, RaftStorageError> {
        // What is built here is followed by a cut of the log.
        self.hold.released(&self.failures).await;
        let built = blocking(|| {
            self.storage.barrier()?;
            let snapshot = live_snapshot(&self.storage)?;
            snapshot.ok_or(StateError::NothingApplied)
        });
        built.map_err(|error| {
            self.failures.report(&error);
            StorageIOError::read_state_machine(AnyError::new(&error)).into()
        })
    }
}

fn apply_entry<M: Machine>(
    pending: &mut Pending<'_>,
    at: &mut i64,
    entry: &Entry<Types<M>>,
) -> Result<Replies<M>, StateError> {
    match &entry.payload {
        EntryPayload::Blank => Ok(Replies(Vec::new())),
        EntryPayload::Membership(membership) => {
            let stored = StoredMembership::new(Some(entry.log_id), membership.clone());
            let bytes = codec::encode_stored_membership(&stored);
            pending.put_own(Own::Membership, &bytes)?;
            Ok(Replies(Vec::new()))
        }
        EntryPayload::Normal(Batch { at: proposed, commands }) => {
            // Decided here and not by the leader: a new leader may not have applied every entry
            // of the old one when it proposes, and time must not go back for any of them.
            *at = (*at).max(*proposed);
            commands
                .iter()
                .map(|command| M::apply(pending, *at, command))
                .collect::<Result<_, _>>()
                .map(Replies)
                .map_err(|source| StateError::Fault { index: entry.log_id.index, source })
        }
    }
}

fn put_applied(pending: &mut Pending<'_>, id: &LogId) -> Result<(), StorageError> {
    pending.put_own(Own::Applied, &codec::encode_log_id(id))?;
    pending.put_own(Own::AppliedNext, &(id.index + 1).to_be_bytes())
}

fn applied(storage: &Storage) -> Result<(Option<LogId>, StoredMembership), StateError> {
    let view = storage.view()?;
    let id = match view.own(Own::Applied)? {
        None => None,
        Some(bytes) => Some(codec::decode_log_id(&bytes)?),
    };
    let membership = match view.own(Own::Membership)? {
        None => StoredMembership::default(),
        Some(bytes) => codec::decode_stored_membership(&bytes)?,
    };
    Ok((id, membership))
}

fn live_snapshot<M: Machine>(storage: &Storage) -> Result<Option<Snapshot<Types<M>>>, StateError> {
    // The view first: what is applied after it is not in it.
    let view = storage.view()?;
    let Some(bytes) = view.own(Own::Applied)? else {
        return Ok(None);
    };
    let last_log_id = codec::decode_log_id(&bytes)?;
    let last_membership = match view.own(Own::Membership)? {
        None => StoredMembership::default(),
        Some(bytes) => codec::decode_stored_membership(&bytes)?,
    };
    Ok(Some(Snapshot {
        meta: SnapshotMeta {
            last_log_id: Some(last_log_id),
            last_membership,
            snapshot_id: last_log_id.to_string(),
        },
        snapshot: Box::new(SnapshotData::Live(Outgoing::new(Arc::new(view)))),
    }))
}

fn command_bytes<M: Machine>(entry: &Entry<Types<M>>) -> u64 {
    match &entry.payload {
        EntryPayload::Normal(batch) => batch.commands.iter().map(|c| c.len() as u64).sum(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

/// The state could not be read or written: the replica stops.
#[derive(Debug, thiserror::Error)]
enum StateError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("entry {index} of the log cannot be applied")]
    Fault { index: u64, source: Fault },
    #[error("the state's revision cannot be read")]
    Revision(#[from] Fault),
    #[error("the replica's own rows cannot be read")]
    Own(#[from] DecodeError),
    #[error("a received snapshot cannot be installed")]
    Snapshot(#[from] SnapshotError),
    #[error("asked to install a snapshot of our own, expected a received one")]
    OwnSnapshot,
    #[error("asked for a snapshot before anything was applied")]
    NothingApplied,
}
