//! A node, an authority that is not its own, and services behind it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use certus_forge::{Ca, Eku, Leaf, LeafSpec};
use certus_node::{
    AgentOptions, Backend, E2e, Failure, ListenerSpec, MaterialSpec, Node, PeerId, PeerSpec, Pem, Transport,
};
use certus_pki::Allow;
use certus_tls::Versions;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::program::{PATIENCE, until};

/// The name that servers' certificates are for, beside 127.0.0.1.
pub(crate) const SERVER: &str = "server.test";
/// The name in the certificate of the caller that listeners let in.
pub(crate) const CLIENT: &str = "client.test";
/// The id of an agent that nobody is: for peers of which TLS and the name that was dialed must do.
const NOBODY: &str = "1111111111111111111111111111111111111111111111111111111111111111";

/// Nodes and services run on its threads, so a test may wait for a program on its own.
pub(crate) struct World {
    runtime: Runtime,
    dir: TempDir,
    pub(crate) ca: Ca,
    nodes: AtomicUsize,
}

impl World {
    /// With the files `ca.crt`, `issuer.crt`, `server.crt`, `server.key`, `client.crt` and `client.key`.
    pub(crate) fn new() -> World {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::root("Other CA").intermediate("Other CA 1", 0));
        let world = World { runtime: runtime.unwrap(), dir, ca, nodes: AtomicUsize::new(0) };
        world.write("ca.crt", &certus_forge::pem("CERTIFICATE", &world.ca.root_der));
        world.write("issuer.crt", &world.ca.pem);
        world.pair("server", &server());
        world.pair("client", &client(CLIENT));
        world
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Signs a certificate and writes `name.crt`, its issuer behind it, and `name.key`.
    pub(crate) fn pair(&self, name: &str, spec: &LeafSpec) -> MaterialSpec {
        self.written(name, &self.ca.leaf(spec))
    }

    /// Writes `name.crt` and `name.key`, and names them with `ca.crt`.
    pub(crate) fn written(&self, name: &str, leaf: &Leaf) -> MaterialSpec {
        self.write(&format!("{name}.crt"), &leaf.chain_pem);
        let key = self.write(&format!("{name}.key"), &leaf.key_pem);
        // What others may read is no key.
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(key, owner_only).unwrap();
        self.named(name)
    }

    /// The files of this name, with `ca.crt`.
    pub(crate) fn named(&self, name: &str) -> MaterialSpec {
        let file = |name: String| Some(Pem::File(self.path(&name)));
        MaterialSpec {
            cert: file(format!("{name}.crt")),
            key: file(format!("{name}.key")),
            ca: file("ca.crt".to_owned()),
        }
    }

    /// An agent with the files of this name.
    pub(crate) fn node(&self, name: &str, listeners: Vec<ListenerSpec>, peers: Vec<PeerSpec>) -> Running<'_> {
        let number = self.nodes.fetch_add(1, Ordering::Relaxed);
        self.restarted(number, name, listeners, peers)
    }

    /// The node that was started as this one, counted from 0, with the same end-to-end key.
    pub(crate) fn restarted(
        &self,
        number: usize,
        name: &str,
        listeners: Vec<ListenerSpec>,
        peers: Vec<PeerSpec>,
    ) -> Running<'_> {
        let mut options = AgentOptions::new(self.path(&format!("node-{number}")));
        options.material = self.named(name);
        (options.listeners, options.peers) = (listeners, peers);
        let node = self.runtime.block_on(Node::start_agent(options)).unwrap();
        Running { world: self, node }
    }

    /// A service that answers every byte with the same, and an end with an end.
    pub(crate) fn echo(&self) -> SocketAddr {
        let listener = self.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        self.runtime.spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = tcp.split();
                    tokio::io::copy(&mut from, &mut to).await?;
                    tokio::io::AsyncWriteExt::shutdown(&mut to).await
                });
            }
        });
        address
    }

    /// A service that answers every request over HTTP/1.1 with its path and body.
    pub(crate) fn http(&self) -> SocketAddr {
        let listener = self.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let answer = |uri: axum::http::Uri, body: String| async move { format!("{uri} says {body}") };
        let router = axum::Router::new().fallback(answer);
        self.runtime.spawn(async move { axum::serve(listener, router).await });
        address
    }
}

/// A node at work. Ends when dropped.
pub(crate) struct Running<'a> {
    world: &'a World,
    pub(crate) node: Node,
}

impl Running<'_> {
    /// Where its listener or peer is.
    pub(crate) fn at(&self) -> SocketAddr {
        self.node.bound("web").unwrap()
    }

    /// Goes over to other listeners.
    pub(crate) fn reload(&self, listeners: Vec<ListenerSpec>) {
        self.world.runtime.block_on(self.node.reload(listeners, Vec::new())).unwrap();
    }

    /// Waits for a failure whose words, facts included, hold `words`.
    #[track_caller]
    pub(crate) fn until_failed(&self, words: &str) -> Failure {
        until(words, || {
            let (last, _) = self.node.failures().last();
            let told = |failure: &Failure| format!("{:?}", failure.why);
            match last.iter().find(|failure| told(failure).contains(words)) {
                Some(failure) => Ok(failure.clone()),
                None => Err(last.iter().map(told).collect::<Vec<_>>()),
            }
        })
    }
}

/// A listener called `web` for whoever shows the certificate of [`CLIENT`].
pub(crate) fn listener(transport: Transport, forward: SocketAddr) -> ListenerSpec {
    let allow = Allow::Name(format!("dns:{CLIENT}").parse().unwrap());
    ListenerSpec::new("web", transport, "127.0.0.1:0", Backend::Tcp(forward.to_string()), allow)
}

/// The same for callers with TLS 1.2 too.
pub(crate) fn old_listener(transport: Transport, forward: SocketAddr) -> ListenerSpec {
    let mut spec = listener(transport, forward);
    spec.tls.versions = Versions::Tls12AndUp;
    spec
}

/// A peer called `web`: a server that is not ours, known by its certificate for [`SERVER`].
pub(crate) fn peer(transport: Transport, address: SocketAddr) -> PeerSpec {
    let nobody = "spiffe://nobody/worker/nobody".parse().unwrap();
    let mut spec = PeerSpec::new("web", nobody, transport, address.to_string(), "127.0.0.1:0");
    spec.id = PeerId::Agent(NOBODY.parse().unwrap());
    spec.e2e = E2e::Never;
    spec.server_name = Some(SERVER.parse().unwrap());
    spec
}

/// What a server's certificate says.
pub(crate) fn server() -> LeafSpec {
    LeafSpec {
        dns: vec![SERVER.to_owned(), "localhost".to_owned()],
        ips: vec![[127, 0, 0, 1].into()],
        eku: Eku::Server,
        ..LeafSpec::named(SERVER)
    }
}

/// What a caller's certificate says.
pub(crate) fn client(name: &str) -> LeafSpec {
    LeafSpec { dns: vec![name.to_owned()], eku: Eku::Client, ..LeafSpec::named(name) }
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// Sends a question to a local port, ends the sending side, and reads the answer to its end.
pub(crate) fn ask(at: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut tcp = dial(at)?;
    tcp.write_all(question)?;
    tcp.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Sends a question and reads what comes until the other end ends it; ours stays open.
pub(crate) fn listen(at: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut tcp = dial(at)?;
    tcp.write_all(question)?;
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Sends a question and reads an answer of `count` bytes; both directions stay open.
pub(crate) fn converse(at: SocketAddr, question: &[u8], count: usize) -> std::io::Result<Vec<u8>> {
    let mut tcp = dial(at)?;
    tcp.write_all(question)?;
    let mut answer = vec![0; count];
    tcp.read_exact(&mut answer)?;
    Ok(answer)
}

fn dial(at: SocketAddr) -> std::io::Result<TcpStream> {
    let tcp = TcpStream::connect(at)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    tcp.set_write_timeout(Some(PATIENCE))?;
    Ok(tcp)
}
