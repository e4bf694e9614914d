//! `certus cluster recover`: one manager that is left becomes the cluster.

use certus_node::system_clock;
use certus_pki::{Explain, Explanation, code};
use certus_server::recover::{self, Stake};
use serde::Serialize;

use super::Context;
use crate::args::Recover;
use crate::terminal::Exit;

#[derive(Serialize)]
struct Report {
    manager: String,
    generation: u64,
    revision: u64,
    voters_before: usize,
    applied: Option<u64>,
    last_entry: Option<u64>,
    given_up: Vec<Other>,
}

#[derive(Serialize)]
struct Other {
    member: u64,
    address: String,
}

pub(super) async fn run(context: &Context, asked: Recover) -> Result<Exit, Explanation> {
    let data_dir = asked.data_dir.unwrap_or_else(|| context.home.data_dir("manager"));
    let stake = recover::stake(&data_dir).map_err(|error| error.explain())?;
    context.terminal.say(&at_stake(&stake));
    if !asked.yes && !confirmed(context)? {
        return Err(Explanation::new(code::USAGE, "nothing was done").hint("--yes does it without asking"));
    }
    let recovered = recover::recover(&data_dir, system_clock()).await;
    let recovered = recovered.map_err(|error| error.explain())?;
    let other = |(member, address): &(u64, String)| Other { member: *member, address: address.clone() };
    let report = Report {
        manager: recovered.stake.manager.to_string(),
        generation: recovered.epoch.generation,
        revision: recovered.epoch.revision,
        voters_before: recovered.stake.voters,
        applied: recovered.stake.applied,
        last_entry: recovered.stake.last,
        given_up: recovered.stake.others.iter().map(other).collect(),
    };
    let words = || {
        format!(
            "recovered {}   the only voter now\nnow       generation {}, revision {}",
            report.manager, report.generation, report.revision
        )
    };
    context.terminal.report(&report, words);
    context.terminal.say(&format!("\nnext      certus manager start --data-dir {}", data_dir.display()));
    Ok(Exit::Done)
}

fn at_stake(stake: &Stake) -> String {
    let number = |index: Option<u64>| index.map_or_else(|| "none".to_owned(), |index| index.to_string());
    let mut lines = vec![
        format!("left      {}   of {} voters", stake.manager, stake.voters),
        format!(
            "knows     epoch {}, entries up to {} applied, up to {} in its log: all are kept",
            stake.epoch,
            number(stake.applied),
            number(stake.last)
        ),
    ];
    for (member, address) in &stake.others {
        let address = if address.is_empty() { "no address" } else { address };
        lines.push(format!("given up  member {member} ({address})"));
    }
    lines
        .push("lost      what only those had committed: certificates issued, tokens, revocations".to_owned());
    lines.push("never     start one of them again: there would be two clusters of one name".to_owned());
    lines.join("\n")
}

fn confirmed(context: &Context) -> Result<bool, Explanation> {
    if !context.terminal.can_ask() {
        return Ok(false);
    }
    let answer = inquire::Confirm::new("make this manager the whole cluster?").with_default(false).prompt();
    answer.map_err(|_| Explanation::new(code::USAGE, "nothing was answered").hint("--yes"))
}
