//! Reading and operating the cluster.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::fill;
use certus_ca::{Command, CreateToken, Cursor, NodeFilter, Reply, Target};
use certus_pki::explain::Explanation;
use certus_pki::{Certificate, Directive, Epoch, Grant, JoinToken, Lifetime, Role, SpiffeId, UnixTime, code};
use certus_wire::v1;
use certus_wire::{cert_id_to_wire, epoch_to_wire, parsed};
use tonic::{Request, Response, Status};
use tracing::info;

use super::lists::{PAGE, cursor, page_of};
use super::name::{self, Named};
use super::{caller_of, refuse};
use crate::fleet::Connected;
use crate::offline::Outlook;
use crate::shared::Shared;

/// Offline and overdue nodes that one answer names.
const NAMED_MAX: usize = 1000;
/// The longest a call waits for nodes to enforce something.
const ENFORCEMENT_WAIT_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Cluster {
    pub(crate) shared: Arc<Shared>,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl v1::cluster_server::Cluster for Cluster {
    async fn status(&self, _request: Request<v1::StatusRequest>) -> Answer<v1::ClusterStatus> {
        let shared = &self.shared;
        let now = shared.truth.now();
        let read = shared.truth.scan(|view| {
            Ok((
                certus_ca::cluster(view)?,
                certus_ca::roots(view)?,
                certus_ca::issuers(view)?,
                certus_ca::due(view, now, NAMED_MAX)?,
                certus_ca::active_nodes(view)?,
                Outlook::read(view, now)?,
                shared.unrecorded.list(view, now)?,
            ))
        });
        let (cluster, roots, issuers, due, nodes, outlook, unrecorded) =
            read.map_err(|error| refuse(&error))?;
        let cluster = cluster.ok_or_else(|| refuse(&not_founded()))?;
        let managers = shared.managers_on_record().map_err(|error| refuse(&error))?;
        let roots = roots.iter().filter(|root| root.active).map(|root| authority(&root.der));
        let issuers = issuers.iter().filter(|issuer| issuer.active).map(|issuer| authority(&issuer.der));
        let connected = shared.connected_everywhere().await;
        let overdue = due
            .into_iter()
            .map(|due| v1::OverdueNode { node: due.node.to_string(), renew_by: due.renew_by.secs() });
        Ok(Response::new(v1::ClusterStatus {
            cluster: cluster.name.to_string(),
            epoch: Some(epoch_to_wire(cluster.epoch)),
            founded_at: cluster.founded_at.secs(),
            now: now.secs(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            leaf_lifetime_secs: cluster.settings.leaf_lifetime.secs(),
            roots: roots.collect(),
            issuers: issuers.collect(),
            connected: connected.into_values().take(NAMED_MAX).collect(),
            nodes,
            overdue: overdue.collect(),
            managers: managers.into_iter().map(|manager| manager.node).collect(),
            root_state: outlook.map(|outlook| root_state(&outlook, now, shared)),
            unrecorded: unrecorded.into_iter().map(unrecorded_cert).collect(),
        }))
    }

    async fn bundle(&self, _request: Request<v1::BundleRequest>) -> Answer<v1::Bundle> {
        Ok(Response::new(certus_wire::bundle_to_wire(self.shared.publisher.current().bundle())))
    }

    async fn create_token(&self, request: Request<v1::CreateTokenRequest>) -> Answer<v1::CreateTokenReply> {
        let by = caller_of(&request)?;
        let (token, create) = self.token(by, request.get_ref())?;
        let role = create.role;
        let id = create.id.as_ref().map_or_else(|| "any".to_owned(), ToString::to_string);
        let reply = self.propose(&Command::CreateToken(create)).await?;
        let Reply::TokenCreated { token: name, expires_at } = reply else { return Err(mismatched()) };
        info!(token = %name, %role, %id, %expires_at, "token created");
        Ok(Response::new(v1::CreateTokenReply {
            token: token.reveal().to_string(),
            expires_at: expires_at.secs(),
        }))
    }

    async fn list_tokens(&self, request: Request<v1::ListRequest>) -> Answer<v1::TokenList> {
        let (after, limit) = page_of(&request.get_ref().after, request.get_ref().limit);
        let page = self.shared.truth.scan(|view| certus_ca::tokens(view, after.as_ref(), limit));
        let page = page.map_err(|error| refuse(&error))?;
        let token = |token: certus_ca::TokenRecord| v1::Token {
            id: token.token.as_bytes().to_vec(),
            role: token.role.to_string(),
            node_id: token.id.map(|id| id.to_string()),
            sans: token.sans.iter().map(ToString::to_string).collect(),
            created_at: token.created_at.secs(),
            expires_at: token.expires_at.secs(),
            uses: token.uses,
            used: token.used,
            revoked_at: token.revoked_at.map(UnixTime::secs),
            by: token.by.to_string(),
            replace: token.replace,
        };
        let tokens = page.items.into_iter().map(token).collect();
        Ok(Response::new(v1::TokenList { tokens, next: cursor(page.next) }))
    }

    async fn revoke_token(&self, request: Request<v1::RevokeTokenRequest>) -> Answer<v1::RevokeTokenReply> {
        let by = caller_of(&request)?;
        let token = certus_wire::token_id(&request.get_ref().id).map_err(|error| refuse(&error))?;
        self.propose(&Command::RevokeToken { token, by }).await?;
        info!(%token, "token revoked");
        Ok(Response::new(v1::RevokeTokenReply {}))
    }

    async fn list_nodes(&self, request: Request<v1::ListNodesRequest>) -> Answer<v1::NodeList> {
        self.nodes(request.into_inner()).await.map(Response::new)
    }

    async fn get_node(&self, request: Request<v1::GetNodeRequest>) -> Answer<v1::NodeDetail> {
        self.node(&request.get_ref().name).await.map(Response::new)
    }

    async fn list_certs(&self, request: Request<v1::ListCertsRequest>) -> Answer<v1::CertList> {
        self.certs(request.into_inner()).map(Response::new)
    }

    async fn get_cert(&self, request: Request<v1::GetCertRequest>) -> Answer<v1::CertList> {
        self.cert(&request.get_ref().name).map(Response::new)
    }

    async fn revoke(&self, request: Request<v1::RevokeRequest>) -> Answer<v1::RevokeReply> {
        let by = caller_of(&request)?;
        let reason = certus_wire::reason(request.get_ref().reason).map_err(|error| refuse(&error))?;
        let name = &request.get_ref().name;
        let command = match (self.find(name), self.unrecorded(name)) {
            (Ok(Named::Node(node)), _) => {
                self.refuse_manager(&node.identity)?;
                Command::Revoke { target: Target::Node(node.identity), reason, by: by.clone() }
            }
            (Ok(Named::Cert(cert)), _) => {
                // A manager's newest certificate is the manager: without it, nobody lets it in.
                let of = self.shared.truth.read(|view| certus_ca::node(view, &cert.node));
                if of.map_err(|error| refuse(&error))?.is_some_and(|node| node.newest == cert.cert) {
                    self.refuse_manager(&cert.node)?;
                }
                Command::Revoke { target: Target::Cert(cert.cert), reason, by: by.clone() }
            }
            (Err(_), Some(cert)) => Command::RevokeUnrecorded { cert, reason, by: by.clone() },
            (Err(unknown), None) => return Err(unknown),
        };
        let whole_node = matches!(command, Command::Revoke { target: Target::Node(_), .. });
        let reply = self.propose(&command).await?;
        let Reply::Revoked { node, certs, revision } = reply else { return Err(mismatched()) };
        let epoch = self.epoch_at(revision);
        self.shared.presence.committed(epoch);
        self.shared.metrics.revoked(certs.len());
        info!(%node, certificates = certs.len(), %reason, %by, %epoch, "revoked");
        Ok(Response::new(v1::RevokeReply {
            epoch: Some(epoch_to_wire(epoch)),
            node: whole_node.then(|| node.to_string()),
            certs: certs.into_iter().map(cert_id_to_wire).collect(),
        }))
    }

    async fn enforcement(&self, request: Request<v1::EnforcementRequest>) -> Answer<v1::EnforcementReply> {
        let request = request.get_ref();
        // Each node is connected to one manager, and each manager knows its own.
        let here = enforcement_here(&self.shared, request);
        let (mut all, elsewhere) = tokio::join!(here, self.shared.enforcement_elsewhere(request));
        for reply in elsewhere {
            all.enforced = all.enforced.saturating_add(reply.enforced);
            all.connected = all.connected.saturating_add(reply.connected);
            all.pending.extend(reply.pending);
            all.cut = all.cut.saturating_add(reply.cut);
            all.cut_after_us = all.cut_after_us.max(reply.cut_after_us);
            all.took_us = all.took_us.max(reply.took_us);
        }
        all.pending.truncate(NAMED_MAX);
        all.offline = self.offline(&self.shared.connected_everywhere().await)?;
        Ok(Response::new(all))
    }

    async fn rotate(&self, request: Request<v1::RotateRequest>) -> Answer<v1::RotateReply> {
        let by = caller_of(&request)?;
        let node = self.find_node(&request.get_ref().name)?;
        let directive = Directive::RenewNow;
        let reply = self.propose(&Command::Direct { node: node.clone(), directive, by }).await?;
        let Reply::Directed { revision } = reply else { return Err(mismatched()) };
        let epoch = self.epoch_at(revision);
        self.shared.presence.committed(epoch);
        info!(%node, %epoch, "node told to renew");
        Ok(Response::new(v1::RotateReply {
            // A manager reads it in the log.
            connected: node.role == Role::Manager
                || self.shared.connected_everywhere().await.contains_key(&node),
            node: node.to_string(),
            epoch: Some(epoch_to_wire(epoch)),
        }))
    }

    async fn list_managers(&self, _request: Request<v1::ListManagersRequest>) -> Answer<v1::ManagerList> {
        let managers = self.shared.managers_on_record().map_err(|error| refuse(&error))?;
        Ok(Response::new(v1::ManagerList { managers }))
    }

    async fn promote_manager(
        &self,
        request: Request<v1::PromoteManagerRequest>,
    ) -> Answer<v1::PromoteManagerReply> {
        let by = caller_of(&request)?;
        let node = self.find_manager(&request.get_ref().name)?;
        self.propose(&Command::Promote { node: node.clone(), by: by.clone() }).await?;
        info!(%node, %by, "manager promoted");
        Ok(Response::new(v1::PromoteManagerReply { node: node.to_string() }))
    }

    async fn remove_manager(
        &self,
        request: Request<v1::RemoveManagerRequest>,
    ) -> Answer<v1::RemoveManagerReply> {
        let by = caller_of(&request)?;
        let (node, compromised) =
            (self.find_manager(&request.get_ref().name)?, request.get_ref().compromised);
        let leaves = self.shared.leaves_of(&node).map_err(|error| refuse(&error))?;
        let could_open_root = self.shared.root_is_online().map_err(|error| refuse(&error))?;
        let retired = self.shared.retire(&node, compromised, &by).await.map_err(|error| refuse(&error))?;
        if node == self.shared.identity {
            // The answer leaves while it drains; nobody else must be answered by one that is none any more.
            self.shared.removed.cancel();
        }
        let epoch = self.epoch_at(retired.revision);
        self.shared.presence.committed(epoch);
        self.shared.metrics.revoked(retired.certs as usize);
        Ok(Response::new(v1::RemoveManagerReply {
            epoch: Some(epoch_to_wire(epoch)),
            node: node.to_string(),
            could_open_root,
            leaves,
        }))
    }
}

/// How far the nodes that are connected to this manager are. Who is offline, it does not say.
pub(super) async fn enforcement_here(
    shared: &Shared,
    request: &v1::EnforcementRequest,
) -> v1::EnforcementReply {
    let epoch = certus_wire::epoch(request.epoch.as_ref());
    let patience = Duration::from_millis(request.wait_ms.into()).min(ENFORCEMENT_WAIT_MAX);
    // A manager that is behind would take its own nodes for told.
    shared.truth.wait_revision(epoch.revision, patience).await;
    let seen = shared.presence.wait_enforced(epoch, patience).await;
    let micros = |took: Duration| u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
    v1::EnforcementReply {
        enforced: u32::try_from(seen.enforced).unwrap_or(u32::MAX),
        connected: u32::try_from(seen.enforced + seen.pending.len()).unwrap_or(u32::MAX),
        pending: seen.pending.iter().take(NAMED_MAX).map(ToString::to_string).collect(),
        offline: Vec::new(),
        cut: seen.cut,
        cut_after_us: seen.cut_after.map(micros),
        took_us: seen.took.map(micros),
    }
}

impl Cluster {
    async fn propose(&self, command: &Command) -> Result<Reply, Status> {
        self.shared.truth.propose(command).await.map_err(|error| {
            let explanation = certus_pki::Explain::explain(&error);
            self.shared.metrics.refused(explanation.code);
            info!(%explanation, "command refused");
            refuse(&explanation)
        })
    }

    /// One of the managers is not only revoked: it has to leave the log's membership first.
    fn refuse_manager(&self, node: &SpiffeId) -> Result<(), Status> {
        let manager = self.shared.truth.read(|view| certus_ca::manager(view, node));
        if manager.map_err(|error| refuse(&error))?.is_none() {
            return Ok(());
        }
        let id = &node.id;
        let words = format!("{id} is one of the cluster's managers, and is not taken out by a revocation");
        Err(refuse(
            &Explanation::new(code::PERMISSION_DENIED, words)
                .halves("a node that is none of the managers", node)
                .fact("what it signed", "is renewed at the other managers when it is removed")
                .hint(format!("certus manager remove {id}, with --compromised where its keys may be known")),
        ))
    }

    pub(super) fn find(&self, name: &str) -> Result<Named, Status> {
        let found = self.shared.truth.read(|view| name::find(view, name));
        found.map_err(|error| refuse(&error))?.map_err(|error| refuse(&error))
    }

    /// The manager that `name` stands for. An id alone is a manager's here, whoever else has it.
    fn find_manager(&self, name: &str) -> Result<SpiffeId, Status> {
        let name = if name.contains('/') { name.to_owned() } else { format!("{}/{name}", Role::Manager) };
        self.find_node(&name)
    }

    /// A certificate on no record that a caller showed, by its serial.
    fn unrecorded(&self, name: &str) -> Option<certus_ca::UnrecordedCert> {
        self.shared.unrecorded.find(&name.parse().ok()?)
    }

    pub(super) fn find_node(&self, name: &str) -> Result<SpiffeId, Status> {
        match self.find(name)? {
            Named::Node(node) => Ok(node.identity),
            Named::Cert(cert) => Ok(cert.node),
        }
    }

    /// A token of fresh randomness that pins the active root, and the command that makes it known.
    fn token(
        &self,
        by: SpiffeId,
        request: &v1::CreateTokenRequest,
    ) -> Result<(JoinToken, CreateToken), Status> {
        let mut secret = [0; JoinToken::HALF];
        let no_randomness = |_| refuse(&Explanation::new(code::UNAVAILABLE, "the system gave no randomness"));
        fill(&mut secret).map_err(no_randomness)?;
        let roots = self.shared.truth.read(|view| certus_ca::roots(view)).map_err(|error| refuse(&error))?;
        let active = roots.into_iter().filter(|root| root.active).max_by_key(|root| root.not_after);
        let root = active.ok_or_else(|| refuse(&not_founded()))?.key_hash;
        let token = JoinToken::new(secret, &root);
        let malformed = |error: certus_wire::Malformed| refuse(&error);
        let role: Role = parsed("role", &request.role).map_err(malformed)?;
        let id = request.id.as_deref().map(|id| parsed("id", id)).transpose().map_err(malformed)?;
        let sans = request.sans.iter().map(|san| parsed("san", san)).collect::<Result<_, _>>();
        let create = CreateToken {
            secret_hash: token.secret_hash(),
            root,
            role,
            id,
            sans: sans.map_err(malformed)?,
            ttl: Lifetime::from_secs(request.ttl_secs),
            uses: request.uses,
            replace: request.replace,
            grant: Grant::None,
            by,
        };
        Ok((token, create))
    }

    /// Workers of the cluster that hold no stream anywhere. Managers hold none: the log is theirs.
    fn offline(&self, connected: &Connected) -> Result<Vec<v1::Offline>, Status> {
        let shared = &self.shared;
        let mut offline = Vec::new();
        {
            let filter = NodeFilter { role: Some(Role::Worker), active: true, ..NodeFilter::default() };
            let mut after: Option<Cursor> = None;
            loop {
                let page = shared.truth.scan(|view| certus_ca::nodes(view, &filter, after.as_ref(), PAGE));
                let page = page.map_err(|error| refuse(&error))?;
                for node in page.items {
                    let away = !connected.contains_key(&node.identity);
                    if away && offline.len() < NAMED_MAX {
                        let since = shared.presence.departed_at(&node.identity).map(UnixTime::secs);
                        offline.push(v1::Offline { node: node.identity.to_string(), since });
                    }
                }
                after = page.next;
                if after.is_none() || offline.len() >= NAMED_MAX {
                    break;
                }
            }
        }
        Ok(offline)
    }

    fn epoch_at(&self, revision: u64) -> Epoch {
        Epoch { generation: self.shared.publisher.current().epoch().generation, revision }
    }
}

fn root_state(outlook: &Outlook, now: UnixTime, shared: &Shared) -> v1::RootState {
    v1::RootState {
        offline: outlook.offline,
        issuing_until: outlook.issuing_until.secs(),
        alert: outlook.explain_alert(now).map(|alert| certus_wire::status::explanation_to_wire(&alert)),
        autolock: shared.autolock.load(std::sync::atomic::Ordering::Relaxed),
    }
}

fn authority(der: &[u8]) -> v1::Authority {
    let certificate = Certificate::from_der(der).ok();
    v1::Authority {
        key_hash: certificate.as_ref().map(|c| c.key_hash().as_bytes().to_vec()).unwrap_or_default(),
        not_after: certificate.as_ref().map(|c| c.not_after.secs()).unwrap_or_default(),
        subject: certificate.map(|c| c.subject).unwrap_or_default(),
    }
}

pub(crate) fn presence((node, since, enforced): (SpiffeId, UnixTime, Epoch)) -> v1::Presence {
    v1::Presence { node: node.to_string(), since: since.secs(), enforced: Some(epoch_to_wire(enforced)) }
}

fn unrecorded_cert(seen: crate::unrecorded::Seen) -> v1::UnrecordedCert {
    v1::UnrecordedCert {
        id: Some(cert_id_to_wire(seen.cert.cert)),
        node: seen.cert.node.to_string(),
        fingerprint: seen.fingerprint.as_bytes().to_vec(),
        not_after: seen.cert.not_after.secs(),
        first_seen: seen.first_seen.secs(),
        last_seen: seen.last_seen.secs(),
        address: seen.address.to_string(),
    }
}

fn not_founded() -> Explanation {
    Explanation::new(code::NOT_FOUNDED, "the cluster is not founded yet").hint("certus cluster init")
}

fn mismatched() -> Status {
    refuse(&crate::truth::Unanswered::Mismatched { asked: "command" })
}
