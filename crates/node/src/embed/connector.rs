//! The dialing end: to servers by their host names, or by who they are.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use certus_pki::explain::Explanation;
use certus_pki::{Allow, Explain, San, code};

use super::audit::{AuditKind, Place};
use super::endpoint::{Dialer, End, Inner};
use super::error::EndpointError;
use super::expired;
use super::stream::PeerStream;
use crate::api::{connect_tcp, unreachable};
use crate::metrics::Side;

/// Destinations whose sessions are kept; the one that was longest unused goes first.
const DESTINATIONS_MAX: usize = 64;

/// A server of HTTP/2 speaks first (RFC 9113 3.4), so this costs what the first answer would cost anyway; and
/// clients of HTTP/2 lose the reason of a refusal that comes later. The limit is for servers that break that
/// rule.
const CONFIRM_H2: Duration = Duration::from_secs(1);

/// Opens connections under an endpoint's credentials and policy. Cheap to clone; clones share sessions.
///
/// It is a `tower::Service<http::Uri>` for hyper-util's client and tonic's `connect_with_connector`.
#[derive(Clone)]
pub struct Connector {
    inner: Arc<Inner>,
    /// Who must answer; none where the host name tells.
    expects: Option<Allow>,
    name: Option<San>,
    alpn: Vec<Vec<u8>>,
    confirm: Option<Duration>,
    kept: Arc<Kept>,
}

#[derive(Default)]
struct Kept {
    /// The one used last stands last.
    dialers: Mutex<VecDeque<(String, Arc<Dialer>)>>,
    quic: Mutex<Option<quinn::Endpoint>>,
}

impl Connector {
    pub(super) fn new(inner: Arc<Inner>, expects: Option<Allow>) -> Connector {
        Connector { inner, expects, name: None, alpn: Vec::new(), confirm: None, kept: Arc::default() }
    }

    /// Wants the certificate to be for this name, and asks for it (SNI), whatever host is dialed.
    #[must_use]
    pub fn server_name(mut self, name: San) -> Connector {
        self.name = Some(name);
        self.afresh()
    }

    /// Application protocols to offer, the preferred one first: see [`super::alpn`]. None unless set.
    #[must_use]
    pub fn alpn<P: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = P>) -> Connector {
        self.alpn = protocols.into_iter().map(|protocol| protocol.as_ref().to_vec()).collect();
        self.afresh()
    }

    /// Has every connection over TCP [confirmed](PeerStream::confirm) before it is handed out, waiting for
    /// `limit` at most: a refusal is then an error of connecting and not of the first read. Costs a round
    /// trip, and the whole `limit` with servers that send no session tickets.
    #[must_use]
    pub fn confirm_within(mut self, limit: Duration) -> Connector {
        self.confirm = Some(limit);
        self
    }

    fn afresh(mut self) -> Connector {
        self.kept = Arc::default();
        self
    }

    /// Connects to `host:port`; an IPv6 address stands in brackets.
    ///
    /// In TLS 1.3 the server judges us after its handshake. Where HTTP/2 was agreed on this waits for the
    /// server's first frame, and a refusal is an error of connecting. Otherwise the first read fails with
    /// the reason, which [`explain_error`](super::explain_error) finds; or see
    /// [`confirm_within`](Connector::confirm_within).
    ///
    /// # Errors
    /// Nobody answers, or the handshake failed and why.
    pub async fn connect(&self, address: &str) -> Result<PeerStream, EndpointError> {
        let (host, _) = host_and_port(address)?;
        let dialer = self.dialer(address, host)?;
        let tcp = connect_tcp(address).await;
        let tcp =
            tcp.map_err(|error| EndpointError::Unreachable(unreachable("the peer", address, &error)))?;
        let remote = tcp.peer_addr();
        let remote =
            remote.map_err(|error| EndpointError::Unreachable(unreachable("the peer", address, &error)))?;
        let place = Place { side: Side::Client, transport: "tcp", remote };
        let outcome = dialer.client.connect(tcp).await;
        self.inner.audit.handshake(&place, &outcome);
        let tls = outcome.map_err(EndpointError::Handshake)?;
        if let Err(error) = expired::judge(&self.inner, &place, tls.admission()) {
            let name = tls.admission().peer_name();
            self.inner.audit.failed(&place, &name, error.explain(), Some(AuditKind::Refused));
            return Err(EndpointError::Handshake(error));
        }
        let mut stream = PeerStream::new(tls, self.inner.clone(), place, End::Dialer { _kept: dialer }, None);
        let speaks_first = stream.alpn() == Some(b"h2");
        if let Some(limit) = self.confirm.or(speaks_first.then_some(CONFIRM_H2)) {
            stream.confirm(limit).await.map_err(EndpointError::Handshake)?;
        }
        Ok(stream)
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// What dials one destination; sessions belong to it.
    pub(super) fn dialer(&self, address: &str, host: &str) -> Result<Arc<Dialer>, EndpointError> {
        let mut kept = self.kept.dialers.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().position(|(known, _)| known == address);
        if let Some(found) = found.and_then(|place| kept.remove(place)) {
            let dialer = found.1.clone();
            kept.push_back(found);
            return Ok(dialer);
        }
        let name = match (&self.name, &self.expects) {
            (Some(name), _) => Some(name.clone()),
            (None, Some(_)) => None,
            (None, None) => Some(host.parse().map_err(|_| EndpointError::BadAddress {
                came: address.to_owned(),
                why: "a host name or an address",
            })?),
        };
        let allow = self.expects.clone().unwrap_or(Allow::Anyone);
        let dialer = self.inner.dialer(allow, name, self.alpn.clone());
        if kept.len() >= DESTINATIONS_MAX {
            kept.pop_front();
        }
        kept.push_back((address.to_owned(), dialer.clone()));
        Ok(dialer)
    }

    /// The same, with a protocol where none was set: QUIC has always one (RFC 9001 8.1).
    pub(super) fn or_alpn(&self, protocol: &[u8]) -> Connector {
        if self.alpn.is_empty() { self.clone_with(protocol) } else { self.clone() }
    }

    fn clone_with(&self, protocol: &[u8]) -> Connector {
        Connector { alpn: vec![protocol.to_vec()], ..self.clone() }
    }

    /// A UDP socket to dial from, of the family of `towards`.
    pub(super) fn quic_socket(&self, towards: SocketAddr) -> Result<quinn::Endpoint, EndpointError> {
        let mut kept = self.kept.quic.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = &*kept
            && endpoint.local_addr().is_ok_and(|ours| ours.is_ipv4() == towards.is_ipv4())
        {
            return Ok(endpoint.clone());
        }
        let any: SocketAddr =
            if towards.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
        let endpoint = quinn::Endpoint::client(any).map_err(|error| {
            let why = Explanation::new(code::LISTEN, "no UDP socket is to be had");
            EndpointError::Unreachable(why.fact("the system says", error))
        })?;
        *kept = Some(endpoint.clone());
        Ok(endpoint)
    }
}

/// The two parts of `host:port`, brackets taken off.
pub(super) fn host_and_port(address: &str) -> Result<(&str, u16), EndpointError> {
    let bad = || EndpointError::BadAddress { came: address.to_owned(), why: "host:port" };
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    let port: u16 = port.parse().map_err(|_| bad())?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(ip) if ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) => ip,
        Some(_) => return Err(bad()),
        None if host.is_empty() || host.contains(':') => return Err(bad()),
        None => host,
    };
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hosts_and_ports() {
        let read = |text| host_and_port(text).map_err(|error| error.to_string());
        assert_eq!(read("web.test:8443"), Ok(("web.test", 8443)));
        assert_eq!(read("[::1]:8443"), Ok(("::1", 8443)));
        assert_eq!(read("127.0.0.1:1"), Ok(("127.0.0.1", 1)));
        for bad in ["", "web.test", ":1", "::1:8443", "[::1]", "[web]:1", "web:70000", "web:"] {
            assert_eq!(read(bad), Err(format!("`{bad}` cannot be connected to")));
        }
    }
}
