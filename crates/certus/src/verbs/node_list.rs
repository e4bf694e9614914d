//! `certus node list`: the nodes of the cluster.

use certus_pki::{Explanation, Role, UnixTime};
use certus_wire::v1;
use serde::Serialize;

use super::Context;
use super::cursor::{Cursor, Kind};
use super::show::{self, IssuedData};
use crate::args::ListNodes;
use crate::managers::{Managers, PAGE};
use crate::terminal::{Exit, Listing, count};

/// What stands behind the nodes.
#[derive(Serialize)]
struct Rest {
    /// Whether the limit left some out.
    more: bool,
    /// Where to go on, for `--after`.
    next: Option<String>,
}

/// A node as data.
#[derive(Serialize)]
pub(super) struct NodeData {
    identity: String,
    grant: String,
    revoked: bool,
    admitted_at: String,
    names: Vec<String>,
    connected_since: Option<String>,
    newest: Option<IssuedData>,
}

const HEADINGS: &[&str] = &["NODE", "ROLE", "GRANT", "ADMITTED", "EXPIRES", "CONNECTED", "STATE"];

pub(super) async fn run(context: &Context, list: ListNodes) -> Result<Exit, Explanation> {
    let managers = context.managers().await?;
    let now = show::now();
    let mut listing = Listing::new(context.terminal, "nodes", HEADINGS);
    let next = stream(&managers, &list, now, &mut listing).await?.map(|next| next.to_string());
    let (shown, rest) = (listing.shown(), Rest { more: next.is_some(), next });
    listing.end(&rest, || match &rest.next {
        Some(next) => format!("{}\nmore      --after {next}", count(shown, "node")),
        None => count(shown, "node"),
    });
    Ok(Exit::Done)
}

/// Prints page by page. Returns where the next list goes on, where there is more.
async fn stream(
    managers: &Managers,
    list: &ListNodes,
    now: UnixTime,
    listing: &mut Listing,
) -> Result<Option<Cursor>, Explanation> {
    let mut after = Cursor::given(list.after.as_deref(), Kind::Nodes)?;
    let limit = list.limit.map_or(u64::MAX, u64::from);
    loop {
        let wanted = u32::try_from(limit - listing.shown()).unwrap_or(PAGE).min(PAGE);
        let ask = v1::ListNodesRequest {
            after,
            limit: wanted,
            role: list.role.map(|role| role.to_string()),
            id_prefix: list.prefix.clone().unwrap_or_default(),
            revoked: (list.revoked || list.active).then_some(list.revoked),
            connected: (list.connected || list.offline).then_some(list.connected),
            without_der: true,
        };
        let page = managers.nodes(ask).await?;
        let read = listing.page(&page.nodes, |node| NodeData::of(node, now), |node| row(node, now));
        if page.next.is_empty() || !read {
            return Ok(None);
        }
        if listing.shown() >= limit {
            return Ok(Some(Cursor::new(Kind::Nodes, page.next)));
        }
        after = page.next;
    }
}

fn row(node: &v1::NodeRecord, now: UnixTime) -> Vec<String> {
    let role = show::role(&node.identity);
    // Only workers hold a stream: the log is the managers' own, and clients come and go.
    let away = if role == Role::Worker.to_string() { "no" } else { "-" };
    let connected = node
        .connected_since
        .map_or_else(|| away.to_owned(), |since| format!("since {}", show::clock_time(show::at(since), now)));
    let newest = node.newest.as_ref();
    vec![
        show::short_node(&node.identity),
        role,
        node.grant.clone(),
        show::at(node.admitted_at).date(),
        newest.map_or_else(String::new, |cert| show::at(cert.not_after).relative_to(now)),
        connected,
        if node.revoked { "revoked" } else { "ok" }.to_owned(),
    ]
}

impl NodeData {
    /// What the managers' record says.
    pub(super) fn of(node: &v1::NodeRecord, now: UnixTime) -> NodeData {
        NodeData {
            identity: node.identity.clone(),
            grant: node.grant.clone(),
            revoked: node.revoked,
            admitted_at: show::rfc3339(node.admitted_at),
            names: node.sans.clone(),
            connected_since: node.connected_since.map(show::rfc3339),
            newest: node.newest.as_ref().map(|cert| IssuedData::of(cert, now)),
        }
    }
}
