//! `certus manager remove`: takes a manager out of the cluster, and says what follows.

use certus_pki::{Explanation, code};
use certus_wire::v1;
use inquire::Confirm;
use serde::Serialize;

use super::Context;
use super::show;
use crate::args::Remove;
use crate::terminal::{Exit, Terminal, count};

/// Stable.
#[derive(Serialize)]
struct Report {
    removed: String,
    compromised: bool,
    revision: u64,
    /// Whether it held what opens the root's key.
    could_open_root: bool,
    /// Whether the root's key must be taken as known to somebody else.
    root_known: bool,
    /// Live certificates that it signed: their nodes are told to renew.
    leaves: u64,
}

pub(super) async fn run(context: &Context, remove: Remove) -> Result<Exit, Explanation> {
    if !remove.yes {
        confirm(context.terminal, &remove)?;
    }
    let reply = context.managers().await?.remove(&remove.id, remove.compromised).await?;
    let report = Report {
        removed: reply.node.clone(),
        compromised: remove.compromised,
        revision: reply.epoch.unwrap_or_default().revision,
        could_open_root: reply.could_open_root,
        root_known: remove.compromised && reply.could_open_root,
        leaves: reply.leaves,
    };
    context.terminal.report(&report, || words(&reply, remove.compromised));
    Ok(Exit::Done)
}

fn confirm(terminal: Terminal, remove: &Remove) -> Result<(), Explanation> {
    let not_removed = |message: &str| {
        let told = Explanation::new(code::USAGE, message.to_owned()).fact("manager", &remove.id);
        told.hint(format!("certus manager remove {} --yes", remove.id))
    };
    if !terminal.can_ask() {
        return Err(not_removed("removing a manager asks first, and there is nobody to ask"));
    }
    let question = format!("Remove the manager {}? It must join anew to come back.", remove.id);
    match Confirm::new(&question).with_default(false).prompt() {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(not_removed("not removed")),
    }
}

fn words(reply: &v1::RemoveManagerReply, compromised: bool) -> String {
    let (manager, revision) = (show::short_node(&reply.node), reply.epoch.unwrap_or_default().revision);
    let certificates = count(reply.leaves, "certificate");
    let renewed = match reply.leaves {
        0 => "it signed no certificate that still lives".to_owned(),
        1 => format!("{certificates} that it signed is renewed at another manager"),
        _ => format!("{certificates} that it signed are renewed at other managers"),
    };
    let root = match (reply.could_open_root, compromised) {
        (false, false) => "it could not open the root's key, which is offline",
        (false, true) => {
            "it could not open the root's key, which is offline; unless it was away when the root was\n          \
             taken offline, and was not back since: its disk then still holds what opens it"
        }
        (true, true) => {
            "it could open the root's key, which must be taken as known to others:\n          \
             the root has to be replaced, which this version cannot do yet"
        }
        (true, false) => {
            "it could open the root's key: should its disk or a backup be in other hands, the\n          \
             key is known and the root has to be replaced, which this version cannot do yet"
        }
    };
    format!("removed   {manager}   revision {revision}\nleaves    {renewed}\nroot      {root}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(could_open_root: bool, leaves: u64) -> v1::RemoveManagerReply {
        let epoch = Some(v1::Epoch { generation: 0, revision: 7 });
        v1::RemoveManagerReply { epoch, node: "spiffe://prod/manager/m2".into(), could_open_root, leaves }
    }

    #[test]
    fn what_follows_is_said() {
        let text = words(&reply(true, 12), true);
        assert!(
            text.starts_with("removed   m2   revision 7\nleaves    12 certificates that it signed are"),
            "{text}"
        );
        assert!(text.contains("must be taken as known") && text.contains("cannot do yet"), "{text}");
        assert!(words(&reply(true, 1), false).contains("should its disk"));
        let text = words(&reply(false, 0), true);
        assert!(text.contains("it could not open") && text.contains("no certificate"), "{text}");
    }
}
