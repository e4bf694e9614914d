//! `certus token create`: a token, alone on standard output.

use certus_pki::{Explanation, JoinToken, code};
use certus_wire::v1;
use serde::Serialize;
use zeroize::Zeroizing;

use super::Context;
use super::show;
use crate::args::{Create, TokenRole};
use crate::terminal::Exit;

#[derive(Serialize)]
struct Report<'a> {
    token: &'a str,
    id: String,
    role: &'a str,
    node_id: Option<String>,
    expires_at: String,
    uses: u32,
    replace: bool,
}

pub(super) async fn run(context: &Context, create: Create) -> Result<Exit, Explanation> {
    let role = match create.role {
        TokenRole::Worker => "worker",
        // A place among the managers is worth everything: it is given to one, by name.
        TokenRole::Manager if create.id.is_none() => {
            return Err(Explanation::new(code::USAGE, "a token for a manager names the one it admits")
                .halves("--id ID", "none")
                .hint("certus token create --role manager --id m2"));
        }
        TokenRole::Manager => "manager",
        TokenRole::Client => {
            return Err(not_yet("client", "the one operator is made by certus cluster init"));
        }
    };
    let request = v1::CreateTokenRequest {
        role: role.to_owned(),
        id: create.id.as_ref().map(ToString::to_string),
        sans: create.san.iter().map(ToString::to_string).collect(),
        ttl_secs: create.ttl.secs(),
        uses: create.uses,
        replace: create.replace,
    };
    let reply = context.managers().await?.create_token(request).await?;
    let token = Zeroizing::new(reply.token);
    let id = token
        .parse::<JoinToken>()
        .map_err(|error| Explanation::new(code::BAD_MESSAGE, error.to_string()))?
        .id();
    let expires = show::at(reply.expires_at);
    let report = Report {
        token: &token,
        id: id.to_string(),
        role,
        node_id: create.id.as_ref().map(ToString::to_string),
        expires_at: expires.to_string(),
        uses: create.uses,
        replace: create.replace,
    };
    context.terminal.report(&report, || token.as_str().to_owned());
    if !context.terminal.json() {
        let whom = match (&create.id, create.uses) {
            (Some(id), _) => format!("{id} and nobody else"),
            (None, 1) => format!("one {role}"),
            (None, uses) => format!("{uses} {role}s"),
        };
        let until = expires.relative_to(show::now());
        context.terminal.say(&format!("token {id} admits {whom}; it ends {until} ({expires})"));
    }
    Ok(Exit::Done)
}

fn not_yet(role: &str, why: &str) -> Explanation {
    Explanation::new(code::USAGE, format!("tokens for a {role} do not exist yet: {why}"))
        .halves("--role worker or manager", format!("--role {role}"))
}
