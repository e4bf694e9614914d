//! A one-voter replica that lives, crashes and is opened again on a simulated disk.
//!
//! One seed decides the commands, the clock, the faults and what a power cut leaves. Time stands
//! still but for timers; nothing sleeps. After every step the state is held against what clients
//! were told and against a replay of its own history in memory.

pub mod group;
mod journal;
mod life;
mod proof;

use std::fmt;

use certus_ca::store::{Table, View};
use certus_server::replica::Machine;

use crate::chance::Chance;

pub use self::journal::{Journaled, Receipt};
use self::life::Sim;

/// A machine whose replies can be told apart: an answer, or a refusal.
pub trait Subject: Machine {
    /// Whether the command was carried out.
    fn accepted(reply: &Self::Reply) -> bool;

    /// Whether a refusal may write this row: I8 leaves out the audit.
    fn is_audit(table: Table, _key: &[u8]) -> bool {
        table == Table::Audit
    }
}

/// The clients of a simulated cluster.
pub trait Workload {
    /// What they talk to.
    type Machine: Subject;

    /// The next command of some client, who knows the state as of a moment ago and its own time.
    /// Some must be refused.
    fn command(
        &mut self,
        chance: &mut Chance,
        known: &dyn View,
        now: i64,
    ) -> <Self::Machine as Machine>::Command;

    /// What may never be taken back between two states: used tokens, revocations, certificates.
    fn check(&self, before: &dyn View, after: &dyn View) -> Result<(), Broken>;
}

/// Runs one seed to its end.
pub fn run<W: Workload>(seed: u64, clients: W) -> Result<Outcome, Violation> {
    let mut sim = Sim::new(seed, clients);
    for _ in 0..LIVES {
        sim.live(None)?;
    }
    sim.live(Some(life::Fate::Shutdown))?;
    Ok(sim.outcome())
}

/// What happened in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Commands that clients were told the outcome of.
    pub answered: u64,
    /// Of these, how many were refused.
    pub refused: u64,
    /// Commands whose outcome no client learnt, and that were found applied afterwards.
    pub unheard: u64,
    /// Lives that ended with a power cut, a kill, a disk error, a full disk, a clean shutdown.
    pub ends: [u64; 5],
    /// Of these, how many the disk ended: the replica had to stop by itself.
    pub stopped: [u64; 5],
    /// Lives that ended before the replica was open.
    pub stillborn: u64,
    /// How often the simulated clock went back.
    pub clock_backs: u64,
    /// A hash of everything applied and of the disk's operations.
    pub digest: u64,
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its number.
    pub invariant: Invariant,
    /// The seed that found it.
    pub seed: u64,
    /// What was expected and what was found.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { invariant, seed, what } = self;
        write!(
            f,
            "{invariant:?} does not hold with seed {seed}: {what}\n\
             rerun: {SEED_VARIABLE}={seed} cargo test -p certus-testkit"
        )
    }
}

/// An invariant, and how it failed.
pub type Broken = (Invariant, String);

/// The invariants a run looks after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// Equal logs give equal state.
    I2,
    /// What a client was told is on record.
    I4,
    /// Revisions and time never go back; serials never repeat.
    I5,
    /// A refused request changes nothing.
    I8,
    /// What was revoked or used up stays so.
    I10,
    /// Clients see one order: what was told is seen by whoever asks later, nothing stands twice, and
    /// what was surely not proposed does not stand at all.
    Order,
    /// A clock far off the majority is not believed.
    Clock,
    /// It opens, answers and stops only when it should, and works again in time.
    Alive,
}

/// The seeds to run: 20, or the one that the environment names.
pub fn seeds() -> Vec<u64> {
    let named = std::env::var(SEED_VARIABLE).ok();
    match named.and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (1..=SEEDS).collect(),
    }
}

/// When every run begins: 2026-01-01, in Unix seconds.
pub const START: i64 = 1_767_225_600;
/// Runs a single seed instead.
pub const SEED_VARIABLE: &str = "CERTUS_SIM_SEED";
/// Enough for every fate many times; a few seconds.
const SEEDS: u64 = 20;
/// Lives of a run before the last one, which ends in peace.
const LIVES: usize = 16;
