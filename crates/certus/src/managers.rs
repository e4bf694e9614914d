//! The managers, as this user calls them: one method a call, words in and out.

use std::sync::Arc;
use std::time::Duration;

use certus_node::{Api, ApiError, Fresh, Stored, system_clock};
use certus_pki::{Bundle, Certificate, Csr, Explain, Explanation, Reason, TokenId, code, defaults, renewal};
use certus_wire::v1;

use crate::home::Home;

/// A call may take this much longer than it was asked to wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// As many rows as one answer holds.
pub(crate) const PAGE: u32 = 500;

/// The managers of one cluster, under this user's identity.
#[derive(Clone)]
pub(crate) struct Managers {
    api: Api,
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
        let known = home.known(&stored.identity.cluster)?.map_or_else(Vec::new, |known| known.managers);
        let managers = if asked.is_empty() { known } else { asked.to_vec() };
        if managers.is_empty() {
            let message = format!("no manager of {} is known here", stored.identity.cluster);
            return Err(Explanation::new(code::USAGE, message).hint("--manager HOST:PORT, or CERTUS_MANAGER"));
        }
        let identity =
            certus_tls::Identity::new(&stored.key, stored.chain).map_err(|error| error.explain())?;
        let snapshot = certus_tls::Snapshot::new(Some(Arc::new(identity)), Arc::new(stored.bundle));
        let publisher = certus_tls::Publisher::new(snapshot, system_clock());
        Ok(Managers { api: Api::new(managers, publisher.credentials()) })
    }

    /// A new certificate over a fresh key, and what is trusted by now.
    async fn renew(&self, home: &Home) -> Answer<Stored> {
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
        told(self.api.cluster(async |mut c| c.revoke_token(ask).await).await).map(drop)
    }

    /// Every node, page by page.
    pub(crate) async fn nodes(&self) -> Answer<Vec<v1::NodeRecord>> {
        let mut nodes = Vec::new();
        let mut after = Vec::new();
        loop {
            let ask = v1::ListRequest { after, limit: PAGE };
            let page = told(self.api.cluster(async |mut c| c.list_nodes(ask).await).await)?;
            nodes.extend(page.nodes);
            if page.next.is_empty() {
                return Ok(nodes);
            }
            after = page.next;
        }
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
        told(self.api.cluster(async |mut c| c.revoke(ask).await).await)
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
mod tests {
    use super::*;
    use crate::dev::stage::Stage;

    #[tokio::test(flavor = "multi_thread")]
    async fn this_users_certificate_is_renewed_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::found(dir.path()).await.unwrap();
        let before = stage.home.require_identity().unwrap();
        assert!(!due(&before.leaf));
        let after = stage.managers.renew(&stage.home).await.unwrap();
        assert_eq!(after.identity, before.identity);
        assert_ne!(after.leaf.key_hash(), before.leaf.key_hash());
        Managers::of(&stage.home, &[]).await.unwrap().status().await.unwrap();
        stage.strike().await;
    }
}
