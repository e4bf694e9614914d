//! `certus cluster status`: what the cluster is made of and how it is.

use certus_pki::{Explanation, Lifetime};
use certus_wire::v1;
use serde::Serialize;

use super::Context;
use super::show;
use crate::terminal::{Exit, count};

#[derive(Serialize)]
struct Report {
    cluster: String,
    version: String,
    generation: u64,
    revision: u64,
    founded_at: String,
    now: String,
    leaf_lifetime_secs: u32,
    nodes: u64,
    managers: Vec<String>,
    roots: Vec<Authority>,
    issuers: Vec<Authority>,
    connected: Vec<Connected>,
    overdue: Vec<Overdue>,
    root_offline: bool,
    issuing_until: Option<String>,
    root_alert: Option<String>,
    autolock: bool,
    /// Certificates that called and are on no record.
    unknown: usize,
}

#[derive(Serialize)]
struct Authority {
    subject: String,
    key_hash: String,
    expires_at: String,
}

#[derive(Serialize)]
struct Connected {
    node: String,
    since: String,
    revision: u64,
}

#[derive(Serialize)]
struct Overdue {
    node: String,
    renew_by: String,
}

pub(super) async fn run(context: &Context) -> Result<Exit, Explanation> {
    let status = context.managers().await?.status().await?;
    context.terminal.report(&Report::of(&status), || words(&status));
    Ok(Exit::Done)
}

fn words(status: &v1::ClusterStatus) -> String {
    let (now, epoch) = (show::at(status.now), status.epoch.unwrap_or_default());
    let mut lines = Vec::new();
    let mut line = |label: &str, value: String| lines.push(format!("{label:<10} {value}"));
    let founded = show::at(status.founded_at);
    line("cluster", format!("{}, founded {} ({})", status.cluster, founded.relative_to(now), founded.date()));
    for root in &status.roots {
        line("root", authority(root, now));
    }
    for issuer in &status.issuers {
        line("issuer", authority(issuer, now));
    }
    for (label, value) in root_words(status, now) {
        line(label, value);
    }
    for manager in &status.managers {
        line("manager", format!("{manager}   certus {}", status.version));
    }
    let lifetime = Lifetime::from_secs(status.leaf_lifetime_secs);
    line(
        "nodes",
        format!("{}, {} connected, certificates of {lifetime}", status.nodes, status.connected.len()),
    );
    let generation = match epoch.generation {
        0 => String::new(),
        generation => format!("generation {generation}, "),
    };
    line("revision", format!("{generation}{}, clock {now}", epoch.revision));
    let behind: Vec<String> = status
        .connected
        .iter()
        .filter(|node| node.enforced.unwrap_or_default().revision < epoch.revision)
        .map(|node| {
            format!("{} (at {})", show::short_node(&node.node), node.enforced.unwrap_or_default().revision)
        })
        .collect();
    if !behind.is_empty() {
        line("behind", behind.join(", "));
    }
    for node in &status.overdue {
        let due = show::at(node.renew_by).relative_to(now);
        line("overdue", format!("{}   its renewal was due {due}: see its log", show::short_node(&node.node)));
    }
    if status.overdue.is_empty() {
        line("renewals", format!("all in time ({})", count(status.nodes, "node")));
    }
    if !status.unrecorded.is_empty() {
        let certs = count(status.unrecorded.len() as u64, "certificate");
        lines.push(format!("{:<10} {certs} on no record call: certus cert list --unknown", "unknown"));
    }
    lines.join("\n")
}

/// Where the root's key is, unless it is where it was founded, and how long issuing goes on without it.
fn root_words(status: &v1::ClusterStatus, now: certus_pki::UnixTime) -> Vec<(&'static str, String)> {
    let Some(state) = &status.root_state else { return Vec::new() };
    let mut lines = Vec::new();
    if state.offline {
        let until = show::at(state.issuing_until);
        lines.push((
            "root key",
            format!("offline; issuing goes on until {until} ({})", until.relative_to(now)),
        ));
    }
    if let Some(alert) = &state.alert {
        let hint = alert.hint.as_deref().unwrap_or_default();
        lines.push(("alert", format!("{}: {hint}", alert.message)));
    }
    if state.autolock {
        lines.push(("autolock", "on: this manager needs its unlock key after a restart".to_owned()));
    }
    lines
}

fn authority(authority: &v1::Authority, now: certus_pki::UnixTime) -> String {
    let end = show::at(authority.not_after);
    let key = show::short_hash(&authority.key_hash);
    format!("{key}   {}, until {} ({})", authority.subject, end.date(), end.relative_to(now))
}

impl Report {
    fn of(status: &v1::ClusterStatus) -> Report {
        let epoch = status.epoch.unwrap_or_default();
        let authority = |authority: &v1::Authority| Authority {
            subject: authority.subject.clone(),
            key_hash: show::full_hash(&authority.key_hash).map(|hash| hash.to_string()).unwrap_or_default(),
            expires_at: show::rfc3339(authority.not_after),
        };
        let connected = |node: &v1::Presence| Connected {
            node: node.node.clone(),
            since: show::rfc3339(node.since),
            revision: node.enforced.unwrap_or_default().revision,
        };
        let overdue = |node: &v1::OverdueNode| Overdue {
            node: node.node.clone(),
            renew_by: show::rfc3339(node.renew_by),
        };
        let root = status.root_state.as_ref();
        Report {
            cluster: status.cluster.clone(),
            version: status.version.clone(),
            generation: epoch.generation,
            revision: epoch.revision,
            founded_at: show::rfc3339(status.founded_at),
            now: show::rfc3339(status.now),
            leaf_lifetime_secs: status.leaf_lifetime_secs,
            nodes: status.nodes,
            managers: status.managers.clone(),
            roots: status.roots.iter().map(authority).collect(),
            issuers: status.issuers.iter().map(authority).collect(),
            connected: status.connected.iter().map(connected).collect(),
            overdue: status.overdue.iter().map(overdue).collect(),
            root_offline: root.is_some_and(|root| root.offline),
            issuing_until: root.map(|root| show::rfc3339(root.issuing_until)),
            root_alert: root.and_then(|root| root.alert.as_ref()).map(|alert| alert.message.clone()),
            autolock: root.is_some_and(|root| root.autolock),
            unknown: status.unrecorded.len(),
        }
    }
}
