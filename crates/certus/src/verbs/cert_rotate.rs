//! `certus cert rotate`: a new key and certificate now, for this user, a node of this machine, or any node.

use std::path::Path;

use certus_node::admin;
use certus_node::files::admin_socket;
use certus_pki::{Certificate, Explain, Explanation, code};
use serde::{Deserialize, Serialize};

use super::own_manager::Refusal;
use super::{Context, cert_rotate_all, show};
use crate::args::Rotate;
use crate::terminal::Exit;

#[derive(Serialize)]
struct Told {
    node: String,
    connected: bool,
    revision: u64,
}

/// A certificate of this machine that was renewed.
#[derive(Serialize, Deserialize)]
struct Renewed {
    identity: Option<String>,
    serial: String,
    key_hash: String,
    expires_at: String,
}

pub(super) async fn run(context: &Context, rotate: Rotate) -> Result<Exit, Explanation> {
    if rotate.all {
        return cert_rotate_all::run(context, &rotate).await;
    }
    match (&rotate.node, &rotate.data_dir) {
        (Some(node), _) => tell(context, node).await,
        (None, Some(data_dir)) => here(context, data_dir).await,
        (None, None) => own(context).await,
    }
}

async fn tell(context: &Context, name: &str) -> Result<Exit, Explanation> {
    let reply = context.managers().await?.rotate(name).await?;
    let revision = reply.epoch.unwrap_or_default().revision;
    let node = show::short_node(&reply.node);
    let (connected, is_client) = (reply.connected, show::role(&reply.node) == "client");
    let told = Told { node: reply.node, connected, revision };
    context.terminal.report(&told, || match (connected, is_client) {
        (true, _) => format!("told      {node} to renew with a new key; its connections stay"),
        (false, true) => format!("kept      {node} renews when it is used; there: certus cert rotate"),
        (false, false) => format!("kept      {node} is not connected; it renews when it is back"),
    });
    Ok(Exit::Done)
}

/// This user's own.
async fn own(context: &Context) -> Result<Exit, Explanation> {
    let stored = context.managers().await?.renew(&context.home).await?;
    show(context, &Renewed::of(&stored.leaf));
    Ok(Exit::Done)
}

/// That of a node of this machine, which does it itself.
async fn here(context: &Context, data_dir: &Path) -> Result<Exit, Explanation> {
    let (status, answer) =
        admin::post(&admin_socket(data_dir), "/renew", String::new()).await.map_err(|error| {
            error
                .explain()
                .hint("the node must run, and this command as its user: --data-dir names its directory")
        })?;
    if status.as_u16() == 404 {
        return Err(Explanation::new(code::USAGE, "this node has no managers to renew with")
            .halves("a worker or a manager of a cluster", data_dir.display())
            .hint("an agent's certificate comes from its files: replace them, it notices"));
    }
    let not_understood = |error: serde_json::Error| {
        Explanation::new(code::BAD_MESSAGE, "the node's answer is not understood")
            .fact("node", data_dir.display())
            .fact("because", error)
    };
    if !status.is_success() {
        let refusal: Refusal = serde_json::from_str(&answer).map_err(not_understood)?;
        return Err(refusal.error.into());
    }
    let renewed: Renewed = serde_json::from_str(&answer).map_err(not_understood)?;
    show(context, &renewed);
    Ok(Exit::Done)
}

fn show(context: &Context, renewed: &Renewed) {
    context.terminal.report(renewed, || {
        let Renewed { identity, serial, expires_at, .. } = renewed;
        let who = identity.as_deref().unwrap_or("nobody of a cluster");
        format!("renewed   {who}   with a new key\nserial    {serial}   until {expires_at}")
    });
}

impl Renewed {
    fn of(leaf: &Certificate) -> Renewed {
        Renewed {
            identity: leaf.identity().ok().map(|identity| identity.to_string()),
            serial: leaf.serial.to_string(),
            key_hash: leaf.key_hash().to_string(),
            expires_at: leaf.not_after.to_string(),
        }
    }
}
