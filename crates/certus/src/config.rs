//! `certus.yaml`: what a node carries, and the scalar options it may be told there.
//!
//! Text goes in, checked values come out; a mistake is an error with its line. Values that came from
//! the environment, and documents that hold PEM, are never printed.

mod allow;
mod carry;
mod expand;
mod material;
mod raw;
mod reader;
mod schema;
mod show;
mod stale;
mod tls;
mod warnings;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use certus_node::{ListenerSpec, PeerSpec, TlsSpec, Transport};
use certus_pki::{Explanation, NodeId, code};
use zeroize::Zeroizing;

use raw::{RawConfig, Text};
use reader::Reader;
use tls::{Base, End, Layer};

pub(crate) use schema::schema;
pub(crate) use show::{Doc, show};
pub(crate) use stale::StalenessOf;
pub(crate) use tls::MtlsWord;
pub(crate) use warnings::warnings;

/// Larger than any configuration; what is larger is not read.
const CONFIG_BYTES_MAX: u64 = 4 << 20;
/// As deep as conditions of `allow` may go, a map and a list for each, below three of the document's own;
/// each takes a good part of a stack.
const NESTING_MAX: usize = 24;

/// Which kind of node a configuration is for: what holds where it says nothing depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum For {
    /// A node of a cluster, which has roots and an identity from there.
    Worker,
    /// A node without one.
    #[default]
    Agent,
}

impl For {
    /// Its word on the command line.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            For::Worker => "worker",
            For::Agent => "agent",
        }
    }

    /// How it speaks TLS unless told otherwise.
    fn tls(self) -> TlsSpec {
        match self {
            For::Worker => TlsSpec::cluster(),
            For::Agent => TlsSpec::mesh(),
        }
    }
}

/// What is known beside the document.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    /// Which kind of node; else it is seen in the document.
    pub(crate) node: Option<For>,
    /// `--enable-mtls`, in the place of the document's.
    pub(crate) mtls: Option<MtlsWord>,
}

/// A node's configuration, checked.
#[derive(Debug)]
pub(crate) struct Config {
    /// Which kind of node it is for.
    pub(crate) node: For,
    /// The node's id.
    pub(crate) id: Option<NodeId>,
    /// Where it keeps its key and certificate.
    pub(crate) data_dir: Option<PathBuf>,
    /// Managers to ask.
    pub(crate) managers: Vec<String>,
    /// The file that holds the token.
    pub(crate) token_file: Option<PathBuf>,
    /// When revocations are stale, and what follows; of a worker.
    pub(crate) staleness: StalenessOf,
    /// What an agent calls itself; its id is its key.
    pub(crate) agent_name: Option<NodeId>,
    /// TLS as the node speaks it where listeners and peers say nothing.
    pub(crate) tls: TlsSpec,
    /// Where the node accepts.
    pub(crate) listeners: Vec<ListenerSpec>,
    /// Whom it dials.
    pub(crate) peers: Vec<PeerSpec>,
}

impl Config {
    /// Reads a file, with the process' environment for its names.
    pub(crate) fn read(path: &Path, told: Told) -> Result<Config, Explanation> {
        let cannot = |error: std::io::Error| {
            Explanation::new(code::FILE, format!("cannot read {}", path.display()))
                .fact("the system says", error)
        };
        let bytes = std::fs::metadata(path).map_err(cannot)?.len();
        if bytes > CONFIG_BYTES_MAX {
            return Err(Explanation::new(code::CONFIGURATION, "the configuration is too large")
                .halves(format!("at most {CONFIG_BYTES_MAX} bytes"), bytes));
        }
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(cannot)?);
        Config::parse(&text, path, &|name| std::env::var(name).ok(), told)
    }

    /// The configuration of a node that has no file.
    pub(crate) fn empty(told: Told) -> Result<Config, Explanation> {
        Config::parse("", Path::new("no configuration"), &|_| None, told)
    }

    /// Reads a text; `path` is named in errors, `lookup` knows the values of names.
    pub(crate) fn parse(
        text: &str,
        path: &Path,
        lookup: &dyn Fn(&str) -> Option<String>,
        told: Told,
    ) -> Result<Config, Explanation> {
        let reader = Reader { text, path, lookup };
        let options = serde_saphyr::options! {
            with_snippet: false,
            budget: serde_saphyr::budget! { max_depth: NESTING_MAX },
        };
        // An empty document is an empty configuration.
        let raw: Option<RawConfig> =
            serde_saphyr::from_str_with_options(text, options).map_err(|error| reader.not_yaml(&error))?;
        reader.config(&raw.unwrap_or_default(), told)
    }
}

impl Reader<'_> {
    fn config(&self, raw: &RawConfig, told: Told) -> Result<Config, Explanation> {
        let node = told.node.unwrap_or_else(|| raw.node());
        self.fits(raw, node)?;
        let agent = raw.agent.as_ref().map(|agent| &agent.value);
        let mut base = Base { node, raw: raw.tls.as_ref(), layer: Layer::default() };
        let mut managers = Vec::new();
        for manager in raw.manager.iter().chain(&raw.managers) {
            managers.extend(self.addresses("manager", manager)?);
        }
        if let Some(tls) = &raw.tls {
            base.layer = self.layer(tls)?;
        }
        base.layer.mtls = told.mtls.or(base.layer.mtls);
        let data_dir = agent.and_then(|agent| agent.data_dir.as_ref()).or(raw.data_dir.as_ref());
        let mut config = Config {
            node,
            id: raw.id.as_ref().map(|id| self.parsed("id", id)).transpose()?,
            data_dir: data_dir.map(|dir| self.path_of(dir)).transpose()?,
            managers,
            token_file: raw.token_file.as_ref().map(|file| self.path_of(file)).transpose()?,
            staleness: self.staleness(raw)?,
            agent_name: agent
                .and_then(|agent| agent.id.as_ref())
                .map_or(Ok(None), |id| self.agent_name(id))?,
            tls: self.tls(&base, None, End::Node)?,
            listeners: Vec::new(),
            peers: Vec::new(),
        };
        config.tls.material = base.layer.material.clone();
        for listener in &raw.listeners {
            config.listeners.push(self.listener(listener, &base)?);
        }
        for peer in &raw.peers {
            config.peers.push(self.peer(peer, &base)?);
        }
        let places = raw.listeners.iter().map(|listener| listener.value.name.as_ref());
        let names = config
            .listeners
            .iter_mut()
            .map(|listener| Named::of(&mut listener.name, listener.transport, &listener.address));
        self.names("listener", places, names.collect())?;
        let places = raw.peers.iter().map(|peer| peer.value.name.as_ref());
        let names =
            config.peers.iter_mut().map(|peer| Named::of(&mut peer.name, peer.transport, &peer.address));
        self.names("peer", places, names.collect())?;
        Ok(config)
    }

    /// A section or key that the kind of node has no use for.
    fn fits(&self, raw: &RawConfig, node: For) -> Result<(), Explanation> {
        match (node, &raw.agent) {
            (For::Worker, Some(agent)) => {
                Err(self.wrong(agent, "agent: is for agents, and this is a worker's configuration"))
            }
            (For::Worker, None) => Ok(()),
            (For::Agent, _) => {
                let cluster = [
                    ("id", raw.id.as_ref()),
                    ("manager", raw.manager.as_ref()),
                    ("managers", raw.managers.first()),
                    ("token_file", raw.token_file.as_ref()),
                    ("revocation_stale_after", raw.revocation_stale_after.as_ref()),
                    ("on_revocation_stale", raw.on_revocation_stale.as_ref()),
                ];
                match cluster.iter().find_map(|(key, place)| Some((key, (*place)?))) {
                    Some((key, place)) => Err(self.wrong(
                        place,
                        &format!("{key}: is for nodes of a cluster, and this is an agent's configuration"),
                    )),
                    None => Ok(()),
                }
            }
        }
    }

    fn agent_name(&self, raw: &Text) -> Result<Option<NodeId>, Explanation> {
        if raw.value == "auto" { Ok(None) } else { self.parsed("id", raw).map(Some) }
    }

    /// Refuses two of one name, and names those that have none.
    fn names<'t>(
        &self,
        what: &str,
        places: impl Iterator<Item = Option<&'t Text>>,
        named: Vec<Named<'_>>,
    ) -> Result<(), Explanation> {
        let mut taken = BTreeSet::new();
        for (place, name) in places.zip(&named) {
            let Some(place) = place else { continue };
            if !taken.insert(name.name.clone()) {
                let message = format!("two {what}s have the same name");
                return Err(self.wrong(place, &message));
            }
        }
        for named in named.into_iter().filter(|named| named.name.is_empty()) {
            let first = format!("{}-{}", named.transport, named.port);
            let more = (2_u64..).map(|number| format!("{first}-{number}"));
            let free = std::iter::once(first.clone()).chain(more).find(|name| taken.insert(name.clone()));
            *named.name = free.unwrap_or(first);
        }
        Ok(())
    }
}

/// A listener or peer while it gets its name.
struct Named<'a> {
    name: &'a mut String,
    transport: Transport,
    port: String,
}

impl<'a> Named<'a> {
    fn of(name: &'a mut String, transport: Transport, address: &str) -> Named<'a> {
        let port = address.rsplit_once(':').map_or("", |(_, port)| port).to_owned();
        Named { name, transport, port }
    }
}

impl RawConfig {
    /// Which kind of node the document is for, where nobody says: a cluster's where it names managers, a
    /// token or SPIFFE ids and brings no certificates of its own.
    fn node(&self) -> For {
        if self.agent.is_some() {
            return For::Agent;
        }
        if self.id.is_some()
            || self.manager.is_some()
            || !self.managers.is_empty()
            || self.token_file.is_some()
            || self.revocation_stale_after.is_some()
            || self.on_revocation_stale.is_some()
        {
            return For::Worker;
        }
        let spiffe = |text: &str| text.starts_with("spiffe:");
        let named = self.peers.iter().any(|peer| spiffe(&peer.value.id.value))
            || self.listeners.iter().any(|listener| {
                listener.value.allow.as_ref().is_some_and(|tree| tree.value.mentions(&spiffe))
            });
        let roots = self.tls.as_ref().is_some_and(|tls| tls.ca.is_some() || tls.ca_pem.is_some());
        if named && !roots { For::Worker } else { For::Agent }
    }
}

/// HOST:PORT with a host of some form and a port that is a number.
pub(crate) fn is_address(text: &str) -> bool {
    if text.parse::<std::net::SocketAddr>().is_ok() {
        return true;
    }
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host_ok = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    !host.is_empty() && host_ok && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests;
