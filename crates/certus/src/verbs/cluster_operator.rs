//! `certus cluster operator`: an operator's identity anew, given by the manager of this machine.

use certus_node::files::admin_socket;
use certus_node::{Fresh, admin, join, system_clock};
use certus_pki::{Explain, Explanation, JoinToken, KeyType, PrivateKey, Role, code};
use serde::Serialize;

use super::Context;
use super::cluster_init::dialable;
use crate::args::Operator;
use crate::home::{self, Known};
use crate::terminal::Exit;

#[derive(Serialize)]
struct Report {
    cluster: String,
    operator: String,
    address: String,
    home: String,
}

pub(super) async fn run(context: &Context, asked: Operator) -> Result<Exit, Explanation> {
    let data_dir = asked.data_dir.unwrap_or_else(|| context.home.data_dir("manager"));
    let address = certus_server::listen_address(&data_dir).ok_or_else(|| {
        Explanation::new(code::NO_MANAGER_DATA, "there is no manager's data, or it never listened")
            .halves("the data directory of a manager of this machine", data_dir.display())
            .hint("certus cluster operator --data-dir DIR")
    })?;
    let address = dialable(address);
    let id = asked.id.unwrap_or_else(home::operator_id);
    let token = token(&data_dir, &id).await?;
    let key = PrivateKey::generate(KeyType::P256).map_err(|error| error.explain())?;
    let joined = join(&address, &token, Role::Client, &id, &key, &system_clock()).await;
    let joined = joined.map_err(|error| error.explain())?;
    let fresh = Fresh { key: &key, chain: &joined.chain, bundle: &joined.bundle };
    let cluster = joined.identity.cluster.clone();
    let pinned = joined.bundle.roots().iter().find(|root| token.pin().matches(&root.key_hash()));
    let root = pinned.map(|root| root.key_hash()).ok_or_else(|| {
        Explanation::new(code::WRONG_PIN, "the manager's bundle does not hold the root the token pins")
    })?;
    context.home.keep(&fresh, Known::new(&cluster, address.clone(), root))?;
    let report = Report {
        cluster: cluster.to_string(),
        operator: joined.identity.to_string(),
        address,
        home: context.home.dir().display().to_string(),
    };
    let words = || format!("operator  {}   kept in {}", report.operator, report.home);
    context.terminal.report(&report, words);
    Ok(Exit::Done)
}

/// A token from the manager's admin socket, which only its own user can open.
async fn token(data_dir: &std::path::Path, id: &certus_pki::NodeId) -> Result<JoinToken, Explanation> {
    let socket = admin_socket(data_dir);
    let (status, answer) =
        admin::post(&socket, &format!("/operator/{id}"), String::new()).await.map_err(|error| {
            error.explain().hint("the manager must run, and this command as its user: certus manager start")
        })?;
    if !status.is_success() {
        return Err(Explanation::new(code::UNAVAILABLE, "the manager refused").fact("because", answer.trim()));
    }
    let token = zeroize::Zeroizing::new(answer);
    token.parse().map_err(|error: certus_pki::token::NotAToken| {
        Explanation::new(code::BAD_MESSAGE, "the manager's answer is not a token").fact("because", error)
    })
}
