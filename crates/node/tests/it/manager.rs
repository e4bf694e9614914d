//! A manager as a node sees one: the real protocol over real TLS, with a test's hand on every answer.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use certus_node::system_clock;
use certus_pki::{Accept, Bundle, Csr, Delta, Epoch, Explanation, JoinToken, SpiffeId, code};
use certus_tls::{ClientCertificate, Publisher, Server, ServerOptions, TlsStream};
use certus_wire::{bundle_to_wire, epoch, epoch_to_wire, status::to_status, v1};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};

use crate::authority::Authority;

/// A manager that can be killed and started again.
pub(crate) struct Manager {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<State>,
    running: Option<Runtime>,
}

pub(crate) struct State {
    pub(crate) authority: Arc<Authority>,
    publisher: Publisher,
    /// Every change so far.
    log: Mutex<Vec<Delta>>,
    news: broadcast::Sender<v1::WatchUpdate>,
    pub(crate) seen: Mutex<Seen>,
}

/// What reached the manager.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) infos: usize,
    pub(crate) joins: Vec<v1::JoinRequest>,
    pub(crate) renewals: Vec<SpiffeId>,
    /// The first report of every stream.
    pub(crate) resumed_from: Vec<Epoch>,
    pub(crate) reports: Vec<(Epoch, u32)>,
    /// What the next calls are refused with.
    pub(crate) refuse: Option<Explanation>,
    /// The next join takes effect, and its answer is lost.
    pub(crate) lose_answer: bool,
    /// The next certificate is over another key.
    pub(crate) wrong_key: bool,
    /// Where managers are, as who joins or begins to watch is told.
    pub(crate) managers: Vec<String>,
    /// The calls of operators, by name.
    pub(crate) calls: Vec<String>,
    /// What becomes of the next of them; afterwards each is answered with an empty message.
    pub(crate) script: std::collections::VecDeque<Scripted>,
}

/// What becomes of an operator's call.
#[derive(Clone, Debug)]
pub(crate) enum Scripted {
    Refuse(Explanation),
    /// It takes effect, and no answer ever comes.
    Hang,
}

impl Manager {
    pub(crate) fn start(authority: &Arc<Authority>) -> Manager {
        Manager::posing(authority, authority.publisher("manager/m1"))
    }

    /// One that shows the identity of `publisher`.
    pub(crate) fn posing(authority: &Arc<Authority>, publisher: Publisher) -> Manager {
        let (news, _) = broadcast::channel(64);
        let state = State {
            authority: authority.clone(),
            publisher,
            log: Mutex::default(),
            news,
            seen: Mutex::default(),
        };
        let address = "127.0.0.1:0".parse().unwrap();
        let mut manager = Manager { address, state: Arc::new(state), running: None };
        manager.restart();
        manager
    }

    pub(crate) fn restart(&mut self) {
        self.kill();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let listener = std::net::TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.address = listener.local_addr().unwrap();
        runtime.spawn(serve(listener, self.state.clone()));
        self.running = Some(runtime);
    }

    /// Everything it has open ends, without a word.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.running.take() {
            // Elsewhere, because it blocks until every socket is closed.
            let ending = std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(10)));
            ending.join().unwrap();
        }
    }

    pub(crate) fn token(&self) -> JoinToken {
        JoinToken::new([7; 16], &self.state.authority.root.key_hash())
    }

    /// Commits `changes` and tells everybody.
    pub(crate) fn commit(&self, changes: Vec<certus_pki::Change>) -> Epoch {
        let mut log = self.state.log.lock().unwrap();
        let delta = crate::authority::delta(2 + log.len() as u64, changes);
        self.state.publisher.apply(&delta).unwrap();
        log.push(delta.clone());
        let update = v1::WatchUpdate { kind: Some(v1::watch_update::Kind::Delta((&delta).into())) };
        let _ = self.state.news.send(update);
        delta.epoch
    }

    /// Sends a sign of life: whoever hears it looks at the clock.
    pub(crate) fn beat(&self) {
        let at = epoch_to_wire(self.state.publisher.current().epoch());
        let _ = self.state.news.send(v1::WatchUpdate { kind: Some(v1::watch_update::Kind::Heartbeat(at)) });
    }

    /// Tells those who watch where managers are.
    pub(crate) fn push_managers(&self, addresses: &[String]) {
        let _ = self.state.news.send(managers_update(addresses.to_vec()));
    }

    pub(crate) fn push_bundle(&self, bundle: &Bundle) {
        let bundle = bundle_to_wire(bundle);
        let _ = self.state.news.send(v1::WatchUpdate { kind: Some(v1::watch_update::Kind::Bundle(bundle)) });
    }

    pub(crate) fn seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.state.seen.lock().unwrap())
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn serve(listener: std::net::TcpListener, state: Arc<State>) {
    let listener = TcpListener::from_std(listener).unwrap();
    let mut options = ServerOptions::new(Accept::cluster(state.authority.cluster.clone()));
    options.client_certificate = ClientCertificate::Optional;
    options.alpn = vec![b"h2".to_vec()];
    options.send_roots = true;
    let server = Arc::new(Server::new(state.publisher.credentials(), options));
    let (connected, incoming) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (server, connected) = (server.clone(), connected.clone());
            tokio::spawn(async move {
                tcp.set_nodelay(true).unwrap();
                if let Ok(tls) = server.accept(tcp).await {
                    let _ = connected.send(Ok::<_, std::io::Error>(Conn(tls))).await;
                }
            });
        }
    });
    let calls = Calls(state);
    tonic::transport::Server::builder()
        .add_service(v1::bootstrap_server::BootstrapServer::new(calls.clone()))
        .add_service(v1::node_server::NodeServer::new(calls.clone()))
        .add_service(Operators(calls))
        .serve_with_incoming(ReceiverStream::new(incoming))
        .await
        .unwrap();
}

#[derive(Clone)]
struct Calls(Arc<State>);

impl Calls {
    fn credentials(&self, caller: &str, csr: &[u8]) -> Result<v1::Credentials, Status> {
        let mut csr = Csr::read(csr).map_err(|_| Status::invalid_argument("csr"))?;
        let mut seen = self.0.seen.lock().unwrap();
        if std::mem::take(&mut seen.wrong_key) {
            csr.public_key = certus_pki::Signer::public_key(&crate::authority::key()).clone();
        }
        if let Some(why) = seen.refuse.take() {
            return Err(to_status(&why));
        }
        if std::mem::take(&mut seen.lose_answer) {
            return Err(Status::unavailable("lost"));
        }
        let chain = self.0.authority.chain(caller, &csr.public_key);
        Ok(v1::Credentials { chain, bundle: None, managers: Vec::new() })
    }
}

#[tonic::async_trait]
impl v1::bootstrap_server::Bootstrap for Calls {
    async fn info(&self, _: Request<v1::InfoRequest>) -> Result<Response<v1::InfoReply>, Status> {
        self.0.seen.lock().unwrap().infos += 1;
        let cluster = self.0.authority.cluster.to_string();
        let now = system_clock()().secs();
        Ok(Response::new(v1::InfoReply { cluster, version: "test".into(), now }))
    }

    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::Credentials>, Status> {
        let request = request.into_inner();
        self.0.seen.lock().unwrap().joins.push(request.clone());
        let caller = format!("{}/{}", request.role, request.id);
        let mut credentials = self.credentials(&caller, &request.csr)?;
        credentials.managers = self.0.seen.lock().unwrap().managers.clone();
        credentials.bundle = Some(bundle_to_wire(self.0.publisher.current().bundle()));
        Ok(Response::new(credentials))
    }
}

#[tonic::async_trait]
impl v1::node_server::Node for Calls {
    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::Credentials>, Status> {
        let caller = caller(&request)?;
        self.0.seen.lock().unwrap().renewals.push(caller.clone());
        let name = format!("{}/{}", caller.role, caller.id);
        self.credentials(&name, &request.into_inner().csr).map(Response::new)
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::WatchUpdate, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<v1::WatchReport>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        caller(&request)?;
        let mut reports = request.into_inner();
        let first = reports.message().await?.ok_or_else(|| Status::invalid_argument("no report"))?;
        let from = epoch(first.enforced.as_ref());
        let (missed, mut news) = {
            let log = self.0.log.lock().unwrap();
            let mut missed: Vec<v1::WatchUpdate> = log
                .iter()
                .filter(|delta| delta.epoch > from)
                .map(|delta| v1::WatchUpdate { kind: Some(v1::watch_update::Kind::Delta(delta.into())) })
                .collect();
            let managers = self.0.seen.lock().unwrap().managers.clone();
            if !managers.is_empty() {
                missed.push(managers_update(managers));
            }
            (missed, self.0.news.subscribe())
        };
        self.0.seen.lock().unwrap().resumed_from.push(from);
        let state = self.0.clone();
        tokio::spawn(async move {
            while let Ok(Some(report)) = reports.message().await {
                let report = (epoch(report.enforced.as_ref()), report.cut);
                state.seen.lock().unwrap().reports.push(report);
            }
        });
        let (updates, outgoing) = mpsc::channel(64);
        tokio::spawn(async move {
            for update in missed {
                let _ = updates.send(Ok(update)).await;
            }
            while let Ok(update) = news.recv().await {
                if updates.send(Ok(update)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing).map(|update| update))))
    }
}

fn managers_update(addresses: Vec<String>) -> v1::WatchUpdate {
    v1::WatchUpdate { kind: Some(v1::watch_update::Kind::Managers(v1::Managers { addresses })) }
}

/// The calls of operators: noted, and answered as the test says.
#[derive(Clone)]
struct Operators(Calls);

impl tonic::server::NamedService for Operators {
    const NAME: &'static str = "certus.v1.Cluster";
}

impl tower::Service<http::Request<tonic::body::Body>> for Operators {
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let scripted = {
            let mut seen = self.0.0.seen.lock().unwrap();
            let call = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            seen.calls.push(call);
            seen.script.pop_front()
        };
        Box::pin(async move {
            match scripted {
                Some(Scripted::Refuse(why)) => return Ok(to_status(&why).into_http()),
                Some(Scripted::Hang) => std::future::pending::<()>().await,
                None => {}
            }
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
            // A message of length 0, not compressed.
            let body = http_body_util::Full::new(bytes::Bytes::from_static(&[0; 5]));
            let body = http_body_util::BodyExt::with_trailers(body, async { Some(Ok(trailers)) });
            let answer = http::Response::builder().header("content-type", "application/grpc");
            Ok(answer.body(tonic::body::Body::new(body)).unwrap())
        })
    }
}

fn caller<T>(request: &Request<T>) -> Result<SpiffeId, Status> {
    let known = request.extensions().get::<Caller>().and_then(|caller| caller.0.clone());
    let why = Explanation::new(code::NO_CERTIFICATE, "who are you");
    known.ok_or_else(|| to_status(&why))
}

#[derive(Clone)]
struct Caller(Option<SpiffeId>);

struct Conn(TlsStream<TcpStream>);

impl Connected for Conn {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        Caller(self.0.peer().and_then(|peer| peer.peer.identity.clone()))
    }
}

impl AsyncRead for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Conn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
