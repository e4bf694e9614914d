//! Opens streams to one peer, over whichever transport; connections that carry many are kept.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use certus_pki::explain::{Explain, Explanation};
use certus_pki::{Accept, Allow, San, code};
use certus_tls::quic::{QuicConnection, explain_quic_close};
use certus_tls::{Admission, Client, ClientOptions, Credentials, danger};
use tokio::sync::Mutex;

use super::Means;
use super::quic::{self, Opened};
use super::sniff::Peeked;
use super::wire::{Outer, Wire};
use crate::api::{connect_tcp, unreachable};
use crate::e2e::{self, Prologue};
use crate::metrics::Side;
use crate::spec::{E2e, PeerId, PeerSpec, Transport};
use crate::transports::{h2, http_proxy, ws};

/// What an open may take on a connection that stands.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// Connections of one peer that are kept for their streams: 6,400 streams at once.
const POOLED_MAX: usize = 64;

/// What reaches one peer.
pub(super) struct Dialer {
    pub(super) spec: PeerSpec,
    pub(super) means: Means,
    client: Client,
    /// Held while a connection is made, so that many streams wanted at once share it.
    h2: Mutex<Vec<PooledH2>>,
    quic: Mutex<Vec<PooledQuic>>,
    endpoint: Mutex<Option<quinn::Endpoint>>,
}

#[derive(Clone)]
struct PooledH2 {
    client: h2::H2Client,
    admission: Admission,
    exporter: Option<[u8; 32]>,
}

#[derive(Clone)]
struct PooledQuic {
    connection: QuicConnection,
    streams: Arc<AtomicUsize>,
}

impl Dialer {
    pub(super) fn new(spec: PeerSpec, credentials: Credentials, means: Means) -> Dialer {
        let mut options = ClientOptions::new(accept_of(&spec));
        options.versions = spec.tls.versions;
        options.lifecycle = spec.tls.lifecycle;
        options.alpn = match spec.transport {
            Transport::Tcp if asks(&spec) => vec![super::ALPN_E2E.to_vec()],
            // What is not offered is not refused by servers that are not ours.
            Transport::Tcp => Vec::new(),
            Transport::Quic => vec![super::ALPN.to_vec()],
            Transport::H2 => vec![b"h2".to_vec()],
            Transport::Ws => vec![b"http/1.1".to_vec()],
        };
        let client = if spec.tls.strict {
            Client::new(credentials, options)
        } else {
            danger::client_of_any_server(credentials, options)
        };
        let (h2, quic, endpoint) = (Mutex::default(), Mutex::default(), Mutex::default());
        Dialer { spec, means, client, h2, quic, endpoint }
    }

    /// Replaces the policy by that of another specification of the same peer.
    pub(super) fn set_accept(&self, spec: &PeerSpec) -> usize {
        self.client.set_accept(accept_of(spec)).len()
    }

    /// A stream to the peer, whom everything that can has proven to be the one.
    pub(super) async fn open(&self) -> Result<(Wire, Admission), Explanation> {
        let (wire, exporter, admission) = match self.spec.transport {
            Transport::Tcp => {
                let (outer, admission) = self.outer().await?;
                self.check_alpn(&outer)?;
                let exporter = self.exporter(&outer);
                (Wire::Tcp(outer), exporter, admission)
            }
            Transport::Ws => {
                let (outer, admission) = self.outer().await?;
                let exporter = self.exporter(&outer);
                let mut ask = ws::Ask::new(self.host());
                ask.path.clone_from(&self.spec.path);
                ask.e2e = asks(&self.spec);
                let socket = ws::connect(outer.ended_by_caller(), &ask).await;
                let socket = socket.map_err(|error| error.explain())?;
                (Wire::Ws(Box::new(socket)), exporter, admission)
            }
            Transport::H2 => self.open_h2().await?,
            Transport::Quic => self.open_quic().await?,
        };
        self.seal(wire, exporter, admission).await
    }

    /// Puts the end-to-end session around a stream where one is wanted.
    async fn seal(
        &self,
        wire: Wire,
        exporter: Option<[u8; 32]>,
        admission: Admission,
    ) -> Result<(Wire, Admission), Explanation> {
        let (PeerId::Agent(expected), true) = (&self.spec.id, asks(&self.spec)) else {
            admission.without_agent().map_err(|rejection| rejection.explain())?;
            return Ok((wire, admission));
        };
        let Some(key) = &self.means.key else {
            return Err(Explanation::new(code::E2E_FAILED, "this node has no key for an end-to-end session"));
        };
        let prologue = Prologue { transport: self.spec.transport.as_str(), exporter };
        let sealed = e2e::connect(wire, key, *expected, prologue).await.map_err(|error| error.explain())?;
        let admission = admission.for_agent(*expected).map_err(|rejection| rejection.explain())?;
        Ok((Wire::Sealed(Box::new(sealed)), admission))
    }

    /// A socket to the peer's listener, with TLS on it unless the path ends TLS elsewhere.
    async fn outer(&self) -> Result<(Outer, Admission), Explanation> {
        let address = &self.spec.address;
        let tcp = match &self.spec.http_proxy {
            None => connect_tcp(address).await.map_err(|error| unreachable("the peer", address, &error))?,
            Some(url) => {
                let proxy = http_proxy::Proxy::parse(&url.0).map_err(|error| error.explain())?;
                let reached = connect_tcp(&proxy.address).await;
                let mut tcp =
                    reached.map_err(|error| unreachable("the HTTP proxy", &proxy.address, &error))?;
                let through =
                    http_proxy::connect_through(&mut tcp, address, proxy.credentials.as_ref()).await;
                through.map_err(|error| error.explain())?;
                tcp
            }
        };
        let tcp = Peeked::whole(tcp);
        if self.spec.plaintext {
            let admission = self.client.admit_unknown().map_err(|rejection| rejection.explain())?;
            return Ok((Outer::Plain(tcp), admission));
        }
        let outcome = self.client.connect(tcp).await;
        self.means.metrics.handshake(Side::Client, outcome.as_ref().map(drop));
        let tls = outcome.map_err(|error| error.explain())?;
        let admission = tls.admission().clone();
        Ok((Outer::Tls(Box::new(tls)), admission))
    }

    /// What the session inside is bound to: nothing where somebody on the way ends TLS.
    fn exporter(&self, outer: &Outer) -> Option<[u8; 32]> {
        if self.spec.intermediary { None } else { outer.exporter(e2e::EXPORTER_LABEL) }
    }

    fn check_alpn(&self, outer: &Outer) -> Result<(), Explanation> {
        let tls = matches!(outer, Outer::Tls(_)) && !self.spec.intermediary;
        if !tls || !asks(&self.spec) || outer.alpn() == Some(super::ALPN_E2E) {
            return Ok(());
        }
        Err(Explanation::new(code::E2E_FAILED, "the other end does not speak end-to-end sessions here")
            .halves("the protocol certus-e2e/1 in TLS", "another server, or a listener with e2e: never"))
    }

    async fn open_h2(&self) -> Result<(Wire, Option<[u8; 32]>, Admission), Explanation> {
        let ask = h2::Ask { authority: self.spec.name.clone(), e2e: asks(&self.spec) };
        // Once more if the connection that was kept says that it ends.
        for last in [false, true] {
            let pooled = self.pooled_h2().await?;
            let opened = tokio::time::timeout(OPEN_WITHIN, pooled.client.open(&ask)).await;
            match opened.map_err(|_| late())? {
                Ok(stream) => return Ok((Wire::H2(stream), pooled.exporter, pooled.admission)),
                Err(h2::OpenError::Closed { is_goaway: true, .. }) if !last => {
                    // Another may have replaced it already.
                    let mut pool = self.h2.lock().await;
                    pool.retain(|kept| !kept.admission.is_same(&pooled.admission));
                }
                Err(error) => return Err(error.explain()),
            }
        }
        Err(late())
    }

    async fn pooled_h2(&self) -> Result<PooledH2, Explanation> {
        let mut pool = self.h2.lock().await;
        pool.retain(|kept| kept.admission.is_usable());
        if let Some(kept) = pool.iter().find(|kept| kept.client.has_room()) {
            return Ok(kept.clone());
        }
        if pool.len() >= POOLED_MAX {
            // Waits for a stream to end.
            return Ok(pool[0].clone());
        }
        let (outer, admission) = self.outer().await?;
        let exporter = self.exporter(&outer);
        let connected = h2::connect(outer.ended_by_caller(), h2::Limits::default()).await;
        let (client, driver) = connected.map_err(|error| error.explain())?;
        let (cut, kept) = (admission.cancelled(), admission.clone());
        tokio::spawn(async move {
            tokio::select! {
                // Dropped, the connection is cut.
                () = cut.cancelled() => {}
                _ = driver => {}
            }
            kept.end();
        });
        let pooled = PooledH2 { client, admission, exporter };
        // In TLS 1.3 the other end may still refuse us, and only says so now.
        pooled.client.ready().await.map_err(|error| error.explain())?;
        pool.push(pooled.clone());
        Ok(pooled)
    }

    async fn open_quic(&self) -> Result<(Wire, Option<[u8; 32]>, Admission), Explanation> {
        for last in [false, true] {
            let pooled = self.pooled_quic().await?;
            let admission = pooled.connection.admission().clone();
            let e2e = asks(&self.spec);
            let opened = tokio::time::timeout(OPEN_WITHIN, quic::open(&pooled.connection, e2e)).await;
            match opened.map_err(|_| late())? {
                Opened::Stream(mut stream) => {
                    stream.counted = Some(quic::Counted::new(&pooled.streams));
                    let exporter = pooled.connection.exporter(e2e::EXPORTER_LABEL, b"");
                    return Ok((Wire::Quic(Box::new(stream)), exporter, admission));
                }
                Opened::Lost(error) => {
                    self.quic.lock().await.retain(|kept| !kept.connection.admission().is_same(&admission));
                    if last || explain_quic_close(&error).is_some() {
                        return Err(quic::lost(&error, &self.spec.address));
                    }
                }
                Opened::Refused(why) => return Err(why),
            }
        }
        Err(late())
    }

    async fn pooled_quic(&self) -> Result<PooledQuic, Explanation> {
        let mut pool = self.quic.lock().await;
        pool.retain(|kept| {
            kept.connection.admission().is_usable() && kept.connection.connection().close_reason().is_none()
        });
        let room = |kept: &&PooledQuic| kept.streams.load(Ordering::Relaxed) < h2::STREAMS_MAX as usize;
        if let Some(kept) = pool.iter().find(room) {
            return Ok(kept.clone());
        }
        if pool.len() >= POOLED_MAX {
            return Ok(pool[0].clone());
        }
        let address = &self.spec.address;
        let resolved = tokio::net::lookup_host(address).await.map(|mut found| found.next());
        let resolved = resolved.map_err(|error| unreachable("the peer", address, &error))?;
        let resolved = resolved.ok_or_else(|| {
            Explanation::new(code::PEER_UNREACHABLE, "the peer's name has no address")
                .fact("address", address)
        })?;
        let endpoint = self.endpoint(resolved).await?;
        let outcome = self.client.connect_quic(&endpoint, resolved).await;
        self.means.metrics.handshake(Side::Client, outcome.as_ref().map(drop));
        let connection = outcome.map_err(|error| error.explain())?;
        let (watched, cut) = (connection.clone(), connection.admission().cancelled());
        tokio::spawn(async move {
            let quic = watched.connection();
            tokio::select! {
                () = cut.cancelled() => quic.close(quic::CUT, b"certificate no longer trusted"),
                _ = quic.closed() => {}
            }
        });
        let pooled = PooledQuic { connection, streams: Arc::default() };
        pool.push(pooled.clone());
        Ok(pooled)
    }

    async fn endpoint(&self, towards: SocketAddr) -> Result<quinn::Endpoint, Explanation> {
        let mut kept = self.endpoint.lock().await;
        if let Some(endpoint) = &*kept {
            let ours = endpoint.local_addr().is_ok_and(|ours| ours.is_ipv4() == towards.is_ipv4());
            if ours {
                return Ok(endpoint.clone());
            }
        }
        let any: SocketAddr =
            if towards.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
        let endpoint = quinn::Endpoint::client(any).map_err(|error| {
            Explanation::new(code::LISTEN, "no UDP socket is to be had").fact("the system says", error)
        })?;
        *kept = Some(endpoint.clone());
        Ok(endpoint)
    }

    fn host(&self) -> String {
        self.spec.server_name.as_ref().map_or_else(|| self.spec.address.clone(), ToString::to_string)
    }
}

fn late() -> Explanation {
    Explanation::new(code::PEER_UNREACHABLE, "the peer opens no stream")
        .halves("an answer", format!("none within {} s", OPEN_WITHIN.as_secs()))
}

/// Whether an end-to-end session is wanted: an agent's id is proven by nothing else.
fn asks(spec: &PeerSpec) -> bool {
    spec.e2e == E2e::Auto && matches!(spec.id, PeerId::Agent(_))
}

/// The policy of a peer.
pub(super) fn accept_of(spec: &PeerSpec) -> Accept {
    let allow = match &spec.id {
        PeerId::Spiffe(id) => Allow::from(id.clone()),
        PeerId::Agent(id) if asks(spec) => Allow::Agent(*id),
        // TLS and the name that was dialed must do.
        PeerId::Agent(_) => Allow::Anyone,
    };
    let mut accept = Accept::new(allow).requiring(spec.tls.required_sans.clone()).with_keys(spec.tls.keys);
    let dialed = || spec.address.rsplit_once(':').and_then(|(host, _)| host.parse::<San>().ok());
    let by_name = matches!(spec.id, PeerId::Agent(_)) && spec.tls.strict;
    if let Some(name) = spec.server_name.clone().or_else(|| dialed().filter(|_| by_name)) {
        accept = accept.named(name);
    }
    match spec.tls.allow_expired {
        Some(grace) => accept.allowing_expired(grace),
        None => accept,
    }
}
