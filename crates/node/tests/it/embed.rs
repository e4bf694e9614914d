//! Endpoints over real sockets: what they accept, what they refuse and say, and what changes live.

mod audit;
mod builder;
mod http;
mod interop;
mod live;
mod options;
mod quic;
mod sources;

use std::io;
use std::sync::Arc;

use certus_forge::{Ca, Leaf, LeafSpec};
use certus_node::Node;
use certus_node::embed::{
    AuditEvent, AuditKind, ClientCertificate, Endpoint, Explanation, Listener, PeerInfo, PeerStream,
    TlsOptions, TlsSource, explain_error,
};
use certus_node::system_clock;
use certus_pki::{Accept, Allow, Bundle, Epoch, Root};
use certus_tls::{Client, ClientOptions, Publisher, Snapshot};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{broadcast, mpsc};

use crate::soon;

/// A CA and the files of those it issued to.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    pub(crate) root: Ca,
}

impl Site {
    pub(crate) fn new() -> Site {
        let site = Site { dir: tempfile::tempdir().unwrap(), root: Ca::root("site") };
        crate::sources::put(&site.path("ca.crt"), &site.root.pem);
        site
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// What everybody's certificate says.
    pub(crate) fn spec(name: &str) -> LeafSpec {
        let dns = vec![format!("{name}.site.test"), "localhost".to_owned()];
        LeafSpec { dns, ips: vec!["127.0.0.1".parse().unwrap()], ..LeafSpec::named(name) }
    }

    pub(crate) fn put(&self, name: &str, leaf: &Leaf) {
        crate::sources::put(&self.path(&format!("{name}.key")), &leaf.key_pem);
        crate::sources::put(&self.path(&format!("{name}.crt")), &leaf.chain_pem);
    }

    /// The files of `name`, written if they are not there.
    pub(crate) fn files(&self, name: &str) -> TlsSource {
        if !self.path(&format!("{name}.crt")).exists() {
            self.put(name, &self.root.leaf(&Site::spec(name)));
        }
        let file = |end: &str| self.path(&format!("{name}.{end}"));
        TlsSource::files(file("crt"), file("key"), self.path("ca.crt"))
    }

    /// The files of `name` after writing what `spec` says.
    pub(crate) fn files_of(&self, name: &str, spec: &LeafSpec) -> TlsSource {
        self.put(name, &self.root.leaf(spec));
        self.files(name)
    }

    pub(crate) async fn endpoint(&self, name: &str) -> Endpoint {
        built(TlsOptions::new(self.files(name))).await
    }

    /// A client that trusts the site and has no certificate.
    pub(crate) fn stranger(&self, allow: Allow) -> (Publisher, Client) {
        let root = Root::from_der(&self.root.der).unwrap();
        let bundle = Bundle::of_authorities(Epoch::default(), vec![root], []);
        let publisher = Publisher::new(Snapshot::new(None, Arc::new(bundle)), system_clock());
        let client = Client::new(publisher.credentials(), ClientOptions::new(Accept::new(allow)));
        (publisher, client)
    }
}

pub(crate) async fn built(options: TlsOptions) -> Endpoint {
    soon("an endpoint", Node::builder().tls(options).build()).await.unwrap_or_else(|error| panic!("{error}"))
}

/// Why an endpoint with these options is not built.
pub(crate) async fn not_built(options: TlsOptions) -> Explanation {
    let built = soon("a refusal", Node::builder().tls(options).build()).await;
    certus_pki::Explain::explain(&built.err().expect("options that cannot be used"))
}

/// Echoes every byte, and hands out who came.
pub(crate) struct Echo {
    pub(crate) address: String,
    pub(crate) came: mpsc::Receiver<PeerInfo>,
}

pub(crate) async fn echo(endpoint: &Endpoint) -> Echo {
    echo_on(endpoint.listen("127.0.0.1:0").await.unwrap())
}

pub(crate) fn echo_on(mut listener: Listener) -> Echo {
    let address = listener.local_addr().to_string();
    let (tell, came) = mpsc::channel(100);
    tokio::spawn(async move {
        loop {
            let stream = listener.accept().await;
            // A test need not want to know.
            let _ = tell.try_send(stream.peer().clone());
            tokio::spawn(async move {
                let (mut from, mut to) = tokio::io::split(stream);
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    Echo { address, came }
}

impl Echo {
    pub(crate) async fn who(&mut self) -> PeerInfo {
        soon("a caller", self.came.recv()).await.unwrap()
    }
}

/// One byte there and back.
pub(crate) async fn ping(stream: &mut PeerStream) -> io::Result<()> {
    stream.write_all(b"x").await?;
    let mut byte = [0];
    soon("an echo", stream.read_exact(&mut byte)).await.map(drop)
}

/// Dials `echo` by host name and gets a byte back.
pub(crate) async fn reaches(client: &Endpoint, echo: &Echo) -> PeerStream {
    let mut stream = soon("a connection", client.connector().connect(&echo.address)).await.unwrap();
    ping(&mut stream).await.unwrap();
    stream
}

/// Dials `echo` by host name, and is told why it cannot.
pub(crate) async fn cannot_reach(client: &Endpoint, echo: &Echo) -> Explanation {
    match soon("a connection", client.connector().connect(&echo.address)).await {
        Ok(mut stream) => explain_error(&ping(&mut stream).await.expect_err("a refusal")).expect("a reason"),
        Err(error) => certus_pki::Explain::explain(&error),
    }
}

/// The next audit event of this kind.
pub(crate) async fn event(events: &mut broadcast::Receiver<AuditEvent>, kind: AuditKind) -> AuditEvent {
    soon("an audit event", async {
        loop {
            let event = events.recv().await.unwrap();
            if event.kind == kind {
                return event;
            }
        }
    })
    .await
}

/// Dials with no certificate.
pub(crate) async fn dial_bare(client: &Client, address: &str) -> io::Result<()> {
    let tcp = TcpStream::connect(address).await?;
    let mut tls = client.connect(tcp).await.map_err(io::Error::other)?;
    tls.write_all(b"x").await?;
    let mut byte = [0];
    soon("an echo", tls.read_exact(&mut byte)).await.map(drop)
}

pub(crate) const NOT_ASKED: ClientCertificate = ClientCertificate::NotAsked;
