//! A lost operator: whoever may open the manager's admin socket gets a token for a new one.
//!
//! The socket has mode 0600 in a directory of 0700, so that is the manager's own user on its own
//! machine, who could read every key there anyway. What is given is a token that joins like any other,
//! on record and in the audit.

use std::sync::Arc;

use aws_lc_rs::rand::fill;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use certus_ca::{Command, CreateToken};
use certus_pki::explain::{Explain, Explanation};
use certus_pki::{Grant, JoinToken, Lifetime, NodeId, Role, code};
use tracing::warn;

use crate::shared::Shared;

/// The token is used by the command that asked for it, at once.
const TTL: Lifetime = Lifetime::from_minutes(5);

/// `POST /operator/{id}`: a token that admits one client with this id and grant `admin`, whoever had the
/// id before.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new().route("/operator/{id}", post(operator)).with_state(shared)
}

async fn operator(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    match token(&shared, &id).await {
        Ok(token) => {
            warn!(%id, token = %token.id(), "a token for an operator was given out at the admin socket");
            format!("{}\n", token.reveal().as_str()).into_response()
        }
        Err(refused) => (StatusCode::CONFLICT, format!("{refused}\n")).into_response(),
    }
}

async fn token(shared: &Shared, id: &str) -> Result<JoinToken, Explanation> {
    let id: NodeId = id
        .parse()
        .map_err(|error: certus_pki::name::BadName| Explanation::new(code::BAD_NAME, error.to_string()))?;
    let mut secret = [0; JoinToken::HALF];
    fill(&mut secret).map_err(|_| Explanation::new(code::UNAVAILABLE, "the system gave no randomness"))?;
    let bundle = shared.publisher.current().bundle().clone();
    let root = bundle.roots().iter().max_by_key(|root| root.not_after()).map(certus_pki::Root::key_hash);
    let root = root.ok_or_else(|| Explanation::new(code::NOT_FOUNDED, "no root is trusted here"))?;
    let token = JoinToken::new(secret, &root);
    let create = CreateToken {
        secret_hash: token.secret_hash(),
        root,
        role: Role::Client,
        id: Some(id),
        sans: Vec::new(),
        ttl: TTL,
        uses: 1,
        replace: true,
        grant: Grant::Admin,
        by: shared.identity.clone(),
    };
    let created = shared.truth.propose(&Command::CreateToken(create)).await;
    created.map_err(|refused| refused.explain())?;
    Ok(token)
}
