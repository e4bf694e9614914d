//! Leaving: the manager of this machine ends as one, and keeps nothing that opens anything.
//!
//! Asked at the admin socket, by whoever may read the manager's keys anyway.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use certus_pki::explain::{Explain, Explanation};
use certus_pki::{SpiffeId, code};
use tokio::sync::watch;
use tracing::info;

use crate::fleet::present;
use crate::shared::Shared;
use crate::truth::Unanswered;

/// `POST /leave`. Answers when the manager is out; then it stops.
pub(crate) fn router(shared: Arc<Shared>, left: watch::Sender<bool>) -> Router {
    Router::new().route("/leave", post(leave)).with_state((shared, left))
}

async fn leave(State((shared, left)): State<(Arc<Shared>, watch::Sender<bool>)>) -> Response {
    // Of its own: whoever asked may go away, and half a leave is none.
    let leaving = tokio::spawn(async move {
        let out = out(&shared).await;
        if out.is_ok() {
            left.send_replace(true);
        }
        out
    });
    let stopped = |_| Err(Explanation::new(code::UNAVAILABLE, "the manager stops"));
    match leaving.await.unwrap_or_else(stopped) {
        Ok(words) => words.into_response(),
        Err(refused) => (StatusCode::CONFLICT, format!("{refused}\n")).into_response(),
    }
}

async fn out(shared: &Shared) -> Result<String, Explanation> {
    let node = shared.identity.clone();
    let refuse = |error: Unanswered| error.explain();
    let leaves = shared.leaves_of(&node).map_err(refuse)?;
    let others = others(shared, &node).map_err(refuse)?;
    if others == 0 {
        let words = "this is the cluster's only manager: who leaves last ends the cluster";
        return Err(Explanation::new(code::PERMISSION_DENIED, words)
            .halves("another manager", "none")
            .hint("certus manager join on another machine first; or stop this one and remove its data"));
    }
    shared.retire(&node, false, &node).await.map_err(refuse)?;
    info!(%node, "this manager left the cluster");
    Ok(format!("{node} is a manager no more; {leaves} nodes renew at the {others} others\n"))
}

fn others(shared: &Shared, node: &SpiffeId) -> Result<usize, Unanswered> {
    let present = shared.truth.read(present)?;
    Ok(present.iter().filter(|manager| manager.node != *node).count())
}
