//! Opens streams to one peer, over whichever transport; connections that carry many are kept.

use certus_pki::explain::{Explain, Explanation};
use certus_pki::{Accept, Allow, San, code};
use certus_tls::{Admission, Client, ClientOptions, Credentials, danger};

use super::Means;
use super::pool::Pool;
use super::reload::Follows;
use super::sniff::Peeked;
use super::wire::{Outer, Wire};
use super::{h2, quic};
use crate::api::{connect_tcp, unreachable};
use crate::e2e::{self, Prologue};
use crate::metrics::Side;
use crate::spec::{E2e, PeerId, PeerSpec, Pem, Transport};
use crate::transports::h2::Ask;
use crate::transports::{http_proxy, ws};

/// What reaches one peer.
pub(super) struct Dialer {
    pub(super) spec: PeerSpec,
    pub(super) means: Means,
    client: Client,
    credentials: Credentials,
    h2: Pool<h2::Dialed>,
    quic: Pool<quic::Dialed>,
    endpoints: quic::Endpoints,
}

impl Follows for Dialer {
    fn take_policy_of(&self, next: &Dialer) -> usize {
        self.client.set_accept(accept_of(&next.spec)).len()
    }

    fn judge_by(&self, next: &Dialer) -> usize {
        self.client.judge_by(&next.client).len()
    }

    fn roots(&self) -> Option<Option<Pem>> {
        self.spec.tls.strict.then(|| self.spec.tls.material.ca.clone())
    }

    fn credentials(&self) -> Credentials {
        self.credentials.clone()
    }
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
            Client::new(credentials.clone(), options)
        } else {
            danger::client_of_any_server(credentials.clone(), options)
        };
        let (h2, quic, endpoints) = (Pool::default(), Pool::default(), quic::Endpoints::default());
        Dialer { spec, means, client, credentials, h2, quic, endpoints }
    }

    /// A stream to the peer, whom everything that can has proven to be the one.
    pub(super) async fn open(&self) -> Result<(Wire, Admission), Explanation> {
        let by_cluster = self.spec.tls.strict && !self.spec.plaintext && self.spec.tls.material.ca.is_none();
        if by_cluster {
            self.means.stale.check()?;
        }
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
                let socket = socket.map_err(|error| self.late(super::cause(&error)))?;
                (Wire::Ws(Box::new(socket)), exporter, admission)
            }
            Transport::H2 => {
                let (dialed, stream, counted) =
                    self.h2.open(|| self.dial_h2()).await.map_err(|why| self.late(why))?;
                (Wire::H2(stream, Some(counted)), dialed.exporter, dialed.admission)
            }
            Transport::Quic => {
                let (e2e, metrics) = (asks(&self.spec), &self.means.metrics);
                let dial = || self.endpoints.connect(&self.client, &self.spec.address, e2e, metrics);
                let (dialed, mut stream, counted) =
                    self.quic.open(dial).await.map_err(|why| self.late(why))?;
                stream.counted = Some(counted);
                let exporter = dialed.connection.exporter(e2e::EXPORTER_LABEL, b"");
                (Wire::Quic(Box::new(stream)), exporter, dialed.connection.admission().clone())
            }
        };
        self.seal(wire, exporter, admission).await
    }

    async fn dial_h2(&self) -> Result<h2::Dialed, Explanation> {
        let (outer, admission) = self.outer().await?;
        let exporter = self.exporter(&outer);
        let ask = Ask { authority: self.spec.name.clone(), e2e: asks(&self.spec) };
        h2::Dialed::new(outer, admission, exporter, ask).await
    }

    /// Ends the connections that are kept.
    pub(super) async fn close(&self) {
        self.h2.clear().await;
        self.quic.clear().await;
        self.endpoints.close().await;
    }

    /// In TLS 1.3 the other end may still refuse us when the handshake seems to have ended.
    fn late(&self, why: Explanation) -> Explanation {
        if why.code == code::PEER_REJECTED_US {
            self.means.metrics.late_refusal();
        }
        why
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
        let sealed = e2e::connect(wire, key, *expected, prologue).await;
        let sealed = sealed.map_err(|error| self.late(error.explain()))?;
        let admission = admission.for_agent(*expected).map_err(|rejection| rejection.explain())?;
        Ok((Wire::Sealed(Box::new(sealed)), admission))
    }

    /// A socket to the peer's listener, with TLS on it unless the path ends TLS elsewhere.
    async fn outer(&self) -> Result<(Outer, Admission), Explanation> {
        let address = &self.spec.address;
        let tcp = match &self.spec.http_proxy {
            None => connect_tcp(address).await.map_err(|error| unreachable("the peer", address, &error))?,
            Some(url) => {
                let proxy = http_proxy::Proxy::parse(url).map_err(|error| error.explain())?;
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
        self.means.note_expired(&self.spec.name, &admission);
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

    fn host(&self) -> String {
        self.spec.server_name.as_ref().map_or_else(|| self.spec.address.clone(), ToString::to_string)
    }
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
