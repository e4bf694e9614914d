//! A listener: authenticates who connects, and forwards to the service.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use certus_pki::explain::{Explain, Explanation};
use certus_pki::{Accept, UnixTime, code};
use certus_tls::{Admission, ClientCertificate, Credentials, HandshakeError, Server, ServerOptions};
use http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::accept::End;
use super::backend::Plain;
use super::outbound::carry_until;
use super::proxy_protocol::{self, Ends, Facts, Header, TlsFacts};
use super::sniff::{Begins, Peeked, sniff};
use super::wire::{Outer, Wire};
use super::{Means, Run};
use crate::e2e::{self, Prologue};
use crate::metrics::Side;
use crate::spec::{E2e, ListenerSpec, Mtls, Transport};
use crate::transports::{h2, ws};

/// A proxy sends its header with the first bytes; who says nothing that long is none.
const PROXY_HEADER_WITHIN: Duration = Duration::from_secs(5);
/// A TLS client speaks at once; a client in the clear may wait for the server to speak.
const SNIFF_WITHIN: Duration = Duration::from_secs(1);

pub(super) struct Inbound {
    pub(super) spec: ListenerSpec,
    pub(super) server: Server,
    pub(super) means: Means,
    /// Handshakes at once; who finds none free waits.
    pub(super) handshakes: Arc<Semaphore>,
}

/// A connection that was authenticated as far as TLS can.
pub(super) struct Entered {
    pub(super) outer: Outer,
    pub(super) admission: Admission,
    pub(super) ends: Addresses,
}

/// Between whom a connection is, as far as is known.
#[derive(Clone, Copy)]
pub(super) struct Addresses {
    /// Who connected, as the socket or a believed proxy says.
    pub(super) from: SocketAddr,
    /// Whom they reached.
    pub(super) to: Option<SocketAddr>,
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
            Transport::Tcp | Transport::Quic => vec![super::ALPN.to_vec(), super::ALPN_E2E.to_vec()],
            Transport::H2 => vec![b"h2".to_vec()],
            Transport::Ws => vec![b"http/1.1".to_vec()],
        };
        // Programs that are not ours connect to services directly.
        options.alpn_optional = matches!(spec.transport, Transport::Tcp | Transport::Ws);
        let handshakes = Arc::new(Semaphore::new(spec.limits.handshakes));
        Inbound { server: Server::new(credentials, options), spec, means, handshakes }
    }

    pub(super) fn failed(&self, from: SocketAddr, peer: &str, why: Explanation) {
        let (name, transport) = (&self.spec.name, self.spec.transport.as_str());
        self.means.failures.record(Side::Server, name, transport, &from.to_string(), peer, why);
    }

    /// Authenticates one connection as far as TLS can.
    async fn enter(&self, mut tcp: TcpStream, from: SocketAddr) -> Result<Entered, Explanation> {
        let mut ends = Addresses { from, to: tcp.local_addr().ok() };
        if self.spec.proxy_protocol.accept {
            let header = tokio::time::timeout(PROXY_HEADER_WITHIN, proxy_protocol::read_header(&mut tcp));
            let header = header.await.map_err(|_| no_proxy_header())?.map_err(|error| error.explain())?;
            if let Ends::Tcp { source, destination } = header.ends {
                ends = Addresses { from: source, to: Some(destination) };
            }
        }
        let rejected = |rejection: certus_pki::Rejection| rejection.explain();
        if self.spec.plaintext {
            let admission = self.server.admit_unknown().map_err(rejected)?;
            return Ok(Entered { outer: Outer::Plain(Peeked::whole(tcp)), admission, ends });
        }
        let peeked = match self.spec.tls.mtls {
            Mtls::Permissive { until } => match self.sniffed(tcp, until).await? {
                (Begins::Tls, peeked) => peeked,
                (Begins::Plaintext | Begins::Silent, peeked) => {
                    let admission = self.server.admit_plaintext().map_err(rejected)?;
                    self.means.metrics.plaintext_accepted(&self.spec.name);
                    tracing::warn!(name = self.spec.name, from = %ends.from,
                        "a caller came in the clear; it will be refused once mtls is true");
                    return Ok(Entered { outer: Outer::Plain(peeked), admission, ends });
                }
            },
            Mtls::Required | Mtls::Off => Peeked::whole(tcp),
        };
        let outcome = self.server.accept(peeked).await;
        self.means.metrics.handshake(Side::Server, outcome.as_ref().map(drop));
        let tls = outcome.map_err(|error: HandshakeError| error.explain())?;
        let admission = tls.admission().clone();
        Ok(Entered { outer: Outer::Tls(Box::new(tls)), admission, ends })
    }

    /// What a connection to a permissive listener begins with.
    async fn sniffed(
        &self,
        tcp: TcpStream,
        until: UnixTime,
    ) -> Result<(Begins, Peeked<TcpStream>), Explanation> {
        let broke = |error| {
            Explanation::new(code::HANDSHAKE_FAILED, "the connection ended before it said anything")
                .fact("the system says", error)
        };
        let (begins, peeked) = sniff(tcp, SNIFF_WITHIN).await.map_err(broke)?;
        let now = self.server.now();
        if begins != Begins::Tls && now > until {
            return Err(Explanation::new(code::PLAINTEXT, "plaintext is no longer taken here")
                .fact("now", now)
                .fact("until", until)
                .hint("give the caller a certificate, or move `mtls_until` of the listener"));
        }
        Ok((begins, peeked))
    }

    /// Learns who sent a stream as far as anything can tell, and whether it is accepted.
    pub(super) async fn settle(
        &self,
        wire: Wire,
        asked: bool,
        exporter: Option<[u8; 32]>,
        admission: &Admission,
    ) -> Result<(Wire, Admission), Explanation> {
        if !asked {
            let known = admission.peer().is_some() || admission.is_plaintext();
            if !known && self.spec.e2e == E2e::Auto && !self.spec.allow.is_anyone() {
                return Err(Explanation::new(code::NO_CERTIFICATE, "nothing says who the caller is")
                    .halves("a client certificate, or an end-to-end session inside", "neither")
                    .hint("dial with `id: AGENT`, set mtls: true here, or say `allow: any`"));
            }
            admission.without_agent().map_err(|rejection| rejection.explain())?;
            return Ok((wire, admission.clone()));
        }
        let Some(key) = self.means.key.as_ref().filter(|_| self.spec.e2e == E2e::Auto) else {
            return Err(Explanation::new(code::E2E_FAILED, "an end-to-end session was asked for")
                .halves("a stream without one (e2e: never)", "one that begins a session"));
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
        let plain = match self.reach(backend, admission, ends).await {
            Ok(plain) => plain,
            Err(why) => {
                self.failed(ends.from, &peer, why);
                return wire.abort("the service does not answer").await;
            }
        };
        let from = ends.from;
        let (carried, ended) = carry_until(wire, plain, true, admission, &run.ending).await;
        let (towards, back) = (carried.towards, carried.back);
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
        backend: &crate::spec::Backend,
        admission: &Admission,
        ends: Addresses,
    ) -> Result<Plain, Explanation> {
        let told = |error: std::io::Error| {
            Explanation::new(code::BACKEND, "the service does not answer")
                .fact("address", backend)
                .fact("the system says", error)
        };
        let mut plain = Plain::connect(backend).await.map_err(told)?;
        if self.spec.proxy_protocol.send {
            let header = header_of(admission, ends).encode().map_err(|error| error.explain())?;
            plain.write_all(&header).await.map_err(told)?;
        }
        Ok(plain)
    }

    /// A listener without a service: the link is all there is.
    async fn link(&self, wire: Wire, admission: &Admission, peer: &str, run: &Run) {
        tracing::info!(name = self.spec.name, peer, "a peer is linked");
        super::hold(wire, admission, run).await;
        tracing::info!(name = self.spec.name, peer, "a link ended");
    }

    /// One HTTP/2 connection and its streams.
    async fn multiplex(self: &Arc<Self>, entered: Entered, run: &Run) {
        let Entered { outer, admission, ends } = entered;
        let exporter = outer.exporter(e2e::EXPORTER_LABEL);
        let mut limits = h2::Limits::default();
        limits.streams_max = self.spec.limits.streams;
        let mut server = match h2::accept(outer.ended_by_caller(), limits).await {
            Ok(server) => server,
            Err(error) => return self.failed(ends.from, &admission.peer_name(), error.explain()),
        };
        let (cut, draining) = (admission.cancelled(), admission.draining());
        let mut finishing = false;
        loop {
            let incoming = tokio::select! {
                biased;
                () = cut.cancelled() => {
                    server.abrupt(::h2::Reason::CANCEL);
                    let _ = tokio::time::timeout(super::GOODBYE, drained(&mut server)).await;
                    break;
                }
                () = run.ending.cancelled() => {
                    server.abrupt(::h2::Reason::NO_ERROR);
                    let _ = tokio::time::timeout(super::GOODBYE, drained(&mut server)).await;
                    break;
                }
                () = draining.cancelled(), if !finishing => { finishing = true; server.graceful_shutdown(); continue }
                () = run.closing.cancelled(), if !finishing => { finishing = true; server.graceful_shutdown(); continue }
                incoming = server.next() => incoming,
            };
            match incoming {
                Some(Ok(incoming)) => self.stream(incoming, &admission, (exporter, ends), run),
                Some(Err(error)) => {
                    tracing::debug!(name = self.spec.name, from = %ends.from, %error, "an HTTP/2 connection broke");
                    break;
                }
                None => break,
            }
        }
        if let Some(cut) = admission.cut() {
            let why = cut.explain();
            tracing::info!(name = self.spec.name, from = %ends.from, peer = admission.peer_name(),
                code = %why.code, %why, "a connection broke");
        }
    }

    /// One stream of an HTTP/2 connection: authorised anew, as the connection may be old.
    fn stream(
        self: &Arc<Self>,
        incoming: h2::Incoming,
        admission: &Admission,
        (exporter, ends): (Option<[u8; 32]>, Addresses),
        run: &Run,
    ) {
        if let Err(rejection) = admission.recheck() {
            let why = rejection.explain();
            incoming.refuse(StatusCode::FORBIDDEN, Some(why.code), &why.message);
            return self.failed(ends.from, &admission.peer_name(), why);
        }
        let asked = incoming.ask.e2e;
        let stream = match incoming.accept() {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(%error, "a stream was taken back"),
        };
        let (inbound, admission, run) = (self.clone(), admission.clone(), run.clone());
        run.tasks.clone().spawn(async move {
            inbound.serve(Wire::H2(stream), asked, exporter, &admission, ends, &run).await;
        });
    }
}

/// Moves an ending connection's last bytes.
async fn drained(server: &mut h2::H2Server<Outer>) {
    while let Some(Ok(incoming)) = server.next().await {
        drop(incoming);
    }
}

impl End for Inbound {
    fn name(&self) -> &str {
        &self.spec.name
    }

    async fn carry(self: Arc<Self>, tcp: TcpStream, from: SocketAddr, run: Run) {
        let entered = {
            let entering = Box::pin(async {
                let _place = self.handshakes.acquire().await;
                self.enter(tcp, from).await
            });
            tokio::select! {
                () = run.ending.cancelled() => return,
                entered = entering => entered,
            }
        };
        let entered = match entered {
            Ok(entered) => entered,
            Err(why) => return self.failed(from, "", why),
        };
        match self.spec.transport {
            Transport::H2 => Box::pin(self.multiplex(entered, &run)).await,
            Transport::Ws => {
                let Entered { outer, admission, ends } = entered;
                let exporter = outer.exporter(e2e::EXPORTER_LABEL);
                let speaks = [ws::Subprotocol::EndToEnd, ws::Subprotocol::Plain];
                match Box::pin(ws::accept(outer.ended_by_caller(), &self.spec.path, &speaks)).await {
                    Ok(accepted) => {
                        let asked = accepted.subprotocol == ws::Subprotocol::EndToEnd;
                        let wire = Wire::Ws(Box::new(accepted.stream));
                        self.serve(wire, asked, exporter, &admission, ends, &run).await;
                    }
                    Err(error) => self.failed(ends.from, &admission.peer_name(), error.explain()),
                }
            }
            Transport::Tcp | Transport::Quic => {
                let Entered { outer, admission, ends } = entered;
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
pub(super) fn accept_of(spec: &ListenerSpec) -> Accept {
    let accept =
        Accept::new(spec.allow.clone()).requiring(spec.tls.required_sans.clone()).with_keys(spec.tls.keys);
    match spec.tls.allow_expired {
        Some(grace) => accept.allowing_expired(grace),
        None => accept,
    }
}

fn no_proxy_header() -> Explanation {
    Explanation::new(code::PROXY_PROTOCOL, "no PROXY protocol header came")
        .halves("a version 2 header at once", format!("nothing within {} s", PROXY_HEADER_WITHIN.as_secs()))
        .hint("let the proxy send it (haproxy: send-proxy-v2), or take proxy_protocol.accept off")
}

/// What the service is told of a caller.
fn header_of(admission: &Admission, ends: Addresses) -> Header {
    let peer = admission.peer().map(|peer| &peer.peer);
    let tls = peer.map(|peer| TlsFacts {
        certificate: !admission.resumed(),
        certificate_in_session: true,
        verified: true,
        version: Some("TLSv1.3".to_owned()),
        common_name: Some(peer.subject.clone()),
    });
    let facts = Facts {
        authority: None,
        tls,
        spiffe_id: peer.and_then(|peer| peer.identity.as_ref()).map(ToString::to_string),
        key_fingerprint: peer.map(|peer| peer.key_hash.to_string()),
    };
    let between = match ends.to {
        Some(destination) => Ends::Tcp { source: ends.from, destination },
        None => Ends::Unspecified,
    };
    Header { ends: between, facts }
}
