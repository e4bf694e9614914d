//! `certus config check`: what a configuration does, or what is wrong with it.

use certus_node::{E2e, Mtls, TlsSpec};
use certus_pki::Explanation;
use serde::Serialize;

use super::{Context, show};
use crate::args::Document;
use crate::config::{Config, Told, warnings};
use crate::terminal::Exit;

/// Stable; docs/configuration.md describes it.
#[derive(Serialize)]
struct Report {
    file: String,
    role: &'static str,
    id: Option<String>,
    listeners: Vec<Listener>,
    peers: Vec<Peer>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Listener {
    name: String,
    transport: String,
    address: String,
    forward: Option<String>,
    allow: String,
    tls: String,
    e2e: &'static str,
}

#[derive(Serialize)]
struct Peer {
    name: String,
    id: String,
    transport: String,
    address: String,
    listen: Option<String>,
    tls: String,
    e2e: &'static str,
}

pub(super) fn run(context: &Context, check: &Document) -> Result<Exit, Explanation> {
    let config = match read(check) {
        Ok(config) => config,
        Err(told) if told.code == certus_pki::code::FILE => return Err(told),
        Err(told) => {
            context.terminal.error(&told);
            return Ok(Exit::Problems);
        }
    };
    let report = Report::of(check.file.display().to_string(), &config);
    context.terminal.report(&report, || report.words());
    for warning in &report.warnings {
        context.terminal.note(warning);
    }
    Ok(Exit::Done)
}

/// The configuration as the node would read it.
pub(super) fn read(document: &Document) -> Result<Config, Explanation> {
    Config::read(&document.file, Told { node: document.node(), mtls: None })
}

impl Report {
    fn of(file: String, config: &Config) -> Report {
        let listeners = config.listeners.iter().map(|listener| Listener {
            name: listener.name.clone(),
            transport: listener.transport.to_string(),
            address: listener.address.clone(),
            forward: listener.forward.as_ref().map(ToString::to_string),
            allow: if listener.allow.is_nobody() { "nobody".to_owned() } else { listener.allow.to_string() },
            tls: tls(listener.plaintext, &listener.tls, true),
            e2e: e2e(listener.e2e),
        });
        let peers = config.peers.iter().map(|peer| Peer {
            name: peer.name.clone(),
            id: peer.id.to_string(),
            transport: peer.transport.to_string(),
            address: peer.address.clone(),
            listen: peer.listen.clone(),
            tls: tls(peer.plaintext, &peer.tls, false),
            e2e: e2e(peer.e2e),
        });
        Report {
            file,
            role: config.node.as_str(),
            id: config.id.as_ref().map(ToString::to_string),
            listeners: listeners.collect(),
            peers: peers.collect(),
            warnings: warnings(config, show::now()),
        }
    }

    fn words(&self) -> String {
        let article = if self.role == "agent" { "an" } else { "a" };
        let mut lines = vec![format!("{} is right, for {article} {}", self.file, self.role)];
        for Listener { name, transport, address, forward, allow, tls, .. } in &self.listeners {
            let to = forward.as_ref().map(|forward| format!(" to {forward}")).unwrap_or_default();
            lines.push(format!("  listener  {name}   {address} ({transport}, {tls}){to}, for {allow}"));
        }
        for Peer { name, id, transport, address, listen, tls, .. } in &self.peers {
            let from = listen.as_ref().map(|listen| format!("{listen} to ")).unwrap_or_default();
            lines.push(format!("  peer      {name}   {from}{id} at {address} ({transport}, {tls})"));
        }
        lines.join("\n")
    }
}

/// How TLS is spoken, in two words.
fn tls(plaintext: bool, tls: &TlsSpec, callers: bool) -> String {
    if plaintext {
        return "plaintext".to_owned();
    }
    match (callers, tls.mtls, tls.strict) {
        (true, Mtls::Required, _) => "mutual TLS".to_owned(),
        (true, Mtls::Permissive { until }, _) => format!("mutual TLS, plaintext until {until}"),
        (true, Mtls::Off, _) => "TLS".to_owned(),
        (false, _, true) => "verified TLS".to_owned(),
        (false, _, false) => "TLS".to_owned(),
    }
}

fn e2e(e2e: E2e) -> &'static str {
    match e2e {
        E2e::Auto => "auto",
        E2e::Never => "never",
    }
}
