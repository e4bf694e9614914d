//! The managers, as this user calls them: one method a call, words in and out.

use std::sync::Arc;
use std::time::Duration;

use certus_node::api::is_dialable;
use certus_node::{Api, ApiError, Fresh, Stored, system_clock};
use certus_pki::{
    Bundle, Certificate, ClusterName, Csr, Explain, Explanation, Reason, Serial, SpiffeId, TokenId, code,
    defaults, renewal,
};
use certus_wire::v1;

use crate::home::Home;

/// A call may take this much longer than it was asked to wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The command has said all it had to say, and its user waits for the prompt.
const LEARN_WITHIN: Duration = Duration::from_millis(500);

/// As many rows as one answer holds.
pub(crate) const PAGE: u32 = 500;

/// The managers of one cluster, under this user's identity.
#[derive(Clone)]
pub(crate) struct Managers {
    api: Api,
    cluster: ClusterName,
}

type Answer<T> = Result<T, Explanation>;

impl Managers {
    /// The managers that were asked for, else those that this user knows. This user's certificate is
    /// renewed first where it is due; nothing is dialed otherwise.
    pub(crate) async fn of(home: &Home, asked: &[String]) -> Answer<Managers> {
        let stored = home.require_identity()?;
        let due = due(&stored.leaf);
        let managers = Managers::under(home, asked, stored)?;
        if !due {
            return Ok(managers);
        }
        match managers.renew(home).await {
            Ok(stored) => Managers::under(home, asked, stored),
            Err(why) => {
                tracing::warn!(%why, "this user's certificate is due and was not renewed");
                Ok(managers)
            }
        }
    }

    fn under(home: &Home, asked: &[String], stored: Stored) -> Answer<Managers> {
        let cluster = stored.identity.cluster;
        let known = home.known(&cluster)?;
        // Who names managers means these and no others.
        let (managers, learned) = match known {
            Some(known) if asked.is_empty() => (known.managers, known.learned),
            _ => (asked.to_vec(), Vec::new()),
        };
        if managers.is_empty() {
            let message = format!("no manager of {cluster} is known here");
            return Err(Explanation::new(code::USAGE, message).hint("--manager HOST:PORT, or CERTUS_MANAGER"));
        }
        let identity =
            certus_tls::Identity::new(&stored.key, stored.chain).map_err(|error| error.explain())?;
        let snapshot = certus_tls::Snapshot::new(Some(Arc::new(identity)), Arc::new(stored.bundle));
        let publisher = certus_tls::Publisher::new(snapshot, system_clock());
        let api = Api::new(managers, publisher.credentials());
        api.learn(&learned);
        Ok(Managers { api, cluster })
    }

    /// Asks where the managers are, over the connection there is, and keeps it: the next command may come
    /// when those that it knew of are gone. For the end of a command: what goes wrong is nobody's concern.
    pub(crate) async fn remember(&self, home: &Home) {
        let now = system_clock()();
        // Where no call was answered there is nobody to ask.
        if self.api.working().is_none() {
            return;
        }
        let Ok(Ok(managers)) = tokio::time::timeout(LEARN_WITHIN, self.list()).await else { return };
        self.keep(home, managers, now);
    }

    /// Keeps where the managers are, as they just said.
    pub(crate) fn keep(&self, home: &Home, managers: Vec<v1::Manager>, now: certus_pki::UnixTime) {
        let Some(working) = self.api.working() else { return };
        let addresses = managers.into_iter().map(|manager| manager.address);
        let mut addresses: Vec<String> = addresses.filter(|address| is_dialable(address)).collect();
        // The one that works is asked first by the next command too.
        addresses.sort_by_key(|address| *address != working);
        if addresses.is_empty() {
            return;
        }
        if let Err(why) = home.learn(&self.cluster, addresses, now) {
            tracing::debug!(%why, "the managers' addresses could not be kept");
        }
    }

    /// The managers of the cluster.
    pub(crate) async fn list(&self) -> Answer<Vec<v1::Manager>> {
        let ask = v1::ListManagersRequest {};
        Ok(told(self.api.cluster(async |mut c| c.list_managers(ask).await).await)?.managers)
    }

    pub(crate) async fn promote(&self, name: &str) -> Answer<v1::PromoteManagerReply> {
        let ask = v1::PromoteManagerRequest { name: name.to_owned() };
        told(self.api.cluster(async |mut c| c.promote_manager(ask).await).await)
    }

    pub(crate) async fn remove(&self, name: &str, compromised: bool) -> Answer<v1::RemoveManagerReply> {
        let ask = v1::RemoveManagerRequest { name: name.to_owned(), compromised };
        told(self.api.cluster(async |mut c| c.remove_manager(ask).await).await)
    }

    /// A new certificate over a fresh key, and what is trusted by now.
    pub(crate) async fn renew(&self, home: &Home) -> Answer<Stored> {
        let dir = home.identity_dir();
        let old = home.require_identity()?;
        let key = dir.pending_key(Some(&old.leaf.public_key)).map_err(|error| error.explain())?;
        let csr = Csr::make(&key, old.identity.id.as_str()).map_err(|error| error.explain())?;
        let answer = told(self.api.node(async |mut c| c.renew(v1::RenewRequest { csr }).await).await)?;
        let (chain, _) = certus_wire::credentials_from_wire(&answer).map_err(|error| error.explain())?;
        let bundle = self.bundle().await?;
        let fresh = Fresh { key: &key, chain: &chain, bundle: &bundle };
        dir.store(&fresh).map_err(|error| error.explain())?;
        home.require_identity()
    }

    pub(crate) async fn status(&self) -> Answer<v1::ClusterStatus> {
        told(self.api.cluster(async |mut c| c.status(v1::StatusRequest {}).await).await)
    }

    pub(crate) async fn bundle(&self) -> Answer<Bundle> {
        let bundle = told(self.api.cluster(async |mut c| c.bundle(v1::BundleRequest {}).await).await)?;
        certus_wire::bundle_from_wire(&bundle).map_err(|error| error.explain())
    }

    pub(crate) async fn create_token(&self, ask: v1::CreateTokenRequest) -> Answer<v1::CreateTokenReply> {
        told(self.api.cluster(async |mut c| c.create_token(ask).await).await)
    }

    /// Every token, page by page.
    pub(crate) async fn tokens(&self) -> Answer<Vec<v1::Token>> {
        let mut tokens = Vec::new();
        let mut after = Vec::new();
        loop {
            let ask = v1::ListRequest { after, limit: PAGE };
            let page = told(self.api.cluster(async |mut c| c.list_tokens(ask).await).await)?;
            tokens.extend(page.tokens);
            if page.next.is_empty() {
                return Ok(tokens);
            }
            after = page.next;
        }
    }

    pub(crate) async fn revoke_token(&self, id: TokenId) -> Answer<()> {
        let ask = v1::RevokeTokenRequest { id: id.as_bytes().to_vec() };
        match self.api.cluster(async |mut c| c.revoke_token(ask).await).await {
            Err(error) if error.may_be_done() => Ok(()),
            answer => told(answer).map(drop),
        }
    }

    /// One page of nodes.
    pub(crate) async fn nodes(&self, ask: v1::ListNodesRequest) -> Answer<v1::NodeList> {
        told(self.api.cluster(async |mut c| c.list_nodes(ask).await).await)
    }

    /// One node, with all that is on record about it.
    pub(crate) async fn node(&self, name: &str) -> Answer<v1::NodeDetail> {
        let ask = v1::GetNodeRequest { name: name.to_owned() };
        told(self.api.cluster(async |mut c| c.get_node(ask).await).await)
    }

    /// One page of certificates.
    pub(crate) async fn certs(&self, ask: v1::ListCertsRequest) -> Answer<v1::CertList> {
        told(self.api.cluster(async |mut c| c.list_certs(ask).await).await)
    }

    /// The certificate of this serial, or those of this node.
    pub(crate) async fn cert(&self, name: &str) -> Answer<Vec<v1::Cert>> {
        let ask = v1::GetCertRequest { name: name.to_owned() };
        Ok(told(self.api.cluster(async |mut c| c.get_cert(ask).await).await)?.certs)
    }

    pub(crate) async fn revoke(&self, name: &str, reason: Reason) -> Answer<v1::RevokeReply> {
        let ask = v1::RevokeRequest { name: name.to_owned(), reason: reason.number().into() };
        match self.api.cluster(async |mut c| c.revoke(ask).await).await {
            Err(error) if error.may_be_done() => self.revoked(name).await,
            answer => told(answer),
        }
    }

    /// What was done by a revocation whose answer was lost. Whoever enforces the newest revision enforces
    /// it too.
    async fn revoked(&self, name: &str) -> Answer<v1::RevokeReply> {
        let found = self.cert(name).await?;
        let epoch = self.status().await?.epoch;
        let serial = name.parse::<Serial>().ok();
        let is_serial = |cert: &v1::Cert| {
            let id = cert.id.as_ref().and_then(|id| Serial::from_be_bytes(&id.serial));
            id.is_some() && id == serial
        };
        let Some(cert) = found.into_iter().next() else {
            return Ok(v1::RevokeReply { epoch, node: None, certs: Vec::new() });
        };
        if is_serial(&cert) {
            return Ok(v1::RevokeReply { epoch, node: None, certs: cert.id.into_iter().collect() });
        }
        let (mut certs, mut after) = (Vec::new(), Vec::new());
        loop {
            let node = Some(
                cert.node
                    .parse::<SpiffeId>()
                    .map_or(cert.node.clone(), |node| format!("{}/{}", node.role, node.id)),
            );
            let ask = v1::ListCertsRequest { after, limit: PAGE, node, all: true, ..Default::default() };
            let page = self.certs(ask).await?;
            let revoked = page.certs.into_iter().filter(|cert| cert.revoked_at.is_some());
            certs.extend(revoked.filter_map(|cert| cert.id));
            after = page.next;
            if after.is_empty() {
                return Ok(v1::RevokeReply { epoch, node: Some(cert.node), certs });
            }
        }
    }

    /// How far the connected nodes are with `epoch`, at the latest after `wait`.
    pub(crate) async fn enforcement(&self, epoch: v1::Epoch, wait: Duration) -> Answer<v1::EnforcementReply> {
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        let ask = v1::EnforcementRequest { epoch: Some(epoch), wait_ms };
        let limit = wait.saturating_add(ANSWER_WITHIN);
        told(self.api.cluster_within(limit, async |mut c| c.enforcement(ask).await).await)
    }

    pub(crate) async fn rotate(&self, node: &str) -> Answer<v1::RotateReply> {
        let ask = v1::RotateRequest { name: node.to_owned() };
        told(self.api.cluster(async |mut c| c.rotate(ask).await).await)
    }
}

/// Whether two thirds of a certificate's life are over.
fn due(leaf: &Certificate) -> bool {
    let issued = leaf.not_before.plus(defaults::BACKDATE);
    renewal::renew_at(issued, leaf.not_after, 0) <= system_clock()()
}

fn told<T>(answer: Result<T, ApiError>) -> Answer<T> {
    answer.map_err(|error| error.explain())
}

#[cfg(test)]
mod tests;
