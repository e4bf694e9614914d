//! The one history of a group, and what is held against it.
//!
//! Each replica's journal must be the beginning of one and the same history, each state a replay of
//! its own part; what clients were told must stand in it where they were told it does.

use std::collections::{BTreeMap, BTreeSet};

use certus_ca::store::{MemStore, View};
use certus_server::replica::{Machine as _, MemberId, ProposeError};

use super::super::journal::{self, Receipt};
use super::super::proof::{self, Proof, unreadable};
use super::super::{Broken, Invariant, Workload};

/// What was applied anywhere, in its order.
pub(super) struct History {
    proof: Proof,
    /// The state before the first row, and after each.
    states: Vec<MemStore>,
    /// Where each client's command stands.
    ids: BTreeMap<u64, u64>,
    /// What a client was told of a place that no replica has shown yet.
    told: Vec<Receipt>,
    /// Commands that clients were told are surely not proposed.
    denied: BTreeMap<u64, ProposeError>,
    /// One more than the highest place a client was told or has read.
    floor: u64,
}

impl History {
    pub(super) fn new() -> History {
        History {
            proof: Proof::default(),
            states: vec![MemStore::default()],
            ids: BTreeMap::new(),
            told: Vec::new(),
            denied: BTreeMap::new(),
            floor: 0,
        }
    }

    /// The newest state that any replica has shown.
    pub(super) fn known(&self) -> &MemStore {
        self.proof.known()
    }

    pub(super) fn places(&self) -> u64 {
        self.proof.places()
    }

    /// What whoever asks from now on must see: everything before this place.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    pub(super) fn has(&self, id: u64) -> bool {
        self.ids.contains_key(&id)
    }

    pub(super) fn digest(&self) -> u64 {
        self.proof.digest()
    }

    /// Looks at a replica's journal from place `from` on. `at_most` is what a leader's clock may have
    /// said by now. Returns how many places it has.
    pub(super) fn look<W: Workload>(
        &mut self,
        member: MemberId,
        view: &dyn View,
        from: u64,
        at_most: i64,
        clients: &W,
    ) -> Result<u64, Broken> {
        let mut place = from;
        for (_, row) in journal::rows_from(view, from).map_err(unreadable)? {
            match self.proof.rows().get(place as usize) {
                Some(known) if *known == row => {}
                Some(_) => {
                    let what = format!("manager {member} has another command at place {place} than others");
                    return Err((Invariant::I2, what));
                }
                None => self.extend(row, at_most, clients)?,
            }
            place += 1;
        }
        let counted = journal::next_place(view).map_err(unreadable)?;
        if counted != place || counted < from {
            let what = format!("manager {member} showed {from} places, has {counted} with {place} rows");
            return Err((Invariant::I4, what));
        }
        self.check_told()?;
        Ok(place)
    }

    /// Compares every row of a replica's state with a replay of its part of the history.
    pub(super) fn compare(&self, member: MemberId, view: &dyn View, places: u64) -> Result<(), Broken> {
        let Some(state) = self.states.get(places as usize) else { return Ok(()) };
        let compared = proof::same(view, state);
        compared.map_err(|(invariant, what)| (invariant, format!("manager {member}: {what}")))
    }

    fn extend<W: Workload>(&mut self, row: Vec<u8>, at_most: i64, clients: &W) -> Result<(), Broken> {
        let place = self.places();
        let receipt = self.proof.replay::<W::Machine>(row)?;
        if receipt.at > at_most {
            let what = format!("place {place} was applied at {}, expected {at_most} at most", receipt.at);
            return Err((Invariant::Clock, what));
        }
        if let Some(first) = self.ids.insert(receipt.id, place) {
            let what = format!("command {} stands at places {first} and {place}", receipt.id);
            return Err((Invariant::Order, what));
        }
        if let Some(error) = self.denied.get(&receipt.id) {
            let what = format!("command {} was applied after its client was told: {error}", receipt.id);
            return Err((Invariant::Order, what));
        }
        self.states.push(self.proof.known().clone());
        let [.., before, after] = &self.states[..] else { return Ok(()) };
        let revision = |view: &MemStore| W::Machine::revision(view).map_err(unreadable);
        if revision(after)? < revision(before)? {
            return Err((Invariant::I5, format!("the revision went back at place {place}")));
        }
        clients.check(before, after)
    }

    /// A client was told that its command stands. `floor` is what it had to see when it asked.
    pub(super) fn told(&mut self, receipt: Receipt, floor: u64) -> Result<(), Broken> {
        if receipt.place < floor {
            let what = format!("{receipt:?} was asked for after place {} was told", floor - 1);
            return Err((Invariant::Order, what));
        }
        self.floor = self.floor.max(receipt.place + 1);
        self.told.push(receipt);
        self.check_told()
    }

    /// A client was told that its command surely was not proposed.
    pub(super) fn denied(&mut self, id: u64, error: ProposeError) -> Result<(), Broken> {
        if let Some(place) = self.ids.get(&id) {
            let what = format!("command {id} stands at place {place}, its client was told: {error}");
            return Err((Invariant::Order, what));
        }
        self.denied.insert(id, error);
        Ok(())
    }

    /// A client read a state with `places` places; it had to see `floor`.
    pub(super) fn read(&mut self, member: MemberId, places: u64, floor: u64) -> Result<(), Broken> {
        if places < floor {
            let what = format!("a read at manager {member} saw {places} places, {floor} were known before");
            return Err((Invariant::Order, what));
        }
        self.floor = self.floor.max(places);
        Ok(())
    }

    /// At the end everything that was told must have been shown.
    pub(super) fn check_all_told(&self) -> Result<(), Broken> {
        match self.told.first() {
            None => Ok(()),
            Some(lost) => Err((Invariant::I4, format!("a client was told {lost:?}, which is nowhere"))),
        }
    }

    fn check_told(&mut self) -> Result<(), Broken> {
        let places = self.places();
        let (shown, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.told).into_iter().partition(|receipt| receipt.place < places);
        self.told = waiting;
        let rows = self.proof.rows();
        for receipt in shown {
            let row = &rows[receipt.place as usize];
            let (_, command) = journal::decode_row(row).map_err(unreadable)?;
            let own = command.starts_with(&receipt.id.to_be_bytes());
            if !own || journal::row_value(&receipt, command) != *row {
                let what = format!("a client was told {receipt:?}, and another command stands there");
                return Err((Invariant::I4, what));
            }
        }
        Ok(())
    }
}

/// Changes of members that were told to be done, and those that may be.
#[derive(Debug, Default)]
pub(super) struct Roll {
    /// Members that vote for sure, unless a later change says otherwise.
    pub(super) voters: BTreeSet<MemberId>,
    /// Members that are gone for sure.
    pub(super) gone: BTreeSet<MemberId>,
    /// Members whose change may or may not have happened.
    pub(super) open: BTreeSet<MemberId>,
}

impl Roll {
    /// Holds what a leader says against what clients were told.
    pub(super) fn check(
        &self,
        voters: &BTreeSet<MemberId>,
        members: &BTreeSet<MemberId>,
    ) -> Result<(), Broken> {
        let lost = self.voters.difference(voters).find(|id| !self.open.contains(id));
        let back = self.gone.intersection(members).next();
        match (lost, back) {
            (None, None) => Ok(()),
            (Some(id), _) => {
                Err((Invariant::I4, format!("manager {id} was made a voter, voters: {voters:?}")))
            }
            (_, Some(id)) => Err((Invariant::I4, format!("manager {id} was removed, members: {members:?}"))),
        }
    }
}
