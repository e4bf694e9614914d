//! Founding a cluster, and adding issuers to it.

use certus_pki::cert::BadCertificate;
use certus_pki::defaults::{BACKDATE, ISSUER_OVER_LEAF};
use certus_pki::renewal::overdue_at;
use certus_pki::{
    Bundle, Certificate, Change, Epoch, Grant, IssuerRef, LeafPlan, Lifetime, Purpose, Role, Root, Sha256,
    SpiffeId, UnixTime, Validity, verify_peer,
};

use super::admit::{issue, parsed};
use super::{Draft, Write, manager};
use crate::command::{Genesis, Reply, check_settings};
use crate::limits::PLAN_TOLERANCE;
use crate::plan::Stop;
use crate::read;
use crate::record::{CertRecord, ClusterState, Event, How, IssuerRecord, NodeRecord, NodeState, RootRecord};
use crate::refusal::Refusal;
use crate::store::{Table, View};
use crate::tables::{Founding, META_FOUNDING};

/// The first revision. Nothing is owed to watchers for it: they begin with a bundle.
const FIRST_REVISION: u64 = 1;

pub(super) fn genesis(view: &dyn View, at: UnixTime, genesis: &Genesis) -> Result<(Reply, Vec<Write>), Stop> {
    if let Some(cluster) = read::cluster(view)? {
        return Err(Refusal::AlreadyFounded { cluster: cluster.name, at: cluster.founded_at }.into());
    }
    check_settings(&genesis.settings)?;
    let epoch = Epoch { generation: genesis.generation, revision: FIRST_REVISION };
    let bad_root = |error: BadCertificate| Refusal::mismatch("root", "a CA certificate", error);
    let root = Root::from_der(&genesis.root_der).map_err(bad_root)?;
    let issuer = parsed("issuer", &genesis.issuer_der)?;
    // The founder's certificates are held against it as in every handshake to come.
    let accepted = IssuerRef { key_hash: issuer.key_hash(), not_after: issuer.not_after };
    let bundle = Bundle::new(genesis.cluster.clone(), epoch, vec![root.clone()], [accepted], []);
    is_issuer(&issuer, &parsed("root", &genesis.root_der)?)?;
    let manager = founder(genesis, &bundle, &issuer, at, Role::Manager)?;
    let operator = founder(genesis, &bundle, &issuer, at, Role::Client)?;
    if manager.cert == operator.cert {
        return Err(Refusal::SerialRepeated { cert: operator.cert }.into());
    }
    let cluster = ClusterState {
        name: genesis.cluster.clone(),
        settings: genesis.settings,
        founded_at: at,
        epoch,
        last_at: at,
    };
    let mut draft = Draft::new(view, at, cluster)?;
    let founding = Founding { name: genesis.cluster.clone(), settings: genesis.settings, founded_at: at };
    draft.put(Table::Meta, META_FOUNDING.to_vec(), &founding);
    put_root(&mut draft, &root, genesis.root_key_sealed.clone());
    put_issuer(&mut draft, issuer);
    for (record, grant) in [(&manager, Grant::None), (&operator, Grant::Admin)] {
        issue(&mut draft, record, &founding_node(record, grant)?);
    }
    let event = Event::Founded { cluster: genesis.cluster.clone(), root: root.key_hash() };
    draft.audit(Some(operator.node), event, None);
    Ok((Reply::Founded { epoch }, draft.finish()))
}

/// The record of one of the two certificates that the founder brings.
fn founder(
    genesis: &Genesis,
    bundle: &Bundle,
    issuer: &Certificate,
    at: UnixTime,
    role: Role,
) -> Result<CertRecord, Refusal> {
    let (what, der, purpose) = match role {
        Role::Manager => ("founding manager's certificate", &genesis.manager_der, Purpose::Server),
        _ => ("operator's certificate", &genesis.operator_der, Purpose::Client),
    };
    let rejected = |error: certus_pki::Rejection| {
        Refusal::mismatch(what, "a certificate that the new cluster accepts", error)
    };
    let peer = verify_peer(&[der, &genesis.issuer_der], bundle, at, purpose).map_err(rejected)?;
    let named = peer.name();
    let identity = peer.identity.filter(|identity| identity.role == role);
    let identity = identity.ok_or_else(|| Refusal::mismatch(what, format!("a {role}"), named))?;
    let certificate = parsed(what, der)?;
    let planned_at = certificate.not_before.plus(BACKDATE);
    if at.secs_since(planned_at).unsigned_abs() > u64::from(PLAN_TOLERANCE.secs()) {
        return Err(Refusal::StalePlan { planned_at, at });
    }
    let plan = LeafPlan {
        identity,
        public_key: certificate.public_key.clone(),
        sans: peer.sans,
        validity: Validity::starting(planned_at, genesis.settings.lifetime_of(role)),
    };
    plan.check(&certificate).map_err(|differs| Refusal::PlanMismatch {
        what: format!("{what}: {}", differs.what),
        expected: differs.expected,
        came: differs.came,
    })?;
    ends_within("issuer", issuer.not_after, certificate.not_after)?;
    Ok(CertRecord {
        cert: peer.cert,
        node: plan.identity,
        key_hash: peer.key_hash,
        not_after: certificate.not_after,
        renew_by: overdue_at(planned_at, certificate.not_after),
        der: certificate.der,
        issued_at: at,
        how: How::Founded,
        revoked: None,
    })
}

fn founding_node(record: &CertRecord, grant: Grant) -> Result<NodeRecord, Refusal> {
    Ok(NodeRecord {
        identity: record.node.clone(),
        grant,
        state: NodeState::Active,
        sans: parsed("certificate", &record.der)?.sans,
        newest: record.cert,
        previous: None,
        admitted_at: record.issued_at,
        admitted_by: None,
        window_from: record.issued_at,
        window_count: 1,
    })
}

fn put_root(draft: &mut Draft<'_>, root: &Root, key_sealed: Vec<u8>) {
    let (key_hash, der, not_after) = (root.key_hash(), root.der().to_vec(), root.not_after());
    let record = RootRecord { key_hash, der, not_after, active: true, key_sealed };
    draft.put(Table::Roots, key_hash.as_bytes().to_vec(), &record);
}

pub(super) fn put_issuer(draft: &mut Draft<'_>, issuer: Certificate) -> IssuerRef {
    let (key_hash, not_after) = (issuer.key_hash(), issuer.not_after);
    let record = IssuerRecord {
        key_hash,
        der: issuer.der,
        subject_der: issuer.subject_der,
        not_after,
        active: true,
        added_at: draft.at,
    };
    draft.put(Table::Issuers, key_hash.as_bytes().to_vec(), &record);
    IssuerRef { key_hash, not_after }
}

pub(super) fn add_issuer(draft: &mut Draft<'_>, der: &[u8], by: &SpiffeId) -> Result<Reply, Stop> {
    draft.asker(by)?;
    let issuer = acceptable_issuer(draft, der)?;
    let key_hash = issuer.key_hash();
    forget_ended_issuers(draft)?;
    let issuer = put_issuer(draft, issuer);
    manager::signs_with(draft, by, key_hash)?;
    draft.change(Change::IssuerAdded(issuer));
    draft.audit(Some(by.clone()), issuer_added(der), None);
    Ok(Reply::IssuerAdded { key_hash, revision: draft.next_revision() })
}

/// A new issuer, below an active root and for long enough.
pub(super) fn acceptable_issuer(draft: &Draft<'_>, der: &[u8]) -> Result<Certificate, Stop> {
    let issuer = parsed("issuer", der)?;
    let authority = issuer.authority_key_id.as_deref().unwrap_or_default();
    let mut roots = read::roots(draft.view)?.into_iter().filter(|root| root.active);
    let root = roots.find(|root| root.key_hash.as_bytes()[..20] == *authority);
    let root = root.ok_or_else(|| Refusal::mismatch("issuer's root", "an active root", &issuer.issuer))?;
    is_issuer(&issuer, &parsed("root", &root.der)?)?;
    let leaf_lifetime = draft.cluster.settings.leaf_lifetime;
    let left = u32::try_from(issuer.not_after.secs_since(draft.at)).unwrap_or(0);
    // It was signed a moment before it is recorded.
    if u64::from(left) + u64::from(PLAN_TOLERANCE.secs())
        < u64::from(leaf_lifetime.secs()) * u64::from(ISSUER_OVER_LEAF)
    {
        let issuer_lifetime = Lifetime::from_secs(left);
        return Err(Refusal::IssuerTooShort { issuer_lifetime, leaf_lifetime }.into());
    }
    let key_hash = issuer.key_hash();
    if read::issuer(draft.view, &key_hash)?.is_some() {
        return Err(Refusal::AlreadyExists { what: format!("issuer {}", key_hash.short()) }.into());
    }
    Ok(issuer)
}

/// Issuers whose time is over vouch for nobody: without this, bundles would grow with every rollover.
/// Their records stay, as those of their leaves do.
fn forget_ended_issuers(draft: &mut Draft<'_>) -> Result<(), Stop> {
    let ended = |issuer: &IssuerRecord| issuer.active && issuer.not_after < draft.at;
    let ended: Vec<IssuerRecord> = read::issuers(draft.view)?.into_iter().filter(ended).collect();
    for issuer in ended {
        draft.change(Change::IssuerRemoved(issuer.key_hash));
        let record = IssuerRecord { active: false, ..issuer };
        draft.put(Table::Issuers, record.key_hash.as_bytes().to_vec(), &record);
    }
    Ok(())
}

pub(super) fn issuer_added(der: &[u8]) -> Event {
    Event::IssuerAdded { fingerprint: Sha256::of(der) }
}

/// What makes a certificate an issuer of leaves below `root`.
fn is_issuer(issuer: &Certificate, root: &Certificate) -> Result<(), Refusal> {
    let differs = |what: &str, expected: &str, came: String| {
        if expected == came { Ok(()) } else { Err(Refusal::mismatch(what, expected, came)) }
    };
    let path_len = issuer.path_len.map_or_else(|| "none".to_owned(), |len| len.to_string());
    differs("issuer: CA", "true", issuer.is_ca.to_string())?;
    differs("issuer: path length", "0", path_len)?;
    differs("issuer: signed by", &root.subject, issuer.issuer.clone())?;
    if !issuer.verify_signed_by(root) {
        return Err(Refusal::mismatch("issuer: signature", "the root's", "another, or a broken one"));
    }
    // Leaves name their issuer by this, and are looked up by it.
    if issuer.subject_key_id.as_deref() != Some(&issuer.key_hash().as_bytes()[..20]) {
        return Err(Refusal::mismatch("issuer: key identifier", "the key's hash", "another"));
    }
    ends_within("root", root.not_after, issuer.not_after)
}

fn ends_within(signer: &str, signer_ends: UnixTime, signed_ends: UnixTime) -> Result<(), Refusal> {
    if signed_ends <= signer_ends {
        return Ok(());
    }
    Err(Refusal::EndsTooSoon { signer: signer.to_owned(), signer_ends, signed_ends })
}
