//! One life of the replica after another, each with its fate.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use certus_server::replica::limits::Cadence;
use certus_server::replica::{Failure, Machine as _, OpenError, ProposeError, Replica};
use certus_server::storage::Storage;
use tokio::task::JoinHandle;

use super::journal::{I8_MARK, Journaled, Receipt};
use super::proof::Proof;
use super::{Broken, Invariant, Outcome, START, Violation, Workload};
use crate::chance::Chance;
use crate::disk::{FaultKind, SimDisk};

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The machine loses power between two operations of its disk.
    PowerCut,
    /// The process is killed between two steps of its tasks.
    Kill,
    /// One operation of the disk fails.
    DiskError,
    /// The disk fills up.
    DiskFull,
    /// It is told to stop.
    Shutdown,
}

/// A simulated manager and its clients.
pub(super) struct Sim<W: Workload> {
    seed: u64,
    chance: Chance,
    clients: W,
    disk: SimDisk,
    now: Arc<AtomicI64>,
    proof: Proof,
    next_id: u64,
    outcome: Outcome,
}

type Subjected<W> = Replica<Journaled<<W as Workload>::Machine>>;
type Proposed = JoinHandle<Result<Receipt, ProposeError>>;

impl<W: Workload> Sim<W> {
    pub(super) fn new(seed: u64, clients: W) -> Sim<W> {
        let mut chance = Chance::new(seed);
        Sim {
            seed,
            clients,
            disk: SimDisk::new(chance.draw()),
            chance,
            now: Arc::new(AtomicI64::new(START)),
            proof: Proof::default(),
            next_id: 0,
            outcome: Outcome { seed, ..Outcome::default() },
        }
    }

    pub(super) fn outcome(mut self) -> Outcome {
        let (operations, syncs) = self.disk.counts();
        self.outcome.unheard = self.proof.places() - self.outcome.answered;
        self.outcome.digest = self.proof.digest() ^ operations.rotate_left(32) ^ syncs;
        self.outcome
    }

    /// One life: opened, asked, ended.
    pub(super) fn live(&mut self, fate: Option<Fate>) -> Result<(), Violation> {
        let fate = fate.unwrap_or_else(|| match self.chance.below(8) {
            0..=2 => Fate::PowerCut,
            3 | 4 => Fate::Kill,
            5 => Fate::DiskError,
            6 => Fate::DiskFull,
            _ => Fate::Shutdown,
        });
        let operations = self.chance.below(OPERATIONS);
        match fate {
            Fate::PowerCut => self.disk.fail_after(operations, FaultKind::PowerCut),
            Fate::DiskError => self.disk.fail_after(operations, FaultKind::Io),
            Fate::DiskFull => self.disk.leave_room(Some(operations * ROOM_BYTES)),
            Fate::Kill | Fate::Shutdown => {}
        }
        let violation = |(invariant, what): Broken, seed| Violation {
            invariant,
            seed,
            what: format!("in a life that ends with {fate:?}: {what}"),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.map_err(|error| violation((Invariant::Alive, error.to_string()), self.seed))?;
        let lived = runtime.block_on(self.life(fate));
        // The process is gone before its files settle, as in a crash: nothing tidies up.
        if fate == Fate::PowerCut || self.chance.once_in(3) {
            self.disk.cut_power();
        } else {
            self.disk.kill();
        }
        drop(runtime);
        self.disk.leave_room(None);
        self.outcome.ends[fate as usize] += 1;
        lived.map_err(|broken| violation(broken, self.seed))
    }

    async fn life(&mut self, fate: Fate) -> Result<(), Broken> {
        let replica = match self.open().await {
            Ok(replica) => replica,
            Err(what) => {
                self.outcome.stillborn += 1;
                self.outcome.stopped[fate as usize] += 1;
                return forgive(fate, what);
            }
        };
        self.whole(&replica, fate)?;
        let revision = replica.revision();
        for _ in 0..self.chance.below(ROUNDS) {
            self.pass_time();
            let proposed = self.propose(&replica);
            if fate == Fate::Kill && self.chance.once_in(ROUNDS / 2) {
                return self.leave_early(proposed).await;
            }
            if let Some(failure) = self.hear(proposed).await {
                return self.fail(&replica, fate, failure).await;
            }
            let Ok(view) = replica.view() else {
                return forgive(fate, "no view".to_owned());
            };
            forgive_fault(fate, self.proof.step(&view, &self.clients))?;
            let known = *revision.borrow();
            if let Ok(found) = W::Machine::revision(&view)
                && found != known
            {
                let what = format!("watchers know revision {known}, the state has {found}");
                return Err((Invariant::I5, what));
            }
        }
        self.whole(&replica, fate)?;
        if fate == Fate::Shutdown {
            let stopped = replica.shutdown().await;
            stopped.map_err(|error| (Invariant::Alive, error.to_string()))?;
        }
        Ok(())
    }

    async fn open(&self) -> Result<Subjected<W>, String> {
        let storage = Storage::on_backends(self.disk.open("log"), self.disk.open("state"))
            .map_err(|error| words(&error))?;
        let now = self.now.clone();
        let clock = Arc::new(move || now.load(Ordering::Relaxed));
        let replica = Replica::open_at(storage, clock, CADENCE);
        let replica: Subjected<W> = replica.await.map_err(|error: OpenError| words(&error))?;
        let founded = replica.is_initialized().await;
        if !founded.map_err(|error| words(&error))? {
            let initialized = replica.initialize().await;
            initialized.map_err(|error| words(&error))?;
        }
        Ok(replica)
    }

    fn whole(&mut self, replica: &Subjected<W>, fate: Fate) -> Result<(), Broken> {
        match replica.view() {
            Ok(view) => forgive_fault(fate, self.proof.whole(&view, &self.clients)),
            Err(error) => forgive(fate, words(&error)),
        }
    }

    fn pass_time(&mut self) {
        // A founding is planned for the moment the run begins at.
        if self.outcome.answered == self.outcome.refused {
            return;
        }
        let passed = match self.chance.once_in(8) {
            true => {
                self.outcome.clock_backs += 1;
                -self.chance.below(5_000).cast_signed()
            }
            false => self.chance.below(100).cast_signed(),
        };
        self.now.fetch_add(passed, Ordering::Relaxed);
    }

    /// Some clients ask at once.
    fn propose(&mut self, replica: &Subjected<W>) -> Vec<Proposed> {
        let clients = 1 + self.chance.below(CLIENTS);
        let commands: Vec<_> = (0..clients)
            .map(|_| {
                self.next_id += 1;
                let now = self.now.load(Ordering::Relaxed);
                let command = self.clients.command(&mut self.chance, self.proof.known(), now);
                (self.next_id, command)
            })
            .collect();
        commands
            .into_iter()
            .map(|command| {
                let replica = replica.clone();
                tokio::spawn(async move { replica.propose(&command).await })
            })
            .collect()
    }

    /// Collects what the clients are told; the failure, if there was one.
    async fn hear(&mut self, proposed: Vec<Proposed>) -> Option<ProposeError> {
        let mut failure = None;
        for proposal in proposed {
            match proposal.await {
                Ok(Ok(receipt)) => self.told(receipt),
                Ok(Err(error)) => failure = Some(error),
                Err(_) => failure = Some(ProposeError::Stopped),
            }
        }
        failure
    }

    fn told(&mut self, receipt: Receipt) {
        self.outcome.answered += 1;
        self.outcome.refused += u64::from(!receipt.accepted);
        self.proof.told(receipt);
    }

    /// The process dies after a few steps of its tasks. Some clients may have been told by then.
    async fn leave_early(&mut self, proposed: Vec<Proposed>) -> Result<(), Broken> {
        for _ in 0..self.chance.below(TASK_STEPS) {
            tokio::task::yield_now().await;
        }
        for proposal in proposed {
            if proposal.is_finished()
                && let Ok(Ok(receipt)) = proposal.await
            {
                self.told(receipt);
            }
        }
        Ok(())
    }

    /// It failed: everybody must be told so, from now on, and no one may be refused for it.
    async fn fail(&mut self, replica: &Subjected<W>, fate: Fate, error: ProposeError) -> Result<(), Broken> {
        let ProposeError::Failed(Failure { what, .. }) = &error else {
            return Err((Invariant::Alive, format!("expected a failure, found {error}")));
        };
        if what.contains(I8_MARK) {
            return Err((Invariant::I8, what.to_string()));
        }
        self.outcome.stopped[fate as usize] += 1;
        let _ = replica.failed().await;
        let proposed = self.propose(replica);
        for proposal in proposed {
            if !matches!(proposal.await, Ok(Err(ProposeError::Failed(_)))) {
                let what = format!("it answers after it failed with {what}");
                return Err((Invariant::Alive, what));
            }
        }
        forgive(fate, what.to_string())
    }
}

/// A failure is right where the disk was made to fail, and nowhere else.
fn forgive(fate: Fate, what: String) -> Result<(), Broken> {
    match fate {
        Fate::PowerCut | Fate::DiskError | Fate::DiskFull => Ok(()),
        Fate::Kill | Fate::Shutdown => Err((Invariant::Alive, what)),
    }
}

/// The same for what was found while looking at a state: a disk that fails cannot be read.
fn forgive_fault(fate: Fate, found: Result<(), Broken>) -> Result<(), Broken> {
    match found {
        Err((Invariant::Alive, what)) => forgive(fate, what),
        found => found,
    }
}

pub(super) fn words(error: &dyn std::error::Error) -> String {
    match error.source() {
        None => error.to_string(),
        Some(cause) => format!("{error}: {}", words(cause)),
    }
}

/// A life takes a few hundred disk operations; half of the faults come before it is over.
const OPERATIONS: u64 = 600;
/// What one unit of chance leaves on a disk that fills up.
const ROOM_BYTES: u64 = 512;
/// Rounds of proposals in a life.
const ROUNDS: u64 = 24;
/// Clients that ask at once.
const CLIENTS: u64 = 6;
/// Steps of tasks after which a kill comes; a commit takes a dozen.
const TASK_STEPS: u64 = 24;
/// Every seam within a life: barriers, snapshots and purges in each.
const CADENCE: Cadence = Cadence {
    commands: 256,
    barrier: 7,
    snapshot: 9,
    keep: 4,
    purge: 3,
    hold: std::time::Duration::from_secs(2),
};
