//! The cluster that `dev` and its tour play on: one manager, two workers, one service, all on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use certus_node::{
    Backend, IdentityDir, ListenerSpec, Node, NodeDir, NodeOptions, PeerSpec, Transport, system_clock,
};
use certus_pki::{ClusterName, Explain, Explanation, JoinToken, NodeId, Role, Root, SpiffeId, code};
use certus_server::{FoundOptions, Manager, ManagerOptions};
use certus_wire::v1;

use super::service::Service;
use crate::home::{Home, Known, operator_id};
use crate::managers::Managers;
use crate::verbs::cluster_init;

/// The cluster's name.
pub(crate) const CLUSTER: &str = "dev";
/// The worker with the service.
pub(crate) const WEB_1: &str = "web-1";
/// The worker that may reach it.
pub(crate) const WEB_2: &str = "web-2";

/// Ports that are easy to remember; any other serves where one is taken.
const API_PORT: u16 = 7443;
const ENTRANCE_PORT: u16 = 9080;
const SERVICE_PORT: u16 = 8080;
const LISTENER_PORT: u16 = 9443;

/// What connections get that are still open when everything ends: somebody waits at the terminal.
const DRAIN: Duration = Duration::from_millis(200);

/// Everything that runs.
pub(crate) struct Stage {
    /// Where everything is kept.
    pub(crate) dir: PathBuf,
    /// The operator's directory.
    pub(crate) home: Home,
    /// The cluster's root.
    pub(crate) root: Root,
    /// The manager.
    pub(crate) manager: Manager,
    /// The manager, as the operator calls it.
    pub(crate) managers: Managers,
    /// The plain service.
    pub(crate) service: Service,
    workers: Option<(Node, Node)>,
}

impl Stage {
    /// Founds a cluster in `dir`, or goes on with the one that is there, and runs its manager.
    pub(crate) async fn found(dir: &Path) -> Result<Stage, Explanation> {
        let home = Home::at(Some(dir))?;
        let data = dir.join("manager");
        let name: ClusterName = parsed(CLUSTER)?;
        let listen = free(API_PORT);
        if !certus_server::is_founded(&data) {
            let options = FoundOptions::new(name.clone(), data.clone(), listen, parsed("m1")?, operator_id());
            let founded = certus_server::found(&options, system_clock()).await;
            let founded = founded.map_err(|error| error.explain())?;
            cluster_init::keep(&home, &name, &founded, &listen.to_string())?;
        }
        let mut options = ManagerOptions::new(data);
        options.listen = Some(listen);
        let manager = Manager::start(options).await.map_err(|error| error.explain())?;
        home.remember(Known::new(&name, manager.address().to_string(), manager.pin()))?;
        let managers = Managers::of(&home, &[]).await?;
        let bundle = managers.bundle().await?;
        let root = bundle.roots().iter().find(|root| root.key_hash() == manager.pin()).cloned();
        let root = root.ok_or_else(|| {
            Explanation::new(code::BAD_MESSAGE, "the manager's bundle does not hold its root")
        })?;
        let service = Service::start(SERVICE_PORT).await?;
        Ok(Stage { dir: dir.to_owned(), home, root, manager, managers, service, workers: None })
    }

    /// Starts both workers; each joins with a token of its own where it has not before.
    pub(crate) async fn join(&mut self) -> Result<(), Explanation> {
        let mut first = self.worker(WEB_1).await?;
        let (address, allow) = (free(LISTENER_PORT).to_string(), worker(WEB_2)?.into());
        let forward = Backend::Tcp(self.service.address().to_string());
        first.listeners = vec![ListenerSpec::new("web", Transport::Tcp, address, forward, allow)];
        let first = Node::start(first).await.map_err(|error| error.explain())?;
        let mut second = self.worker(WEB_2).await?;
        let (address, listen) = (bound(&first).to_string(), free(ENTRANCE_PORT).to_string());
        second.peers = vec![PeerSpec::new("web", worker(WEB_1)?, Transport::Tcp, address, listen)];
        let second = Node::start(second).await.map_err(|error| error.explain())?;
        self.workers = Some((first, second));
        Ok(())
    }

    /// The worker with the service.
    pub(crate) fn first(&self) -> Option<&Node> {
        self.workers.as_ref().map(|(first, _)| first)
    }

    /// Where web-1 accepts mutual TLS.
    pub(crate) fn listener(&self) -> SocketAddr {
        self.workers.as_ref().map_or(NOWHERE, |(first, _)| bound(first))
    }

    /// Where web-2 lets plain connections in.
    pub(crate) fn entrance(&self) -> SocketAddr {
        self.workers.as_ref().map_or(NOWHERE, |(_, second)| bound(second))
    }

    /// The files of a worker's identity.
    pub(crate) fn files(&self, id: &str) -> IdentityDir {
        IdentityDir::at(self.dir.join(id).join("certs").join(format!("worker-{id}")))
    }

    /// A token for one worker, made by the operator.
    pub(crate) async fn token(&self, id: &str) -> Result<JoinToken, Explanation> {
        let ask = v1::CreateTokenRequest {
            role: Role::Worker.to_string(),
            id: Some(id.to_owned()),
            sans: Vec::new(),
            ttl_secs: certus_pki::defaults::TOKEN_TTL.secs(),
            uses: 1,
            replace: false,
        };
        let reply = self.managers.create_token(ask).await?;
        let text = zeroize::Zeroizing::new(reply.token);
        text.parse().map_err(|error: certus_pki::token::NotAToken| {
            Explanation::new(code::BAD_MESSAGE, error.to_string())
        })
    }

    /// Ends everything, in order.
    pub(crate) async fn strike(self) {
        if let Some((first, second)) = self.workers {
            tokio::join!(second.shutdown_within(DRAIN), first.shutdown_within(DRAIN));
        }
        if let Err(error) = self.manager.shutdown().await {
            tracing::warn!(%error, "the manager's store could not be closed");
        }
    }

    async fn worker(&self, id: &str) -> Result<NodeOptions, Explanation> {
        let data = self.dir.join(id);
        let node: NodeId = parsed(id)?;
        let enrolled = NodeDir::open(&data).and_then(|dir| dir.enrolled(Role::Worker));
        let enrolled = enrolled.map_err(|error| error.explain())?;
        let mut options = NodeOptions::new(data, Role::Worker);
        if !enrolled.contains(&node) {
            options.token = Some(self.token(id).await?);
        }
        options.id = Some(node);
        options.managers = vec![self.manager.address().to_string()];
        Ok(options)
    }
}

const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn bound(node: &Node) -> SocketAddr {
    node.bound("web").unwrap_or(NOWHERE)
}

/// A worker's identity.
pub(crate) fn worker(id: &str) -> Result<SpiffeId, Explanation> {
    parsed(&format!("spiffe://{CLUSTER}/worker/{id}"))
}

/// The preferred port of loopback, or 0 for any where that is taken.
fn free(preferred: u16) -> SocketAddr {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, preferred));
    if std::net::TcpListener::bind(address).is_ok() { address } else { NOWHERE }
}

/// A name that stands in this program.
pub(crate) fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, Explanation>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| Explanation::new(code::BAD_NAME, error.to_string()))
}
