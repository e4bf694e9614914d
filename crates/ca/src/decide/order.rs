//! An operator's orders: revoking nodes and certificates, and directing nodes.

use std::ops::Bound;

use certus_pki::{CertId, Change, Directive, Grant, Reason, Role, SpiffeId};

use super::Draft;
use crate::command::{Reply, Target};
use crate::limits::CHUNK;
use crate::plan::Stop;
use crate::read;
use crate::record::{Event, NodeRecord, NodeState};
use crate::refusal::Refusal;
use crate::store::Table;
use crate::tables::{decode, key, walk};

pub(super) fn revoke(
    draft: &mut Draft<'_>,
    target: &Target,
    reason: Reason,
    by: &SpiffeId,
) -> Result<Reply, Stop> {
    draft.asker(by)?;
    match target {
        Target::Node(node) => revoke_node(draft, node, reason, by),
        Target::Cert(cert) => revoke_cert(draft, cert, reason, by),
    }
}

/// Everything the node has, in one revision, so that no watcher sees half of it.
fn revoke_node(draft: &mut Draft<'_>, node: &SpiffeId, reason: Reason, by: &SpiffeId) -> Result<Reply, Stop> {
    let record = active_node(draft, node)?;
    not_the_last(draft, &record)?;
    let certs = end_node(draft, &record, reason)?;
    draft.audit(Some(by.clone()), Event::NodeRevoked { node: node.clone(), reason }, None);
    Ok(Reply::Revoked { node: node.clone(), certs, revision: draft.next_revision() })
}

/// Revokes all that a node has, and tells it.
pub(super) fn end_node(
    draft: &mut Draft<'_>,
    record: &NodeRecord,
    reason: Reason,
) -> Result<Vec<CertId>, Stop> {
    let node = &record.identity;
    let lifetime = draft.cluster.settings.lifetime_of(node.role);
    let live = read::live_certs(draft.view, node, lifetime, draft.at)?;
    let certs = live.iter().map(|cert| draft.revoke(cert, reason)).collect();
    if let Some(newest) = read::cert(draft.view, &record.newest)? {
        draft.delete(Table::Due, key::due(newest.renew_by, node));
    }
    let state = NodeState::Revoked { at: draft.at, reason };
    let ended = NodeRecord { state, ..record.clone() };
    draft.put(Table::Nodes, key::node(node), &ended);
    draft.change(Change::Direct { node: node.clone(), directive: Directive::Removed });
    Ok(certs)
}

fn revoke_cert(draft: &mut Draft<'_>, cert: &CertId, reason: Reason, by: &SpiffeId) -> Result<Reply, Stop> {
    let unknown = || Refusal::UnknownCertificate { cert: *cert };
    let record = read::cert(draft.view, cert)?.ok_or_else(unknown)?;
    if let Some((since, reason)) = record.revoked {
        let what = format!("certificate {} of {}", cert.serial, record.node);
        return Err(Refusal::AlreadyRevoked { what, since, reason }.into());
    }
    if let Some(node) = read::node(draft.view, &record.node)?.filter(|node| node.newest == *cert) {
        not_the_last(draft, &node)?;
    }
    let certs = vec![draft.revoke(&record, reason)];
    draft.audit(Some(by.clone()), Event::CertRevoked { cert: *cert, reason }, None);
    Ok(Reply::Revoked { node: record.node, certs, revision: draft.next_revision() })
}

pub(super) fn direct(
    draft: &mut Draft<'_>,
    node: &SpiffeId,
    directive: Directive,
    by: &SpiffeId,
) -> Result<Reply, Stop> {
    draft.asker(by)?;
    active_node(draft, node)?;
    if directive == Directive::Removed {
        // It goes out with a revocation and never without one.
        return Err(Refusal::out_of_bounds("directive", "renew now", "removed").into());
    }
    draft.change(Change::Direct { node: node.clone(), directive });
    draft.audit(Some(by.clone()), Event::Directed { node: node.clone(), directive }, None);
    Ok(Reply::Directed { revision: draft.next_revision() })
}

/// A cluster that nobody can operate, or that nobody signs for, cannot be mended from outside.
pub(super) fn not_the_last(draft: &Draft<'_>, node: &NodeRecord) -> Result<(), Stop> {
    let what = match (node.identity.role, node.grant) {
        (Role::Manager, _) => "manager",
        (_, Grant::Admin) => "admin",
        _ => return Ok(()),
    };
    let alike = |other: &NodeRecord| match what {
        "manager" => other.identity.role == Role::Manager,
        _ => other.grant == Grant::Admin,
    };
    let mut another = false;
    walk(draft.view, Table::Nodes, Bound::Unbounded, Bound::Unbounded, CHUNK, |(_, row)| {
        let other: NodeRecord = decode(Table::Nodes, &row)?;
        another = other.identity != node.identity && other.state == NodeState::Active && alike(&other);
        Ok(!another)
    })?;
    if another {
        return Ok(());
    }
    Err(Refusal::LastOne { node: node.identity.clone(), what: what.to_owned() }.into())
}

pub(super) fn active_node(draft: &Draft<'_>, node: &SpiffeId) -> Result<NodeRecord, Stop> {
    let unknown = || Refusal::UnknownNode { node: node.clone() };
    let record = read::node(draft.view, node)?.ok_or_else(unknown)?;
    match record.state {
        NodeState::Active => Ok(record),
        NodeState::Revoked { at: since, reason } => {
            Err(Refusal::AlreadyRevoked { what: node.to_string(), since, reason }.into())
        }
    }
}
