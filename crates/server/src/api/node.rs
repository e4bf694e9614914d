//! A node's own affairs: renewing, and watching what changes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use certus_ca::{Deltas, RenewAsk};
use certus_pki::defaults::HEARTBEAT;
use certus_pki::{Change, Epoch, Explanation, SpiffeId, code};
use certus_wire::v1;
use certus_wire::v1::watch_update::Kind;
use tokio::sync::{mpsc, watch};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info};

use super::{caller_of, identity_of, peer_of, refuse};
use crate::shared::Shared;
use crate::truth::Unanswered;

/// Updates waiting for a slow node; when they are more, its watcher waits, and reads on from the table.
const UPDATES_QUEUED: usize = 16;
/// Deltas sent at once; more follow at once.
const DELTAS_AT_ONCE: usize = 256;
/// A node that opens a stream says at once what it has.
const FIRST_REPORT: Duration = Duration::from_secs(10);

pub(crate) struct Node {
    pub(crate) shared: Arc<Shared>,
}

#[tonic::async_trait]
impl v1::node_server::Node for Node {
    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::Credentials>, Status> {
        let peer = peer_of(&request)?;
        let csr = certus_wire::csr_of(&request.get_ref().csr).map_err(|error| refuse(&error))?;
        let node = identity_of(&peer)?;
        let ask = RenewAsk { node: node.clone(), from: peer.peer.cert, public_key: csr.public_key };
        match self.shared.renew(ask).await {
            Ok(chain) => {
                self.shared.metrics.renewed();
                debug!(%node, from = %peer.peer.cert.serial, "certificate renewed");
                Ok(Response::new(v1::Credentials { chain, bundle: None, managers: Vec::new() }))
            }
            Err(error) => {
                let explanation = certus_pki::Explain::explain(&error);
                self.shared.metrics.refused(explanation.code);
                info!(%node, %explanation, "renewal refused");
                Err(refuse(&explanation))
            }
        }
    }

    type WatchStream = Updates;

    async fn watch(
        &self,
        request: Request<Streaming<v1::WatchReport>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let node = caller_of(&request)?;
        if let Some(since) = self.shared.out_of_touch() {
            return Err(refuse(&cut_off(since)));
        }
        let mut reports = request.into_inner();
        let first = tokio::time::timeout(FIRST_REPORT, reports.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no first report"))??;
        let first =
            first.ok_or_else(|| Status::invalid_argument("the stream ended before its first report"))?;
        let has = certus_wire::epoch(first.enforced.as_ref());

        let shared = self.shared.clone();
        let stream = shared.presence.arrived(&node, shared.truth.now(), has);
        info!(%node, enforces = %has, "watch begins");
        let (updates, receiver) = mpsc::channel(UPDATES_QUEUED);
        tokio::spawn(async move {
            let watcher = Watcher { shared: &shared, node: &node, stream, updates };
            let why = watcher.run(has, reports).await;
            shared.presence.left(&node, stream, shared.truth.now());
            info!(%node, why, "watch ends");
        });
        Ok(Response::new(Updates(receiver)))
    }
}

/// On its way to a node. In a box: a channel makes room for 32 at once, whatever they take.
type Update = Box<Result<v1::WatchUpdate, Status>>;

/// What a node is sent.
pub(crate) struct Updates(mpsc::Receiver<Update>);

impl Stream for Updates {
    type Item = Result<v1::WatchUpdate, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|update| update.map(|update| *update))
    }
}

/// One node's stream.
struct Watcher<'a> {
    shared: &'a Shared,
    node: &'a SpiffeId,
    stream: u64,
    updates: mpsc::Sender<Update>,
}

impl Watcher<'_> {
    /// Sends what changes and takes reports until either side ends; says why it ended.
    async fn run(&self, mut sent: Epoch, mut reports: Streaming<v1::WatchReport>) -> &'static str {
        let mut revision = self.shared.truth.replica.revision();
        let mut managers = self.shared.managers.subscribe();
        if self.send_managers(&mut managers).await.is_err() {
            return "the node is gone";
        }
        let mut heartbeat = tokio::time::interval(Duration::from_secs(HEARTBEAT.secs().into()));
        heartbeat.tick().await;
        loop {
            // Marked before the table is read: a commit in between wakes the next turn.
            revision.mark_unchanged();
            match self.catch_up(sent).await {
                Ok(epoch) => sent = epoch,
                Err(Ended::Gone) => return "the node is gone",
                Err(Ended::Unanswered(error)) => {
                    let _ = self.updates.try_send(Box::new(Err(refuse(&error))));
                    return "the store cannot be read";
                }
            }
            tokio::select! {
                changed = revision.changed() => {
                    if changed.is_err() {
                        return "the manager stops";
                    }
                }
                changed = managers.changed() => {
                    if changed.is_err() || self.send_managers(&mut managers).await.is_err() {
                        return "the node is gone";
                    }
                }
                report = reports.next() => match report {
                    Some(Ok(report)) => {
                        let enforced = certus_wire::epoch(report.enforced.as_ref());
                        self.shared.presence.reported(self.node, self.stream, enforced, report.cut);
                    }
                    Some(Err(_)) => return "the connection broke",
                    None => return "the node ended it",
                },
                _ = heartbeat.tick() => {
                    if let Some(since) = self.shared.out_of_touch() {
                        let _ = self.updates.try_send(Box::new(Err(refuse(&cut_off(since)))));
                        return "this manager is out of touch";
                    }
                    let alive = Kind::Heartbeat(certus_wire::epoch_to_wire(sent));
                    if self.send(alive).await.is_err() {
                        return "the node is gone";
                    }
                }
                () = self.shared.stopping.cancelled() => return "the manager stops",
            }
        }
    }

    /// Sends everything after `sent`; returns how far the node then is.
    async fn catch_up(&self, mut sent: Epoch) -> Result<Epoch, Ended> {
        loop {
            let deltas = self.shared.truth.read(|view| certus_ca::deltas_since(view, sent, DELTAS_AT_ONCE));
            match deltas.map_err(Ended::Unanswered)? {
                Deltas::UpToDate => return Ok(sent),
                Deltas::Changed(deltas) => {
                    for mut delta in deltas {
                        sent = delta.epoch;
                        delta.changes.retain(|change| concerns(change, self.node));
                        self.send(Kind::Delta(v1::Delta::from(&delta))).await?;
                    }
                }
                Deltas::TooOld => {
                    let bundle = self.shared.truth.scan(|view| certus_ca::bundle(view));
                    let Some(bundle) = bundle.map_err(Ended::Unanswered)? else { return Ok(sent) };
                    sent = bundle.epoch();
                    self.send(Kind::Bundle(certus_wire::bundle_to_wire(&bundle))).await?;
                }
            }
        }
    }

    /// Sends where the managers are; nothing where that is not known.
    async fn send_managers(&self, managers: &mut watch::Receiver<Vec<String>>) -> Result<(), Ended> {
        let addresses = managers.borrow_and_update().clone();
        match addresses.is_empty() {
            true => Ok(()),
            false => self.send(Kind::Managers(v1::Managers { addresses })).await,
        }
    }

    async fn send(&self, kind: Kind) -> Result<(), Ended> {
        let update = v1::WatchUpdate { kind: Some(kind) };
        self.updates.send(Box::new(Ok(update))).await.map_err(|_| Ended::Gone)
    }
}

enum Ended {
    Gone,
    Unanswered(Unanswered),
}

/// Why a manager that may be cut off, or removed without having heard of it, sends nobody news.
fn cut_off(since: Duration) -> Explanation {
    Explanation::new(code::UNAVAILABLE, "this manager does not know what the other managers decide")
        .fact("since", format!("{} s", since.as_secs()))
        .hint("ask another manager")
}

/// Whether `node` is told of `change`: of trust everybody is, of an order only who it is for.
fn concerns(change: &Change, node: &SpiffeId) -> bool {
    match change {
        Change::Direct { node: to, .. } => to == node,
        Change::Revoked(_) | Change::IssuerAdded(_) | Change::IssuerRemoved(_) => true,
    }
}
