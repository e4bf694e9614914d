//! How this manager reaches the others: one line of gRPC over mutual TLS to each.
//!
//! A line carries the log's own messages, and what a manager asks of the one that leads. Each goes to the
//! one identity that has the number; never to whoever answers at the address.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use certus_node::api::manager_channel;
use certus_node::metrics::Metrics;
use certus_pki::SpiffeId;
use certus_tls::Credentials;
use certus_wire::v1::quorum_client::QuorumClient;
use certus_wire::{MESSAGE_BYTES_MAX, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::metrics::ManagerMetrics;
use crate::replica::{Member, MemberId, Outgoing, PeerError, Peers};

/// The client of another manager.
pub(crate) type ManagerClient = QuorumClient<Channel>;

/// The lines to the other managers. Clones share them.
#[derive(Clone)]
pub(crate) struct Lines {
    inner: Arc<Inner>,
}

struct Inner {
    credentials: Credentials,
    metrics: Metrics,
    numbers: ManagerMetrics,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: BTreeMap<MemberId, Known>,
    lines: BTreeMap<MemberId, (Known, Channel)>,
}

/// Which manager has a number, as far as is known, and where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) node: Option<SpiffeId>,
    pub(crate) address: String,
}

impl Lines {
    pub(crate) fn new(credentials: Credentials, metrics: Metrics, numbers: ManagerMetrics) -> Lines {
        Lines { inner: Arc::new(Inner { credentials, metrics, numbers, state: Mutex::default() }) }
    }

    /// What this manager counts.
    pub(crate) fn numbers(&self) -> &ManagerMetrics {
        &self.inner.numbers
    }

    /// Who has which number, and where; replaces what was known.
    pub(crate) fn know(&self, known: BTreeMap<MemberId, Known>) {
        let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.lines.retain(|member, (with, _)| known.get(member) == Some(with));
        state.known = known;
    }

    /// Drops every line: the next calls dial anew, under the identity then in force.
    pub(crate) fn redial(&self) {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner).lines.clear();
    }

    /// The line to the manager with this number; `address` where nothing else is known of it.
    pub(crate) fn to(&self, member: MemberId, address: Option<&str>) -> Option<ManagerClient> {
        let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = state.known.get(&member).cloned().unwrap_or_default();
        if let Some(address) = address.filter(|address| known.address.is_empty() && !address.is_empty()) {
            address.clone_into(&mut known.address);
        }
        if known.address.is_empty() {
            return None;
        }
        let channel = match state.lines.get(&member) {
            Some((with, channel)) if *with == known => channel.clone(),
            _ => {
                let (credentials, metrics) = (self.inner.credentials.clone(), self.inner.metrics.clone());
                let channel =
                    manager_channel(known.address.clone(), known.node.clone(), credentials, metrics);
                state.lines.insert(member, (known, channel.clone()));
                channel
            }
        };
        let client = QuorumClient::new(channel);
        Some(client.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    fn line(&self, target: MemberId, member: &Member) -> Result<ManagerClient, PeerError> {
        let nowhere = || PeerError::Unreachable(format!("the address of manager {target} is not known"));
        self.to(target, Some(&member.address)).ok_or_else(nowhere)
    }
}

impl Peers for Lines {
    async fn call(&self, target: MemberId, member: &Member, message: Vec<u8>) -> Result<Vec<u8>, PeerError> {
        let mut client = self.line(target, member)?;
        let call = client.replicate(v1::ReplicaMessage { body: message });
        match tokio::time::timeout(CALL, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner().body),
            Ok(Err(status)) => Err(peer_error(&status)),
            Err(_) => Err(PeerError::Unreachable(format!("no answer within {} s", CALL.as_secs()))),
        }
    }

    async fn send_snapshot(
        &self,
        target: MemberId,
        member: &Member,
        head: Vec<u8>,
        mut outgoing: Outgoing,
    ) -> Result<Vec<u8>, PeerError> {
        let mut client = self.line(target, member)?;
        let (parts, receiver) = mpsc::channel(CHUNKS_QUEUED);
        let reading = tokio::task::spawn_blocking(move || {
            if parts.blocking_send(v1::ReplicaMessage { body: head }).is_err() {
                return Ok(());
            }
            while let Some(body) = outgoing.next_chunk()? {
                if parts.blocking_send(v1::ReplicaMessage { body }).is_err() {
                    return Ok(());
                }
            }
            Ok::<_, crate::replica::SnapshotError>(())
        });
        let answered = client.snapshot(ReceiverStream::new(receiver)).await;
        self.inner.numbers.snapshot_sent(answered.is_ok());
        match reading.await {
            Ok(Err(error)) => return Err(PeerError::Refused(error.to_string())),
            Err(error) => return Err(PeerError::Refused(error.to_string())),
            Ok(Ok(())) => {}
        }
        answered.map(|answer| answer.into_inner().body).map_err(|status| peer_error(&status))
    }
}

/// What a status says of the other end: that it is not there, or that it will not.
fn peer_error(status: &Status) -> PeerError {
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
            PeerError::Unreachable(with_causes(status))
        }
        _ => PeerError::Refused(status.message().to_owned()),
    }
}

/// tonic says "transport error" and keeps the reason below it.
pub(crate) fn with_causes(status: &Status) -> String {
    let mut words = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

/// An append waits for the other's fsync; much longer than that, and the election would not wait for it.
const CALL: Duration = Duration::from_secs(2);

/// Chunks of a snapshot read ahead of the network, a quarter of a MiB each.
const CHUNKS_QUEUED: usize = 4;
