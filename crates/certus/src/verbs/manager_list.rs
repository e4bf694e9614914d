//! `certus manager list`: the managers of the cluster.

use certus_pki::{Explanation, UnixTime};
use certus_wire::v1;
use serde::Serialize;

use super::Context;
use super::show;
use crate::terminal::{Exit, count, table, thousands};

/// Stable.
#[derive(Serialize)]
struct Report {
    managers: Vec<ManagerData>,
}

/// A manager as data.
#[derive(Serialize)]
pub(super) struct ManagerData {
    member: u64,
    identity: String,
    address: String,
    voter: bool,
    leader: bool,
    /// Entries of the log it lacks, as the leader sees it.
    behind: Option<u64>,
    joined_at: Option<String>,
}

pub(super) async fn run(context: &Context) -> Result<Exit, Explanation> {
    let called = context.managers().await?;
    let managers = called.list().await?;
    called.keep(&context.home, managers.clone(), show::now());
    let report = Report { managers: managers.iter().map(data).collect() };
    context.terminal.report(&report, || words(&managers));
    Ok(Exit::Done)
}

fn words(managers: &[v1::Manager]) -> String {
    let rows = managers.iter().map(|manager| {
        vec![
            show::short_node(&manager.node),
            manager.address.clone(),
            if manager.voter { "voter" } else { "learner" }.to_owned(),
            if manager.leader { "leads" } else { "" }.to_owned(),
            manager.behind.map_or_else(|| "?".to_owned(), thousands),
            joined(manager).map_or_else(String::new, UnixTime::date),
        ]
    });
    let table = table(&["MANAGER", "ADDRESS", "VOTE", "LEADER", "BEHIND", "JOINED"], rows);
    format!("{table}\n{}", count(managers.len() as u64, "manager"))
}

/// What the managers say of one of them.
pub(super) fn data(manager: &v1::Manager) -> ManagerData {
    ManagerData {
        member: manager.member,
        identity: manager.node.clone(),
        address: manager.address.clone(),
        voter: manager.voter,
        leader: manager.leader,
        behind: manager.behind,
        joined_at: joined(manager).map(|at| at.to_string()),
    }
}

/// None where nobody knows it.
fn joined(manager: &v1::Manager) -> Option<UnixTime> {
    (manager.joined_at != 0).then(|| show::at(manager.joined_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_vote_leader_and_distance() {
        let manager = |id: &str, voter, behind| v1::Manager {
            node: format!("spiffe://prod/manager/{id}"),
            address: "10.0.0.7:7443".into(),
            voter,
            leader: id == "m1",
            behind,
            joined_at: 1_764_000_000,
            ..v1::Manager::default()
        };
        let text = words(&[
            manager("m1", true, Some(0)),
            manager("m2", false, Some(4212)),
            manager("m3", true, None),
        ]);
        let expected = "\
MANAGER  ADDRESS        VOTE     LEADER  BEHIND  JOINED
m1       10.0.0.7:7443  voter    leads   0       2025-11-24
m2       10.0.0.7:7443  learner          4,212   2025-11-24
m3       10.0.0.7:7443  voter            ?       2025-11-24
3 managers";
        assert_eq!(text, expected);
    }
}
