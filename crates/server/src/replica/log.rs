//! The Raft log over the storage, as openraft wants it.
//!
//! An entry is on disk before openraft is told so.

use std::fmt::Debug;
use std::ops::RangeBounds;
use std::sync::Arc;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, Entry, LogState, OptionalSend, RaftLogReader, StorageIOError};
use tokio::sync::watch;

use super::codec::{self, DecodeError};
use super::failure::{Failure, Failures};
use super::limits::{REPLICATE_BYTES, REPLICATE_ENTRIES};
use super::machine::Machine;
use super::types::{LogId, MemberId, RaftStorageError, Types, Vote};
use crate::storage::log::Word;
use crate::storage::{Storage, StorageError, blocking};

/// The log of this replica.
#[derive(Clone, Debug)]
pub(super) struct LogStore {
    storage: Arc<Storage>,
    failures: Failures,
    /// One more than the index of the last applied entry.
    applied_next: watch::Receiver<u64>,
    /// Written with the next append: one fsync for both. It may lag, which only means a replay.
    committed: Option<LogId>,
}

impl LogStore {
    pub(super) fn new(
        storage: Arc<Storage>,
        failures: Failures,
        applied_next: watch::Receiver<u64>,
    ) -> LogStore {
        LogStore { storage, failures, applied_next, committed: None }
    }

    /// Waits until the state has what is to be purged.
    ///
    /// openraft asks for it when it has only begun to install a snapshot.
    async fn wait_applied(&self, index: u64) -> Result<(), LogError> {
        let mut applied_next = self.applied_next.clone();
        tokio::select! {
            biased;
            reached = applied_next.wait_for(|next| *next > index) => match reached {
                Ok(_) => Ok(()),
                Err(_) => Err(LogError::StateGone { index }),
            },
            failure = self.failures.wait() => Err(LogError::Failed(failure)),
        }
    }

    #[expect(clippy::result_large_err, reason = "the error is openraft's own")]
    fn write<T>(&self, result: Result<T, LogError>) -> Result<T, RaftStorageError> {
        result.map_err(|error| {
            self.failures.report(&error);
            StorageIOError::write_logs(AnyError::new(&error)).into()
        })
    }

    #[expect(clippy::result_large_err, reason = "the error is openraft's own")]
    fn read<T>(&self, result: Result<T, LogError>) -> Result<T, RaftStorageError> {
        result.map_err(|error| {
            self.failures.report(&error);
            StorageIOError::read_logs(AnyError::new(&error)).into()
        })
    }

    fn entries<M: Machine>(&self, range: impl RangeBounds<u64>) -> Result<Vec<Entry<Types<M>>>, LogError> {
        blocking(|| decode_all(self.storage.entries(range)?))
    }

    fn log_id(&self, word: Word) -> Result<Option<LogId>, LogError> {
        let bytes = blocking(|| self.storage.word(word))?;
        let id = bytes.map(|bytes| codec::decode_log_id(&bytes)).transpose();
        id.map_err(|source| LogError::Word { word, source })
    }

    fn last_log_id(&self) -> Result<Option<LogId>, LogError> {
        let last = blocking(|| self.storage.last_entry())?;
        last.map(|(index, bytes)| {
            codec::decode_entry_log_id(&bytes).map_err(|source| LogError::Entry { index, source })
        })
        .transpose()
    }
}

impl<M: Machine> RaftLogReader<Types<M>> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry<Types<M>>>, RaftStorageError> {
        self.read(self.entries(range))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry<Types<M>>>, RaftStorageError> {
        let end = end.min(start.saturating_add(REPLICATE_ENTRIES));
        let rows = blocking(|| self.storage.entries_within(start..end, REPLICATE_BYTES));
        // What follows a gap must never be sent as if it followed `start`.
        let rows = rows.map(|rows| match rows.first() {
            Some((first, _)) if *first != start => Vec::new(),
            _ => rows,
        });
        self.read(rows.map_err(LogError::from).and_then(decode_all))
    }
}

impl<M: Machine> RaftLogStorage<Types<M>> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<Types<M>>, RaftStorageError> {
        let last_purged_log_id = self.read(self.log_id(Word::Purged))?;
        let last_log_id = self.read(self.last_log_id())?.or(last_purged_log_id);
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), RaftStorageError> {
        let bytes = codec::encode_vote(vote);
        let written = blocking(|| self.storage.set_word(Word::Vote, &bytes));
        self.write(written.map_err(LogError::from))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, RaftStorageError> {
        let read = blocking(|| self.storage.word(Word::Vote)).map_err(LogError::from);
        let vote = read.and_then(|bytes| {
            let vote = bytes.map(|bytes| codec::decode_vote(&bytes)).transpose();
            vote.map_err(|source| LogError::Word { word: Word::Vote, source })
        });
        self.read(vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), RaftStorageError> {
        self.committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, RaftStorageError> {
        self.read(self.log_id(Word::Committed))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types<M>>) -> Result<(), RaftStorageError>
    where
        I: IntoIterator<Item = Entry<Types<M>>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let rows: Vec<(u64, Vec<u8>)> =
            entries.into_iter().map(|entry| (entry.log_id.index, codec::encode_entry(&entry))).collect();
        let committed = self.committed.take().as_ref().map(codec::encode_log_id);
        let written = blocking(|| self.storage.append(rows, committed.as_deref()));
        self.write(written.map_err(LogError::from))?;
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), RaftStorageError> {
        let written = blocking(|| self.storage.truncate(log_id.index));
        self.write(written.map_err(LogError::from))
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), RaftStorageError> {
        let applied = self.wait_applied(log_id.index).await;
        self.write(applied)?;
        let bytes = codec::encode_log_id(&log_id);
        let written = blocking(|| self.storage.purge(log_id.index, &bytes));
        self.write(written.map_err(LogError::from))
    }
}

fn decode_all<M: Machine>(rows: Vec<(u64, Vec<u8>)>) -> Result<Vec<Entry<Types<M>>>, LogError> {
    let entries = rows.into_iter().map(|(index, bytes)| {
        codec::decode_entry(&bytes).map_err(|source| LogError::Entry { index, source })
    });
    entries.collect()
}

/// The term that `member` led when its log was closed, and the log's last entry, if it led.
pub(super) fn resumed(storage: &Storage, member: MemberId) -> Result<Option<(u64, u64)>, LogError> {
    blocking(|| {
        let vote = storage.word(Word::Vote)?.map(|bytes| codec::decode_vote(&bytes)).transpose();
        let vote = vote.map_err(|source| LogError::Word { word: Word::Vote, source })?;
        let led = vote.filter(|vote| vote.committed && vote.leader_id.node_id == member);
        let last = storage.last_entry()?.map(|(index, _)| index);
        Ok(led.zip(last).map(|(vote, last)| (vote.leader_id.term, last)))
    })
}

/// The log could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum LogError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("entry {index} of the log cannot be read")]
    Entry { index: u64, source: DecodeError },
    #[error("asked to cut the log up to entry {index}, which the state will never have")]
    StateGone { index: u64 },
    #[error(transparent)]
    Failed(Failure),
    #[error("the {word:?} word of the log cannot be read")]
    Word { word: Word, source: DecodeError },
}
