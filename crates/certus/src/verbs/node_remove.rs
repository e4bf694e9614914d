//! `certus node remove`: takes a node out of the cluster, and says what follows.

use std::time::Duration;

use certus_pki::{Explanation, SpiffeId, code};
use certus_wire::v1;
use inquire::Confirm;
use serde::Serialize;

use super::Context;
use super::cert_revoke::{EnforcementData, enforced, serials, wait};
use super::show;
use crate::args::RemoveNode;
use crate::terminal::{Exit, Terminal, count};

#[derive(Serialize)]
struct Report {
    removed: String,
    serials: Vec<String>,
    reason: String,
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    enforcement: Option<EnforcementData>,
}

pub(super) async fn run(context: &Context, remove: RemoveNode) -> Result<Exit, Explanation> {
    let managers = context.managers().await?;
    let detail = managers.node(&remove.id).await?;
    // Before anything is asked: the answer to it would be of no use.
    refuse_manager(&detail)?;
    let identity = detail.node.as_ref().map(|node| node.identity.clone()).unwrap_or_default();
    if !remove.yes && detail.revoked_at.is_none() {
        confirm(context.terminal, &remove.id, &detail)?;
    }
    // By its whole name, so that nothing else of this id is meant.
    let reply = managers.revoke(&identity, remove.reason).await?;
    let epoch = reply.epoch.unwrap_or_default();
    let enforcement = match remove.wait {
        true => Some(wait(&managers, epoch, Duration::from_secs(remove.timeout.secs().into())).await?),
        false => None,
    };
    let report = Report {
        removed: identity.clone(),
        serials: serials(&reply),
        reason: remove.reason.to_string(),
        revision: epoch.revision,
        enforcement: enforcement.as_ref().map(EnforcementData::of),
    };
    context.terminal.report(&report, || {
        let mut text = words(&identity, report.serials.len() as u64, epoch.revision);
        if let Some(enforcement) = &enforcement {
            text.push('\n');
            text.push_str(&enforced(enforcement, show::now()));
        }
        text
    });
    let unfinished = enforcement.is_some_and(|enforcement| !enforcement.pending.is_empty());
    Ok(if unfinished { Exit::Problems } else { Exit::Done })
}

fn refuse_manager(detail: &v1::NodeDetail) -> Result<(), Explanation> {
    let Some(manager) = &detail.manager else { return Ok(()) };
    let id = show::short_node(&manager.node);
    Err(Explanation::new(code::PERMISSION_DENIED, format!("{id} is one of the cluster's managers"))
        .halves("a node that is none of the managers", &manager.node)
        .hint(format!("certus manager remove {id}")))
}

fn confirm(terminal: Terminal, asked: &str, detail: &v1::NodeDetail) -> Result<(), Explanation> {
    let not_removed = |message: &str| {
        let told = Explanation::new(code::USAGE, message.to_owned()).fact("node", asked);
        told.hint(format!("certus node remove {asked} --yes"))
    };
    if !terminal.can_ask() {
        return Err(not_removed("removing a node asks first, and there is nobody to ask"));
    }
    let certs = count(detail.live.len() as u64, "certificate");
    let question = format!(
        "Remove {asked}? Its {certs} and its live connections end, and it must join anew to come back."
    );
    match Confirm::new(&question).with_default(false).prompt() {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(not_removed("not removed")),
    }
}

fn words(identity: &str, certs: u64, revision: u64) -> String {
    let node = show::short_node(identity);
    let certs = count(certs, "certificate");
    let back = identity.parse::<SpiffeId>().map(|node| match node.role.to_string().as_str() {
        // Nobody makes a token for those by hand.
        "client" => format!("certus cluster operator --id {} on a manager's machine", node.id),
        role => format!("certus token create --role {role} --id {} --replace", node.id),
    });
    format!(
        "removed   {node}   {certs} revoked   revision {revision}\n\
         nodes     refuse it and cut its live connections as they are told\n\
         {node}{:<pad$}ends when it hears of it; its data directory there is of no use any more\n\
         back      {}, with a fresh data directory",
        "",
        back.unwrap_or_default(),
        pad = 10usize.saturating_sub(node.chars().count()).max(2),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_is_said() {
        let text = words("spiffe://prod/worker/web-2", 2, 118);
        assert!(
            text.starts_with("removed   web-2   2 certificates revoked   revision 118\nnodes     refuse")
        );
        assert!(text.contains("\nweb-2     ends when it hears of it"), "{text}");
        assert!(text.contains("certus token create --role worker --id web-2 --replace, with"), "{text}");
        assert!(words("spiffe://prod/client/ann", 1, 7).contains("certus cluster operator --id ann"));
    }

    #[test]
    fn managers_are_removed_elsewhere() {
        let manager = v1::Manager { node: "spiffe://prod/manager/m2".into(), ..v1::Manager::default() };
        let detail = v1::NodeDetail { manager: Some(manager), ..v1::NodeDetail::default() };
        let told = refuse_manager(&detail).unwrap_err();
        assert_eq!(told.hint.as_deref(), Some("certus manager remove m2"));
        assert!(refuse_manager(&v1::NodeDetail::default()).is_ok());
    }
}
