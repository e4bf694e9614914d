//! `certus config check`: what a configuration does, or what is wrong with it.

use certus_pki::Explanation;
use serde::Serialize;

use super::Context;
use crate::args::Check;
use crate::config::Config;
use crate::terminal::Exit;

#[derive(Serialize)]
struct Report {
    file: String,
    id: Option<String>,
    listeners: Vec<Listener>,
    peers: Vec<Peer>,
}

#[derive(Serialize)]
struct Listener {
    name: String,
    transport: String,
    address: String,
    forward: String,
    allow: Vec<String>,
}

#[derive(Serialize)]
struct Peer {
    name: String,
    id: String,
    transport: String,
    address: String,
    listen: String,
}

pub(super) fn run(context: &Context, check: &Check) -> Result<Exit, Explanation> {
    let config = match Config::read(&check.file) {
        Ok(config) => config,
        Err(told) if told.code == certus_pki::code::FILE => return Err(told),
        Err(told) => {
            context.terminal.error(&told);
            return Ok(Exit::Problems);
        }
    };
    let report = Report::of(check.file.display().to_string(), &config);
    context.terminal.report(&report, || report.words());
    for listener in config.listeners.iter().filter(|listener| listener.allow.is_nobody()) {
        context.terminal.note(&nobody(&listener.name));
    }
    Ok(Exit::Done)
}

/// What is said of a listener without `allow`.
pub(super) fn nobody(listener: &str) -> String {
    format!("listener {listener} has no `allow`: nobody is let in")
}

impl Report {
    fn of(file: String, config: &Config) -> Report {
        let listeners = config.listeners.iter().map(|listener| Listener {
            name: listener.name.clone(),
            transport: listener.transport.to_string(),
            address: listener.address.clone(),
            forward: listener.forward.as_ref().map(ToString::to_string).unwrap_or_default(),
            allow: vec![listener.allow.to_string()],
        });
        let peers = config.peers.iter().map(|peer| Peer {
            name: peer.name.clone(),
            id: peer.id.to_string(),
            transport: peer.transport.to_string(),
            address: peer.address.clone(),
            listen: peer.listen.clone().unwrap_or_default(),
        });
        Report {
            file,
            id: config.id.as_ref().map(ToString::to_string),
            listeners: listeners.collect(),
            peers: peers.collect(),
        }
    }

    fn words(&self) -> String {
        let mut lines = vec![format!("{} is right", self.file)];
        for listener in &self.listeners {
            let allow = if listener.allow.is_empty() { "nobody".into() } else { listener.allow.join(", ") };
            let Listener { name, transport, address, forward, .. } = listener;
            lines.push(format!("  listener  {name}   {address} ({transport}) to {forward}, for {allow}"));
        }
        for Peer { name, id, transport, address, listen } in &self.peers {
            lines.push(format!("  peer      {name}   {listen} to {id} at {address} ({transport})"));
        }
        lines.join("\n")
    }
}
