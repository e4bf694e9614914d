//! The gate before every service: the table of `authorise`, asked once for each call.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use certus_ca::NodeState;
use certus_ca::store::Fault;
use certus_pki::{Explain, Explanation, Grant, Peer, Role, Sha256, SpiffeId, code};
use certus_tls::PeerIdentity;
use certus_wire::status::to_status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};
use tracing::{info, warn};

use super::Caller;
use super::authorise::{self, Standing};
use crate::shared::Shared;
use crate::storage::StateView;
use crate::truth::Unanswered;
use crate::unrecorded::{OnRecord, Unrecorded};

/// Puts a [`Gate`] before a service.
#[derive(Clone)]
pub(crate) struct GateLayer {
    pub(crate) shared: Arc<Shared>,
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate { inner, shared: self.shared.clone() }
    }
}

/// Lets through the calls that the caller may make.
#[derive(Clone)]
pub(crate) struct Gate<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, B> Service<Request<B>> for Gate<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // Of a call that does not exist, enough to recognise it: the path is the caller's to choose.
        let call: String = request.uri().path().chars().take(CALL_CHARS_MAX).collect();
        let caller = request.extensions().get::<Caller>().cloned();
        let first = decide(&self.shared, &call, caller.as_ref());
        let follows = !self.shared.truth.replica.status().leading;
        let news = follows && call.starts_with("/certus.v1.Cluster/");
        if first.is_ok() && !news {
            return Box::pin(self.inner.call(request));
        }
        let shared = self.shared.clone();
        // The service that is ready is the one to be called; the clone waits for the next call.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            // A manager may know a caller, or what it asks about, a moment later: one that does not lead,
            // or that has just begun to. What it cannot judge it does not refuse.
            let known = caller.as_ref().is_some_and(|caller| caller.peer.is_some());
            let decided = match first {
                first if !known => first,
                _ if shared.truth.catch_up().await => decide(&shared, &call, caller.as_ref()),
                Err(refusal) if wants_news(&refusal) => Err(Unanswered::Behind.explain()),
                first => first,
            };
            match decided {
                Ok(()) => inner.call(request).await,
                Err(refusal) => {
                    shared.metrics.refused(refusal.code);
                    let from = caller.as_ref().map(|caller| caller.address);
                    if shared.refusals.says(refusal.code, from.map(|from| from.ip())) {
                        let peer = caller.as_ref().and_then(|caller| caller.peer.as_ref());
                        let peer = peer.map(|peer| peer.peer.name());
                        info!(%call, from = from.map(tracing::field::display), peer, %refusal, "call refused");
                    }
                    Ok(to_status(&refusal).into_http())
                }
            }
        })
    }
}

/// Whether a newer reading of the record could overturn a refusal.
fn wants_news(refusal: &Explanation) -> bool {
    [code::UNKNOWN_NODE, code::PERMISSION_DENIED, code::ISSUER_NOT_ACTIVE].contains(&refusal.code)
}

/// Longer than the name of any call.
const CALL_CHARS_MAX: usize = 80;

fn decide(shared: &Shared, call: &str, caller: Option<&Caller>) -> Result<(), Explanation> {
    let no_caller = || Explanation::new(code::UNAVAILABLE, "the connection says nothing of its caller");
    let caller = caller.ok_or_else(no_caller)?;
    // Whatever the call: being refused costs a line in the log.
    if caller.peer.is_none() {
        let taken = shared.rate.take(caller.address.ip(), Instant::now());
        taken.map_err(|wait| {
            Explanation::new(code::RATE_LIMITED, "too many calls without a certificate from this address")
                .fact("address", caller.address.ip())
                .fact("again in", format!("{} ms", wait.as_millis().max(1)))
        })?;
    }
    let mut unknown = None;
    let standing = match &caller.peer {
        None => None,
        Some(peer) => {
            let identity = peer.peer.identity.clone().ok_or_else(|| {
                Explanation::new(code::NO_IDENTITY, "the certificate carries no identity of the cluster")
            })?;
            let record = shared.truth.read(|view| certus_ca::node(view, &identity));
            let record = record.map_err(|error| error.explain())?;
            notice(shared, caller, peer)?;
            unknown = record.is_none().then(|| unknown_node(&identity));
            let standing = shared.truth.read(|view| standing(view, shared, identity, &peer.peer));
            Some(standing.map_err(|error| error.explain())??)
        }
    };
    let decided = authorise::decide(call, standing.as_ref());
    decided.map_err(|refused| unknown.unwrap_or(refused))
}

/// Notes a caller whose certificate nobody remembers.
fn notice(shared: &Shared, caller: &Caller, peer: &PeerIdentity) -> Result<(), Explanation> {
    if shared.publisher.current().epoch().generation == 0 {
        return Ok(());
    }
    let now = shared.truth.now();
    let standing = shared.truth.read(|view| Unrecorded::standing(view, &peer.peer, now));
    let standing = standing.map_err(|error| error.explain())?;
    if standing == OnRecord::Yes {
        return Ok(());
    }
    if shared.unrecorded.note(&peer.peer, standing, caller.address.ip(), now) {
        let (node, serial, address) = (peer.peer.name(), peer.peer.cert.serial, caller.address);
        warn!(%node, %serial, %address,
            "a certificate that is on no record: issued after the backup that was restored");
    }
    Ok(())
}

/// Only a cluster that was restored meets members whom it does not know.
fn unknown_node(identity: &SpiffeId) -> Explanation {
    let SpiffeId { role, id, .. } = identity;
    Explanation::new(code::UNKNOWN_NODE, format!("the cluster does not know {identity}"))
        .halves("a node on record", "one that joined after the backup that was restored")
        .hint(format!(
            "certus token create --role {role} --id {id}; stop the node, move its certs/{role}-{id} away, \
             and start it with --token-file FILE"
        ))
}

/// Who a caller is by the record.
fn standing(
    view: &StateView,
    shared: &Shared,
    identity: SpiffeId,
    peer: &Peer,
) -> Result<Result<Standing, Explanation>, Fault> {
    // Whoever holds a struck issuer's key can make certificates, but none that is on record.
    if shared.publisher.current().bundle().has_struck(&peer.cert.issuer) {
        let known = certus_ca::cert(view, &peer.cert)?;
        let same = known.is_some_and(|known| Sha256::of(&known.der) == peer.fingerprint);
        if !same {
            let words = "the certificate's issuer was struck, and the certificate is not on record";
            return Ok(Err(Explanation::new(code::ISSUER_NOT_ACTIVE, words)
                .fact("identity", &identity)
                .fact("issuer", peer.cert.issuer.short())
                .hint("certus token create --id ID --replace, and join again")));
        }
    }
    if certus_ca::cluster(view)?.is_none() {
        // This manager has just joined and knows nothing yet. Who tells it must be a manager by a
        // certificate that this manager's own bundle accepts, as everybody who calls was found to be.
        let manages = identity.role == Role::Manager;
        return Ok(Ok(Standing { identity, grant: manages.then_some(Grant::None), manages }));
    }
    let record = certus_ca::node(view, &identity)?;
    let leads = shared.truth.replica.status().leading;
    let lagging = !leads && identity.role == Role::Manager && record.is_none();
    let active = record.filter(|node| node.state == NodeState::Active);
    // One that is behind may not know the manager that leads by now: the log will tell it of whom. Until
    // then a manager's certificate does, since only managers issue those.
    let manages = lagging || certus_ca::manager(view, &identity)?.is_some();
    let grant = active.map(|node| node.grant).or(lagging.then_some(Grant::None));
    Ok(Ok(Standing { identity, grant, manages }))
}
