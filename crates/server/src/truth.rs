//! The cluster's truth as this manager reads and changes it: the replica, with `ca` as its machine.

use std::time::{Duration, Instant};

use certus_ca::store::{Fault, Store, View};
use certus_ca::{Command, Refusal, Reply};
use certus_pki::explain::{Explain, Explanation};
use certus_pki::{UnixTime, code};
use certus_tls::Clock;

use crate::forward::{Forwarded, Forwarder};
use crate::peers::Lines;
use crate::replica::{Machine, MemberId, ProposeError, Replica};
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
    /// The way to the manager that leads; none while a cluster is being founded.
    way: Option<(Lines, Forwarder)>,
}

impl Truth {
    /// A truth that nobody shares yet.
    pub(crate) fn alone(replica: Replica<CaMachine>, clock: Clock) -> Truth {
        Truth { replica, clock, way: None }
    }

    /// The truth of one of several managers.
    pub(crate) fn among(replica: Replica<CaMachine>, clock: Clock, lines: Lines) -> Truth {
        let forwarder = Forwarder::new(lines.clone());
        Truth { replica, clock, way: Some((lines, forwarder)) }
    }

    /// The lines to the other managers.
    pub(crate) fn lines(&self) -> Option<&Lines> {
        self.way.as_ref().map(|(lines, _)| lines)
    }

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

    /// Asks the tables something they may refuse. A manager that does not lead, or does not yet or no more,
    /// may refuse for want of news, so it asks again once it has applied what is committed. Where it cannot
    /// know that, it refuses nothing: whoever was just answered by another must not be told that nobody
    /// knows it.
    pub(crate) async fn plan<T>(
        &self,
        ask: impl Fn(&StateView) -> Result<Result<T, Refusal>, Fault>,
    ) -> Result<T, Unanswered> {
        if let Ok(planned) = self.read(&ask)? {
            return Ok(planned);
        }
        match self.catch_up().await {
            true => self.read(&ask)?.map_err(Unanswered::Refused),
            false => Err(Unanswered::Behind),
        }
    }

    /// Puts a command into the log. When this returns it is durable on a majority and applied here (I4).
    ///
    /// While managers elect, it waits for the one that leads. It is never proposed twice from here.
    pub(crate) async fn propose(&self, command: &Command) -> Result<Reply, Unanswered> {
        let begin = Instant::now();
        let reply = self.put(command).await;
        if let (Some((lines, _)), Ok(_)) = (&self.way, &reply) {
            lines.numbers().committed(begin.elapsed());
        }
        reply
    }

    async fn put(&self, command: &Command) -> Result<Reply, Unanswered> {
        // What the log cannot carry must not reach it: there it would stop every replica.
        let bytes = certus_ca::format::carry_command(command).map_err(Unanswered::Refused)?;
        let until = Instant::now() + LEADER_WITHIN;
        loop {
            let leader = match self.replica.propose_encoded(bytes.clone()).await {
                Ok(committed) => return committed.reply.map_err(Unanswered::Refused),
                Err(ProposeError::NotLeading { leader }) => leader,
                Err(error) => return Err(Unanswered::Proposal(error)),
            };
            if let (Some(leader), Some((lines, forwarder))) = (leader, &self.way) {
                let forwarded = tokio::select! {
                    forwarded = forwarder.forward(leader, bytes.clone()) => forwarded,
                    () = self.superseded(leader) => {
                        Forwarded::Unknown("it leads no more, and did not say".to_owned())
                    }
                };
                lines.numbers().forwarded(matches!(forwarded, Forwarded::Committed { .. }));
                match forwarded {
                    Forwarded::Committed { outcome, index } => {
                        // Whoever asks here next must find it. Committed it is, applied here or not.
                        let _ = self.replica.wait_applied(index, APPLIED_WITHIN).await;
                        return outcome.map_err(Unanswered::Refused);
                    }
                    Forwarded::NotProposed => {}
                    Forwarded::Unknown(why) => return Err(Unanswered::Unknown { why }),
                    Forwarded::Failed(why) => return Err(Unanswered::Elsewhere { why }),
                }
            }
            if self.way.is_none() || Instant::now() >= until {
                return Err(Unanswered::Proposal(ProposeError::NotLeading { leader }));
            }
            tokio::time::sleep(LEADER_AGAIN).await;
        }
    }

    /// Returns when another than `leader` leads, and `leader` had a moment to answer all the same: one that
    /// was cut off or paused never will, and whoever asked had better ask again.
    async fn superseded(&self, leader: MemberId) {
        while self.replica.status().leader.is_none_or(|leads| leads == leader) {
            tokio::time::sleep(LEADER_AGAIN).await;
        }
        tokio::time::sleep(LAST_WORDS).await;
    }

    /// Waits until this manager's state is at `revision` at least, for `patience` at most.
    pub(crate) async fn wait_revision(&self, revision: u64, patience: Duration) {
        let mut known = self.replica.revision();
        let _ = tokio::time::timeout(patience, known.wait_for(|known| *known >= revision)).await;
    }

    /// Waits until what was committed when this was asked is applied here. False if nobody who leads
    /// could say in time how far that is.
    pub(crate) async fn catch_up(&self) -> bool {
        let index = match self.replica.read_index().await {
            Ok(index) => index,
            Err(ProposeError::NotLeading { leader: Some(leader) }) => {
                let Some(mut client) = self.lines().and_then(|lines| lines.to(leader, None)) else {
                    return false;
                };
                let asked = client.read_index(certus_wire::v1::ReadIndexRequest {});
                match tokio::time::timeout(APPLIED_WITHIN, asked).await {
                    Ok(Ok(reply)) => reply.into_inner().index,
                    Ok(Err(_)) | Err(_) => return false,
                }
            }
            Err(_) => return false,
        };
        self.replica.wait_applied(index, APPLIED_WITHIN).await
    }
}

/// Electing takes about two seconds; a caller waits ten for its answer.
const LEADER_WITHIN: Duration = Duration::from_secs(7);
/// How often it is looked whether somebody leads.
const LEADER_AGAIN: Duration = Duration::from_millis(50);
/// What is on its way back from a leader that was lost arrives by then.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// A follower hears what is committed with the next heartbeat.
const APPLIED_WITHIN: Duration = Duration::from_secs(2);

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
    /// The manager that leads was asked, and did not say what became of it.
    #[error("the manager that leads did not answer: it may be committed or not ({why})")]
    Unknown {
        /// What is known.
        why: String,
    },
    /// The manager that leads could not commit it.
    #[error("the manager that leads cannot commit it now ({why})")]
    Elsewhere {
        /// What it said.
        why: String,
    },
    /// The tables here refuse it, and may lack what others have committed.
    #[error("this manager does not know now what the others have committed, and cannot judge it")]
    Behind,
    /// The manager that leads refuses it.
    #[error("{}", .0.message)]
    ByAnother(Explanation),
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
            Unanswered::ByAnother(why) => why.clone(),
            Unanswered::Unknown { .. } | Unanswered::Elsewhere { .. } | Unanswered::Behind => {
                Explanation::new(code::UNAVAILABLE, self.to_string())
                    .hint("the same call may succeed later, or at another manager")
            }
            Unanswered::Mismatched { .. } => Explanation::new(code::UNAVAILABLE, self.to_string()),
        }
    }
}
