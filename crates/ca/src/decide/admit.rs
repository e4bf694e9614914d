//! Recording certificates: what was signed is held against what is planned now, then put on record.

use certus_pki::renewal::overdue_at;
use certus_pki::{CertId, Certificate, LeafPlan, Reason, Role, UnixTime};

use super::Draft;
use crate::command::{Issued, JoinAsk, RenewAsk, Reply};
use crate::limits::PLAN_TOLERANCE;
use crate::plan::{self, Join, NewJoin, NewRenewal, Renewal, Stop, window_is_over};
use crate::read;
use crate::record::{CertRecord, Event, How, IssuerRecord, NodeRecord, NodeState, TokenRecord};
use crate::refusal::Refusal;
use crate::store::{Table, View};
use crate::tables::{decode, key};

pub(super) fn admit(
    draft: &mut Draft<'_>,
    ask: &JoinAsk,
    planned_at: UnixTime,
    der: &[u8],
) -> Result<Reply, Stop> {
    let join = match plan::join(draft.view, draft.at, planned_at, ask)? {
        Join::New(join) => *join,
        Join::Again(record) => return Ok(Reply::Admitted(again(*record))),
    };
    let record = checked(draft, &join.plan, planned_at, der, How::Joined)?;
    let replaced = replace(draft, &join)?;
    let NewJoin { plan, token, grant, .. } = join;
    let node = NodeRecord {
        identity: plan.identity,
        grant,
        state: NodeState::Active,
        sans: plan.sans,
        newest: record.cert,
        previous: None,
        admitted_at: draft.at,
        admitted_by: Some(token.token),
        window_from: draft.at,
        window_count: 1,
    };
    let token = TokenRecord { used: token.used + 1, ..token };
    draft.put(Table::Tokens, key::token(&token.token), &token);
    draft.put(Table::ByKey, key::by_key(&token.secret_hash, &record.key_hash), &record.cert);
    issue(draft, &record, &node);
    let event = Event::Joined { node: node.identity, token: token.token, cert: record.cert, replaced };
    draft.audit(None, event, None);
    Ok(Reply::Admitted(issued(record)))
}

pub(super) fn renew(
    draft: &mut Draft<'_>,
    ask: &RenewAsk,
    planned_at: UnixTime,
    der: &[u8],
) -> Result<Reply, Stop> {
    let renewal = match plan::renew(draft.view, draft.at, planned_at, ask)? {
        Renewal::New(renewal) => *renewal,
        Renewal::Again(record) => return Ok(Reply::Renewed(again(*record))),
    };
    let record = checked(draft, &renewal.plan, planned_at, der, How::Renewed)?;
    let NewRenewal { node, .. } = renewal;
    forget_deadline(draft, &node)?;
    let anew = window_is_over(&node, &draft.cluster, draft.at);
    let node = NodeRecord {
        newest: record.cert,
        previous: Some(ask.from),
        window_from: if anew { draft.at } else { node.window_from },
        window_count: if anew { 1 } else { node.window_count + 1 },
        ..node
    };
    issue(draft, &record, &node);
    let event = Event::Renewed { from: ask.from, cert: Some(record.cert) };
    draft.audit(Some(ask.node.clone()), event, None);
    Ok(Reply::Renewed(issued(record)))
}

/// Writes a certificate, its indexes and its node.
pub(super) fn issue(draft: &mut Draft<'_>, record: &CertRecord, node: &NodeRecord) {
    let (cert, identity) = (&record.cert, &node.identity);
    draft.put(Table::Certs, key::cert(cert), record);
    draft.mark(Table::ByExpiry, key::by_expiry(record.not_after, cert));
    draft.mark(Table::ByNode, key::by_node(identity, record.issued_at, cert));
    draft.put(Table::Nodes, key::node(identity), node);
    if identity.role != Role::Client {
        draft.mark(Table::Due, key::due(record.renew_by, identity));
    }
}

/// Ends the former key lineage of an id that is taken over; how many certificates it still had.
fn replace(draft: &mut Draft<'_>, join: &NewJoin) -> Result<u32, Stop> {
    let Some(former) = &join.replaces else { return Ok(0) };
    forget_deadline(draft, former)?;
    let lifetime = draft.cluster.settings.lifetime_of(former.identity.role);
    let live = read::live_certs(draft.view, &former.identity, lifetime, draft.at)?;
    for cert in &live {
        draft.revoke(cert, Reason::Superseded);
    }
    Ok(u32::try_from(live.len()).unwrap_or(u32::MAX))
}

fn forget_deadline(draft: &mut Draft<'_>, node: &NodeRecord) -> Result<(), Stop> {
    if let Some(newest) = read::cert(draft.view, &node.newest)? {
        draft.delete(Table::Due, key::due(newest.renew_by, &node.identity));
    }
    Ok(())
}

/// The record of a certificate that says what is planned, from an active issuer, under a serial that
/// is new.
fn checked(
    draft: &Draft<'_>,
    plan: &LeafPlan,
    planned_at: UnixTime,
    der: &[u8],
    how: How,
) -> Result<CertRecord, Stop> {
    let at = draft.at;
    let apart = at.secs_since(planned_at).unsigned_abs();
    if apart > u64::from(PLAN_TOLERANCE.secs()) || plan.validity.not_after <= at {
        return Err(Refusal::StalePlan { planned_at, at }.into());
    }
    let certificate = parsed("certificate", der)?;
    plan.check(&certificate).map_err(|differs| Refusal::PlanMismatch {
        what: format!("certificate's {}", differs.what),
        expected: differs.expected,
        came: differs.came,
    })?;
    let issuer = issuer_of(draft.view, &certificate)?;
    if issuer.not_after < certificate.not_after {
        return Err(Refusal::EndsTooSoon {
            signer: "issuer".to_owned(),
            signer_ends: issuer.not_after,
            signed_ends: certificate.not_after,
        }
        .into());
    }
    let cert = CertId { issuer: issuer.key_hash, serial: certificate.serial };
    if let Some(earlier) = read::certs_by_serial(draft.view, &certificate.serial)?.first() {
        return Err(Refusal::SerialRepeated { cert: earlier.cert }.into());
    }
    Ok(CertRecord {
        cert,
        node: plan.identity.clone(),
        key_hash: certificate.key_hash(),
        not_after: certificate.not_after,
        // The deadline counts from the plan, as the node's own does.
        renew_by: overdue_at(planned_at, certificate.not_after),
        der: certificate.der,
        issued_at: at,
        how,
        revoked: None,
    })
}

pub(super) fn parsed(what: &str, der: &[u8]) -> Result<Certificate, Refusal> {
    Certificate::from_der(der).map_err(|error| Refusal::mismatch(what, "a certificate", error))
}

/// The active issuer that a certificate names, by its key identifier: the first 20 bytes of the
/// issuer's key hash (RFC 7093 §2).
fn issuer_of(view: &dyn View, certificate: &Certificate) -> Result<IssuerRecord, Stop> {
    let came = certificate.authority_key_id.as_deref().unwrap_or_default();
    let not_active = || Refusal::IssuerNotActive { came: digits(came) };
    if came.len() != 20 {
        return Err(not_active().into());
    }
    let from = std::ops::Bound::Included(came);
    let row = view.scan(Table::Issuers, from, std::ops::Bound::Unbounded, 1)?.pop();
    let row = row.filter(|(key, _)| key.starts_with(came)).ok_or_else(not_active)?;
    let issuer: IssuerRecord = decode(Table::Issuers, &row.1)?;
    if !issuer.active || issuer.subject_der != certificate.issuer_der {
        return Err(not_active().into());
    }
    Ok(issuer)
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn issued(record: CertRecord) -> Issued {
    Issued { node: record.node, cert: record.cert, der: record.der, again: false }
}

fn again(record: CertRecord) -> Issued {
    Issued { again: true, ..issued(record) }
}
