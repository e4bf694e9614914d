//! A machine small enough to check by eye: nodes, one-use tokens, serials, revocations.
//!
//! It stands for `ca` where only durability is in question.

use std::ops::Bound;

use certus_ca::store::{Fault, Store, Table, View};
use certus_server::replica::Machine;

use crate::chance::Chance;
use crate::sim::{Broken, Invariant, Subject, Workload};

/// The machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Registry;

/// What the registry is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Makes a token that admits once.
    CreateToken {
        /// Its number.
        token: u64,
    },
    /// Admits a node with a token.
    Admit {
        /// The node.
        node: u64,
        /// The token it shows.
        token: u64,
        /// The serial it would get.
        serial: u64,
    },
    /// Gives a node another serial.
    Renew {
        /// The node.
        node: u64,
        /// The serial it would get.
        serial: u64,
    },
    /// Bars a node for ever.
    Revoke {
        /// The node.
        node: u64,
    },
}

/// Why the registry says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The token or node is there already.
    Exists,
    /// The token or node is not there.
    Unknown,
    /// The token has admitted somebody.
    Used,
    /// The node is revoked.
    Revoked,
    /// The serial was given before.
    SerialTaken,
}

impl Machine for Registry {
    type Command = Command;
    type Reply = Result<u64, Refusal>;

    fn encode(command: &Command) -> Vec<u8> {
        let (kind, words) = match *command {
            Command::CreateToken { token } => (0, [token, 0, 0]),
            Command::Admit { node, token, serial } => (1, [node, token, serial]),
            Command::Renew { node, serial } => (2, [node, serial, 0]),
            Command::Revoke { node } => (3, [node, 0, 0]),
        };
        let words = words.into_iter().flat_map(u64::to_be_bytes);
        std::iter::once(kind).chain(words).collect()
    }

    fn apply(store: &mut dyn Store, at: i64, command: &[u8]) -> Result<Result<u64, Refusal>, Fault> {
        let command = decode(command)?;
        if let Err(refusal) = decide(store, command)? {
            return Ok(Err(refusal));
        }
        let revision = Registry::revision(store)? + 1;
        store.put(Table::Meta, REVISION, &revision.to_be_bytes())?;
        let at = at.to_be_bytes();
        match command {
            Command::CreateToken { token } => store.put(Table::Tokens, &key(token), UNUSED)?,
            Command::Admit { node, token, serial } => {
                store.put(Table::Tokens, &key(token), &key(node))?;
                store.put(Table::Nodes, &key(node), &key(serial))?;
                store.put(Table::Certs, &key(serial), &at)?;
            }
            Command::Renew { node, serial } => {
                store.put(Table::Nodes, &key(node), &key(serial))?;
                store.put(Table::Certs, &key(serial), &at)?;
            }
            Command::Revoke { node } => store.put(Table::Revoked, &key(node), &at)?,
        }
        Ok(Ok(revision))
    }

    fn revision(view: &dyn View) -> Result<u64, Fault> {
        let bytes = view.get(Table::Meta, REVISION)?;
        bytes.map_or(Ok(0), |bytes| word(&bytes, 0))
    }
}

impl Subject for Registry {
    fn accepted(reply: &Result<u64, Refusal>) -> bool {
        reply.is_ok()
    }
}

fn decide(view: &dyn View, command: Command) -> Result<Result<(), Refusal>, Fault> {
    let has = |table, number: u64| Ok::<_, Fault>(view.get(table, &key(number))?.is_some());
    Ok(match command {
        Command::CreateToken { token } if has(Table::Tokens, token)? => Err(Refusal::Exists),
        Command::CreateToken { .. } => Ok(()),
        Command::Admit { node, token, serial } => match view.get(Table::Tokens, &key(token))?.as_deref() {
            None => Err(Refusal::Unknown),
            Some(used) if used != UNUSED => Err(Refusal::Used),
            Some(_) if has(Table::Nodes, node)? => Err(Refusal::Exists),
            Some(_) if has(Table::Certs, serial)? => Err(Refusal::SerialTaken),
            Some(_) => Ok(()),
        },
        Command::Renew { node, .. } | Command::Revoke { node } if !has(Table::Nodes, node)? => {
            Err(Refusal::Unknown)
        }
        Command::Renew { node, .. } | Command::Revoke { node } if has(Table::Revoked, node)? => {
            Err(Refusal::Revoked)
        }
        Command::Renew { serial, .. } if has(Table::Certs, serial)? => Err(Refusal::SerialTaken),
        Command::Renew { .. } | Command::Revoke { .. } => Ok(()),
    })
}

fn decode(bytes: &[u8]) -> Result<Command, Fault> {
    let (a, b, c) = (word(bytes, 1)?, word(bytes, 9)?, word(bytes, 17)?);
    match bytes[0] {
        0 => Ok(Command::CreateToken { token: a }),
        1 => Ok(Command::Admit { node: a, token: b, serial: c }),
        2 => Ok(Command::Renew { node: a, serial: b }),
        3 => Ok(Command::Revoke { node: a }),
        kind => Err(Fault { table: Table::Meta, what: format!("a command of kind {kind}, expected 0 to 3") }),
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u64, Fault> {
    let array = bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
    array.map(u64::from_be_bytes).ok_or_else(|| Fault {
        table: Table::Meta,
        what: format!("{} bytes, expected {}", bytes.len(), at + 8),
    })
}

fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// Clients that ask the registry, now and then for what it must refuse.
#[derive(Clone, Debug, Default)]
pub struct RegistryClients {
    serial: u64,
    token: u64,
}

impl Workload for RegistryClients {
    type Machine = Registry;

    fn command(&mut self, chance: &mut Chance, _known: &dyn View, _now: i64) -> Command {
        // One serial in twenty was drawn before.
        self.serial += u64::from(!chance.once_in(20));
        let serial = self.serial;
        let node = chance.below(NODES + self.serial / 4);
        match chance.below(8) {
            0..=2 => {
                self.token += u64::from(!chance.once_in(10));
                Command::CreateToken { token: self.token }
            }
            3 | 4 => {
                let token = self.token.saturating_sub(chance.below(TOKENS));
                Command::Admit { node, token, serial }
            }
            7 if chance.once_in(2) => Command::Revoke { node },
            _ => Command::Renew { node, serial },
        }
    }

    fn check(&self, before: &dyn View, after: &dyn View) -> Result<(), Broken> {
        for table in [Table::Certs, Table::Revoked, Table::Tokens] {
            let rows = before.scan(table, Bound::Unbounded, Bound::Unbounded, usize::MAX);
            for (row, value) in rows.map_err(unreadable)? {
                let now = after.get(table, &row).map_err(unreadable)?;
                let used = table == Table::Tokens && value == UNUSED && now.is_some();
                if now.as_deref() != Some(&value[..]) && !used {
                    let invariant = if table == Table::Certs { Invariant::I5 } else { Invariant::I10 };
                    let what = format!("{} {row:?} was {value:?}, is {now:?}", table.name());
                    return Err((invariant, what));
                }
            }
        }
        Ok(())
    }
}

fn unreadable(fault: Fault) -> Broken {
    (Invariant::Alive, fault.to_string())
}

/// Few enough that most commands meet an earlier one; they grow with the serials.
const NODES: u64 = 8;
/// How far back a token that is shown may lie: some are used, some are not.
const TOKENS: u64 = 6;
const REVISION: &[u8] = b"revision";
const UNUSED: &[u8] = b"unused";
