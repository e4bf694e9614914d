//! `certus node info`: one node, with all that is on record about it.

use certus_pki::{Explanation, TokenId, UnixTime};
use certus_wire::v1;
use serde::Serialize;

use super::Context;
use super::manager_list::{self, ManagerData};
use super::node_list::NodeData;
use super::show::{self, IssuedData, State};
use crate::terminal::{Exit, count, thousands};

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    node: NodeData,
    revoked_at: Option<String>,
    reason: Option<String>,
    /// The public id of the token it joined with; none for those that the cluster was founded with.
    admitted_by: Option<String>,
    /// How far it enforces, where it is connected.
    enforces_revision: Option<u64>,
    /// When its stream ended, where the manager that answered has seen it.
    away_since: Option<String>,
    /// Its certificates that are neither revoked nor ended, the last issued first.
    live: Vec<IssuedData>,
    /// Whether there are more of them.
    more: bool,
    /// Its place among the managers.
    manager: Option<ManagerData>,
}

pub(super) async fn run(context: &Context, name: &str) -> Result<Exit, Explanation> {
    let detail = context.managers().await?.node(name).await?;
    let now = show::now();
    let node = detail.node.clone().unwrap_or_default();
    let report = Report {
        node: NodeData::of(&node, now),
        revoked_at: detail.revoked_at.map(show::rfc3339),
        reason: detail.revoked_at.map(|_| show::reason(detail.reason)),
        admitted_by: token(&detail),
        enforces_revision: detail.enforced.map(|epoch| epoch.revision),
        away_since: detail.departed_at.map(show::rfc3339),
        live: detail.live.iter().map(|cert| IssuedData::of(cert, now)).collect(),
        more: detail.more,
        manager: detail.manager.as_ref().map(manager_list::data),
    };
    context.terminal.report(&report, || words(&node, &detail, now));
    Ok(Exit::Done)
}

fn token(detail: &v1::NodeDetail) -> Option<String> {
    <[u8; 6]>::try_from(&detail.admitted_by[..]).ok().map(|id| TokenId::from_bytes(id).to_string())
}

fn words(node: &v1::NodeRecord, detail: &v1::NodeDetail, now: UnixTime) -> String {
    let mut lines = vec![show::short_node(&node.identity)];
    let mut line = |label: &str, value: String| lines.push(format!("  {label:<11}  {value}"));
    line("identity", node.identity.clone());
    line(
        "state",
        match detail.revoked_at {
            Some(at) => format!("revoked {}, {}", show::at(at).relative_to(now), show::reason(detail.reason)),
            None => "of the cluster".to_owned(),
        },
    );
    line("grant", node.grant.clone());
    if !node.sans.is_empty() {
        line("names", node.sans.join(", "));
    }
    let with = token(detail).map_or_else(String::new, |token| format!(", with token {token}"));
    line("admitted", format!("{}{with}", show::at(node.admitted_at)));
    if let Some(manager) = &detail.manager {
        line("manager", place(manager));
    } else if show::role(&node.identity) == "worker" && detail.revoked_at.is_none() {
        line("connected", connection(node, detail, now));
    }
    if let Some(newest) = &node.newest {
        line("certificate", certificate(newest, now));
    }
    let others = detail.live.iter().filter(|cert| !cert.newest).count() as u64;
    if others > 0 {
        let at_least = if detail.more { "at least " } else { "" };
        let which = "older, neither revoked nor ended";
        line("and", format!("{at_least}{} {which}", count(others, "certificate")));
    }
    lines.join("\n")
}

fn certificate(cert: &v1::Cert, now: UnixTime) -> String {
    let serial = show::serial(cert).map(|serial| serial.to_string()).unwrap_or_default();
    let (ends, state) = (show::at(cert.not_after).relative_to(now), State::of(cert, now));
    let renews = match state {
        State::Ok => format!(", renews {}", show::at(cert.renew_by).relative_to(now)),
        _ => String::new(),
    };
    format!("{serial}, ends {ends}{renews}: {}", state.words(cert, now))
}

fn connection(node: &v1::NodeRecord, detail: &v1::NodeDetail, now: UnixTime) -> String {
    let since = |at: i64| show::clock_time(show::at(at), now);
    let Some(connected) = node.connected_since else {
        return detail.departed_at.map_or_else(|| "no".to_owned(), |at| format!("no, since {}", since(at)));
    };
    let enforces = detail.enforced.map(|epoch| format!(", enforces revision {}", epoch.revision));
    format!("since {}{}", since(connected), enforces.unwrap_or_default())
}

fn place(manager: &v1::Manager) -> String {
    let vote = if manager.voter { "votes" } else { "follows without a vote" };
    let leads = if manager.leader { " and leads" } else { "" };
    let behind = match manager.behind {
        Some(behind) if behind > 0 => format!(", {} entries behind", thousands(behind)),
        _ => String::new(),
    };
    format!("{}, {vote}{leads}{behind}", manager.address)
}
