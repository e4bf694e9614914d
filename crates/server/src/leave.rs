//! Leaving: the manager of this machine ends as one, and keeps nothing that opens anything.
//!
//! Asked at the admin socket, by whoever may read the manager's keys anyway.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use certus_ca::{Command, Reply};
use certus_pki::explain::{Explain, Explanation};
use certus_pki::{SpiffeId, code};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::fleet::present;
use crate::shared::Shared;
use crate::truth::Unanswered;

/// How long the others have to take a manager out of the membership, after it was removed.
const OUT_WITHIN: Duration = Duration::from_secs(20);
/// How often it is looked whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// `POST /leave`. Answers when the manager is out; then it stops.
pub(crate) fn router(shared: Arc<Shared>, left: watch::Sender<bool>) -> Router {
    Router::new().route("/leave", post(leave)).with_state((shared, left))
}

async fn leave(State((shared, left)): State<(Arc<Shared>, watch::Sender<bool>)>) -> Response {
    match out(&shared).await {
        Ok(words) => {
            left.send_replace(true);
            words.into_response()
        }
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
    let command = Command::RemoveManager { node: node.clone(), compromised: false, by: node.clone() };
    let reply = shared.truth.propose(&command).await.map_err(refuse)?;
    let Reply::ManagerRemoved { member, .. } = reply else {
        return Err(Unanswered::Mismatched { asked: "leaving" }.explain());
    };
    info!(%node, "this manager leaves the cluster");
    let gone = async {
        while shared.truth.replica.members().iter().any(|known| Some(known.id) == member) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    if tokio::time::timeout(OUT_WITHIN, gone).await.is_err() {
        // The record says it; whoever leads next follows it.
        warn!("the others have not said that this manager is out; it is on record");
    }
    Ok(format!("{node} is a manager no more; {leaves} nodes renew at the {others} others\n"))
}

fn others(shared: &Shared, node: &SpiffeId) -> Result<usize, Unanswered> {
    let present = shared.truth.read(|view| present(view))?;
    Ok(present.iter().filter(|manager| manager.node != *node).count())
}
