//! The cluster's truth as this manager reads and changes it: the replica, with `ca` as its machine.

use certus_ca::store::{Fault, Store, View};
use certus_ca::{Command, Refusal, Reply};
use certus_pki::explain::{Explain, Explanation};
use certus_pki::{UnixTime, code};
use certus_tls::Clock;

use crate::replica::{Machine, ProposeError, Replica};
use crate::storage::{StateView, StorageError, blocking};

/// What the log's commands are and do: `ca` decides, nothing here does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CaMachine;

impl Machine for CaMachine {
    type Command = Command;
    type Reply = Result<Reply, Refusal>;

    fn encode(command: &Command) -> Vec<u8> {
        certus_ca::format::encode_command(command)
    }

    fn apply(store: &mut dyn Store, at: i64, command: &[u8]) -> Result<Result<Reply, Refusal>, Fault> {
        let command = certus_ca::format::decode_command(command).map_err(|error| Fault {
            table: certus_ca::store::Table::Meta,
            what: format!("a command of the log cannot be read: {error}"),
        })?;
        certus_ca::apply(store, UnixTime::from_secs(at), &command)
    }

    fn revision(view: &dyn View) -> Result<u64, Fault> {
        certus_ca::revision(view)
    }
}

/// Reads and changes the truth.
pub(crate) struct Truth {
    pub(crate) replica: Replica<CaMachine>,
    pub(crate) clock: Clock,
}

impl Truth {
    /// This manager's time.
    pub(crate) fn now(&self) -> UnixTime {
        (self.clock)()
    }

    /// Asks the tables for a few rows, in one consistent reading.
    ///
    /// They are in the store's cache or one page away, so the worker thread is kept: measured, handing it
    /// over costs a fifth of the certificates a second.
    pub(crate) fn read<T>(&self, ask: impl FnOnce(&StateView) -> Result<T, Fault>) -> Result<T, Unanswered> {
        let view = self.replica.view().map_err(Unanswered::Storage)?;
        ask(&view).map_err(Unanswered::Fault)
    }

    /// Asks the tables for many rows: pages of lists, whole bundles.
    pub(crate) fn scan<T>(&self, ask: impl FnOnce(&StateView) -> Result<T, Fault>) -> Result<T, Unanswered> {
        blocking(|| self.read(ask))
    }

    /// Asks the tables something they may refuse.
    pub(crate) fn plan<T>(
        &self,
        ask: impl FnOnce(&StateView) -> Result<Result<T, Refusal>, Fault>,
    ) -> Result<T, Unanswered> {
        self.read(ask)?.map_err(Unanswered::Refused)
    }

    /// Puts a command into the log. When this returns it is durable and applied (I4).
    pub(crate) async fn propose(&self, command: &Command) -> Result<Reply, Unanswered> {
        // What the log cannot carry must not reach it: there it would stop every replica.
        certus_ca::format::carry_command(command).map_err(Unanswered::Refused)?;
        let answer = self.replica.propose(command).await.map_err(Unanswered::Proposal)?;
        answer.map_err(Unanswered::Refused)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The rules refuse it.
    #[error(transparent)]
    Refused(Refusal),
    /// The store cannot be read.
    #[error("the manager's store cannot be read")]
    Storage(#[source] StorageError),
    /// The store holds what cannot be ours.
    #[error("the manager's store is damaged")]
    Fault(#[source] Fault),
    /// It was not committed, as far as is known.
    #[error("the manager cannot commit it now")]
    Proposal(#[source] ProposeError),
    /// The rules answered with something else than was asked for: a bug.
    #[error("the cluster answered a {asked} with something else")]
    Mismatched {
        /// What was asked for.
        asked: &'static str,
    },
}

impl Explain for Unanswered {
    fn explain(&self) -> Explanation {
        let with_cause = |error: &dyn std::error::Error| {
            Explanation::new(code::UNAVAILABLE, self.to_string())
                .fact("because", error)
                .hint("see the manager's log; the same call may succeed later")
        };
        match self {
            Unanswered::Refused(refusal) => refusal.explain(),
            Unanswered::Storage(error) => with_cause(error),
            Unanswered::Fault(error) => with_cause(error),
            Unanswered::Proposal(error) => with_cause(error),
            Unanswered::Mismatched { .. } => Explanation::new(code::UNAVAILABLE, self.to_string()),
        }
    }
}
