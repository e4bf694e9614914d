//! The managers' API: who calls, what they may, and the services that answer.

pub mod authorise;
mod bootstrap;
mod cluster;
mod gate;
mod listen;
mod lists;
mod name;
mod node;
mod quorum;
mod strangers;

use std::net::SocketAddr;
use std::sync::Arc;

use certus_pki::SpiffeId;
use certus_pki::defaults::REQUEST_BYTES_MAX;
use certus_pki::explain::{Explain, Explanation};
use certus_tls::PeerIdentity;
use certus_wire::MESSAGE_BYTES_MAX;
use certus_wire::v1::bootstrap_server::BootstrapServer;
use certus_wire::v1::cluster_server::ClusterServer;
use certus_wire::v1::node_server::NodeServer;
use certus_wire::v1::quorum_server::QuorumServer;
use tonic::service::Routes;
use tonic::{Request, Status};

pub(crate) use cluster::presence;
pub(crate) use gate::GateLayer;
pub(crate) use listen::serve;

use crate::shared::Shared;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The verified peer; none if it showed no certificate.
    pub(crate) peer: Option<Arc<PeerIdentity>>,
    /// Where it calls from.
    pub(crate) address: SocketAddr,
}

/// Every service, unguarded: the gate stands before them.
pub(crate) fn routes(shared: &Arc<Shared>) -> Routes {
    let bootstrap = BootstrapServer::new(bootstrap::Bootstrap { shared: shared.clone() });
    let node = NodeServer::new(node::Node { shared: shared.clone() });
    let cluster = ClusterServer::new(cluster::Cluster { shared: shared.clone() });
    let quorum = QuorumServer::new(quorum::Quorum { shared: shared.clone() });
    Routes::new(bootstrap.max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(node.max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(cluster.max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(quorum.max_decoding_message_size(MESSAGE_BYTES_MAX))
}

/// The verified identity of who made a call. The gate lets no other call through to those that ask.
pub(crate) fn peer_of<T>(request: &Request<T>) -> Result<Arc<PeerIdentity>, Status> {
    let caller = request.extensions().get::<Caller>();
    caller.and_then(|caller| caller.peer.clone()).ok_or_else(|| {
        let what = "this call needs a client certificate";
        refuse(&Explanation::new(certus_pki::code::NO_CERTIFICATE, what))
    })
}

/// The same, by name.
pub(crate) fn caller_of<T>(request: &Request<T>) -> Result<SpiffeId, Status> {
    identity_of(&*peer_of(request)?)
}

/// The identity of a verified peer. A cluster's bundle lets nobody pass without one.
pub(crate) fn identity_of(peer: &PeerIdentity) -> Result<SpiffeId, Status> {
    peer.peer.identity.clone().ok_or_else(|| {
        let what = "this call needs a certificate with an identity of the cluster";
        refuse(&Explanation::new(certus_pki::code::NO_IDENTITY, what))
    })
}

/// The status of an error.
pub(crate) fn refuse(error: &impl Explain) -> Status {
    certus_wire::status::to_status(&error.explain())
}
