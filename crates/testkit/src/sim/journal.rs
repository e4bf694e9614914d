//! A machine that writes down what it does, in the state itself.
//!
//! So a state can be replayed from its own history, whatever the log has forgotten, and a receipt
//! can be looked up after a crash.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::ops::Bound;

use certus_ca::store::{Fault, Row, Store, Table, View};
use certus_server::replica::Machine;

use super::Subject;

/// `M`, with a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Journaled<M>(PhantomData<M>);

/// What a client is told, and where it stands in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The place in the journal.
    pub place: u64,
    /// The client's own number for the command.
    pub id: u64,
    /// The time it was applied at.
    pub at: i64,
    /// The revision after it.
    pub revision: u64,
    /// Whether it was carried out.
    pub accepted: bool,
    /// The reply, in words.
    pub reply: String,
}

impl<M: Subject> Machine for Journaled<M> {
    type Command = (u64, M::Command);
    type Reply = Receipt;

    fn encode((id, command): &(u64, M::Command)) -> Vec<u8> {
        [&id.to_be_bytes()[..], &M::encode(command)].concat()
    }

    fn apply(store: &mut dyn Store, at: i64, command: &[u8]) -> Result<Receipt, Fault> {
        let place = next_place(store)?;
        let (id, inner) = split_id(command)?;
        let mut counted = Counted { store, is_audit: M::is_audit, touched: None };
        let reply = M::apply(&mut counted, at, inner)?;
        let accepted = M::accepted(&reply);
        if let Some(table) = counted.touched.filter(|_| !accepted) {
            return Err(Fault { table, what: format!("{I8_MARK}: refused with {reply:?}, and wrote") });
        }
        let receipt =
            Receipt { place, id, at, revision: M::revision(store)?, accepted, reply: format!("{reply:?}") };
        store.put(Table::Meta, &row_key(place), &row_value(&receipt, command))?;
        store.put(Table::Meta, PLACES, &(place + 1).to_be_bytes())?;
        Ok(receipt)
    }

    fn revision(view: &dyn View) -> Result<u64, Fault> {
        M::revision(view)
    }
}

/// The journal's rows from a place on.
pub(super) fn rows_from(view: &dyn View, place: u64) -> Result<Vec<Row>, Fault> {
    let (from, to) = (row_key(place), row_key(u64::MAX));
    let bounds = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
    view.scan(Table::Meta, bounds.0, bounds.1, usize::MAX)
}

/// The time and the command of a row.
pub(super) fn decode_row(value: &[u8]) -> Result<(i64, &[u8]), Fault> {
    let (at, rest) = split_id(value)?;
    let (length, rest) = split_id(rest)?;
    let command = rest.get(..length as usize).ok_or_else(|| short(rest))?;
    Ok((at.cast_signed(), command))
}

/// The row that a receipt and its command leave.
pub(super) fn row_value(receipt: &Receipt, command: &[u8]) -> Vec<u8> {
    let mut out = receipt.at.to_be_bytes().to_vec();
    out.extend((command.len() as u64).to_be_bytes());
    out.extend(command);
    out.extend(receipt.revision.to_be_bytes());
    out.extend(receipt.reply.as_bytes());
    out
}

/// How many rows the journal has.
pub(super) fn next_place(view: &dyn View) -> Result<u64, Fault> {
    let bytes = view.get(Table::Meta, PLACES)?;
    bytes.map_or(Ok(0), |bytes| Ok(split_id(&bytes)?.0))
}

fn split_id(bytes: &[u8]) -> Result<(u64, &[u8]), Fault> {
    let (word, rest) = bytes.split_first_chunk().ok_or_else(|| short(bytes))?;
    Ok((u64::from_be_bytes(*word), rest))
}

fn short(bytes: &[u8]) -> Fault {
    Fault { table: Table::Meta, what: format!("a journal row ends early, {} bytes are left", bytes.len()) }
}

fn row_key(place: u64) -> Vec<u8> {
    [ROW, &place.to_be_bytes()].concat()
}

/// Sees whether anything but the audit is written.
struct Counted<'s> {
    store: &'s mut dyn Store,
    is_audit: fn(Table, &[u8]) -> bool,
    touched: Option<Table>,
}

impl Counted<'_> {
    fn touch(&mut self, table: Table, key: &[u8]) {
        if !(self.is_audit)(table, key) {
            self.touched = Some(table);
        }
    }
}

impl View for Counted<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        self.store.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, Fault> {
        self.store.scan(table, from, to, limit)
    }

    fn rows(&self, table: Table) -> Result<u64, Fault> {
        self.store.rows(table)
    }
}

impl Store for Counted<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.touch(table, key);
        self.store.put(table, key, value)
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), Fault> {
        self.touch(table, key);
        self.store.delete(table, key)
    }
}

/// Marks a fault that is a violation and not a broken store.
pub(super) const I8_MARK: &str = "I8";
/// Behind every key of a machine's own.
const ROW: &[u8] = b"\xff\xffjournal/";
const PLACES: &[u8] = b"\xff\xffplaces";
