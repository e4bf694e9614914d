//! `certus agent start`: a node without a cluster, known by its key.

use certus_node::{AgentOptions, Node};
use certus_pki::Explanation;
use serde::Serialize;

use super::super::Context;
use super::{only_for, read};
use crate::args::Start;
use crate::config::For;
use crate::daemon::Ending;
use crate::terminal::Exit;

pub(super) async fn run(context: &Context, start: &Start) -> Result<Exit, Explanation> {
    let options = options(context, start)?;
    let starting = async {
        let node = Node::start_agent(options).await?;
        // What others put into `id` of their peers; the rest of what is said goes to the log.
        context.terminal.report(&Started { id: node.agent_id().to_string() }, || node.agent_id().to_string());
        Ok(node)
    };
    super::running(&mut Ending::listen()?, starting, start, For::Agent).await
}

#[derive(Serialize)]
struct Started {
    id: String,
}

/// Flags before configuration before defaults.
fn options(context: &Context, start: &Start) -> Result<AgentOptions, Explanation> {
    refuse_clusters_options(context, start)?;
    let config = read(start, For::Agent)?;
    let data_dir = start.data_dir.clone().or(config.data_dir);
    let data_dir = data_dir.unwrap_or_else(|| context.home.data_dir("agent"));
    super::refuse_managers(&data_dir)?;
    let mut options = AgentOptions::new(data_dir);
    if let Some(name) = start.id.as_ref().or(config.agent_name.as_ref()) {
        options.name = name.to_string();
    }
    options.metrics_listen = start.metrics_listen;
    options.material = config.tls.material;
    options.listeners = config.listeners;
    options.peers = config.peers;
    Ok(options)
}

fn refuse_clusters_options(context: &Context, start: &Start) -> Result<(), Explanation> {
    let given = [
        ("--token-file", "worker", start.token_file.is_some()),
        ("--token", "worker", start.token.is_some()),
        ("--listen", "manager", start.listen.is_some()),
        ("--accept-clock", "manager", start.accept_clock),
        ("--revocation-stale-after", "worker", start.revocation_stale_after.is_some()),
        ("--on-revocation-stale", "worker", start.on_revocation_stale.is_some()),
    ];
    if let Some((option, role, _)) = given.iter().find(|(_, _, given)| *given) {
        return Err(only_for(option, role, "an agent has no cluster"));
    }
    // A manager in the environment is for commands, and no reason to refuse.
    if !context.global.manager.is_empty() {
        tracing::debug!("an agent asks no manager");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{NodeVerb, Noun};
    use crate::terminal::Terminal;

    fn of(line: &str) -> Result<AgentOptions, Explanation> {
        let words = line.split_whitespace().map(std::ffi::OsString::from);
        let Ok(cli) = crate::args::parse(words) else { panic!("{line}") };
        let Noun::Node(NodeVerb::Start(start)) = cli.noun else { panic!("{line}") };
        let context = Context::new(cli.global, Terminal::new(false))?;
        options(&context, &start)
    }

    #[test]
    fn options_come_from_flags_then_the_file_then_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("certus.yaml");
        std::fs::write(
            &file,
            "agent: {id: web-1, data_dir: here}\nlisteners: [{transport: ws, address: 'a:1'}]\n",
        )
        .unwrap();
        let bare = of("certus --home h agent start").unwrap();
        assert_eq!((bare.data_dir.to_str(), bare.name.as_str()), (Some("h/agent"), "certus-agent"));
        assert!(bare.listeners.is_empty() && bare.material.is_empty());
        let line = format!("certus agent start --config {}", file.display());
        let told = of(&line).unwrap();
        assert_eq!((told.data_dir.to_str(), told.name.as_str()), (Some("here"), "web-1"));
        assert_eq!(told.listeners[0].name, "ws-1");
        let flags = of(&format!("{line} --data-dir there --id web-2")).unwrap();
        assert_eq!((flags.data_dir.to_str(), flags.name.as_str()), (Some("there"), "web-2"));
        let refused = of(&format!("{line} --enable-mtls")).err().unwrap();
        assert!(refused.message.contains("needs a ca"), "{refused}");
        assert!(of("certus agent start --token-file t").err().unwrap().message.contains("for a worker"));
    }
}
