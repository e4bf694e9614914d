//! What is held against the state after every step.

use std::ops::Bound;

use certus_ca::store::{Fault, MemStore, Table, View};
use certus_server::replica::Machine;

use super::journal::{self, Journaled, Receipt};
use super::{Broken, Invariant, Subject, Workload};

/// What must still be true, as far as has been seen.
#[derive(Debug, Default)]
pub(super) struct Proof {
    /// A replay of everything seen.
    model: MemStore,
    /// The journal as seen: nothing that was visible once may change or vanish.
    seen: Vec<Vec<u8>>,
    /// What clients were told, in no order.
    told: Vec<Receipt>,
    last_at: Option<i64>,
    last_revision: u64,
}

impl Proof {
    pub(super) fn told(&mut self, receipt: Receipt) {
        self.told.push(receipt);
    }

    /// The state as of the last step.
    pub(super) fn known(&self) -> &MemStore {
        &self.model
    }

    pub(super) fn places(&self) -> u64 {
        self.seen.len() as u64
    }

    pub(super) fn digest(&self) -> u64 {
        // FNV-1a, enough to tell two runs apart.
        let bytes = self.seen.iter().flatten();
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    /// Takes in what is new in a state, and checks it.
    pub(super) fn step<W: Workload>(&mut self, view: &dyn View, clients: &W) -> Result<(), Broken> {
        let before = self.model.clone();
        for (_, row) in journal::rows_from(view, self.places()).map_err(unreadable)? {
            self.replay::<W::Machine>(row)?;
        }
        self.check_told()?;
        let revision = W::Machine::revision(view).map_err(unreadable)?;
        if revision < self.last_revision {
            let what = format!("revision {revision} after {}", self.last_revision);
            return Err((Invariant::I5, what));
        }
        self.last_revision = revision;
        clients.check(&before, view)
    }

    /// Compares everything, from the beginning: after a recovery and at the end of a life.
    pub(super) fn whole<W: Workload>(&mut self, view: &dyn View, clients: &W) -> Result<(), Broken> {
        let rows = journal::rows_from(view, 0).map_err(unreadable)?;
        for (place, seen) in self.seen.iter().enumerate() {
            let found = rows.get(place).map(|(_, row)| row);
            if found != Some(seen) {
                let what = format!("place {place} was seen and is now {found:?}");
                return Err((Invariant::I4, what));
            }
        }
        self.step(view, clients)?;
        same(view, &self.model)
    }

    /// Takes in the next row of the journal.
    pub(super) fn replay<M: Subject>(&mut self, row: Vec<u8>) -> Result<Receipt, Broken> {
        let (at, command) = journal::decode_row(&row).map_err(unreadable)?;
        if Some(at) < self.last_at {
            let what = format!("time {at} after {:?}", self.last_at);
            return Err((Invariant::I5, what));
        }
        self.last_at = Some(at);
        let receipt = Journaled::<M>::apply(&mut self.model, at, command).map_err(unreadable)?;
        if journal::row_value(&receipt, command) != row {
            let what = format!("replayed, it gives {receipt:?}");
            return Err((Invariant::I2, what));
        }
        self.seen.push(row);
        Ok(receipt)
    }

    /// The journal as seen.
    pub(super) fn rows(&self) -> &[Vec<u8>] {
        &self.seen
    }

    /// Every receipt stands where it says it does. Each is looked up once: `seen` never changes.
    fn check_told(&mut self) -> Result<(), Broken> {
        for receipt in std::mem::take(&mut self.told) {
            let row = usize::try_from(receipt.place).ok();
            let row = row.and_then(|place| self.seen.get(place));
            let recorded = row.map(|row| {
                let command = journal::decode_row(row).map(|(_, command)| command);
                let command = command.unwrap_or_default();
                command.starts_with(&receipt.id.to_be_bytes())
                    && journal::row_value(&receipt, command) == *row
            });
            if recorded != Some(true) {
                let what = format!("a client was told {receipt:?}, which is not on record");
                return Err((Invariant::I4, what));
            }
        }
        Ok(())
    }
}

/// Whether a state is, row by row, what a replay gives.
pub(super) fn same(view: &dyn View, model: &MemStore) -> Result<(), Broken> {
    for table in Table::ALL {
        let all = |view: &dyn View| {
            let rows = view.scan(table, Bound::Unbounded, Bound::Unbounded, usize::MAX);
            rows.map_err(unreadable)
        };
        let (found, expected) = (all(view)?, all(model)?);
        if found != expected {
            let what = format!(
                "{} has {} rows, a replay has {}, and they differ",
                table.name(),
                found.len(),
                expected.len()
            );
            return Err((Invariant::I2, what));
        }
    }
    Ok(())
}

pub(super) fn unreadable(fault: Fault) -> Broken {
    (Invariant::Alive, fault.to_string())
}
