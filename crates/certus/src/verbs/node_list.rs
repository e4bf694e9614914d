//! `certus node list`: the nodes of the cluster.

use certus_pki::{Explanation, UnixTime};
use certus_wire::v1;
use serde::Serialize;

use super::Context;
use super::show::{self, IssuedData};
use crate::terminal::{Exit, count, table};

#[derive(Serialize)]
struct Report {
    nodes: Vec<NodeData>,
}

#[derive(Serialize)]
struct NodeData {
    identity: String,
    grant: String,
    revoked: bool,
    admitted_at: String,
    names: Vec<String>,
    connected_since: Option<String>,
    newest: Option<IssuedData>,
}

pub(super) async fn run(context: &Context) -> Result<Exit, Explanation> {
    let nodes = context.managers().await?.nodes().await?;
    let now = show::now();
    let report = Report { nodes: nodes.iter().map(|node| data(node, now)).collect() };
    context.terminal.report(&report, || words(&nodes, now));
    Ok(Exit::Done)
}

fn words(nodes: &[v1::NodeRecord], now: UnixTime) -> String {
    let rows = nodes.iter().map(|node| {
        let connected = node.connected_since.map_or_else(
            || "no".to_owned(),
            |since| format!("since {}", show::clock_time(show::at(since), now)),
        );
        let newest = node.newest.as_ref();
        vec![
            show::short_node(&node.identity),
            show::role(&node.identity),
            node.grant.clone(),
            show::at(node.admitted_at).date(),
            newest.map_or_else(String::new, |cert| show::at(cert.not_after).relative_to(now)),
            connected,
            if node.revoked { "revoked" } else { "ok" }.to_owned(),
        ]
    });
    let table = table(&["NODE", "ROLE", "GRANT", "ADMITTED", "EXPIRES", "CONNECTED", "STATE"], rows);
    format!("{table}\n{}", count(nodes.len() as u64, "node"))
}

fn data(node: &v1::NodeRecord, now: UnixTime) -> NodeData {
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
