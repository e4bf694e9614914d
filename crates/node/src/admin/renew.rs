//! Renewing at once, for this machine's own user: asked at the admin socket.
//!
//! The socket has mode 0600 in a directory of 0700: whoever opens it could read the node's key.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use certus_pki::Certificate;
use certus_pki::explain::{Explain, Explanation};
use certus_tls::Credentials;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::keeper::Wake;
use crate::renew::RenewError;

/// `POST /renew`: answers when a new certificate, over a fresh key, is in force.
pub(crate) fn renew(letters: mpsc::Sender<Wake>, credentials: Credentials) -> Router {
    Router::new().route("/renew", post(now)).with_state((letters, credentials))
}

async fn now(State((letters, credentials)): State<(mpsc::Sender<Wake>, Credentials)>) -> Response {
    renewal_answer(match asked(&letters).await {
        Ok(()) => match credentials.current().identity() {
            Some(own) => Ok(own.leaf().clone()),
            None => Err(RenewError::Ended.explain()),
        },
        Err(error) => Err(error.explain()),
    })
}

/// Asks the keeper, and waits until it is done.
pub(crate) async fn asked(letters: &mpsc::Sender<Wake>) -> Result<(), RenewError> {
    let (waiter, told) = oneshot::channel();
    letters.send(Wake::RenewNow(waiter)).await.map_err(|_| RenewError::Ended)?;
    told.await.unwrap_or(Err(RenewError::Ended))
}

/// What is answered when a node or a manager has renewed its own certificate, or has not.
pub fn renewal_answer(renewed: Result<Certificate, Explanation>) -> Response {
    let (status, body) = match renewed {
        Ok(leaf) => (StatusCode::OK, in_force(&leaf)),
        Err(why) => (StatusCode::CONFLICT, json!({ "error": told(&why) })),
    };
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

fn in_force(leaf: &Certificate) -> Value {
    json!({
        "identity": leaf.identity().ok().map(|identity| identity.to_string()),
        "serial": leaf.serial.to_string(),
        "key_hash": leaf.key_hash().to_string(),
        "expires_at": leaf.not_after.to_string(),
    })
}

/// Whole, so that the command that asked can tell it as its own.
fn told(why: &Explanation) -> Value {
    json!({ "code": why.code.number(), "message": why.message, "facts": why.facts, "hint": why.hint })
}
