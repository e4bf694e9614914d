//! `certus token list`: the tokens there are, without their secrets.

use certus_pki::{Explanation, TokenId, UnixTime};
use certus_wire::v1;
use serde::Serialize;

use super::Context;
use super::show;
use crate::terminal::{Exit, count, table};

#[derive(Serialize)]
struct Report {
    tokens: Vec<TokenData>,
}

#[derive(Serialize)]
struct TokenData {
    id: String,
    role: String,
    node_id: Option<String>,
    names: Vec<String>,
    created_at: String,
    expires_at: String,
    uses: u32,
    used: u32,
    state: &'static str,
    revoked_at: Option<String>,
    created_by: String,
    replace: bool,
}

pub(super) async fn run(context: &Context) -> Result<Exit, Explanation> {
    let tokens = context.managers().await?.tokens().await?;
    let now = show::now();
    let report = Report { tokens: tokens.iter().map(|token| data(token, now)).collect() };
    context.terminal.report(&report, || words(&tokens, now));
    Ok(Exit::Done)
}

fn words(tokens: &[v1::Token], now: UnixTime) -> String {
    let rows = tokens.iter().map(|token| {
        vec![
            id(token),
            token.role.clone(),
            token.node_id.clone().unwrap_or_else(|| "any".to_owned()),
            show::at(token.expires_at).relative_to(now),
            format!("{} of {}", token.used, token.uses),
            state(token, now).replace('_', " "),
            show::short_node(&token.by),
        ]
    });
    let table = table(&["TOKEN", "ROLE", "ID", "EXPIRES", "USED", "STATE", "BY"], rows);
    format!("{table}\n{}", count(tokens.len() as u64, "token"))
}

fn data(token: &v1::Token, now: UnixTime) -> TokenData {
    TokenData {
        id: id(token),
        role: token.role.clone(),
        node_id: token.node_id.clone(),
        names: token.sans.clone(),
        created_at: show::rfc3339(token.created_at),
        expires_at: show::rfc3339(token.expires_at),
        uses: token.uses,
        used: token.used,
        state: state(token, now),
        revoked_at: token.revoked_at.map(show::rfc3339),
        created_by: token.by.clone(),
        replace: token.replace,
    }
}

fn id(token: &v1::Token) -> String {
    <[u8; 6]>::try_from(&token.id[..]).map(|id| TokenId::from_bytes(id).to_string()).unwrap_or_default()
}

fn state(token: &v1::Token, now: UnixTime) -> &'static str {
    if token.revoked_at.is_some() {
        "revoked"
    } else if show::at(token.expires_at) < now {
        "expired"
    } else if token.used >= token.uses {
        "used_up"
    } else {
        "ok"
    }
}
