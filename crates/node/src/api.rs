//! The one client of the managers' API.
//!
//! Every call goes to somebody who proved to be a manager of our cluster (I13). Several addresses are
//! tried in turn; the connection that works is kept until it breaks or our identity changes. A call whose
//! answer does not come is made again elsewhere, where that can do no harm (`repeat`).

mod book;
mod dial;
mod error;
mod failover;
mod join;
mod lines;
mod peer;
mod repeat;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use certus_pki::{Accept, IdPattern, Issuers, Role, defaults};
use certus_tls::{Client, ClientOptions, Credentials};
use certus_wire::{MESSAGE_BYTES_MAX, v1};
use http::Uri;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

use crate::clock::duration;
use crate::metrics::Metrics;

use book::Book;
use failover::Call;
use lines::Lines;

pub use book::is_dialable;
pub(crate) use dial::{connect_tcp, tune, unreachable};
pub use error::{ApiError, Tried};
pub use failover::Failover;
pub use join::{JoinError, Joined, join, join_any};
pub use peer::{manager_channel, never_sent};

/// The generated client of a node's own calls.
pub type NodeClient = v1::node_client::NodeClient<Failover>;
/// The generated client of the calls of operators.
pub type ClusterClient = v1::cluster_client::ClusterClient<Failover>;

/// Calls managers, under one identity. Cheap to clone; clones share the connection and the addresses.
#[derive(Clone)]
pub struct Api {
    lines: Arc<Lines>,
}

impl Api {
    /// A client of the managers at `addresses` (`host:port`), who must be managers of the cluster that
    /// `credentials` trust. They are tried in this order. Nothing is dialled before the first call.
    pub fn new(addresses: Vec<String>, credentials: Credentials) -> Api {
        Api::over(Book::new(addresses, &[], false), credentials, Metrics::new())
    }

    /// A client of a node, of which there may be thousands: each begins at a manager of its own choice.
    /// `learned` is what managers said in an earlier life; handshakes are counted in `metrics`.
    pub fn of_node(
        addresses: Vec<String>,
        learned: &[String],
        credentials: Credentials,
        metrics: Metrics,
    ) -> Api {
        Api::over(Book::new(addresses, learned, true), credentials, metrics)
    }

    fn over(book: Book, credentials: Credentials, metrics: Metrics) -> Api {
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
        Api { lines: Arc::new(Lines::new(book, client, metrics)) }
    }

    /// Goes on at a manager that is chosen anew, of all there are: the next call dials. Streams that are
    /// open go on.
    pub fn move_on(&self) {
        self.lines.book.choose_anew();
        self.lines.redial();
    }

    /// The managers' addresses in the order in which the next call tries them.
    pub fn addresses(&self) -> Vec<String> {
        self.lines.order()
    }

    /// Takes over where managers say that they are; returns whether it is news. Those that the client was
    /// made with stay. What nobody could dial is left out, and a list of nothing else changes nothing.
    pub fn learn(&self, addresses: &[String]) -> bool {
        self.lines.book.learn(addresses)
    }

    /// What managers said last.
    pub fn learned(&self) -> Vec<String> {
        self.lines.book.learned()
    }

    /// The address that answered last, unless it failed since.
    pub fn working(&self) -> Option<String> {
        self.lines.book.working()
    }

    /// Whether an address failed since the client was made.
    pub fn has_failed(&self) -> bool {
        self.lines.book.has_failed()
    }

    /// Makes one call, within [`defaults::CALL_TIMEOUT`]. Where its connection fails, calls that may be
    /// repeated are made again at the next manager, within the same time.
    ///
    /// # Errors
    /// An [`ApiError`], sorted by who acts next.
    pub async fn node<T, F>(&self, call: impl FnOnce(NodeClient) -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let way = self.way(duration(defaults::CALL_TIMEOUT));
        within(&way, call(node_client(way.clone()))).await
    }

    /// The same for the calls of operators.
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

    /// The same with a deadline of its own, for calls that wait on purpose: what goes beyond
    /// [`defaults::CALL_TIMEOUT`] is the wait.
    pub async fn cluster_within<T, F>(
        &self,
        limit: Duration,
        call: impl FnOnce(ClusterClient) -> F,
    ) -> Result<T, ApiError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let way = self.way(limit);
        within(&way, call(cluster_client(way.clone()))).await
    }

    /// Who answers, which version it is and what its clock says: the one call that needs no certificate.
    ///
    /// # Errors
    /// An [`ApiError`], sorted by who acts next.
    pub async fn info(&self) -> Result<v1::InfoReply, ApiError> {
        let way = self.way(duration(defaults::CALL_TIMEOUT));
        let mut client = v1::bootstrap_client::BootstrapClient::with_origin(way.clone(), origin());
        within(&way, client.info(v1::InfoRequest {})).await
    }

    /// Opens the stream of changes, at whichever manager takes it first.
    pub(crate) async fn watch(&self, reports: ReceiverStream<v1::WatchReport>) -> Result<Watching, ApiError> {
        let way = self.way(duration(defaults::CALL_TIMEOUT));
        let mut client = node_client(way.clone());
        match within(&way, client.watch(reports)).await {
            Ok(updates) => Ok(Watching { updates, way }),
            Err(error) => {
                // The next attempt begins at another.
                if let Some(line) = way.call.line().filter(|_| error.is_passing()) {
                    way.lines.silent(&line, "it opened no stream");
                }
                Err(error)
            }
        }
    }

    /// Drops the kept connection: the next call dials anew, under the identity then in force.
    /// Streams that are open go on.
    pub fn redial(&self) {
        self.lines.redial();
    }

    fn way(&self, limit: Duration) -> Failover {
        Failover { lines: self.lines.clone(), call: Arc::new(Call::within(limit)) }
    }
}

/// An open stream of changes.
pub(crate) struct Watching {
    updates: Streaming<v1::WatchUpdate>,
    way: Failover,
}

impl Watching {
    /// The next update; none where the manager ended the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<v1::WatchUpdate>, ApiError> {
        let next = self.updates.message().await;
        next.map_err(|status| match self.way.call.line() {
            Some(line) => error::of_status(&status, self.way.lines.ended(&line, &status)),
            None => error::of_status(&status, Vec::new()),
        })
    }

    /// Its manager says nothing, or no more: the next stream begins at another.
    pub(crate) fn leave(&self, why: &str) {
        if let Some(line) = self.way.call.line() {
            self.way.lines.silent(&line, why);
        }
    }
}

fn node_client(way: Failover) -> NodeClient {
    NodeClient::with_origin(way, origin())
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn cluster_client(way: Failover) -> ClusterClient {
    ClusterClient::with_origin(way, origin())
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// TLS is ours and knows whom it speaks to; the name is never resolved.
fn origin() -> Uri {
    Uri::from_static("http://certus")
}

async fn within<T>(
    way: &Failover,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, ApiError> {
    let limit = way.call.limit;
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(match way.call.take_error() {
            Some(error) => error,
            None => error::of_answer(&status, way.call.is_repeated()),
        }),
        Err(_) => {
            // Whoever does not answer may have gone without a word: do not wait on it again.
            if let Some(line) = way.call.line() {
                way.lines.silent(&line, "no answer in time");
            }
            Err(ApiError::Deadline { limit, addresses: way.lines.all() })
        }
    }
}
