//! A listener: authenticates who connects, and forwards to the service.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use certus_pki::explain::{Explain, Explanation};
use certus_pki::{Accept, UnixTime, code};
use certus_tls::{Admission, ClientCertificate, Credentials, Server, ServerOptions};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::accept::End;
use super::backend::Plain;
use super::clear::{Clear, Watched};
use super::outbound::carry_until;
use super::reload::Follows;
use super::seats::{Handshakes, Seat};
use super::wire::{Outer, Wire};
use super::{Means, Run, told};
use crate::e2e::{self, Prologue};
use crate::metrics::Side;
use crate::spec::{Backend, E2e, ListenerSpec, Mtls, Pem, Transport};
use crate::transports::ws;

pub(super) struct Inbound {
    pub(super) spec: ListenerSpec,
    pub(super) server: Server,
    credentials: Credentials,
    pub(super) means: Means,
    pub(super) handshakes: Handshakes,
    /// Who comes in the clear, if anybody may.
    pub(super) watched: Option<Arc<Watched>>,
}

/// A connection that was authenticated as far as TLS can.
pub(super) struct Entered {
    pub(super) outer: Outer,
    pub(super) admission: Admission,
    pub(super) ends: Addresses,
    /// Counted while it lives, if it came in the clear.
    pub(super) clear: Option<Clear>,
}

/// Between whom a connection is, as far as is known.
#[derive(Clone, Copy)]
pub(super) struct Addresses {
    /// Who connected, as the socket or a believed proxy says.
    pub(super) from: SocketAddr,
    /// Whom they reached.
    pub(super) to: Option<SocketAddr>,
    /// Which version of TLS they speak to us, `1.2` or `1.3`.
    pub(super) tls: Option<&'static str>,
}

impl Follows for Inbound {
    fn take_policy_of(&self, next: &Inbound) -> usize {
        let until = match next.spec.tls.mtls {
            Mtls::Permissive { until } => until,
            // In seconds: what is over now was taken a second ago.
            Mtls::Required | Mtls::Off => UnixTime::from_secs(self.server.now().secs() - 1),
        };
        if let Some(watched) = &self.watched {
            let goes_on = next.watched.as_ref().is_some_and(|next| Arc::ptr_eq(watched, next));
            watched.ends(goes_on.then_some(until));
        }
        self.server.set_accept(accept_of(&next.spec)).len() + self.server.set_plaintext_until(until).len()
    }

    fn judge_by(&self, next: &Inbound) -> usize {
        self.server.judge_by(&next.server).len()
    }

    fn roots(&self) -> Option<Option<Pem>> {
        (self.spec.tls.mtls != Mtls::Off).then(|| self.spec.tls.material.ca.clone())
    }

    fn credentials(&self) -> Credentials {
        self.credentials.clone()
    }
}

impl Inbound {
    pub(super) fn new(spec: ListenerSpec, credentials: Credentials, means: Means) -> Inbound {
        let mut options = ServerOptions::new(accept_of(&spec));
        options.client_certificate = match spec.tls.mtls {
            Mtls::Off => ClientCertificate::NotAsked,
            Mtls::Required | Mtls::Permissive { .. } => ClientCertificate::Required,
        };
        options.versions = spec.tls.versions;
        options.lifecycle = spec.tls.lifecycle;
        options.alpn = match spec.transport {
            Transport::Tcp if spec.e2e == E2e::Never => vec![super::ALPN.to_vec()],
            Transport::Tcp | Transport::Quic => vec![super::ALPN.to_vec(), super::ALPN_E2E.to_vec()],
            Transport::H2 => vec![b"h2".to_vec()],
            Transport::Ws => vec![b"http/1.1".to_vec()],
        };
        // Programs that are not ours connect to services directly.
        options.alpn_optional = matches!(spec.transport, Transport::Tcp | Transport::Ws);
        let handshakes = Handshakes::new(spec.limits.handshakes);
        let server = Server::new(credentials.clone(), options);
        if let Mtls::Permissive { until } = spec.tls.mtls {
            server.set_plaintext_until(until);
        }
        let watched = means.clear.watch(&spec);
        Inbound { server, credentials, spec, means, handshakes, watched }
    }

    pub(super) fn failed(&self, from: SocketAddr, peer: &str, why: Explanation) {
        let (name, transport) = (&self.spec.name, self.spec.transport.as_str());
        self.means.failures.record(Side::Server, name, transport, &from.to_string(), peer, why);
    }

    /// Whether a stream of a connection that carries many is accepted, before it is answered: the
    /// connection may be old.
    pub(super) fn judge_stream(&self, asked: bool, admission: &Admission) -> Result<(), Explanation> {
        self.fresh_enough()?;
        if asked {
            self.e2e_key()?;
            return admission.recheck().map_err(|rejection| rejection.explain());
        }
        self.known_enough(admission)?;
        admission.check_bare_stream().map_err(|rejection| rejection.explain())
    }

    /// Whether those who come can be judged, where the cluster says who is trusted.
    fn fresh_enough(&self) -> Result<(), Explanation> {
        let tls = &self.spec.tls;
        let by_cluster = !self.spec.plaintext && tls.mtls != Mtls::Off && tls.material.ca.is_none();
        if by_cluster { self.means.stale.check() } else { Ok(()) }
    }

    /// Whether TLS, or the wish for plaintext, says enough of a caller that begins no session.
    fn known_enough(&self, admission: &Admission) -> Result<(), Explanation> {
        let known = admission.peer().is_some() || admission.is_plaintext();
        if known || self.spec.e2e == E2e::Never || self.spec.allow.is_anyone() {
            return Ok(());
        }
        Err(Explanation::new(code::NO_CERTIFICATE, "nothing says who the caller is")
            .halves("a client certificate, or an end-to-end session inside", "neither")
            .hint("dial with `id: AGENT`, set mtls: true here, or say `allow: any`"))
    }

    fn e2e_key(&self) -> Result<&e2e::AgentKey, Explanation> {
        self.means.key.as_deref().filter(|_| self.spec.e2e == E2e::Auto).ok_or_else(|| {
            Explanation::new(code::E2E_FAILED, "an end-to-end session was asked for")
                .halves("a stream without one (e2e: never)", "one that begins a session")
        })
    }

    /// Learns who sent a stream as far as anything can tell, and whether it is accepted.
    async fn settle(
        &self,
        wire: Wire,
        asked: bool,
        exporter: Option<[u8; 32]>,
        admission: &Admission,
    ) -> Result<(Wire, Admission), Explanation> {
        if !asked {
            // Those of a connection that carries many were judged before they were answered.
            let alone = matches!(wire, Wire::Tcp(_) | Wire::Ws(_));
            if let Err(why) = if alone { self.judge_stream(false, admission) } else { Ok(()) } {
                wire.abort(&why).await;
                return Err(why);
            }
            return Ok((wire, admission.clone()));
        }
        let key = match self.fresh_enough().and_then(|()| self.e2e_key()) {
            Ok(key) => key,
            Err(why) => {
                wire.abort(&why).await;
                return Err(why);
            }
        };
        let prologue = Prologue { transport: self.spec.transport.as_str(), exporter };
        let proven: Mutex<Option<Admission>> = Mutex::default();
        let sealed = e2e::accept(wire, key, prologue, |agent| {
            let own = admission.for_agent(*agent).map_err(|rejection| rejection.explain())?;
            *proven.lock().unwrap_or_else(PoisonError::into_inner) = Some(own);
            Ok(())
        });
        let sealed = sealed.await.map_err(|error| error.explain())?;
        let proven = proven.into_inner().unwrap_or_else(PoisonError::into_inner);
        let proven = proven.unwrap_or_else(|| admission.clone());
        Ok((Wire::Sealed(Box::new(sealed)), proven))
    }

    /// Carries one stream to the service, until it ends.
    pub(super) async fn serve(
        &self,
        wire: Wire,
        asked: bool,
        exporter: Option<[u8; 32]>,
        admission: &Admission,
        ends: Addresses,
        run: &Run,
    ) {
        let settled = tokio::select! {
            () = run.ending.cancelled() => return,
            // Boxed, like all that ends before a connection idles: its task keeps room for the rest.
            settled = Box::pin(self.settle(wire, asked, exporter, admission)) => settled,
        };
        match settled {
            Ok((wire, admission)) => self.forward(wire, &admission, ends, run).await,
            Err(why) => self.failed(ends.from, &admission.peer_name(), why),
        }
    }

    async fn forward(&self, wire: Wire, admission: &Admission, ends: Addresses, run: &Run) {
        let (name, peer) = (self.spec.name.as_str(), admission.peer_name());
        let Some(backend) = &self.spec.forward else {
            return self.link(wire, admission, &peer, run).await;
        };
        let reached = tokio::select! {
            () = run.ending.cancelled() => return wire.abort(&super::ends()).await,
            reached = self.reach(backend, admission, ends) => reached,
        };
        let plain = match reached {
            Ok(plain) => plain,
            Err(why) => {
                // Which service it is, is no caller's affair.
                wire.abort(&Explanation::new(why.code, "the service does not answer")).await;
                return self.failed(ends.from, &peer, why);
            }
        };
        let from = ends.from;
        let (carried, ended) = carry_until(wire, plain, true, admission, run).await;
        let (towards, back) = (carried.towards, carried.back);
        self.means.metrics.carried(Side::Server, ended.is_ok(), towards, back);
        match ended {
            Ok(how) => tracing::info!(name, %from, peer, towards, back, how, "a connection ended"),
            Err(why) => {
                tracing::info!(name, %from, peer, towards, back, code = %why.code, %why, "a connection broke");
            }
        }
    }

    /// Connects to the service, and tells it who comes if it wants to know.
    async fn reach(
        &self,
        backend: &Backend,
        admission: &Admission,
        ends: Addresses,
    ) -> Result<Plain, Explanation> {
        let down = |error: std::io::Error| {
            Explanation::new(code::BACKEND, "the service does not answer")
                .fact("address", backend)
                .fact("the system says", error)
        };
        let mut plain = Plain::connect(backend).await.map_err(down)?;
        if self.spec.proxy_protocol.send {
            let header = told::header(admission, ends).encode().map_err(|error| error.explain())?;
            plain.write_all(&header).await.map_err(down)?;
        }
        Ok(plain)
    }

    /// A listener without a service: the link is all there is.
    async fn link(&self, wire: Wire, admission: &Admission, peer: &str, run: &Run) {
        tracing::info!(name = self.spec.name, peer, "a peer is linked");
        if let Some(why) = super::hold(wire, admission, run).await {
            tracing::info!(name = self.spec.name, peer, code = %why.code, %why, "a link broke");
        }
        tracing::info!(name = self.spec.name, peer, "a link ended");
    }

    /// A WebSocket and its stream.
    async fn websocket(&self, entered: Entered, run: &Run) {
        let Entered { outer, admission, ends, .. } = entered;
        let exporter = outer.exporter(e2e::EXPORTER_LABEL);
        let speaks = [ws::Subprotocol::EndToEnd, ws::Subprotocol::Plain];
        // The one that is not spoken here is refused in words.
        let speaks = if self.spec.e2e == E2e::Never { &speaks[1..] } else { &speaks[..] };
        let accepted = tokio::select! {
            () = run.ending.cancelled() => return,
            accepted = ws::accept(outer.ended_by_caller(), &self.spec.path, speaks) => accepted,
        };
        match accepted {
            Ok(accepted) => {
                let asked = accepted.subprotocol == ws::Subprotocol::EndToEnd;
                let wire = Wire::Ws(Box::new(accepted.stream));
                self.serve(wire, asked, exporter, &admission, ends, run).await;
            }
            Err(error) => self.failed(ends.from, &admission.peer_name(), super::cause(&error)),
        }
    }
}

impl End for Inbound {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn connections_max(&self) -> usize {
        self.spec.limits.connections
    }

    fn refused(&self, from: SocketAddr, why: Explanation) {
        self.failed(from, "", why);
    }

    async fn carry(self: Arc<Self>, tcp: TcpStream, from: SocketAddr, seat: Seat, run: Run) {
        // In boxes, so that a connection's task keeps no room for what it did at its beginning.
        let Some(mut entered) = Box::pin(self.enter(tcp, from, &seat, &run)).await else { return };
        let _clear = entered.clear.take();
        match self.spec.transport {
            Transport::H2 => Box::pin(self.multiplex(entered, &run)).await,
            Transport::Ws => Box::pin(self.websocket(entered, &run)).await,
            Transport::Tcp | Transport::Quic => {
                let Entered { outer, admission, ends, .. } = entered;
                let exporter = outer.exporter(e2e::EXPORTER_LABEL);
                // Where TLS is ended elsewhere nothing can be agreed on, so the session is expected.
                let behind = self.spec.plaintext && !self.spec.allow.is_anyone();
                let asked = behind || outer.alpn() == Some(super::ALPN_E2E);
                self.serve(Wire::Tcp(outer), asked, exporter, &admission, ends, &run).await;
            }
        }
    }
}

/// The policy of a listener.
fn accept_of(spec: &ListenerSpec) -> Accept {
    let accept =
        Accept::new(spec.allow.clone()).requiring(spec.tls.required_sans.clone()).with_keys(spec.tls.keys);
    match spec.tls.allow_expired {
        Some(grace) => accept.allowing_expired(grace),
        None => accept,
    }
}
