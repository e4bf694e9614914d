//! The one client of the managers' API.
//!
//! Every call goes to somebody who proved to be a manager of our cluster (I13). Several addresses are
//! tried in turn; the connection that works is kept until it breaks or our identity changes.

mod dial;
mod error;
mod join;
mod peer;

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use certus_pki::{Accept, IdPattern, Issuers, Role, defaults};
use certus_tls::{Client, ClientOptions, Credentials};
use certus_wire::{MESSAGE_BYTES_MAX, v1};
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::clock::duration;
use crate::metrics::Metrics;

pub(crate) use dial::{connect_tcp, tune, unreachable};
pub use error::{ApiError, Tried};
pub use join::{JoinError, Joined, join};
pub use peer::{manager_channel, never_sent};

/// The generated client of a node's own calls.
pub type NodeClient = v1::node_client::NodeClient<Channel>;
/// The generated client of the calls of operators.
pub type ClusterClient = v1::cluster_client::ClusterClient<Channel>;

/// Calls managers, under one identity. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct Api {
    dialer: Arc<dial::Dialer>,
    kept: Arc<Mutex<Option<Channel>>>,
}

impl Api {
    /// A client of the managers at `addresses` (`host:port`), who must be managers of the cluster that
    /// `credentials` trust. Nothing is dialled before the first call.
    pub fn new(addresses: Vec<String>, credentials: Credentials) -> Api {
        Api::counting(addresses, credentials, Metrics::new())
    }

    /// The same, with its handshakes counted in `metrics`.
    pub fn counting(addresses: Vec<String>, credentials: Credentials, metrics: Metrics) -> Api {
        let cluster = credentials.current().bundle().cluster().cloned();
        // Where there is no cluster there are no managers, and nobody is taken for one.
        let managers = cluster.map(|cluster| IdPattern::role(cluster, Role::Manager));
        let accept = Accept::only(managers.into_iter().collect());
        let mut options = ClientOptions::new(accept);
        // Whoever was away when an issuer was added hears of it from a manager, whose own certificate may
        // be of that issuer. So managers are known by their root and role, as in the first dial (I13).
        options.issuers = Issuers::AnyBelowRoot;
        options.alpn = vec![dial::ALPN.to_vec()];
        let client = Client::new(credentials, options);
        let dialer = Arc::new(dial::Dialer::new(addresses, client, metrics));
        Api { dialer, kept: Arc::default() }
    }

    /// The managers' addresses.
    pub fn addresses(&self) -> &[String] {
        self.dialer.addresses()
    }

    /// Makes one call, within [`defaults::CALL_TIMEOUT`].
    ///
    /// # Errors
    /// An [`ApiError`], sorted by who acts next.
    pub async fn node<T, F>(&self, call: impl FnOnce(NodeClient) -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.within(duration(defaults::CALL_TIMEOUT), call(self.node_client())).await
    }

    /// Makes one call, within [`defaults::CALL_TIMEOUT`].
    ///
    /// ```no_run
    /// # use certus_wire::v1;
    /// # async fn f(api: certus_node::Api) -> Result<(), certus_node::ApiError> {
    /// let status = api.cluster(async |mut c| c.status(v1::StatusRequest {}).await).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// An [`ApiError`], sorted by who acts next.
    pub async fn cluster<T, F>(&self, call: impl FnOnce(ClusterClient) -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.cluster_within(duration(defaults::CALL_TIMEOUT), call).await
    }

    /// The same with a deadline of its own, for calls that wait on purpose.
    pub async fn cluster_within<T, F>(
        &self,
        limit: Duration,
        call: impl FnOnce(ClusterClient) -> F,
    ) -> Result<T, ApiError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.within(limit, call(self.cluster_client())).await
    }

    /// Drops the kept connection: the next call dials anew, under the identity then in force.
    /// Streams that are open go on.
    pub fn redial(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn node_client(&self) -> NodeClient {
        NodeClient::new(self.channel())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn cluster_client(&self) -> ClusterClient {
        ClusterClient::new(self.channel())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn channel(&self) -> Channel {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get_or_insert_with(|| dial::channel(self.dialer.clone())).clone()
    }

    async fn within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, ApiError> {
        if self.addresses().is_empty() {
            return Err(ApiError::Unreachable { tried: Vec::new() });
        }
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(self.explained(&status)),
            Err(_) => {
                // Whoever does not answer may have gone without a word: do not wait on it again.
                self.redial();
                Err(ApiError::Deadline { limit, addresses: self.addresses().to_vec() })
            }
        }
    }

    /// What `status` means: the refusal it carries, else what happened to the connection below it.
    pub(crate) fn explained(&self, status: &Status) -> ApiError {
        let error = error::of_status(status, self.dialer.failures());
        if error.is_about_the_connection() {
            self.dialer.try_another();
            self.redial();
        }
        error
    }
}
