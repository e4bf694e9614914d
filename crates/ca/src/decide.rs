//! Deciding a command, and carrying the decision out.
//!
//! A decision is a value: the answer, and the rows to write. A refusal has no rows but the record of
//! an authenticated asker's failed attempt (I8); one that nobody authenticated has none at all (I6).

mod admit;
mod draft;
mod found;
mod generation;
mod manager;
mod order;
mod root;
mod token;

use certus_pki::UnixTime;

pub(crate) use draft::Draft;

use crate::command::{Command, Reply, Target};
use crate::plan::{Stop, founded, settle};
use crate::record::Event;
use crate::refusal::Refusal;
use crate::store::{Fault, Store, Table, View};

/// What a command leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The answer.
    pub reply: Result<Reply, Refusal>,
    /// What is to be written, in order.
    pub writes: Vec<Write>,
}

/// One row to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets a value.
    Put {
        /// Where.
        table: Table,
        /// Under which key.
        key: Vec<u8>,
        /// Which value.
        value: Vec<u8>,
    },
    /// Removes a row.
    Delete {
        /// Where.
        table: Table,
        /// Under which key.
        key: Vec<u8>,
    },
}

/// Decides `command` at `at`, and changes nothing. A time before the last command's counts as that
/// one: time does not go back (a token that has ended stays so).
///
/// # Errors
/// A [`Fault`] where the store is broken.
pub fn decide(view: &dyn View, at: UnixTime, command: &Command) -> Result<Decision, Fault> {
    match settle(carried_out(view, at, command))? {
        Ok((reply, writes)) => Ok(Decision { reply: Ok(reply), writes }),
        Err(refusal) => {
            let writes = refused(view, at, command, &refusal)?;
            Ok(Decision { reply: Err(refusal), writes })
        }
    }
}

/// Decides `command` and carries the decision out.
///
/// # Errors
/// A [`Fault`] where the store is broken; then some rows may have been written, and the caller must
/// not commit them.
pub fn apply(
    store: &mut dyn Store,
    at: UnixTime,
    command: &Command,
) -> Result<Result<Reply, Refusal>, Fault> {
    let decision = decide(store, at, command)?;
    for write in &decision.writes {
        match write {
            Write::Put { table, key, value } => store.put(*table, key, value)?,
            Write::Delete { table, key } => store.delete(*table, key)?,
        }
    }
    Ok(decision.reply)
}

fn carried_out(view: &dyn View, at: UnixTime, command: &Command) -> Result<(Reply, Vec<Write>), Stop> {
    if let Command::Genesis(genesis) = command {
        return found::genesis(view, at, genesis);
    }
    let mut draft = Draft::new(view, at, founded(view)?)?;
    let reply = match command {
        Command::Genesis(_) => return Err(Refusal::NotFounded.into()),
        Command::CreateToken(create) => token::create(&mut draft, create)?,
        Command::RevokeToken { token, by } => token::revoke(&mut draft, token, by)?,
        Command::Admit { ask, planned_at, der } => admit::admit(&mut draft, ask, *planned_at, der)?,
        Command::Renew { ask, planned_at, der } => admit::renew(&mut draft, ask, *planned_at, der)?,
        Command::Revoke { target, reason, by } => order::revoke(&mut draft, target, *reason, by)?,
        Command::Direct { node, directive, by } => order::direct(&mut draft, node, *directive, by)?,
        Command::AddIssuer { der, by } => found::add_issuer(&mut draft, der, by)?,
        Command::Enlist(enlist) => manager::enlist(&mut draft, enlist)?,
        Command::Announce { node, address } => manager::announce(&mut draft, node, address)?,
        Command::Promote { node, by } => manager::promote(&mut draft, node, by)?,
        Command::RemoveManager { node, compromised, by } => {
            manager::remove(&mut draft, node, *compromised, by)?
        }
        Command::StrikeIssuers { member, by } => manager::strike_issuers(&mut draft, *member, by)?,
        Command::TakeRootOffline { root, by } => root::take_offline(&mut draft, root, by)?,
        Command::BringRootOnline { root, key_sealed, by } => {
            root::bring_online(&mut draft, root, key_sealed, by)?
        }
        Command::Restore { made_at, by } => generation::restore(&mut draft, *made_at, by)?,
        Command::Recover { by } => generation::recover(&mut draft, by)?,
        Command::RevokeUnrecorded { cert, reason, by } => {
            generation::revoke_unrecorded(&mut draft, cert, *reason, by)?
        }
    };
    Ok((reply, draft.finish()))
}

/// The record of an authenticated asker's refusal.
fn refused(view: &dyn View, at: UnixTime, command: &Command, refusal: &Refusal) -> Result<Vec<Write>, Fault> {
    let (by, event) = match command {
        // Nothing to write to yet, or nobody authenticated.
        Command::Genesis(_) | Command::Admit { .. } => return Ok(Vec::new()),
        Command::CreateToken(create) => (&create.by, token::created(create)),
        Command::RevokeToken { token, by } => (by, Event::TokenRevoked { token: *token }),
        Command::Renew { ask, .. } => (&ask.node, Event::Renewed { from: ask.from, cert: None }),
        Command::Revoke { target: Target::Node(node), reason, by } => {
            (by, Event::NodeRevoked { node: node.clone(), reason: *reason })
        }
        Command::Revoke { target: Target::Cert(cert), reason, by } => {
            (by, Event::CertRevoked { cert: *cert, reason: *reason })
        }
        Command::Direct { node, directive, by } => {
            (by, Event::Directed { node: node.clone(), directive: *directive })
        }
        Command::AddIssuer { der, by } => (by, found::issuer_added(der)),
        Command::Enlist(enlist) => (&enlist.by, manager::enlisted(enlist)),
        Command::Announce { node, .. } => (node, Event::ManagerAnnounced { node: node.clone() }),
        Command::Promote { node, by } => (by, Event::ManagerPromoted { node: node.clone() }),
        Command::RemoveManager { node, compromised, by } => {
            (by, Event::ManagerRemoved { node: node.clone(), compromised: *compromised })
        }
        Command::StrikeIssuers { member, by } => (by, Event::IssuersStruck { member: *member }),
        Command::TakeRootOffline { root, by } => (by, Event::RootTakenOffline { root: *root }),
        Command::BringRootOnline { root, by, .. } => (by, Event::RootBroughtOnline { root: *root }),
        Command::Restore { by, .. } | Command::Recover { by } => (by, generation::refused(view, command)?),
        Command::RevokeUnrecorded { cert, reason, by } => {
            let (cert, node, reason) = (cert.cert, cert.node.clone(), *reason);
            (by, Event::UnrecordedRevoked { cert, node, reason })
        }
    };
    let Ok(cluster) = settle(founded(view))? else { return Ok(Vec::new()) };
    let mut draft = Draft::new(view, at, cluster)?;
    draft.audit(Some(by.clone()), event, Some(refusal.code()));
    Ok(draft.into_audit_only())
}

#[cfg(test)]
mod tests;
