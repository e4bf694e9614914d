//! The same story on every transport: carried, revoked, refused; and agents who know each other by key.

use certus_node::{AgentOptions, Backend, ListenerSpec, Node, PeerId, PeerSpec, TlsSpec, Transport, WS_PATH};
use certus_pki::{Allow, Change, code};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::authority::{Authority, delta};
use crate::carry::{End, echo, ping, service};
use crate::{soon, until};

async fn pair(authority: &Authority, transport: Transport, forward: std::net::SocketAddr) -> [End; 2] {
    let allow = Allow::Any(vec!["spiffe://prod/worker/web-2".parse().unwrap()]);
    let forward = Backend::Tcp(forward.to_string());
    let listener = ListenerSpec::new("web", transport, "127.0.0.1:0", forward, allow);
    let one = End::new(authority.publisher("worker/web-1"), vec![listener], vec![]).await;
    let peer =
        PeerSpec::new("web", authority.id("worker/web-1"), transport, one.port().to_string(), "127.0.0.1:0");
    let two = End::new(authority.publisher("worker/web-2"), vec![], vec![peer]).await;
    [one, two]
}

async fn ask(port: std::net::SocketAddr, question: &[u8]) -> Vec<u8> {
    let mut tcp = TcpStream::connect(port).await.unwrap();
    tcp.write_all(question).await.unwrap();
    tcp.shutdown().await.unwrap();
    let mut answer = Vec::new();
    soon("an answer", tcp.read_to_end(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn questions_are_carried_on_every_transport() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let [one, two] = pair(&authority, transport, service().await).await;
        assert_eq!(ask(two.port(), b"hello").await, b"HELLO", "{transport}");
        let long = vec![b'a'; 3 << 20];
        assert!(ask(two.port(), &long).await == vec![b'A'; 3 << 20], "{transport}");
        assert_eq!(one.carrier.failures().last().1, 0, "{transport}");
    }
}

#[tokio::test]
async fn a_revocation_cuts_on_every_transport() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let [one, two] = pair(&authority, transport, echo().await).await;
        let mut live = TcpStream::connect(two.port()).await.unwrap();
        ping(&mut live).await.unwrap();
        let identity = two.publisher.current().identity().cloned().unwrap();
        let revoked = authority.revocation(identity.leaf());
        one.publisher.apply(&delta(2, vec![Change::Revoked(revoked)])).unwrap();
        let ended = soon("the end", live.read(&mut [0; 8])).await;
        assert!(ended.is_err(), "{transport}: not a clean end, {ended:?}");
        // The next is refused, whether by the handshake or on the connection that was kept.
        let mut next = TcpStream::connect(two.port()).await.unwrap();
        let _ = next.write_all(b"x").await;
        let refused = soon("a refusal", next.read(&mut [0; 8])).await;
        assert!(refused.is_err(), "{transport}: {refused:?}");
        let failures = one.carrier.failures().clone();
        until("the refusal is kept", || failures.last().0.iter().any(|one| one.why.code == code::REVOKED))
            .await;
    }
}

#[tokio::test]
async fn agents_know_each_other_by_key() {
    for transport in Transport::ALL {
        let dir = tempfile::tempdir().unwrap();
        let mut options = AgentOptions::new(dir.path().join("b"));
        let spare = Node::start_agent(options.clone()).await.unwrap();
        let caller = spare.agent_id();
        spare.shutdown().await;

        let mut serving = AgentOptions::new(dir.path().join("a"));
        let forward = Backend::Tcp(service().await.to_string());
        let mut listener = ListenerSpec::new("web", transport, "127.0.0.1:0", forward, Allow::Agent(caller));
        listener.tls = TlsSpec::mesh();
        serving.listeners = vec![listener];
        let serving = Node::start_agent(serving).await.unwrap();

        let port = serving.bound("web").unwrap();
        let peer = |name: &str, id| {
            let mut peer = PeerSpec::new(
                name,
                "spiffe://x/worker/y".parse().unwrap(),
                transport,
                port.to_string(),
                "127.0.0.1:0",
            );
            peer.id = PeerId::Agent(id);
            peer.tls = TlsSpec::mesh();
            peer.path = WS_PATH.to_owned();
            peer
        };
        options.peers = vec![peer("right", serving.agent_id()), peer("wrong", caller)];
        let calling = Node::start_agent(options).await.unwrap();
        assert_eq!(ask(calling.bound("right").unwrap(), b"hello").await, b"HELLO", "{transport}");

        let mut wrong = TcpStream::connect(calling.bound("wrong").unwrap()).await.unwrap();
        let _ = wrong.write_all(b"x").await;
        assert!(soon("a refusal", wrong.read(&mut [0; 8])).await.is_err(), "{transport}");
        let why = calling.failures().last().0[0].why.clone();
        assert_eq!(why.code, code::E2E_WRONG_PEER, "{transport}: {why}");
        calling.shutdown().await;
        serving.shutdown().await;
    }
}
