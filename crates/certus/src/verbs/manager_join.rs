//! `certus manager join`: joins a cluster as a further manager and goes on as one.

use std::path::Path;

use certus_node::{NodeDir, system_clock};
use certus_pki::{Explain, Explanation, NodeId, Role, code};
use certus_server::{JoinOptions, ManagerOptions};
use serde::Serialize;

use super::joining_token::{self, Given};
use super::{Context, node_start};
use crate::args::Join;
use crate::daemon::Ending;
use crate::home;
use crate::terminal::Exit;

/// Stable.
#[derive(Serialize)]
struct Report {
    manager: String,
    member: u64,
    address: String,
    data_dir: String,
}

pub(super) async fn run(context: &Context, join: Join) -> Result<Exit, Explanation> {
    let data_dir = join.data_dir.clone().unwrap_or_else(|| context.home.data_dir("manager"));
    certus_server::refuse_founded(&data_dir).map_err(|error| error.explain())?;
    let managers = context.global.manager.clone();
    if managers.is_empty() {
        let told = Explanation::new(code::USAGE, "no manager of the cluster was named");
        return Err(told.hint("certus manager join --manager HOST:PORT --token-file FILE"));
    }
    let enrolled = NodeDir::open(&data_dir).and_then(|dir| dir.enrolled(Role::Manager));
    let enrolled = enrolled.map_err(|error| error.explain())?;
    let id = join.id.clone().or_else(|| enrolled.first().cloned()).unwrap_or_else(home::host_id);
    let given = Given {
        token: join.token.as_ref(),
        asked: join.token_file.as_deref(),
        file: join.token_file.as_deref(),
    };
    let mut options = JoinOptions::new(data_dir.clone(), managers, id.clone(), join.listen);
    options.token = joining_token::read(context, &given, enrolled.contains(&id))?;
    options.voter = !join.learner;
    options.key_type = join.key_type;
    options.clock = system_clock();
    if let Some(advertise) = &join.advertise {
        options.advertise.clone_from(advertise);
    }
    let address = options.advertise.clone();
    let mut ending = Ending::listen()?;
    let Some(mut joined) = ending.unless_told(certus_server::join(&options)).await else {
        return Ok(Exit::Done);
    };
    // Where no id was asked for, the host's name was tried: a token for one id says which.
    if let (None, Err(error)) = (&join.id, &joined)
        && let Some(admitted) = admitted_by_token(&error.explain())
    {
        forget_request(&data_dir, &id)?;
        options.id = admitted;
        let Some(again) = ending.unless_told(certus_server::join(&options)).await else {
            return Ok(Exit::Done);
        };
        joined = again;
    }
    let joined = joined.map_err(|error| error.explain())?;
    let report = Report {
        manager: joined.identity.to_string(),
        member: joined.member,
        address,
        data_dir: data_dir.display().to_string(),
    };
    context.terminal.report(&report, || {
        format!(
            "joined    {}   number {}\nmanager   {}, data in {}",
            report.manager, report.member, report.address, report.data_dir
        )
    });
    if join.no_start {
        context.terminal.say(&format!("\nnext      certus manager start --data-dir {}", report.data_dir));
        return Ok(Exit::Done);
    }
    context
        .terminal
        .say("\nnext      certus manager list      in another terminal; ctrl-c ends this manager");
    node_start::manager(ManagerOptions::new(data_dir), &mut ending).await
}

/// Leaves nothing behind of a request under an id that was only tried.
fn forget_request(data_dir: &Path, id: &NodeId) -> Result<(), Explanation> {
    let tried = NodeDir::open(data_dir).map(|dir| dir.identity(Role::Manager, id));
    let tried = tried.map_err(|error| error.explain())?;
    tried.forget_pending_key().map_err(|error| error.explain())?;
    // Kept where something else is in it.
    let _ = std::fs::remove_dir(tried.path());
    Ok(())
}

/// The id that a refused token admits.
fn admitted_by_token(why: &Explanation) -> Option<NodeId> {
    let expected = why.facts.iter().find(|(label, _)| label == "expected").map(|(_, value)| value);
    expected.filter(|_| why.code == code::TOKEN_WRONG_ID)?.parse().ok()
}
