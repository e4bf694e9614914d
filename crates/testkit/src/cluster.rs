//! A real cluster in this process: one manager on loopback, an operator, and nodes that join it.
//!
//! Nothing is simulated: sockets, files and TLS are those of the daemons.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use certus_node::{Api, ApiError, Node, NodeOptions, StartError, system_clock};
use certus_pki::{Bundle, Certificate, JoinToken, Lifetime, NodeId, PrivateKey, Role, defaults};
use certus_server::{
    FoundOptions, Founded, JoinManagerError, JoinOptions, Manager, ManagerJoined, ManagerOptions,
    OperatorIdentity, found, join,
};
use certus_tls::{Credentials, Identity, Publisher, Snapshot};
use certus_wire::v1;
use tempfile::TempDir;

/// A founded cluster with a running manager.
pub struct Cluster {
    dir: TempDir,
    manager: Option<Manager>,
    others: BTreeMap<String, Manager>,
    address: SocketAddr,
    operator: Operator,
}

/// Who calls the managers: credentials that keep their publisher alive, and the client over them.
pub struct Operator {
    publisher: Publisher,
    api: Api,
    /// Leaf first.
    pub chain: Vec<Vec<u8>>,
}

impl Operator {
    /// A caller with these credentials.
    pub fn new(key: &PrivateKey, chain: Vec<Vec<u8>>, bundle: Bundle, address: SocketAddr) -> Operator {
        let identity = Identity::new(key, chain.clone()).expect("key and chain belong together");
        let snapshot = Snapshot::new(Some(Arc::new(identity)), Arc::new(bundle));
        let publisher = Publisher::new(snapshot, system_clock());
        let api = Api::new(vec![address.to_string()], publisher.credentials());
        Operator { publisher, api, chain }
    }

    /// The client of the managers' API.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// The credentials it calls with.
    pub fn credentials(&self) -> Credentials {
        self.publisher.credentials()
    }
}

impl Cluster {
    /// Founds and starts a cluster named `prod` with leaves of 90 days.
    pub async fn start() -> Cluster {
        Cluster::with_leaf_lifetime(defaults::LEAF_LIFETIME).await
    }

    /// The same with leaves that live `leaf_lifetime`.
    pub async fn with_leaf_lifetime(leaf_lifetime: Lifetime) -> Cluster {
        Cluster::with_lifetimes(leaf_lifetime, defaults::ISSUER_LIFETIME).await
    }

    /// The same with issuers that live `issuer_lifetime`.
    pub async fn with_lifetimes(leaf_lifetime: Lifetime, issuer_lifetime: Lifetime) -> Cluster {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let data_dir = dir.path().join("m1");
        let parse = |id: &str| id.parse::<NodeId>().expect("a node id");
        let any: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 0));
        let name = "prod".parse().expect("a cluster name");
        let mut options = FoundOptions::new(name, data_dir.clone(), any, parse("m1"), parse("cli-test"));
        options.leaf_lifetime = leaf_lifetime;
        options.issuer_lifetime = issuer_lifetime;
        let Founded { operator, .. } = found(&options, system_clock()).await.expect("founding");
        let manager = Manager::start(ManagerOptions::new(data_dir)).await.expect("the manager starts");
        let address = manager.address();
        let OperatorIdentity { key, chain, bundle, .. } = operator;
        let operator = Operator::new(&key, chain, bundle, address);
        Cluster { dir, manager: Some(manager), others: BTreeMap::new(), address, operator }
    }

    /// The directory that everything is under.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where a node with this id keeps its data.
    pub fn data_dir(&self, id: &str) -> PathBuf {
        self.dir.path().join(id)
    }

    /// The manager's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The running manager.
    pub fn manager(&self) -> &Manager {
        self.manager.as_ref().expect("the manager runs")
    }

    /// The operator that founding made, with grant `admin`.
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// Stops the manager as SIGTERM does.
    pub async fn stop_manager(&mut self) {
        if let Some(manager) = self.manager.take() {
            manager.shutdown().await.expect("the manager stops");
        }
    }

    /// Starts the manager again, where it was.
    pub async fn start_manager(&mut self) {
        let options = ManagerOptions::new(self.data_dir("m1"));
        self.manager = Some(Manager::start(options).await.expect("the manager starts again"));
    }

    /// A further manager that joins with a token of its own, and runs once it knows the cluster.
    pub async fn join_manager(&mut self, id: &str) {
        self.try_join_manager(id, |_| ()).await.expect("the manager joins");
    }

    /// The same for joins that may be refused; `edit` changes how it joins.
    pub async fn try_join_manager(
        &mut self,
        id: &str,
        edit: impl FnOnce(&mut JoinOptions),
    ) -> Result<ManagerJoined, JoinManagerError> {
        let ask = |request: &mut v1::CreateTokenRequest| {
            request.role = "manager".to_owned();
            request.id = Some(id.to_owned());
        };
        let token = self.token(ask).await;
        // An address of its own for good: the others must find it again after a restart.
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let managers = self.addresses();
        let parsed = id.parse().expect("a node id");
        let mut options = JoinOptions::new(self.data_dir(id), managers, parsed, free.expect("a free port"));
        options.token = Some(token);
        edit(&mut options);
        let joined = join(&options).await?;
        self.start_other(id).await;
        Ok(joined)
    }

    /// Starts a manager that joined before.
    pub async fn start_other(&mut self, id: &str) {
        let options = ManagerOptions::new(self.data_dir(id));
        let manager = Manager::start(options).await.expect("the manager starts");
        self.others.insert(id.to_owned(), manager);
        self.operator.api.learn(&self.addresses());
    }

    /// Stops a manager that joined, as SIGTERM does.
    pub async fn stop_other(&mut self, id: &str) {
        let manager = self.others.remove(id).expect("the manager runs");
        manager.shutdown().await.expect("the manager stops");
    }

    /// A running manager that joined.
    pub fn other(&self, id: &str) -> &Manager {
        self.others.get(id).expect("the manager runs")
    }

    /// Where every running manager is.
    pub fn addresses(&self) -> Vec<String> {
        let first = self.manager.iter();
        first.chain(self.others.values()).map(|manager| manager.address().to_string()).collect()
    }

    /// The managers on record, as `ask` sees them.
    pub async fn managers(&self) -> Vec<v1::Manager> {
        let request = v1::ListManagersRequest {};
        let listed = self.operator.api.cluster(async |mut c| c.list_managers(request).await).await;
        listed.expect("the managers are listed").managers
    }

    /// Waits until `count` managers vote.
    pub async fn voters(&self, count: usize) {
        eventually("the managers vote", async || {
            self.managers().await.iter().filter(|manager| manager.voter).count() == count
        })
        .await;
    }

    /// A caller with the operator's credentials who knows one address only.
    pub fn operator_at(&self, address: &str) -> Api {
        Api::new(vec![address.to_owned()], self.operator.credentials())
    }

    /// A token for a worker; `edit` changes what is asked for.
    pub async fn token(&self, edit: impl FnOnce(&mut v1::CreateTokenRequest)) -> JoinToken {
        self.try_token(edit).await.expect("a token")
    }

    /// The same, for requests that may be refused.
    pub async fn try_token(
        &self,
        edit: impl FnOnce(&mut v1::CreateTokenRequest),
    ) -> Result<JoinToken, ApiError> {
        let mut request = v1::CreateTokenRequest {
            role: "worker".to_owned(),
            id: None,
            sans: Vec::new(),
            ttl_secs: 3600,
            uses: 1,
            replace: false,
        };
        edit(&mut request);
        let reply = self.operator.api.cluster(async |mut c| c.create_token(request).await).await?;
        Ok(reply.token.parse().expect("a token has 64 digits"))
    }

    /// The options of a worker that joins with `token`.
    pub fn worker_options(&self, id: &str, token: Option<JoinToken>) -> NodeOptions {
        let mut options = NodeOptions::new(self.data_dir(id), Role::Worker);
        options.managers = vec![self.address.to_string()];
        options.id = Some(id.parse().expect("a node id"));
        options.token = token;
        options
    }

    /// A worker that joined with a token of its own.
    pub async fn worker(&self, id: &str) -> Node {
        let token = self.token(|_| ()).await;
        self.try_worker(id, Some(token)).await.expect("the worker joins")
    }

    /// A worker that joins with `token`, or goes on without one.
    pub async fn try_worker(&self, id: &str, token: Option<JoinToken>) -> Result<Node, StartError> {
        Node::start(self.worker_options(id, token)).await
    }

    /// Every certificate on record.
    pub async fn certs(&self) -> Vec<v1::Cert> {
        let (mut all, mut after) = (Vec::new(), Vec::new());
        loop {
            let request = v1::ListCertsRequest { after, limit: 0, all: true, ..Default::default() };
            let page = self.operator.api.cluster(async |mut c| c.list_certs(request).await).await;
            let page = page.expect("the certificates are listed");
            all.extend(page.certs);
            after = page.next;
            if after.is_empty() {
                return all;
            }
        }
    }
}

/// The serial of a node's certificate in force.
pub fn serial_of(node: &Node) -> certus_pki::Serial {
    leaf_of(&node.credentials()).serial
}

/// The certificate in force.
pub fn leaf_of(credentials: &Credentials) -> Certificate {
    credentials.current().identity().expect("an identity").leaf().clone()
}

/// Waits until `condition` holds, for a minute at most: a test that needs it longer has failed.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !condition().await {
        assert!(begin.elapsed() < Duration::from_secs(60), "did not happen within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
