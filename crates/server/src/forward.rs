//! Commands of a manager that does not lead, on their way to the one that does.
//!
//! What waits together travels together, as in the leader's own proposer. A command is never sent twice
//! from here: whoever asked decides, where it is not known whether the first one arrived.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use certus_ca::{Refusal, Reply};
use certus_wire::v1;
use certus_wire::v1::proposed::Kind;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::peers::{Lines, with_causes};
use crate::replica::MemberId;
use crate::replica::limits::{BATCH_BYTES, BATCH_COMMANDS, QUEUE_COMMANDS};

/// What became of a command that was sent to the leader.
#[derive(Clone, Debug)]
pub(crate) enum Forwarded {
    /// It is committed, in the entry with this index.
    Committed { outcome: Box<Result<Reply, Refusal>>, index: u64 },
    /// It was not proposed: who was asked does not lead, or nobody was reached.
    NotProposed,
    /// It may have been committed or not.
    Unknown(String),
    /// It was not committed, and would not be if asked again now.
    Failed(String),
}

struct Waiting {
    command: Vec<u8>,
    answer: oneshot::Sender<Forwarded>,
}

/// Sends commands to the leader. Clones share the queues.
///
/// Each manager that leads, or did, has a queue of its own: what one that was lost does not answer must
/// not hold up what is meant for the next.
#[derive(Clone)]
pub(crate) struct Forwarder {
    lines: Lines,
    queues: Arc<Mutex<BTreeMap<MemberId, mpsc::Sender<Waiting>>>>,
}

impl Forwarder {
    pub(crate) fn new(lines: Lines) -> Forwarder {
        Forwarder { lines, queues: Arc::default() }
    }

    /// Sends one command to `leader`, and waits for what became of it.
    ///
    /// If the future is dropped, the command may be sent or not.
    pub(crate) async fn forward(&self, leader: MemberId, command: Vec<u8>) -> Forwarded {
        let (answer, forwarded) = oneshot::channel();
        if self.queue(leader).send(Waiting { command, answer }).await.is_err() {
            return Forwarded::NotProposed;
        }
        forwarded.await.unwrap_or_else(|_| Forwarded::Unknown("the manager stops".to_owned()))
    }

    /// One queue for each number that ever led; a cluster has a handful of managers.
    fn queue(&self, leader: MemberId) -> mpsc::Sender<Waiting> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.entry(leader).or_insert_with(|| {
            let (queue, waiting) = mpsc::channel(QUEUE_COMMANDS);
            tokio::spawn(run(self.lines.clone(), leader, waiting));
            queue
        });
        queue.clone()
    }
}

async fn run(lines: Lines, leader: MemberId, mut queue: mpsc::Receiver<Waiting>) {
    let places = Arc::new(Semaphore::new(BATCHES_AT_ONCE));
    while let Some(first) = queue.recv().await {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let mut bytes = first.command.len();
        let mut batch = vec![first];
        while batch.len() < BATCH_COMMANDS && bytes < BATCH_BYTES {
            let Ok(waiting) = queue.try_recv() else { break };
            bytes += waiting.command.len();
            batch.push(waiting);
        }
        // Whoever does not wait any more has been told that nothing is known of it.
        batch.retain(|waiting| !waiting.answer.is_closed());
        if batch.is_empty() {
            continue;
        }
        let lines = lines.clone();
        tokio::spawn(async move {
            send(&lines, leader, batch).await;
            drop(place);
        });
    }
}

async fn send(lines: &Lines, leader: MemberId, batch: Vec<Waiting>) {
    let (commands, answers): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|waiting| (waiting.command, waiting.answer)).unzip();
    let Some(mut client) = lines.to(leader, None) else {
        answers.into_iter().for_each(|answer| drop(answer.send(Forwarded::NotProposed)));
        return;
    };
    let call = client.propose(v1::ProposeRequest { commands });
    let outcomes: Vec<Forwarded> = match tokio::time::timeout(CALL, call).await {
        Ok(Ok(reply)) => reply.into_inner().proposed.into_iter().map(forwarded).collect(),
        // The gate or the connection's handshake said no: nothing was proposed.
        Ok(Err(status)) if refused_before(&status) => vec![Forwarded::NotProposed; answers.len()],
        Ok(Err(status)) => vec![Forwarded::Unknown(with_causes(&status)); answers.len()],
        Err(_) => {
            let words = format!("the leader did not answer within {} s", CALL.as_secs());
            vec![Forwarded::Unknown(words); answers.len()]
        }
    };
    let mut outcomes = outcomes.into_iter();
    for answer in answers {
        let missing = || Forwarded::Unknown("the leader answered for fewer commands".to_owned());
        let _ = answer.send(outcomes.next().unwrap_or_else(missing));
    }
}

/// Whether the call never reached the leader's proposer: it could not connect, or was turned away.
fn refused_before(status: &tonic::Status) -> bool {
    match status.code() {
        tonic::Code::PermissionDenied | tonic::Code::Unauthenticated => true,
        tonic::Code::Unavailable | tonic::Code::Unknown => certus_node::api::never_sent(status),
        _ => false,
    }
}

fn forwarded(proposed: v1::Proposed) -> Forwarded {
    match proposed.kind {
        Some(Kind::Committed(committed)) => {
            match certus_ca::format::decode_outcome(&committed.outcome) {
                Ok(outcome) => Forwarded::Committed { outcome: Box::new(outcome), index: committed.index },
                // Committed all the same: a newer leader answers what this version cannot read.
                Err(error) => Forwarded::Unknown(format!("the leader's answer cannot be read: {error}")),
            }
        }
        Some(Kind::NotLeading(_)) => Forwarded::NotProposed,
        Some(Kind::Unknown(words)) => Forwarded::Unknown(words),
        Some(Kind::Failed(words)) => Forwarded::Failed(words),
        None => Forwarded::Unknown("the leader answered nothing".to_owned()),
    }
}

/// Batches on their way at once: one travels while the one before is being written.
const BATCHES_AT_ONCE: usize = 4;

/// A little longer than a leader waits for its quorum, so that its own words arrive.
const CALL: Duration = Duration::from_secs(12);
