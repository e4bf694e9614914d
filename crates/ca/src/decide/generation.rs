//! Beginning a new generation, after a backup was restored or one manager was left, and revoking what is
//! met afterwards that nobody remembers.

use std::ops::Bound;

use certus_pki::{Epoch, Reason, Role, SpiffeId, UnixTime};

use super::Draft;
use super::order::end_node;
use crate::command::{Command, Reply, UnrecordedCert};
use crate::limits::CHUNK;
use crate::plan::Stop;
use crate::read;
use crate::record::{CertRecord, Event, How, ManagerRecord, NodeState, TokenRecord};
use crate::refusal::Refusal;
use crate::store::{Fault, Table, View};
use crate::tables::{Counters, META_COUNTERS, decode, key, walk};

pub(super) fn restore(draft: &mut Draft<'_>, made_at: UnixTime, by: &SpiffeId) -> Result<Reply, Stop> {
    manager(draft, by)?;
    let from = draft.cluster.epoch;
    let tokens = void_tokens(draft)?;
    end_other_managers(draft, by)?;
    let to = begin(draft)?;
    draft.audit(Some(by.clone()), Event::Restored { made_at, from, to, tokens }, None);
    Ok(Reply::Restored { epoch: to, tokens })
}

pub(super) fn recover(draft: &mut Draft<'_>, by: &SpiffeId) -> Result<Reply, Stop> {
    manager(draft, by)?;
    let from = draft.cluster.epoch;
    end_other_managers(draft, by)?;
    let to = begin(draft)?;
    draft.audit(Some(by.clone()), Event::Recovered { from, to }, None);
    Ok(Reply::Recovered { epoch: to })
}

/// What a refused one would have been, for the audit.
pub(super) fn refused(view: &dyn View, command: &Command) -> Result<Event, Fault> {
    let from = read::epoch(view)?;
    Ok(match command {
        Command::Restore { made_at, .. } => Event::Restored { made_at: *made_at, from, to: from, tokens: 0 },
        _ => Event::Recovered { from, to: from },
    })
}

/// Only a manager is ever made to speak for a whole cluster again.
fn manager(draft: &Draft<'_>, by: &SpiffeId) -> Result<(), Stop> {
    if draft.asker(by)?.identity.role == Role::Manager {
        return Ok(());
    }
    let why = "only a manager begins a new generation".to_owned();
    Err(Refusal::NotPermitted { by: by.clone(), why }.into())
}

/// The next generation. Its first revision is the time in seconds where that is ahead of the last one:
/// what was lost had revisions of its own, and so has another restore of the same backup; no cluster
/// changes once a second for all its life, so that neither is met again (I5).
fn begin(draft: &mut Draft<'_>) -> Result<Epoch, Stop> {
    let before = draft.cluster.epoch;
    let seconds = u64::try_from(draft.at.secs()).unwrap_or(0);
    let epoch = Epoch { generation: before.generation + 1, revision: before.revision.max(seconds) + 1 };
    // Nobody is owed changes across generations: watchers take the whole bundle.
    let mut changes = Vec::new();
    walk(draft.view, Table::Changes, Bound::Unbounded, Bound::Unbounded, CHUNK, |(key, _)| {
        changes.push(key);
        Ok(true)
    })?;
    for key in changes {
        draft.delete(Table::Changes, key);
    }
    draft.cluster.epoch = epoch;
    // Written even where there is nothing else to write.
    draft.put(Table::Meta, META_COUNTERS.to_vec(), &Counters { epoch, last_at: draft.at });
    Ok(draft.next_epoch())
}

/// The others replicate no more. One that was only away must not speak for what is another cluster by now:
/// it joins again, as anybody does.
fn end_other_managers(draft: &mut Draft<'_>, by: &SpiffeId) -> Result<(), Stop> {
    for manager in read::managers(draft.view)? {
        if manager.removed_at.is_some() || manager.node == *by {
            continue;
        }
        let active = read::node(draft.view, &manager.node)?.filter(|node| node.state == NodeState::Active);
        if let Some(node) = active {
            end_node(draft, &node, Reason::CessationOfOperation)?;
        }
        let record = ManagerRecord { removed_at: Some(draft.at), ..manager };
        draft.put(Table::Managers, key::number(record.member), &record);
    }
    Ok(())
}

/// Voids every token that is not void: what became of them after the backup is not known.
fn void_tokens(draft: &mut Draft<'_>) -> Result<u64, Stop> {
    let mut live = Vec::new();
    walk(draft.view, Table::Tokens, Bound::Unbounded, Bound::Unbounded, CHUNK, |(_, value)| {
        let token: TokenRecord = decode(Table::Tokens, &value)?;
        live.extend(token.revoked_at.is_none().then_some(token));
        Ok(true)
    })?;
    let count = live.len() as u64;
    for token in live {
        let record = TokenRecord { revoked_at: Some(draft.at), ..token };
        draft.put(Table::Tokens, key::token(&record.token), &record);
    }
    Ok(count)
}

pub(super) fn revoke_unrecorded(
    draft: &mut Draft<'_>,
    unrecorded: &UnrecordedCert,
    reason: Reason,
    by: &SpiffeId,
) -> Result<Reply, Stop> {
    draft.asker(by)?;
    let UnrecordedCert { cert, node, key_hash, not_after } = unrecorded.clone();
    if read::cert(draft.view, &cert)?.is_some() {
        return Err(Refusal::AlreadyExists { what: format!("certificate {}", cert.serial) }.into());
    }
    // One of an issuer that is none of ours is trusted by nobody.
    if read::issuer(draft.view, &cert.issuer)?.is_none() {
        return Err(Refusal::IssuerNotActive { came: cert.issuer.short() }.into());
    }
    let at = draft.at;
    if node.cluster != draft.cluster.name {
        return Err(Refusal::UnknownNode { node }.into());
    }
    let record = CertRecord {
        cert,
        node: node.clone(),
        der: Vec::new(),
        issued_at: at,
        not_after,
        key_hash,
        renew_by: not_after,
        how: How::Unrecorded,
        revoked: None,
    };
    draft.mark(Table::ByExpiry, key::by_expiry(not_after, &cert));
    draft.mark(Table::ByNode, key::by_node(&node, at, &cert));
    draft.revoke(&record, reason);
    draft.audit(Some(by.clone()), Event::UnrecordedRevoked { cert, node: node.clone(), reason }, None);
    Ok(Reply::Revoked { node, certs: vec![cert], revision: draft.next_revision() })
}
