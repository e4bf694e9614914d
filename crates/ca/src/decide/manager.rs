//! Managers: their numbers, their addresses, and their end.
//!
//! Who replicates is written here; the log's own membership follows what is written, never the other way.

use certus_pki::{Change, Reason, Role, Sha256, SpiffeId};

use super::found::{acceptable_issuer, put_issuer};
use super::order::{active_node, end_node};
use super::{Draft, order};
use crate::command::{Enlist, Reply};
use crate::limits::{ADDRESS_BYTES_MAX, MANAGERS_MAX};
use crate::plan::Stop;
use crate::read;
use crate::record::{Event, IssuerRecord, ManagerRecord};
use crate::refusal::Refusal;
use crate::store::Table;
use crate::tables::key;

/// A number nobody had, also for a manager that had one: its log is empty again, and what it once
/// promised under the old number must not be taken for the new.
pub(super) fn enlist(draft: &mut Draft<'_>, enlist: &Enlist) -> Result<Reply, Stop> {
    draft.asker(&enlist.by)?;
    let node = active_node(draft, &enlist.node)?;
    if node.identity.role != Role::Manager {
        return Err(Refusal::NotAManager { node: node.identity }.into());
    }
    is_address(&enlist.address)?;
    let all = read::managers(draft.view)?;
    let present = all.iter().filter(|manager| manager.removed_at.is_none());
    if present.clone().filter(|manager| manager.node != enlist.node).count() >= MANAGERS_MAX {
        let allowed = format!("at most {MANAGERS_MAX}");
        return Err(Refusal::out_of_bounds("number of managers", allowed, MANAGERS_MAX + 1).into());
    }
    if all.is_empty() {
        // The founder's number is 1; it announces itself before it lets anybody in.
        return Err(Refusal::NotAManager { node: enlist.by.clone() }.into());
    }
    for former in present.filter(|manager| manager.node == enlist.node) {
        let record = ManagerRecord { removed_at: Some(draft.at), ..former.clone() };
        put(draft, &record);
    }
    let issuer = acceptable_issuer(draft, &enlist.issuer_der)?;
    let issuer = put_issuer(draft, issuer);
    draft.change(Change::IssuerAdded(issuer));
    let member = all.iter().map(|manager| manager.member).max().unwrap_or_default() + 1;
    put(
        draft,
        &ManagerRecord {
            member,
            node: enlist.node.clone(),
            address: enlist.address.clone(),
            voter: enlist.voter,
            joined_at: draft.at,
            removed_at: None,
            issuers: vec![issuer.key_hash],
        },
    );
    let event = Event::ManagerEnlisted { node: enlist.node.clone(), member };
    draft.audit(Some(enlist.by.clone()), event, None);
    Ok(Reply::Enlisted { member, revision: draft.next_revision() })
}

/// The first manager that says where it is was there before managers had numbers: the founder.
pub(super) fn announce(draft: &mut Draft<'_>, node: &SpiffeId, address: &str) -> Result<Reply, Stop> {
    draft.asker(node)?;
    is_address(address)?;
    let record = match read::manager(draft.view, node)? {
        Some(known) if known.address == address => return Ok(Reply::Announced { member: known.member }),
        Some(known) => ManagerRecord { address: address.to_owned(), ..known },
        None if node.role == Role::Manager && read::managers(draft.view)?.is_empty() => {
            let issuers = read::issuers(draft.view)?.into_iter().filter(|issuer| issuer.active);
            ManagerRecord {
                member: FOUNDER,
                node: node.clone(),
                address: address.to_owned(),
                voter: true,
                joined_at: draft.cluster.founded_at,
                removed_at: None,
                issuers: issuers.map(|issuer| issuer.key_hash).collect(),
            }
        }
        None => return Err(Refusal::NotAManager { node: node.clone() }.into()),
    };
    put(draft, &record);
    draft.audit(Some(node.clone()), Event::ManagerAnnounced { node: node.clone() }, None);
    Ok(Reply::Announced { member: record.member })
}

pub(super) fn promote(draft: &mut Draft<'_>, node: &SpiffeId, by: &SpiffeId) -> Result<Reply, Stop> {
    draft.asker(by)?;
    let record = read::manager(draft.view, node)?;
    let record = record.ok_or_else(|| Refusal::NotAManager { node: node.clone() })?;
    let member = record.member;
    put(draft, &ManagerRecord { voter: true, ..record });
    draft.audit(Some(by.clone()), Event::ManagerPromoted { node: node.clone() }, None);
    Ok(Reply::Promoted { member })
}

/// Everything in one revision: refused everywhere, out of the membership, and, if its keys are known to
/// others, its issuers struck.
pub(super) fn remove(
    draft: &mut Draft<'_>,
    node: &SpiffeId,
    compromised: bool,
    by: &SpiffeId,
) -> Result<Reply, Stop> {
    draft.asker(by)?;
    if node.role != Role::Manager {
        return Err(Refusal::NotAManager { node: node.clone() }.into());
    }
    let record = active_node(draft, node)?;
    order::not_the_last(draft, &record)?;
    let reason = if compromised { Reason::KeyCompromise } else { Reason::CessationOfOperation };
    let certs = end_node(draft, &record, reason)?;
    let manager = read::manager(draft.view, node)?;
    if let Some(manager) = &manager {
        if compromised {
            strike(draft, &manager.issuers)?;
        }
        put(draft, &ManagerRecord { removed_at: Some(draft.at), ..manager.clone() });
    }
    let event = Event::ManagerRemoved { node: node.clone(), compromised };
    draft.audit(Some(by.clone()), event, None);
    let member = manager.map(|manager| manager.member);
    Ok(Reply::ManagerRemoved { member, certs, revision: draft.next_revision() })
}

/// The issuers of a manager that still is one are not struck: it would sign on, for nothing.
pub(super) fn strike_issuers(draft: &mut Draft<'_>, member: u64, by: &SpiffeId) -> Result<Reply, Stop> {
    draft.asker(by)?;
    let all = read::managers(draft.view)?;
    let removed = all.iter().find(|manager| manager.member == member && manager.removed_at.is_some());
    let removed = removed.ok_or_else(|| {
        let what = "manager whose issuers are struck";
        Refusal::out_of_bounds(what, "one that was removed", format!("number {member}"))
    })?;
    // Issuers that a later membership of the same manager signs with are not its former one's.
    let present = all.iter().filter(|manager| manager.removed_at.is_none());
    let kept: Vec<Sha256> = present.flat_map(|manager| manager.issuers.iter().copied()).collect();
    let mine: Vec<Sha256> = removed.issuers.iter().copied().filter(|key| !kept.contains(key)).collect();
    let issuers = strike(draft, &mine)?;
    if !issuers.is_empty() {
        draft.audit(Some(by.clone()), Event::IssuersStruck { member }, None);
    }
    let revision = if issuers.is_empty() { draft.cluster.epoch.revision } else { draft.next_revision() };
    Ok(Reply::IssuersStruck { issuers, revision })
}

/// Notes that a manager signs with one more issuer.
pub(super) fn signs_with(draft: &mut Draft<'_>, node: &SpiffeId, issuer: Sha256) -> Result<(), Stop> {
    if let Some(mut manager) = read::manager(draft.view, node)? {
        let mut issuers = Vec::new();
        for key_hash in manager.issuers {
            // Those that have ended are of no use to whoever strikes them.
            let live = read::issuer(draft.view, &key_hash)?.is_some_and(|known| known.not_after >= draft.at);
            issuers.extend(live.then_some(key_hash));
        }
        issuers.push(issuer);
        manager.issuers = issuers;
        put(draft, &manager);
    }
    Ok(())
}

fn strike(draft: &mut Draft<'_>, issuers: &[Sha256]) -> Result<Vec<Sha256>, Stop> {
    let mut struck = Vec::new();
    for key_hash in issuers {
        let Some(issuer) = read::issuer(draft.view, key_hash)?.filter(|issuer| issuer.active) else {
            continue;
        };
        draft.change(Change::IssuerRemoved(issuer.key_hash));
        struck.push(issuer.key_hash);
        let record = IssuerRecord { active: false, ..issuer };
        draft.put(Table::Issuers, record.key_hash.as_bytes().to_vec(), &record);
    }
    Ok(struck)
}

fn put(draft: &mut Draft<'_>, record: &ManagerRecord) {
    draft.put(Table::Managers, key::number(record.member), record);
}

/// `host:port`, short enough for everybody to keep.
fn is_address(address: &str) -> Result<(), Refusal> {
    let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let port = port.and_then(|(_, port)| port.parse::<u16>().ok()).filter(|port| *port != 0);
    if address.len() <= ADDRESS_BYTES_MAX && port.is_some() {
        return Ok(());
    }
    let allowed = format!("host:port of at most {ADDRESS_BYTES_MAX} bytes");
    Err(Refusal::out_of_bounds("manager's address", allowed, format!("{address:?}")))
}

/// The number of the manager that founded the cluster.
const FOUNDER: u64 = 1;

/// What the audit says of an enlisting that was refused: no number was given.
pub(super) fn enlisted(enlist: &Enlist) -> Event {
    Event::ManagerEnlisted { node: enlist.node.clone(), member: 0 }
}
