//! What a node is told to do: checked options, no text left to parse.

use std::fmt;
use std::path::PathBuf;

use certus_pki::{IdPattern, JoinToken, NodeId, Role, SpiffeId};
use certus_tls::Clock;

use crate::clock::system_clock;

/// How connections travel between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// One TLS connection for each carried connection.
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Transport::Tcp => f.pad("tcp"),
        }
    }
}

/// The plain service behind a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// `host:port`.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backend::Tcp(address) => f.write_str(address),
            Backend::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where a node accepts, whom, and for which service.
#[derive(Clone, Debug)]
pub struct ListenerSpec {
    /// Its name in logs and metrics.
    pub name: String,
    /// How connections travel.
    pub transport: Transport,
    /// `host:port` to listen on; port 0 takes any.
    pub address: String,
    /// The service.
    pub forward: Backend,
    /// Who may connect; empty is nobody.
    pub allow: Vec<IdPattern>,
}

/// A listener of another node, and the local port that leads there.
#[derive(Clone, Debug)]
pub struct PeerSpec {
    /// Its name in logs and metrics.
    pub name: String,
    /// Who must answer.
    pub id: SpiffeId,
    /// How connections travel.
    pub transport: Transport,
    /// `host:port` of the other node's listener.
    pub address: String,
    /// `host:port` to listen on here, in the clear; loopback unless one knows better.
    pub listen: String,
}

/// Everything a node needs to start.
#[derive(Clone)]
pub struct NodeOptions {
    /// Where it keeps its credentials.
    pub data_dir: PathBuf,
    /// The managers' addresses, `host:port`; empty takes those that were used last.
    pub managers: Vec<String>,
    /// Needed once; used only where there are no usable credentials.
    pub token: Option<JoinToken>,
    /// Which node it is; may be left out where `data_dir` holds one identity of the role.
    pub id: Option<NodeId>,
    /// What it is.
    pub role: Role,
    /// Where it accepts.
    pub listeners: Vec<ListenerSpec>,
    /// Whom it dials.
    pub peers: Vec<PeerSpec>,
    /// Where the time comes from.
    pub clock: Clock,
}

impl NodeOptions {
    /// A node of `role` that keeps its credentials in `data_dir`, by the machine's clock.
    pub fn new(data_dir: impl Into<PathBuf>, role: Role) -> NodeOptions {
        NodeOptions {
            data_dir: data_dir.into(),
            managers: Vec::new(),
            token: None,
            id: None,
            role,
            listeners: Vec::new(),
            peers: Vec::new(),
            clock: system_clock(),
        }
    }
}
