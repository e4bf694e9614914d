//! `certus cert revoke`: revokes, and with `--wait` says who enforces it.

use std::time::{Duration, Instant};

use certus_pki::{Explanation, UnixTime};
use certus_wire::v1;
use serde::Serialize;

use super::Context;
use super::show;
use crate::args::Revoke;
use crate::managers::Managers;
use crate::terminal::{Exit, count};

/// One call waits no longer than this: shorter than what a manager allows.
const WAIT_STEP: Duration = Duration::from_secs(5);

#[derive(Serialize)]
struct Report {
    node: Option<String>,
    serials: Vec<String>,
    reason: String,
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    enforcement: Option<EnforcementData>,
}

/// Who enforces a revocation.
#[derive(Serialize)]
pub(super) struct EnforcementData {
    enforced: u32,
    connected: u32,
    took_ms: Option<f64>,
    cut_connections: u32,
    cut_after_ms: Option<f64>,
    pending: Vec<String>,
    offline: Vec<OfflineData>,
}

#[derive(Serialize)]
struct OfflineData {
    node: String,
    since: Option<String>,
}

pub(super) async fn run(context: &Context, revoke: Revoke) -> Result<Exit, Explanation> {
    let managers = context.managers().await?;
    let reply = managers.revoke(&revoke.object, revoke.reason).await?;
    let epoch = reply.epoch.unwrap_or_default();
    let enforcement = match revoke.wait {
        true => Some(wait(&managers, epoch, Duration::from_secs(revoke.timeout.secs().into())).await?),
        false => None,
    };
    let serials = serials(&reply);
    let now = show::now();
    let words = || {
        let what = reply.node.as_deref().map_or_else(|| revoke.object.clone(), show::short_node);
        let certs = count(serials.len() as u64, "certificate");
        let mut text = format!("revoked   {what}   {certs}   revision {}", epoch.revision);
        if let Some(enforcement) = &enforcement {
            text.push('\n');
            text.push_str(&enforced(enforcement, now));
        }
        text
    };
    let report = Report {
        node: reply.node.clone(),
        serials: serials.clone(),
        reason: revoke.reason.to_string(),
        revision: epoch.revision,
        enforcement: enforcement.as_ref().map(EnforcementData::of),
    };
    context.terminal.report(&report, words);
    let unfinished = enforcement.is_some_and(|enforcement| !enforcement.pending.is_empty());
    Ok(if unfinished { Exit::Problems } else { Exit::Done })
}

/// Which certificates were revoked.
pub(super) fn serials(reply: &v1::RevokeReply) -> Vec<String> {
    let serials = reply.certs.iter().filter_map(|id| certus_pki::Serial::from_be_bytes(&id.serial));
    serials.map(|serial| serial.to_string()).collect()
}

/// Asks until every connected node has reported, or the time is over.
pub(super) async fn wait(
    managers: &Managers,
    epoch: v1::Epoch,
    timeout: Duration,
) -> Result<v1::EnforcementReply, Explanation> {
    let start = Instant::now();
    loop {
        let left = timeout.saturating_sub(start.elapsed()).min(WAIT_STEP);
        let reply = managers.enforcement(epoch, left).await?;
        if reply.pending.is_empty() || start.elapsed() >= timeout {
            return Ok(reply);
        }
    }
}

/// The same for people.
pub(super) fn enforced(reply: &v1::EnforcementReply, now: UnixTime) -> String {
    let took = reply.took_us.map_or_else(String::new, |took| format!(" in {}", show::duration(took.into())));
    let mut lines = vec![match reply.connected {
        0 => "enforced  by the manager; no other node is connected".to_owned(),
        _ => format!(
            "enforced  {} of {}{took}",
            reply.enforced,
            count(reply.connected.into(), "connected node")
        ),
    }];
    if reply.cut > 0 {
        let after = reply
            .cut_after_us
            .map_or_else(String::new, |after| format!(" after {}", show::duration(after.into())));
        lines.push(format!("cut       {}{after}", count(reply.cut.into(), "live connection")));
    }
    if !reply.pending.is_empty() {
        let pending: Vec<String> = reply.pending.iter().map(|node| show::short_node(node)).collect();
        lines.push(format!(
            "pending   {}: connected, and has not said yet that it refuses it",
            pending.join(", ")
        ));
    }
    if !reply.offline.is_empty() {
        let offline: Vec<String> = reply.offline.iter().map(|offline| away(offline, now)).collect();
        lines.push(format!("offline   {}", offline.join(", ")));
    }
    lines.join("\n")
}

fn away(offline: &v1::Offline, now: UnixTime) -> String {
    let node = show::short_node(&offline.node);
    match offline.since {
        Some(since) => format!("{node} (since {})", show::clock_time(show::at(since), now)),
        None => node,
    }
}

impl EnforcementData {
    /// What the managers say.
    pub(super) fn of(reply: &v1::EnforcementReply) -> EnforcementData {
        let ms = |us: u32| f64::from(us) / 1000.0;
        let offline = reply.offline.iter().map(|offline| OfflineData {
            node: offline.node.clone(),
            since: offline.since.map(show::rfc3339),
        });
        EnforcementData {
            enforced: reply.enforced,
            connected: reply.connected,
            took_ms: reply.took_us.map(ms),
            cut_connections: reply.cut,
            cut_after_ms: reply.cut_after_us.map(ms),
            pending: reply.pending.clone(),
            offline: offline.collect(),
        }
    }
}
