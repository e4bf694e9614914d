//! `certus cert rotate --node`: tells a node to take a new key and certificate now.

use certus_pki::Explanation;
use serde::Serialize;

use super::Context;
use super::show;
use crate::args::Rotate;
use crate::terminal::Exit;

#[derive(Serialize)]
struct Report {
    node: String,
    connected: bool,
    revision: u64,
}

pub(super) async fn run(context: &Context, rotate: Rotate) -> Result<Exit, Explanation> {
    let reply = context.managers().await?.rotate(&rotate.node).await?;
    let revision = reply.epoch.unwrap_or_default().revision;
    let node = show::short_node(&reply.node);
    let connected = reply.connected;
    let report = Report { node: reply.node, connected, revision };
    context.terminal.report(&report, || {
        if connected {
            format!("told      {node} to renew with a new key; its connections stay")
        } else {
            format!("kept      {node} is not connected; it renews when it is back")
        }
    });
    Ok(Exit::Done)
}
