//! Children that carry: either end of a pair, ours or a baseline's, by the name of its kind.
//!
//! Kinds: `relay`, `bare`, `tcp`, `h2`, `ws`, `quic`, `tcp+e2e`.

use std::net::SocketAddr;
use std::path::Path;

use certus_node::{
    AgentKey, Backend, Carrier, ListenerSpec, Means, Metrics, PeerId, PeerSpec, TlsSpec, Transport,
};
use certus_pki::Allow;

use super::child::{self, Child};
use super::{Failure, authority, bare};

/// The kinds that are ours.
pub(crate) const OURS: [&str; 5] = ["tcp", "h2", "ws", "quic", "tcp+e2e"];

/// A pair of children: listener in front of `backend`, then dialer; the second's address is the way in.
pub(crate) fn pair(kind: &str, dir: &Path, backend: SocketAddr) -> Result<Vec<Child>, Failure> {
    let place = dir.to_str().ok_or("the directory's name is not text")?;
    let listener = Child::start(&["listener", kind, place, &backend.to_string()])?;
    let dialer = Child::start(&["dialer", kind, place, &listener.address.to_string()])?;
    Ok(vec![listener, dialer])
}

/// What such a child does.
pub(crate) async fn run(role: &[String]) -> Result<(), Failure> {
    let [end, kind, dir, address] = role else { return Err("four words tell such a child".into()) };
    let (dir, listens, to) = (Path::new(dir), end == "listener", address.parse()?);
    match (kind.as_str(), listens) {
        ("relay", _) => child::serve(bare::relay(to).await?).await,
        ("bare", true) => {
            let config = bare::server_config(dir, "server")?;
            child::serve(bare::listener(config, to).await?).await
        }
        ("bare", false) => {
            let config = bare::client_config(dir, "client", true)?;
            child::serve(bare::dialer(config, to).await?).await
        }
        _ => ours(kind, listens, dir, to).await,
    }
}

async fn ours(kind: &str, listens: bool, dir: &Path, to: SocketAddr) -> Result<(), Failure> {
    let name = if listens { "server" } else { "client" };
    let publisher = authority::read_publisher(dir, name)?;
    let mut means = Means::new(publisher.credentials(), Metrics::new());
    let transport = transport_of(kind)?;
    let (mut listeners, mut peers) = (Vec::new(), Vec::new());
    let mut agents = None;
    if kind.ends_with("+e2e") {
        let [server, client] = [
            AgentKey::load_or_make(&dir.join("agent-server"))?,
            AgentKey::load_or_make(&dir.join("agent-client"))?,
        ];
        agents = Some((server.id(), client.id()));
        means.key = Some(std::sync::Arc::new(if listens { server } else { client }));
    }
    if listens {
        listeners.push(listener(transport, to)?);
    } else {
        peers.push(peer(transport, to)?);
    }
    if let Some((server, client)) = agents {
        for listener in &mut listeners {
            (listener.allow, listener.tls) = (Allow::Agent(client), TlsSpec::mesh());
        }
        for peer in &mut peers {
            (peer.id, peer.tls) = (PeerId::Agent(server), TlsSpec::mesh());
        }
    }
    let carrier = Carrier::start(means, listeners, peers).await?;
    let address = carrier.bound("bench").ok_or("nothing is bound")?;
    let ended = child::serve(address).await;
    drop((carrier, publisher));
    ended
}

/// The transport of a kind of ours.
pub(crate) fn transport_of(kind: &str) -> Result<Transport, Failure> {
    let transport = kind.trim_end_matches("+e2e");
    let known = Transport::ALL.into_iter().find(|one| one.as_str() == transport);
    known.ok_or_else(|| format!("no transport is called {kind}").into())
}

/// A listener for every node, in front of `backend`.
pub(crate) fn listener(transport: Transport, backend: SocketAddr) -> Result<ListenerSpec, Failure> {
    let allow = Allow::Id(format!("spiffe://{}/worker/*", authority::CLUSTER).parse()?);
    let mut spec =
        ListenerSpec::new("bench", transport, "127.0.0.1:0", Backend::Tcp(backend.to_string()), allow);
    spec.limits.connections = 20_000;
    Ok(spec)
}

/// A peer that reaches the node `server` at `to`.
pub(crate) fn peer(transport: Transport, to: SocketAddr) -> Result<PeerSpec, Failure> {
    let server = format!("spiffe://{}/worker/server", authority::CLUSTER).parse()?;
    Ok(PeerSpec::new("bench", server, transport, to.to_string(), "127.0.0.1:0"))
}
