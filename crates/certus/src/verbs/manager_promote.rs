//! `certus manager promote`: gives a manager that follows the log a vote.

use certus_pki::Explanation;
use serde::Serialize;

use super::Context;
use super::show;
use crate::terminal::Exit;

/// Stable.
#[derive(Serialize)]
struct Report {
    promoted: String,
}

pub(super) async fn run(context: &Context, id: &str) -> Result<Exit, Explanation> {
    let reply = context.managers().await?.promote(id).await?;
    let manager = show::short_node(&reply.node);
    let report = Report { promoted: reply.node };
    context.terminal.report(&report, || format!("promoted  {manager} has a vote"));
    Ok(Exit::Done)
}
