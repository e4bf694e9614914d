//! Two ends and the services behind them, for every transport.

use std::net::SocketAddr;
use std::sync::Arc;

use certus_node::{Backend, Carrier, Failure, ListenerSpec, Means, Metrics, PeerId, PeerSpec, Transport};
use certus_pki::{Allow, Code, Signer};
use certus_tls::{Identity, Publisher};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::authority::{Authority, key};
use crate::{soon, until};

/// One end, with its credentials.
pub(crate) struct End {
    pub(crate) publisher: Publisher,
    pub(crate) carrier: Carrier,
    pub(crate) metrics: Metrics,
}

impl End {
    pub(crate) async fn new(publisher: Publisher, listeners: Vec<ListenerSpec>, peers: Vec<PeerSpec>) -> End {
        let metrics = Metrics::new();
        let means = Means::new(publisher.credentials(), metrics.clone());
        let carrier = Carrier::start(means, listeners, peers).await.unwrap();
        End { publisher, carrier, metrics }
    }

    pub(crate) fn port(&self) -> SocketAddr {
        self.carrier.bound("web").unwrap()
    }

    pub(crate) fn numbers(&self) -> String {
        let mut registry = Registry::default();
        self.metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    pub(crate) fn last_failure(&self) -> Option<Failure> {
        self.carrier.failures().last().0.into_iter().next()
    }

    /// Waits until the last failure has this code.
    pub(crate) async fn failed_with(&self, what: &str, code: Code) -> Failure {
        let held = tokio::time::timeout(std::time::Duration::from_secs(30), async {
            loop {
                if let Some(failure) = self.last_failure().filter(|failure| failure.why.code == code) {
                    return failure;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        });
        match held.await {
            Ok(failure) => failure,
            Err(_) => panic!("{what}: {code} was expected, {:?} came", self.last_failure()),
        }
    }

    /// How many TLS connections live.
    pub(crate) fn live(&self) -> usize {
        self.publisher.registry().live()
    }

    pub(crate) async fn live_is(&self, what: &str, count: usize) {
        until(&format!("{what}: {count} live, now {}", self.live()), || self.live() == count).await;
    }
}

pub(crate) fn allow(patterns: &[&str]) -> Allow {
    Allow::Any(patterns.iter().map(|pattern| pattern.parse().unwrap()).collect())
}

pub(crate) fn listener(transport: Transport, forward: Backend, patterns: &[&str]) -> ListenerSpec {
    ListenerSpec::new("web", transport, "127.0.0.1:0", forward, allow(patterns))
}

pub(crate) fn to(authority: &Authority, transport: Transport, role_and_id: &str, at: SocketAddr) -> PeerSpec {
    let mut spec = PeerSpec::new("web", authority.id(role_and_id), transport, at.to_string(), "127.0.0.1:0");
    spec.id = PeerId::Spiffe(authority.id(role_and_id));
    spec
}

pub(crate) fn tcp(address: SocketAddr) -> Backend {
    Backend::Tcp(address.to_string())
}

/// `web-1` serves `forward` to every worker over `transport`; `web-2` reaches it.
pub(crate) async fn pair(authority: &Authority, transport: Transport, forward: SocketAddr) -> (End, End) {
    let one = serving(authority, transport, forward).await;
    let two = reaching(authority, transport, "worker/web-2", one.port()).await;
    (one, two)
}

pub(crate) async fn serving(authority: &Authority, transport: Transport, forward: SocketAddr) -> End {
    let listener = listener(transport, tcp(forward), &["spiffe://prod/worker/*"]);
    End::new(authority.publisher("worker/web-1"), vec![listener], vec![]).await
}

pub(crate) async fn reaching(authority: &Authority, transport: Transport, who: &str, at: SocketAddr) -> End {
    let peer = to(authority, transport, "worker/web-1", at);
    End::new(authority.publisher(who), vec![], vec![peer]).await
}

/// A fresh identity, as a renewal gives.
pub(crate) fn renewed(authority: &Authority, role_and_id: &str) -> Arc<Identity> {
    let key = key();
    Arc::new(Identity::new(&key, authority.chain(role_and_id, key.public_key())).unwrap())
}

/// A service of which each connection is handled so.
pub(crate) async fn service<F, W>(handle: F) -> SocketAddr
where
    F: Fn(TcpStream) -> W + Send + 'static,
    W: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(handle(tcp));
        }
    });
    address
}

/// Answers every byte at once.
pub(crate) async fn echo() -> SocketAddr {
    service(|mut tcp| async move {
        let (mut from, mut to) = tcp.split();
        tokio::io::copy(&mut from, &mut to).await?;
        to.shutdown().await
    })
    .await
}

/// Answers each connection with what it was sent, in capitals, once that ended.
pub(crate) async fn shouting() -> SocketAddr {
    service(|mut tcp| async move {
        let mut asked = String::new();
        tcp.read_to_string(&mut asked).await?;
        tcp.write_all(asked.to_uppercase().as_bytes()).await
    })
    .await
}

/// Sends, ends the sending side, and reads the answer: fails if half-close is not carried.
pub(crate) async fn ask(port: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut tcp = TcpStream::connect(port).await?;
    tcp.write_all(question).await?;
    tcp.shutdown().await?;
    let mut answer = Vec::new();
    soon("an answer", tcp.read_to_end(&mut answer)).await?;
    Ok(answer)
}

/// One byte there and back.
pub(crate) async fn ping(tcp: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<()> {
    tcp.write_all(b"x").await?;
    let mut byte = [0];
    soon("an echo", tcp.read_exact(&mut byte)).await.map(drop)
}

/// A local connection that is carried and answered.
pub(crate) async fn carried(port: SocketAddr) -> TcpStream {
    let mut tcp = TcpStream::connect(port).await.unwrap();
    ping(&mut tcp).await.unwrap();
    tcp
}

/// The local application sees a reset, never an end that it could take for a complete answer.
pub(crate) async fn is_reset(what: &str, tcp: &mut TcpStream) {
    let mut rest = Vec::new();
    let read = soon(what, tcp.read_to_end(&mut rest)).await;
    assert!(read.is_err(), "{what}: a clean end after {} bytes", rest.len());
}

/// Nothing is carried, and the local application sees a reset.
pub(crate) async fn is_refused(what: &str, port: SocketAddr) {
    let mut tcp = TcpStream::connect(port).await.unwrap();
    // A write that fails has seen the reset; a read would not see it again.
    if tcp.write_all(b"hello").await.is_ok() {
        is_reset(what, &mut tcp).await;
    }
}
