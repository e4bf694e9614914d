//! Joining as a manager: first a node like any other, then its own issuer, the cluster's keys, a number.
//!
//! The issuer's key is made here and stays here. Everything is written in `manager.unfinished` and takes
//! its place in one rename; a join that was cut short is simply made again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::{fs, io};

use certus_node::files::{FileError, NodeDir};
use certus_node::metrics::Metrics;
use certus_node::{EnrolError, NodeOptions, Stored, enrol};
use certus_pki::csr::BadRequest;
use certus_pki::explain::{Explain, Explanation};
use certus_pki::key::BadKey;
use certus_pki::{Csr, Issuer, JoinToken, KeyType, NodeId, PrivateKey, Role, Signer, SpiffeId, code};
use certus_tls::{BadIdentity, Clock, Identity, Publisher, Snapshot};
use certus_wire::v1;

use crate::enlist::{EnlistError, Receiver};
use crate::found::{FoundError, discard, refuse_founded};
use crate::keys::{IssuingKey, KeysError, ManagerDir};
use crate::manager::dialable;

/// How a manager joins.
#[derive(Clone)]
#[non_exhaustive]
pub struct JoinOptions {
    /// Where it keeps its data.
    pub data_dir: PathBuf,
    /// Managers of the cluster, `host:port`.
    pub managers: Vec<String>,
    /// Admits it as a manager; not needed again where a join was cut short after it was admitted.
    pub token: Option<JoinToken>,
    /// Its id.
    pub id: NodeId,
    /// Where it will listen.
    pub listen: SocketAddr,
    /// Where the other managers, workers and operators reach it, `host:port`.
    pub advertise: String,
    /// Whether it shall vote as soon as it has caught up.
    pub voter: bool,
    /// The type of its issuer's key.
    pub key_type: KeyType,
    /// Its clock.
    pub clock: Clock,
}

impl JoinOptions {
    /// A voter with a P-256 issuer, by the machine's clock.
    pub fn new(data_dir: PathBuf, managers: Vec<String>, id: NodeId, listen: SocketAddr) -> JoinOptions {
        JoinOptions {
            data_dir,
            managers,
            token: None,
            id,
            advertise: dialable(listen),
            listen,
            voter: true,
            key_type: KeyType::P256,
            clock: certus_node::system_clock(),
        }
    }
}

/// What a join yields: a directory that [`crate::Manager::start`] starts.
#[derive(Clone, Debug)]
pub struct ManagerJoined {
    /// Who it is.
    pub identity: SpiffeId,
    /// Its number among those that replicate.
    pub member: u64,
}

/// Joins a cluster as a manager. It replicates, and signs, once it is started.
///
/// # Errors
/// No manager admitted it, or the disk refuses. Then nothing is left that looks like a manager's data.
pub async fn join(options: &JoinOptions) -> Result<ManagerJoined, JoinManagerError> {
    refuse_founded(&options.data_dir).map_err(JoinManagerError::Place)?;
    let node_dir = NodeDir::open(&options.data_dir).map_err(JoinManagerError::Files)?;
    refuse_founded(&options.data_dir).map_err(JoinManagerError::Place)?;
    let mut node = NodeOptions::new(options.data_dir.clone(), Role::Manager);
    node.id = Some(options.id.clone());
    node.token = options.token.clone();
    node.clock = options.clock.clone();
    let enrolled = enrol(&node_dir, &node, &options.managers).await.map_err(JoinManagerError::Enrol)?;
    let stored = enrolled.stored;
    let identity = stored.identity.clone();
    let enlisted = Enlisting { options, stored: &stored, identity: &identity }.run().await?;
    let unfinished = ManagerDir::unfinished(&options.data_dir);
    let place = ManagerDir::of(&options.data_dir);
    let moved = fs::rename(unfinished.path(), place.path())
        .and_then(|()| fs::File::open(&options.data_dir)?.sync_all());
    moved.map_err(|error| JoinManagerError::Io { path: place.path().to_owned(), error })?;
    Ok(ManagerJoined { identity, member: enlisted })
}

/// A node of role manager that asks for its place.
struct Enlisting<'a> {
    options: &'a JoinOptions,
    stored: &'a Stored,
    identity: &'a SpiffeId,
}

impl Enlisting<'_> {
    /// Asks the managers in turn, and writes what one of them gave; returns the number.
    async fn run(&self) -> Result<u64, JoinManagerError> {
        let own = Identity::new(&self.stored.key, self.stored.chain.clone());
        let own = own.map_err(JoinManagerError::Identity)?;
        let bundle = Arc::new(self.stored.bundle.clone());
        let snapshot = Snapshot::new(Some(Arc::new(own)), bundle);
        let publisher = Publisher::new(snapshot, self.options.clock.clone());
        let issuer_key = PrivateKey::generate(self.options.key_type).map_err(JoinManagerError::Key)?;
        let csr = Csr::make(&issuer_key, self.options.id.as_str()).map_err(JoinManagerError::Request)?;
        let receiver = Receiver::generate().map_err(JoinManagerError::enlist)?;
        let request = v1::EnlistRequest {
            issuer_csr: csr,
            address: self.options.advertise.clone(),
            public_key: receiver.public(),
            voter: self.options.voter,
        };
        let mut last = None;
        for address in &self.options.managers {
            let credentials = publisher.credentials();
            let channel =
                certus_node::api::manager_channel(address.clone(), None, credentials, Metrics::new());
            let mut client = v1::quorum_client::QuorumClient::new(channel);
            match client.enlist(request.clone()).await {
                Ok(reply) => return self.keep(&reply.into_inner(), &receiver, issuer_key),
                // A number that was given to an answer that was lost is never used: the next is another.
                Err(status) => {
                    if !matches!(status.code(), tonic::Code::Unavailable | tonic::Code::Unknown) {
                        return Err(JoinManagerError::Refused(certus_wire::status::from_status(&status)));
                    }
                    let why = Explanation::new(code::UNREACHABLE, "no manager answered");
                    let words = crate::peers::with_causes(&status);
                    last = Some(why.fact("manager", address).fact("because", words));
                }
            }
        }
        let nobody = || Explanation::new(code::UNREACHABLE, "no manager's address is known");
        Err(JoinManagerError::Refused(last.unwrap_or_else(nobody)))
    }

    /// Writes what was given, once it is found to be what was asked for.
    fn keep(
        &self,
        reply: &v1::EnlistReply,
        receiver: &Receiver,
        issuer_key: PrivateKey,
    ) -> Result<u64, JoinManagerError> {
        let cluster = &self.identity.cluster;
        let sealed = (&reply.encapsulated[..], &reply.sealed[..]);
        let keys = receiver.open(sealed, cluster, self.identity, reply.member);
        let keys = keys.map_err(JoinManagerError::enlist)?;
        let issuer = Issuer::from_der(&reply.issuer)
            .map_err(|error| JoinManagerError::Keys(KeysError::Issuer(error)))?;
        if issuer.key_hash() != issuer_key.public_key().hash() {
            return Err(JoinManagerError::AnotherKey);
        }
        let root = self.stored.bundle.roots().iter().max_by_key(|root| root.not_after());
        let root = root.ok_or(JoinManagerError::AnotherKey)?.key_hash();
        let unfinished = ManagerDir::unfinished(&self.options.data_dir);
        discard(unfinished.path()).map_err(JoinManagerError::Place)?;
        let issuing = IssuingKey { issuer, key: issuer_key };
        let write = || -> Result<(), KeysError> {
            unfinished.create()?;
            unfinished.write_cluster_key(cluster, &keys.cluster_key, None)?;
            if let Some(root_data_key) = &keys.root_data_key {
                unfinished.write_root_data_key(cluster, &keys.cluster_key, &root, root_data_key)?;
            }
            unfinished.write_issuer(cluster, &keys.cluster_key, &issuing)?;
            unfinished.write_listen(self.options.listen)?;
            unfinished.write_advertise(&self.options.advertise)?;
            unfinished.write_member(reply.member)
        };
        write().map_err(JoinManagerError::Keys)?;
        Ok(reply.member)
    }
}

/// A node did not become a manager.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinManagerError {
    /// There is a manager's data already, or what a former try left cannot be removed.
    #[error(transparent)]
    Place(FoundError),
    /// The node's files refuse.
    #[error(transparent)]
    Files(FileError),
    /// It was not admitted as a node.
    #[error(transparent)]
    Enrol(EnrolError),
    /// Its own certificate cannot be used.
    #[error(transparent)]
    Identity(BadIdentity),
    /// A key could not be made.
    #[error("a key could not be made")]
    Key(#[source] BadKey),
    /// The request for an issuer could not be made.
    #[error("the request for an issuer could not be made")]
    Request(#[source] BadRequest),
    /// A manager refused, or none answered.
    #[error("{}", .0.message)]
    Refused(Explanation),
    /// The keys that were sent are not for this manager.
    #[error("{}", .0.message)]
    Enlist(Explanation),
    /// The issuer that was sent is over another key.
    #[error("the issuer that the manager sent is over another key than the one that was made here")]
    AnotherKey,
    /// The manager's secrets cannot be written.
    #[error(transparent)]
    Keys(KeysError),
    /// The directory could not take its place.
    #[error("could not put {} in place", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

impl JoinManagerError {
    #[allow(clippy::needless_pass_by_value, reason = "it is handed on by map_err")]
    fn enlist(error: EnlistError) -> JoinManagerError {
        JoinManagerError::Enlist(error.explain())
    }
}

impl Explain for JoinManagerError {
    fn explain(&self) -> Explanation {
        match self {
            JoinManagerError::Place(error) => error.explain(),
            JoinManagerError::Files(error) => error.explain(),
            JoinManagerError::Enrol(error) => error.explain(),
            JoinManagerError::Identity(error) => error.explain(),
            JoinManagerError::Key(error) => error.explain(),
            JoinManagerError::Request(error) => error.explain(),
            JoinManagerError::Refused(why) | JoinManagerError::Enlist(why) => why.clone(),
            JoinManagerError::AnotherKey => {
                Explanation::new(code::BAD_MESSAGE, self.to_string()).hint("certus manager join, once more")
            }
            JoinManagerError::Keys(error) => error.explain(),
            JoinManagerError::Io { error, .. } => {
                Explanation::new(code::FILE, self.to_string()).fact("because", error)
            }
        }
    }
}
