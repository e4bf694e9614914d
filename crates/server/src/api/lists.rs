//! Lists of nodes and certificates, and one node whole.
//!
//! Every list pages, and every page reads a bounded number of rows.

use certus_ca::store::{Fault, View};
use certus_ca::{CertFilter, CertOrder, CertRecord, Cursor, NodeFilter, NodeRecord, NodeState};
use certus_pki::{Lifetime, Role, UnixTime};
use certus_wire::v1;
use certus_wire::{cert_id_to_wire, parsed};
use tonic::Status;

use super::cluster::Cluster;
use super::name::{self, Named};
use super::refuse;
use crate::fleet::Connected;

/// Rows of one page, unless fewer are asked for.
pub(super) const PAGE: usize = 500;
/// Live certificates that are told of one node: a healthy one has two.
const LIVE_MAX: usize = 100;

impl Cluster {
    pub(super) async fn nodes(&self, request: v1::ListNodesRequest) -> Result<v1::NodeList, Status> {
        let (after, limit) = page_of(&request.after, request.limit);
        let filter = NodeFilter {
            role: role(request.role.as_deref())?,
            id_prefix: some(request.id_prefix),
            active: request.revoked == Some(false) || request.connected == Some(false),
            revoked: request.revoked == Some(true),
        };
        let connected = self.shared.connected_everywhere().await;
        let read = self.shared.truth.scan(|view| {
            let page = certus_ca::nodes(view, &filter, after.as_ref(), limit)?;
            let mut nodes = Vec::with_capacity(page.items.len());
            for node in page.items {
                let is_connected = connected.contains_key(&node.identity);
                // Only workers hold a stream: the log is the managers' own, and clients come and go.
                let wanted = match request.connected {
                    None => true,
                    Some(true) => is_connected,
                    Some(false) => !is_connected && node.identity.role == Role::Worker,
                };
                if wanted {
                    let newest = certus_ca::cert(view, &node.newest)?;
                    nodes.push(node_record(node, newest, &connected, request.without_der));
                }
            }
            Ok(v1::NodeList { nodes, next: cursor(page.next) })
        });
        read.map_err(|error| refuse(&error))
    }

    pub(super) fn certs(&self, request: v1::ListCertsRequest) -> Result<v1::CertList, Status> {
        let (after, limit) = page_of(&request.after, request.limit);
        let now = self.shared.truth.now();
        let node = request.node.as_deref().map(|name| self.find_node(name)).transpose()?;
        let issuers = match &request.issuer {
            None => None,
            Some(text) => {
                let found = self.shared.truth.read(|view| name::issuers(view, text));
                Some(found.map_err(|error| refuse(&error))?.map_err(|error| refuse(&error))?)
            }
        };
        let order = request.order();
        let filter = CertFilter {
            node,
            role: role(request.role.as_deref())?,
            id_prefix: some(request.id_prefix),
            issuers,
            expiring_before: request.expiring_before.map(UnixTime::from_secs),
            live_at: (!request.all && !request.revoked).then_some(now),
            newest: !request.all && !request.revoked,
            revoked: request.revoked,
            order: match order {
                v1::CertOrder::Unspecified => CertOrder::Usual,
                v1::CertOrder::Expiry => CertOrder::Expiry,
                v1::CertOrder::Node => CertOrder::Node,
            },
        };
        // What was revoked and has ended since concerns nobody any more, unless all is asked for.
        let ended = |cert: &CertRecord| request.revoked && !request.all && cert.not_after < now;
        let read = self.shared.truth.scan(|view| {
            let page = certus_ca::certs(view, &filter, after.as_ref(), limit)?;
            let mut certs = Vec::with_capacity(page.items.len());
            for cert in page.items.into_iter().filter(|cert| !ended(cert)) {
                certs.push(told(view, cert, request.without_der)?);
            }
            Ok(v1::CertList { certs, next: cursor(page.next) })
        });
        read.map_err(|error| refuse(&error))
    }

    pub(super) fn cert(&self, name: &str) -> Result<v1::CertList, Status> {
        let found = self.find(name)?;
        let read = self.shared.truth.read(|view| match &found {
            Named::Node(node) => certus_ca::cert(view, &node.newest),
            Named::Cert(cert) => Ok(Some(CertRecord::clone(cert))),
        });
        let cert = read.map_err(|error| refuse(&error))?;
        let told = self.shared.truth.read(|view| cert.map(|cert| told(view, cert, false)).transpose());
        let certs = told.map_err(|error| refuse(&error))?.into_iter().collect();
        Ok(v1::CertList { certs, next: Vec::new() })
    }

    pub(super) async fn node(&self, name: &str) -> Result<v1::NodeDetail, Status> {
        let found = self.shared.truth.read(|view| name::node(view, name));
        let node = found.map_err(|error| refuse(&error))?.map_err(|error| refuse(&error))?;
        let connected = self.shared.connected_everywhere().await;
        let (now, identity) = (self.shared.truth.now(), node.identity.clone());
        let read = self.shared.truth.scan(|view| {
            let newest = certus_ca::cert(view, &node.newest)?;
            let lifetime =
                certus_ca::cluster(view)?.map(|cluster| cluster.settings.lifetime_of(identity.role));
            let all =
                certus_ca::live_certs(view, &identity, lifetime.unwrap_or(Lifetime::from_secs(0)), now)?;
            let more = all.len() > LIVE_MAX;
            let live = all.into_iter().rev().take(LIVE_MAX).map(|cert| told(view, cert, true));
            Ok((newest, live.collect::<Result<Vec<_>, Fault>>()?, more))
        });
        let (newest, live, more) = read.map_err(|error| refuse(&error))?;
        let managers = self.shared.managers_on_record().map_err(|error| refuse(&error))?;
        let (revoked_at, reason) = match node.state {
            NodeState::Active => (None, 0),
            NodeState::Revoked { at, reason } => (Some(at.secs()), reason.number().into()),
        };
        Ok(v1::NodeDetail {
            revoked_at,
            reason,
            admitted_by: node.admitted_by.map(|token| token.as_bytes().to_vec()).unwrap_or_default(),
            enforced: connected.get(&identity).and_then(|presence| presence.enforced),
            departed_at: self.shared.presence.departed_at(&identity).map(UnixTime::secs),
            node: Some(node_record(*node, newest, &connected, true)),
            live,
            more,
            manager: managers.into_iter().find(|manager| manager.node == identity.to_string()),
        })
    }
}

fn role(text: Option<&str>) -> Result<Option<Role>, Status> {
    text.map(|role| parsed("role", role)).transpose().map_err(|error| refuse(&error))
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Where a page begins, and how many rows it may have.
pub(super) fn page_of(after: &[u8], limit: u32) -> (Option<Cursor>, usize) {
    let limit = usize::try_from(limit).unwrap_or(PAGE);
    let limit = if limit == 0 { PAGE } else { limit.min(PAGE) };
    ((!after.is_empty()).then(|| Cursor::from_bytes(after)), limit)
}

/// Where the next page begins.
pub(super) fn cursor(next: Option<Cursor>) -> Vec<u8> {
    next.map(|cursor| cursor.as_bytes().to_vec()).unwrap_or_default()
}

fn node_record(
    node: NodeRecord,
    newest: Option<CertRecord>,
    connected: &Connected,
    without_der: bool,
) -> v1::NodeRecord {
    v1::NodeRecord {
        connected_since: connected.get(&node.identity).map(|presence| presence.since),
        identity: node.identity.to_string(),
        grant: node.grant.to_string(),
        revoked: node.state != NodeState::Active,
        admitted_at: node.admitted_at.secs(),
        sans: node.sans.iter().map(ToString::to_string).collect(),
        newest: newest.map(|cert| certificate(cert, true, without_der)),
    }
}

/// A certificate as callers are told of it.
fn told(view: &dyn View, cert: CertRecord, without_der: bool) -> Result<v1::Cert, Fault> {
    let newest = certus_ca::node(view, &cert.node)?.is_some_and(|node| node.newest == cert.cert);
    Ok(certificate(cert, newest, without_der))
}

fn certificate(cert: CertRecord, newest: bool, without_der: bool) -> v1::Cert {
    v1::Cert {
        id: Some(cert_id_to_wire(cert.cert)),
        node: cert.node.to_string(),
        issued_at: cert.issued_at.secs(),
        not_after: cert.not_after.secs(),
        renew_by: cert.renew_by.secs(),
        key_hash: cert.key_hash.as_bytes().to_vec(),
        how: match cert.how {
            certus_ca::How::Founded => "founded",
            certus_ca::How::Joined => "joined",
            certus_ca::How::Renewed => "renewed",
            certus_ca::How::Unrecorded => "unrecorded",
        }
        .to_owned(),
        revoked_at: cert.revoked.map(|(at, _)| at.secs()),
        reason: cert.revoked.map_or(0, |(_, reason)| reason.number().into()),
        newest,
        der: if without_der { Vec::new() } else { cert.der },
    }
}
