//! The calls without a certificate: who is here, and joining with a token.

use std::sync::Arc;

use certus_ca::JoinAsk;
use certus_wire::v1;
use tonic::{Request, Response, Status};
use tracing::info;
use zeroize::Zeroize;

use super::{Caller, refuse};
use crate::shared::Shared;

pub(crate) struct Bootstrap {
    pub(crate) shared: Arc<Shared>,
}

#[tonic::async_trait]
impl v1::bootstrap_server::Bootstrap for Bootstrap {
    async fn info(&self, _request: Request<v1::InfoRequest>) -> Result<Response<v1::InfoReply>, Status> {
        Ok(Response::new(v1::InfoReply {
            cluster: self.shared.identity.cluster.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now: self.shared.truth.now().secs(),
        }))
    }

    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::Credentials>, Status> {
        let caller = request.extensions().get::<Caller>();
        let ip = caller.map(|caller| caller.address.ip());
        let from = caller.map(|caller| caller.address.to_string()).unwrap_or_default();
        let mut request = request.into_inner();
        let ask = read(&request);
        request.secret.zeroize();
        let ask = ask.map_err(|error| refuse(&error))?;
        let token = certus_pki::TokenId::from(ask.secret_hash);
        let (id, role) = (ask.id.clone(), ask.role);
        match self.shared.join(ask).await {
            Ok(chain) => {
                self.shared.metrics.joined();
                info!(%id, %role, %token, %from, "node joined");
                let bundle = self.shared.publisher.current().bundle().clone();
                let bundle = Some(certus_wire::bundle_to_wire(&bundle));
                let managers = self.shared.managers.borrow().clone();
                Ok(Response::new(v1::Credentials { chain, bundle, managers }))
            }
            Err(error) => {
                let explanation = certus_pki::Explain::explain(&error);
                self.shared.metrics.refused(explanation.code);
                if self.shared.refusals.says(explanation.code, ip) {
                    info!(%id, %role, %token, %from, %explanation, "join refused");
                }
                Err(refuse(&explanation))
            }
        }
    }
}

fn read(request: &v1::JoinRequest) -> Result<JoinAsk, certus_wire::Malformed> {
    Ok(JoinAsk {
        secret_hash: certus_wire::secret_hash(&request.secret)?,
        role: certus_wire::parsed("role", &request.role)?,
        id: certus_wire::parsed("id", &request.id)?,
        public_key: certus_wire::csr_of(&request.csr)?.public_key,
    })
}
