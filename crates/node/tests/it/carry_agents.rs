//! Agents without a cluster: nothing configured, own files, somebody between the two; on every transport.

mod between;
mod files;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use certus_node::{
    AgentKey, AgentOptions, E2e, Failure, ListenerSpec, Node, PeerId, PeerSpec, TlsSpec, Transport,
};
use certus_pki::{AgentId, Code, code};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;

use crate::authority::Authority;
use crate::world::{allow, ask, carried, is_refused, listener, ping, service, shouting, tcp, to};

/// An agent in a directory of its own.
struct Agent {
    node: Node,
    _dir: TempDir,
}

impl Agent {
    /// One of which nothing is configured.
    async fn new() -> Agent {
        Agent::with(|_| {}).await
    }

    async fn with(options: impl FnOnce(&mut AgentOptions)) -> Agent {
        let dir = tempfile::tempdir().unwrap();
        let mut told = AgentOptions::new(dir.path());
        options(&mut told);
        Agent { node: Node::start_agent(told).await.unwrap(), _dir: dir }
    }

    fn port(&self) -> SocketAddr {
        self.node.bound("web").unwrap()
    }

    async fn listens(&self, spec: ListenerSpec) -> SocketAddr {
        self.node.reload(vec![spec], vec![]).await.unwrap();
        self.port()
    }

    async fn dials(&self, spec: PeerSpec) -> SocketAddr {
        self.node.reload(vec![], vec![spec]).await.unwrap();
        self.port()
    }

    async fn failed_with(&self, what: &str, code: Code) -> Failure {
        let last = || self.node.failures().last().0.into_iter().next();
        crate::until(&format!("{what}: {code}; the last is {:?}", last()), || {
            last().is_some_and(|failure| failure.why.code == code)
        })
        .await;
        last().unwrap()
    }
}

/// A listener as an agent has it where nothing is told but whom it allows.
fn open(transport: Transport, forward: SocketAddr, allowed: &str) -> ListenerSpec {
    let mut spec = listener(transport, tcp(forward), &[allowed]);
    spec.tls = TlsSpec::mesh();
    spec
}

/// A peer that is known by its id alone.
fn known(transport: Transport, id: AgentId, at: SocketAddr) -> PeerSpec {
    let mut spec = to(&Authority::new("none"), transport, "worker/none", at);
    (spec.id, spec.tls) = (PeerId::Agent(id), TlsSpec::mesh());
    spec
}

/// A service that counts the bytes that reach it.
async fn counting() -> (SocketAddr, Arc<AtomicUsize>) {
    let came = Arc::new(AtomicUsize::new(0));
    let counted = came.clone();
    let address = service(move |mut tcp| {
        let counted = counted.clone();
        async move {
            let mut buffer = [0; 100];
            loop {
                match tcp.read(&mut buffer).await? {
                    0 => return Ok(()),
                    count => counted.fetch_add(count, Ordering::SeqCst),
                };
            }
        }
    });
    (address.await, came)
}

#[tokio::test]
async fn two_agents_of_which_nothing_is_configured_carry() {
    for transport in Transport::ALL {
        let (one, two) = (Agent::new().await, Agent::new().await);
        let allowed = format!("agent:{}", two.node.agent_id());
        let at = one.listens(open(transport, shouting().await, &allowed)).await;
        let port = two.dials(known(transport, one.node.agent_id(), at)).await;
        let long = vec![b'a'; 1 << 20];
        assert_eq!(ask(port, &long).await.unwrap(), vec![b'A'; 1 << 20], "{transport}");
        assert_eq!(one.node.failures().last().1, 0, "{transport}");
        assert_eq!(two.node.failures().last().1, 0, "{transport}");
    }
}

#[tokio::test]
async fn the_id_stays_the_same_in_the_same_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = Node::start_agent(AgentOptions::new(dir.path())).await.unwrap();
    let id = first.agent_id();
    first.shutdown().await;
    let again = Node::start_agent(AgentOptions::new(dir.path())).await.unwrap();
    assert_eq!(again.agent_id(), id);
    assert_eq!(again.name(), id.to_string());
}

#[tokio::test]
async fn another_agent_than_the_one_that_was_meant_gets_not_a_byte() {
    for transport in Transport::ALL {
        let (one, two) = (Agent::new().await, Agent::new().await);
        let (service, came) = counting().await;
        let allowed = format!("agent:{}", two.node.agent_id());
        let at = one.listens(open(transport, service, &allowed)).await;
        let meant = AgentKey::generate().unwrap().id();
        let port = two.dials(known(transport, meant, at)).await;
        is_refused(&format!("{transport}"), port).await;
        let why = two.failed_with(&format!("{transport}"), code::E2E_WRONG_PEER).await.why;
        assert!(why.to_string().contains(&meant.to_string()), "{transport}: {why}");
        one.failed_with(&format!("{transport}"), code::E2E_FAILED).await;
        assert_eq!(came.load(Ordering::SeqCst), 0, "{transport}");
    }
}

#[tokio::test]
async fn an_agent_that_is_not_allowed_is_refused_and_told() {
    for transport in Transport::ALL {
        let (one, two) = (Agent::new().await, Agent::new().await);
        let (service, came) = counting().await;
        let allowed = format!("agent:{}", AgentKey::generate().unwrap().id());
        let at = one.listens(open(transport, service, &allowed)).await;
        let port = two.dials(known(transport, one.node.agent_id(), at)).await;
        is_refused(&format!("{transport}"), port).await;
        let why = two.failed_with(&format!("{transport}"), code::E2E_REFUSED).await.why;
        assert!(why.to_string().contains("CT-1108"), "{transport}: {why}");
        one.failed_with(&format!("{transport}"), code::NOT_ALLOWED).await;
        assert_eq!(came.load(Ordering::SeqCst), 0, "{transport}");
    }
}

/// Each stream of one connection is judged for itself: one that comes without a session takes nothing
/// from those that have one.
#[tokio::test]
async fn without_a_session_nobody_is_known_and_others_go_on() {
    for transport in Transport::ALL {
        let what = format!("{transport}");
        let (one, two, bare) = (Agent::new().await, Agent::new().await, Agent::new().await);
        let allowed = format!("agent:{}", two.node.agent_id());
        let at = one.listens(open(transport, crate::world::echo().await, &allowed)).await;
        let port = two.dials(known(transport, one.node.agent_id(), at)).await;
        let mut live = carried(port).await;
        let mut spec = known(transport, one.node.agent_id(), at);
        spec.e2e = E2e::Never;
        is_refused(&what, bare.dials(spec).await).await;
        one.failed_with(&what, code::NO_CERTIFICATE).await;
        ping(&mut live).await.unwrap();
        ping(&mut carried(port).await).await.unwrap();
    }
}

#[tokio::test]
async fn a_listener_that_never_has_sessions_says_so() {
    for transport in Transport::ALL {
        let what = format!("{transport}");
        let (one, two) = (Agent::new().await, Agent::new().await);
        let mut spec = open(transport, shouting().await, "any");
        spec.e2e = E2e::Never;
        let at = one.listens(spec).await;
        let port = two.dials(known(transport, one.node.agent_id(), at)).await;
        is_refused(&what, port).await;
        let code = if transport == Transport::Ws { code::STREAM_REFUSED } else { code::E2E_FAILED };
        two.failed_with(&what, code).await;
        // Who asks for none is served: the service is public.
        let mut spec = known(transport, one.node.agent_id(), at);
        spec.e2e = E2e::Never;
        assert_eq!(ask(two.dials(spec).await, b"hello").await.unwrap(), b"HELLO", "{what}");
    }
}

/// An end-to-end session ends in order with its node, and is never taken for complete where it was cut.
#[tokio::test]
async fn a_node_that_ends_says_so_inside_the_session() {
    for transport in Transport::ALL {
        let (one, two) = (Agent::new().await, Agent::new().await);
        let allowed = format!("agent:{}", two.node.agent_id());
        let at = one.listens(open(transport, crate::world::echo().await, &allowed)).await;
        let port = two.dials(known(transport, one.node.agent_id(), at)).await;
        let mut live = carried(port).await;
        crate::soon("the end", one.node.shutdown_within(std::time::Duration::ZERO)).await;
        let mut rest = Vec::new();
        let read = crate::soon("the end", live.read_to_end(&mut rest)).await;
        assert!(read.is_ok() && rest.is_empty(), "{transport}: {read:?}, {:?}", two.node.failures().last());
    }
}
