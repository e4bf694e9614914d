//! `certus node start`: runs a node in the foreground until it is told to end.

mod agent;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use certus_node::{MaterialSpec, Node, NodeDir, NodeOptions, StartError};
use certus_pki::{Explain, Explanation, NodeId, Role, code};
use certus_server::{Manager, ManagerOptions};

use super::joining_token::{self, Given};
use super::{Context, secret};
use crate::args::{NodeRole, Start};
use crate::config::{Config, For, Told, warnings};
use crate::daemon::{Ending, Letter};
use crate::home;
use crate::terminal::Exit;

pub(super) async fn run(context: &Context, start: Start) -> Result<Exit, Explanation> {
    match start.role {
        NodeRole::Manager => {
            refuse_workers_options(&start)?;
            let data_dir = start.data_dir.unwrap_or_else(|| context.home.data_dir("manager"));
            let mut options = ManagerOptions::new(data_dir);
            options.listen = start.listen;
            options.advertise = start.advertise;
            options.metrics_listen = start.metrics_listen;
            options.accept_clock = start.accept_clock;
            options.passphrase = secret::given(start.passphrase_file.as_deref())?.map(Arc::new);
            manager(options, &mut Ending::listen()?).await
        }
        NodeRole::Worker => worker(context, &start).await,
        NodeRole::Agent => agent::run(context, &start).await,
    }
}

/// Runs a manager until it is told to end, fails, or has left its cluster. If it is locked and there is
/// no passphrase, it waits for `certus node unlock`.
pub(super) async fn manager(options: ManagerOptions, ending: &mut Ending) -> Result<Exit, Explanation> {
    let Some(started) = ending.unless_told(Manager::start(options)).await else { return Ok(Exit::Done) };
    let manager = started.map_err(|error| error.explain())?;
    ending.ready(&format!("{} serves at {}", manager.identity(), manager.address()));
    let failure = tokio::select! {
        signal = ending.told() => {
            tracing::info!(signal, "the manager ends");
            None
        }
        failure = manager.failed() => Some(failure),
        () = manager.left() => {
            ending.stopping();
            tracing::info!("the manager has left the cluster: its keys are removed");
            return manager.forget().await.map(|()| Exit::Done).map_err(|error| error.explain());
        }
    };
    ending.stopping();
    let closed = manager.shutdown().await;
    match (failure, closed) {
        (Some(failure), _) => Err(failure),
        (None, Err(error)) => {
            Err(Explanation::new(code::STORE, "the manager's store could not be closed")
                .fact("because", error))
        }
        (None, Ok(())) => Ok(Exit::Done),
    }
}

async fn worker(context: &Context, start: &Start) -> Result<Exit, Explanation> {
    let options = worker_options(context, start)?;
    // Only now: until the token is read, ctrl-c ends the process as it always does.
    let mut ending = Ending::listen()?;
    running(&mut ending, Node::start(options), start, For::Worker).await
}

/// Starts a node and waits until it is told to end, or fails. Told to reload, it goes over to what
/// `configured` gives then.
async fn running(
    ending: &mut Ending,
    starting: impl Future<Output = Result<Node, StartError>>,
    start: &Start,
    kind: For,
) -> Result<Exit, Explanation> {
    let own = Own::of(&quietly(start, kind)?);
    let Some(started) = ending.unless_told(starting).await else { return Ok(Exit::Done) };
    let node = started.map_err(|error| error.explain())?;
    ending.ready(&format!("{} runs", node.name()));
    let failure = loop {
        tokio::select! {
            letter = ending.next() => match letter {
                Letter::Reload => reload(&node, &own, read(start, kind)).await,
                Letter::End(signal) => {
                    tracing::info!(signal, "the node ends");
                    break None;
                }
            },
            failure = node.failed() => break Some(failure),
        }
    };
    ending.stopping();
    node.shutdown().await;
    failure.map_or(Ok(Exit::Done), Err)
}

/// Goes over to another configuration, whole or not at all.
async fn reload(node: &Node, own: &Own, config: Result<Config, Explanation>) {
    let config = match config {
        Ok(config) => config,
        Err(why) => {
            tracing::error!(code = %why.code, %why, "the new configuration is wrong; going on with the old one");
            return;
        }
    };
    let left = own.differs(&Own::of(&config));
    if !left.is_empty() {
        let why = Explanation::new(code::CONFIGURATION, "what a node is does not change while it runs")
            .fact("changed", left.join(", "))
            .hint("start the node again");
        tracing::warn!(code = %why.code, %why, hint = why.hint, "going on with what was there at the start");
    }
    match node.reload(config.listeners, config.peers).await {
        Ok(done) => {
            let certus_node::Reloaded { added, changed, removed, cut, .. } = done;
            tracing::info!(added, changed, removed, cut, "the configuration was reloaded");
        }
        Err(error) => {
            let why = error.explain();
            tracing::error!(code = %why.code, %why, "the new configuration cannot be used; going on with the old one");
        }
    }
}

/// Flags before environment before configuration before defaults.
fn worker_options(context: &Context, start: &Start) -> Result<NodeOptions, Explanation> {
    if start.accept_clock {
        return Err(only_for("--accept-clock", "manager", "a worker's clock is nobody else's"));
    }
    for (option, given) in [("--listen", start.listen.is_some()), ("--advertise", start.advertise.is_some())]
    {
        if given {
            return Err(only_for(option, "manager", "a worker's listeners stand in --config"));
        }
    }
    if start.passphrase_file.is_some() {
        return Err(only_for("--passphrase-file", "manager", "a worker has no cluster key"));
    }
    let config = read(start, For::Worker)?;
    let data_dir = start.data_dir.clone().or(config.data_dir);
    let data_dir = data_dir.unwrap_or_else(|| context.home.data_dir("worker"));
    refuse_managers(&data_dir)?;
    let enrolled = NodeDir::open(&data_dir).and_then(|dir| dir.enrolled(Role::Worker));
    let enrolled = enrolled.map_err(|error| error.explain())?;
    let asked = start.id.clone().or(config.id);
    // An id that was joined under before is kept, also when the host got another name.
    let id = asked.or_else(|| enrolled.is_empty().then(home::host_id));
    let has_identity = id.as_ref().map_or(!enrolled.is_empty(), |id| enrolled.contains(id));
    let token_file = start.token_file.clone().or(config.token_file);
    let mut options = NodeOptions::new(data_dir, Role::Worker);
    let given = Given {
        token: start.token.as_ref(),
        asked: start.token_file.as_deref(),
        file: token_file.as_deref(),
    };
    options.token = joining_token::read(context, &given, has_identity)?;
    options.managers =
        if context.global.manager.is_empty() { config.managers } else { context.global.manager.clone() };
    options.id = id;
    options.metrics_listen = start.metrics_listen;
    options.listeners = config.listeners;
    options.peers = config.peers;
    let told = (start.revocation_stale_after.as_deref(), start.on_revocation_stale.as_deref());
    options.staleness = config.staleness.told(told)?;
    Ok(options)
}

/// Refuses a directory with a cluster's keys: a node of another role has no business beside them.
fn refuse_managers(data_dir: &Path) -> Result<(), Explanation> {
    if !certus_server::is_founded(data_dir) {
        return Ok(());
    }
    let words = format!("{} is a manager's directory", data_dir.display());
    let hint = format!("certus manager start --data-dir {}; or another --data-dir", data_dir.display());
    Err(Explanation::new(code::ALREADY_EXISTS, words).hint(hint))
}

/// The keys of a configuration that say what the node is, as they were at its start.
struct Own {
    material: MaterialSpec,
    names: [Option<NodeId>; 2],
    data_dir: Option<PathBuf>,
}

impl Own {
    fn of(config: &Config) -> Own {
        Own {
            material: config.tls.material.clone(),
            names: [config.id.clone(), config.agent_name.clone()],
            data_dir: config.data_dir.clone(),
        }
    }

    /// The keys that another configuration has otherwise.
    fn differs(&self, other: &Own) -> Vec<&'static str> {
        let changed = [
            ("tls.cert", self.material.cert != other.material.cert),
            ("tls.key", self.material.key != other.material.key),
            ("tls.ca", self.material.ca != other.material.ca),
            ("id", self.names != other.names),
            ("data_dir", self.data_dir != other.data_dir),
        ];
        changed.into_iter().filter_map(|(key, changed)| changed.then_some(key)).collect()
    }
}

/// The configuration that is named, and the flags that stand for keys of it.
fn quietly(start: &Start, node: For) -> Result<Config, Explanation> {
    let told = Told { node: Some(node), mtls: start.enable_mtls };
    let Some(file) = &start.config else { return Config::empty(told) };
    Config::read(file, told)
}

/// The same; what may be an oversight in it is said.
fn read(start: &Start, node: For) -> Result<Config, Explanation> {
    let config = quietly(start, node)?;
    for warning in warnings(&config, super::show::now()) {
        tracing::warn!("{warning}");
    }
    Ok(config)
}

fn refuse_workers_options(start: &Start) -> Result<(), Explanation> {
    let given = [
        ("--token-file", start.token_file.is_some()),
        ("--token", start.token.is_some()),
        ("--config", start.config.is_some()),
        ("--id", start.id.is_some()),
        ("--enable-mtls", start.enable_mtls.is_some()),
        ("--revocation-stale-after", start.revocation_stale_after.is_some()),
        ("--on-revocation-stale", start.on_revocation_stale.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(only_for(option, "worker", "a manager's data directory says who it is")),
        None => Ok(()),
    }
}

fn only_for(option: &str, role: &str, why: &str) -> Explanation {
    Explanation::new(code::USAGE, format!("{option} is for a {role}: {why}")).hint("certus node start --help")
}
