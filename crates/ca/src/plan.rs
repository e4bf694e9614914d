//! Planning a certificate: whether a node may have one, and what it shall say.
//!
//! Asked twice: by the manager that is about to sign, and by every replica when the signed
//! certificate comes through the log.

use certus_pki::{CertId, Grant, LeafPlan, NodeId, PublicKey, Role, San, SpiffeId, TokenId, UnixTime};

use crate::command::{Admission, JoinAsk, RenewAsk};
use crate::limits::CERTS_PER_NODE_MAX;
use crate::read;
use crate::record::{CertRecord, ClusterState, NodeRecord, NodeState, TokenRecord};
use crate::refusal::{Barred, Refusal};
use crate::store::{Fault, Table, View};
use crate::tables::{get, key, must};

/// What a joining node is to be given at `at`.
///
/// The token decides role, names and grant; the id comes from the request only where the token names
/// none. The same token and key again are answered with the certificate they were given, while that is
/// live, even if the token is used up or has ended. A key that was revoked comes back under no token.
pub fn plan_join(view: &dyn View, at: UnixTime, ask: &JoinAsk) -> Result<Result<Admission, Refusal>, Fault> {
    settle(join(view, at, at, ask).map(|join| match join {
        Join::New(join) => Admission::New(join.plan),
        Join::Again(record) => Admission::Again { der: record.der },
    }))
}

/// What a renewing node is to be given at `at`.
///
/// It asks with its newest certificate or with the one that the newest was asked with; the second so
/// that an answer that was lost locks nobody out. Anything older is refused: its key is in a second
/// place. Whichever of the two it asked with becomes the "one before" of the new certificate, so when
/// both holders of a copied key renew, one of them is refused at its next turn, and is noticed.
///
/// Its certificate must not have ended, unless it is a manager's: nobody can call with one that has, so
/// that it is a manager that slept, and asks of its own log.
///
/// The key must be fresh; with the key of the newest certificate the answer is that certificate.
pub fn plan_renew(
    view: &dyn View,
    at: UnixTime,
    ask: &RenewAsk,
) -> Result<Result<Admission, Refusal>, Fault> {
    settle(renew(view, at, at, ask).map(|renewal| match renewal {
        Renewal::New(renewal) => Admission::New(renewal.plan),
        Renewal::Again(record) => Admission::Again { der: record.der },
    }))
}

/// A join that is granted.
pub(crate) enum Join {
    New(Box<NewJoin>),
    Again(Box<CertRecord>),
}

/// A join that needs a new certificate.
pub(crate) struct NewJoin {
    pub(crate) plan: LeafPlan,
    pub(crate) token: TokenRecord,
    pub(crate) grant: Grant,
    /// Whose place it takes.
    pub(crate) replaces: Option<NodeRecord>,
}

/// A renewal that is granted.
pub(crate) enum Renewal {
    New(Box<NewRenewal>),
    Again(Box<CertRecord>),
}

/// A renewal that needs a new certificate.
pub(crate) struct NewRenewal {
    pub(crate) plan: LeafPlan,
    pub(crate) node: NodeRecord,
}

/// Decides a join at `at` whose certificate is planned at `planned_at`.
pub(crate) fn join(view: &dyn View, at: UnixTime, planned_at: UnixTime, ask: &JoinAsk) -> Result<Join, Stop> {
    let cluster = founded(view)?;
    let at = at.max(cluster.last_at);
    let token = token_with_secret(view, ask)?;
    if let Some(at) = token.revoked_at {
        return Err(Refusal::TokenRevoked { token: token.token, at }.into());
    }
    let node = SpiffeId { cluster: cluster.name.clone(), role: ask.role, id: ask.id.clone() };
    if let Some(record) = answered_before(view, at, &node, ask)? {
        return Ok(Join::Again(Box::new(record)));
    }
    token_admits(&token, at, ask.role, &ask.id)?;
    let holder = read::node(view, &node)?;
    if let Some(holder) = &holder {
        may_replace(view, holder, &token, &ask.public_key)?;
    }
    key_is_not_revoked(view, &node, &ask.public_key)?;
    let grant = if ask.role == Role::Client { token.grant } else { Grant::None };
    let sans: Vec<San> = token.sans.clone();
    let plan = cluster.settings.plan(node, ask.public_key.clone(), sans, planned_at);
    Ok(Join::New(Box::new(NewJoin { plan, token, grant, replaces: holder })))
}

/// Decides a renewal at `at` whose certificate is planned at `planned_at`.
pub(crate) fn renew(
    view: &dyn View,
    at: UnixTime,
    planned_at: UnixTime,
    ask: &RenewAsk,
) -> Result<Renewal, Stop> {
    let cluster = founded(view)?;
    let at = at.max(cluster.last_at);
    let unknown = || Refusal::UnknownNode { node: ask.node.clone() };
    let node = read::node(view, &ask.node)?.ok_or_else(unknown)?;
    let barred = |why| Refusal::RenewalBarred { node: ask.node.clone(), why };
    if let NodeState::Revoked { at, reason } = node.state {
        return Err(barred(Barred::NodeRevoked { at, reason }).into());
    }
    let from = read::cert(view, &ask.from)?.ok_or_else(|| barred(Barred::NotOnRecord))?;
    if from.node != ask.node {
        return Err(barred(Barred::NotItsCert).into());
    }
    if let Some((at, reason)) = from.revoked {
        return Err(barred(Barred::CertRevoked { at, reason }).into());
    }
    if at > from.not_after && node.identity.role != Role::Manager {
        return Err(barred(Barred::CertExpired { not_after: from.not_after }).into());
    }
    let newest: CertRecord = must(view, Table::Certs, &key::cert(&node.newest))?;
    if from.cert != node.newest && node.previous != Some(from.cert) {
        return Err(barred(Barred::OlderKey { newest_at: newest.issued_at }).into());
    }
    let key_hash = ask.public_key.hash();
    if key_hash == newest.key_hash && newest.is_live(at) {
        return Ok(Renewal::Again(Box::new(newest)));
    }
    if key_hash == from.key_hash || key_hash == newest.key_hash {
        return Err(barred(Barred::KeyNotFresh).into());
    }
    key_is_not_revoked(view, &ask.node, &ask.public_key)?;
    if node.window_count >= CERTS_PER_NODE_MAX && !window_is_over(&node, &cluster, at) {
        let lifetime = cluster.settings.lifetime_of(node.identity.role);
        let allowed = format!("at most {CERTS_PER_NODE_MAX} in {lifetime}");
        let came = format!("{} already", node.window_count);
        return Err(Refusal::out_of_bounds("number of certificates for one node", allowed, came).into());
    }
    let (identity, sans) = (node.identity.clone(), node.sans.clone());
    let plan = cluster.settings.plan(identity, ask.public_key.clone(), sans, planned_at);
    Ok(Renewal::New(Box::new(NewRenewal { plan, node })))
}

/// Whether the node's count of certificates begins anew at `at`.
pub(crate) fn window_is_over(node: &NodeRecord, cluster: &ClusterState, at: UnixTime) -> bool {
    at >= node.window_from.plus(cluster.settings.lifetime_of(node.identity.role))
}

/// The cluster, which must be founded.
pub(crate) fn founded(view: &dyn View) -> Result<ClusterState, Stop> {
    read::cluster(view)?.ok_or_else(|| Refusal::NotFounded.into())
}

fn token_with_secret(view: &dyn View, ask: &JoinAsk) -> Result<TokenRecord, Stop> {
    let id = TokenId::from(ask.secret_hash);
    let token = read::token(view, &id)?.filter(|token| token.secret_hash == ask.secret_hash);
    token.ok_or_else(|| Refusal::UnknownToken { token: id }.into())
}

/// The live certificate that this token and key were answered with before.
fn answered_before(
    view: &dyn View,
    at: UnixTime,
    node: &SpiffeId,
    ask: &JoinAsk,
) -> Result<Option<CertRecord>, Fault> {
    let row = key::by_key(&ask.secret_hash, &ask.public_key.hash());
    let Some(id) = get(view, Table::ByKey, &row)? else { return Ok(None) };
    Ok(read::cert(view, &id)?.filter(|record| record.node == *node && record.is_live(at)))
}

fn token_admits(token: &TokenRecord, at: UnixTime, role: Role, id: &NodeId) -> Result<(), Refusal> {
    if at >= token.expires_at {
        return Err(Refusal::TokenExpired {
            now: at,
            created_at: token.created_at,
            expired_at: token.expires_at,
            by: token.by.clone(),
            role,
            id: id.clone(),
        });
    }
    if token.role != role {
        return Err(Refusal::TokenWrongRole { expected: token.role, came: role });
    }
    if let Some(expected) = token.id.as_ref().filter(|expected| *expected != id) {
        return Err(Refusal::TokenWrongId { expected: expected.clone(), came: id.clone() });
    }
    if token.used >= token.uses {
        return Err(Refusal::TokenUsedUp { uses: token.uses, role, id: id.clone() });
    }
    Ok(())
}

/// An id belongs to one key lineage, unless an operator named it to be replaced; then another begins.
fn may_replace(
    view: &dyn View,
    holder: &NodeRecord,
    token: &TokenRecord,
    key: &PublicKey,
) -> Result<(), Stop> {
    let newest: CertRecord = must(view, Table::Certs, &key::cert(&holder.newest))?;
    let node = holder.identity.clone();
    if !token.replace || token.id.as_ref() != Some(&node.id) {
        return Err(Refusal::IdInUse { node, since: holder.admitted_at, key: newest.key_hash }.into());
    }
    if newest.key_hash == key.hash() && newest.revoked.is_none() {
        return Err(Refusal::RenewalBarred { node, why: Barred::KeyNotFresh }.into());
    }
    Ok(())
}

/// A key that was revoked stays out, under this id and every other.
fn key_is_not_revoked(view: &dyn View, node: &SpiffeId, key: &PublicKey) -> Result<(), Stop> {
    let Some(id) = get::<CertId>(view, Table::ByKey, &key::revoked_key(&key.hash()))? else { return Ok(()) };
    let record: CertRecord = must(view, Table::Certs, &key::cert(&id))?;
    match record.revoked {
        Some((at, reason)) => {
            Err(Refusal::RenewalBarred { node: node.clone(), why: Barred::KeyRevoked { at, reason } }.into())
        }
        None => Ok(()),
    }
}

/// Why a decision ends early.
pub(crate) enum Stop {
    /// The answer is no.
    Refused(Box<Refusal>),
    /// The store is broken.
    Broken(Fault),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refused(Box::new(refusal))
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Broken(fault)
    }
}

/// An answer, yes or no, or a broken store.
pub(crate) fn settle<T>(result: Result<T, Stop>) -> Result<Result<T, Refusal>, Fault> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Stop::Refused(refusal)) => Ok(Err(*refusal)),
        Err(Stop::Broken(fault)) => Err(fault),
    }
}
