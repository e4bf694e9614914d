//! `certus token revoke`: takes a token back.

use certus_pki::{Explanation, TokenId};
use serde::Serialize;

use super::Context;
use crate::terminal::Exit;

#[derive(Serialize)]
struct Report {
    revoked: String,
}

pub(super) async fn run(context: &Context, id: TokenId) -> Result<Exit, Explanation> {
    context.managers().await?.revoke_token(id).await?;
    let report = Report { revoked: id.to_string() };
    context.terminal.report(&report, || format!("revoked   token {id}; nodes it has admitted stay"));
    Ok(Exit::Done)
}
