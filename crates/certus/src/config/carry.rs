//! `listeners:` and `peers:`: where a node accepts, whom it dials, and what does not go together.

use certus_node::{
    Backend, E2e, Limits, ListenerSpec, Mtls, PeerId, PeerSpec, ProxyProtocol, TlsSpec, Transport, WS_PATH,
};
use certus_pki::{AgentId, Allow, Explanation};
use serde_saphyr::Spanned;
use zeroize::Zeroizing;

use super::raw::{Hidden, RawLimits, RawListener, RawPeer, Text};
use super::reader::Reader;
use super::tls::{Base, End};

/// More connections than one process has file descriptors for.
const CONNECTIONS_MOST: u32 = 1_000_000;
/// Streams of one connection share its window; more only wait for each other.
const STREAMS_MOST: u32 = 10_000;
/// Each holds a core's time; more only make all of them late.
const HANDSHAKES_MOST: u32 = 65_536;

const TRANSPORTS: [(&str, Transport); 4] =
    [("tcp", Transport::Tcp), ("h2", Transport::H2), ("ws", Transport::Ws), ("quic", Transport::Quic)];
const E2E: [(&str, E2e); 2] = [("auto", E2e::Auto), ("never", E2e::Never)];

impl Reader<'_> {
    /// One listener; its name is empty where it has none of its own.
    pub(super) fn listener(
        &self,
        raw: &Spanned<RawListener>,
        base: &Base<'_>,
    ) -> Result<ListenerSpec, Explanation> {
        let listener = &raw.value;
        let forward = listener.forward.as_ref().map(|raw| self.backend(raw)).transpose()?;
        let allow = match (&listener.allow, &forward) {
            (Some(tree), _) => self.allow(tree)?,
            // A service is nobody's until said; without one there is nothing to reach.
            (None, Some(_)) => Allow::Any(Vec::new()),
            (None, None) => Allow::Anyone,
        };
        let transport = self.one_of("transport", &listener.transport, &TRANSPORTS)?;
        let mut spec = ListenerSpec {
            name: self.name(listener.name.as_ref())?,
            transport,
            address: self.address("address", &listener.address)?,
            forward,
            allow,
            tls: self.tls(base, listener.tls.as_ref(), End::Listener)?,
            plaintext: self.flag_or_not("plaintext", listener.plaintext.as_ref())?,
            e2e: self.e2e(listener.e2e.as_ref())?,
            proxy_protocol: self.proxy_protocol(listener, transport)?,
            path: self.ws_path(listener.path.as_ref(), transport)?,
            limits: self.limits(listener.limits.as_ref())?,
        };
        self.plaintext_fits(listener.plaintext.as_ref(), spec.plaintext, listener.tls.is_some(), transport)?;
        if let Some(tree) = listener.allow.as_ref().filter(|_| spec.allow.mentions_plaintext())
            && transport == Transport::Quic
        {
            let told = self.wrong(tree, "allow: plaintext, where QUIC is never without TLS (RFC 9001)");
            return Err(told.halves("tcp, h2 or ws", transport));
        }
        if transport == Transport::Quic && matches!(spec.tls.mtls, Mtls::Permissive { .. }) {
            if let Some(raw) = listener.tls.as_ref().and_then(|tls| tls.mtls.as_ref()) {
                let told = self.wrong(raw, "mtls: permissive, where QUIC is never without TLS (RFC 9001)");
                return Err(told.halves("mtls: true or false", "permissive"));
            }
            // The node's word for its listeners over TCP: of QUIC only the rest of it holds.
            spec.tls.mtls = Mtls::Required;
        }
        if spec.allow.mentions_plaintext()
            && !matches!(spec.tls.mtls, Mtls::Permissive { .. })
            && let Some(tree) = &listener.allow
        {
            let told = self.wrong(tree, "allow: plaintext is for listeners that take it for a while");
            return Err(told.halves("mtls: permissive", mtls_word(&spec.tls)));
        }
        let proven = !spec.plaintext && spec.tls.strict && spec.tls.mtls != Mtls::Off;
        if let Some(raw) = listener.e2e.as_ref().filter(|_| spec.e2e == E2e::Never && !proven)
            && !spec.allow.is_anyone()
        {
            let told = self.wrong(raw, "e2e: never, where TLS does not prove who both ends are");
            let told = told.halves("strict: true and mtls: true", tls_words(spec.plaintext, &spec.tls));
            return Err(told.hint("e2e: auto; or allow: any, where everybody may come"));
        }
        Ok(spec)
    }

    /// One peer; its name is empty where it has none of its own.
    pub(super) fn peer(&self, raw: &Spanned<RawPeer>, base: &Base<'_>) -> Result<PeerSpec, Explanation> {
        let peer = &raw.value;
        let transport = self.one_of("transport", &peer.transport, &TRANSPORTS)?;
        let spec = PeerSpec {
            name: self.name(peer.name.as_ref())?,
            id: self.peer_id(&peer.id)?,
            transport,
            address: self.address("address", &peer.address)?,
            listen: peer.listen.as_ref().map(|raw| self.address("listen", raw)).transpose()?,
            tls: self.tls(base, peer.tls.as_ref(), End::Peer)?,
            plaintext: self.flag_or_not("plaintext", peer.plaintext.as_ref())?,
            e2e: self.e2e(peer.e2e.as_ref())?,
            intermediary: self.flag_or_not("intermediary", peer.intermediary.as_ref())?,
            server_name: peer.server_name.as_ref().map(|raw| self.parsed("server_name", raw)).transpose()?,
            http_proxy: peer.http_proxy.as_ref().map(|raw| self.http_proxy(raw, transport)).transpose()?,
            path: self.ws_path(peer.path.as_ref(), transport)?,
        };
        self.plaintext_fits(peer.plaintext.as_ref(), spec.plaintext, peer.tls.is_some(), transport)?;
        let proven = !spec.plaintext && spec.tls.strict;
        if let Some(raw) = peer.e2e.as_ref().filter(|_| spec.e2e == E2e::Never && !proven) {
            let told = self.wrong(raw, "e2e: never, where TLS does not prove who both ends are");
            let told = told.halves("strict: true", tls_words(spec.plaintext, &spec.tls));
            return Err(told.hint("e2e: auto"));
        }
        if matches!(spec.id, PeerId::Spiffe(_)) && !proven {
            let told = self.wrong(&peer.id, "id: only a verified certificate proves a SPIFFE id");
            return Err(told.halves("strict: true", tls_words(spec.plaintext, &spec.tls)));
        }
        Ok(spec)
    }

    fn name(&self, raw: Option<&Text>) -> Result<String, Explanation> {
        /// Names stand in every line of the log.
        const CHARS_MAX: usize = 100;
        let Some(raw) = raw else { return Ok(String::new()) };
        let name = self.value(raw)?.text;
        if name.is_empty() || name.chars().count() > CHARS_MAX || name.contains(char::is_control) {
            let told = self.wrong(raw, "name: not a name");
            return Err(told.fact("expected", format!("1 to {CHARS_MAX} printable characters")));
        }
        Ok(name)
    }

    fn peer_id(&self, raw: &Text) -> Result<PeerId, Explanation> {
        let value = self.value(raw)?;
        let told = |why: &dyn std::fmt::Display| {
            let expected = "spiffe://CLUSTER/ROLE/ID, or an agent's id of 64 hexadecimal digits";
            self.unfit("id", raw, value.substituted, why).fact("expected", expected)
        };
        if value.text.starts_with("spiffe:") {
            return value.text.parse().map(PeerId::Spiffe).map_err(|error| told(&error));
        }
        let digits = value.text.strip_prefix("agent:").unwrap_or(&value.text);
        digits.parse::<AgentId>().map(PeerId::Agent).map_err(|_| told(&"not the id of anybody"))
    }

    fn backend(&self, raw: &Text) -> Result<Backend, Explanation> {
        match self.value(raw)?.text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Backend::Unix(path.into())),
            Some(_) => Err(self.wrong(raw, "forward: the path of a socket must begin with /")),
            None => self.address("forward", raw).map(Backend::Tcp),
        }
    }

    fn e2e(&self, raw: Option<&Text>) -> Result<E2e, Explanation> {
        raw.map_or(Ok(E2e::Auto), |raw| self.one_of("e2e", raw, &E2E))
    }

    fn plaintext_fits(
        &self,
        raw: Option<&Text>,
        plaintext: bool,
        has_tls: bool,
        transport: Transport,
    ) -> Result<(), Explanation> {
        let Some(raw) = raw.filter(|_| plaintext) else { return Ok(()) };
        if has_tls {
            return Err(self.wrong(raw, "plaintext: true beside a `tls` section that nothing would use"));
        }
        if transport == Transport::Quic {
            let told = self.wrong(raw, "plaintext: QUIC is never without TLS (RFC 9001)");
            return Err(told.halves("tcp, h2 or ws", transport));
        }
        Ok(())
    }

    fn proxy_protocol(
        &self,
        listener: &RawListener,
        transport: Transport,
    ) -> Result<ProxyProtocol, Explanation> {
        let Some(raw) = &listener.proxy_protocol else { return Ok(ProxyProtocol::default()) };
        let accept = self.flag_or_not("accept", raw.accept.as_ref())?;
        if let Some(raw) = raw.accept.as_ref().filter(|_| accept && transport == Transport::Quic) {
            let told =
                self.wrong(raw, "proxy_protocol: its header comes before a TCP connection's first byte");
            return Err(told.halves("tcp, h2 or ws", transport));
        }
        Ok(ProxyProtocol { accept, send: self.flag_or_not("send", raw.send.as_ref())? })
    }

    fn ws_path(&self, raw: Option<&Text>, transport: Transport) -> Result<String, Explanation> {
        let Some(raw) = raw else { return Ok(WS_PATH.to_owned()) };
        if transport != Transport::Ws {
            return Err(self.wrong(raw, "path: only a WebSocket has one").halves("transport: ws", transport));
        }
        let path = self.value(raw)?.text;
        let printable =
            path.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b'"' | b'<' | b'>' | b'\\'));
        if !path.starts_with('/') || !printable {
            return Err(self.wrong(raw, "path: not the path of a URL").fact("expected", "as /certus"));
        }
        Ok(path)
    }

    fn limits(&self, raw: Option<&RawLimits>) -> Result<Limits, Explanation> {
        let mut limits = Limits::default();
        let Some(raw) = raw else { return Ok(limits) };
        if let Some(raw) = &raw.connections {
            limits.connections = self.number("connections", raw, 1, CONNECTIONS_MOST)? as usize;
        }
        if let Some(raw) = &raw.streams {
            limits.streams = self.number("streams", raw, 1, STREAMS_MOST)?;
        }
        if let Some(raw) = &raw.handshakes {
            limits.handshakes = self.number("handshakes", raw, 1, HANDSHAKES_MOST)? as usize;
        }
        Ok(limits)
    }

    fn http_proxy(&self, raw: &Hidden, transport: Transport) -> Result<Zeroizing<String>, Explanation> {
        if transport != Transport::Ws {
            let told = self.wrong(raw, "http_proxy: only a WebSocket passes one");
            return Err(told.halves("transport: ws", transport));
        }
        let url = Zeroizing::new(self.secret(raw)?.text);
        let rest = url.strip_prefix("http://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
        let place = rest.map(|rest| rest.rsplit_once('@').map_or(rest, |(_, place)| place));
        if !place.is_some_and(super::is_address) {
            let told = self.wrong(raw, "http_proxy: not the address of a proxy");
            return Err(told.fact("expected", "http://HOST:PORT or http://USER:SECRET@HOST:PORT"));
        }
        Ok(url)
    }
}

/// What TLS does there, as the configuration would say it.
fn tls_words(plaintext: bool, tls: &TlsSpec) -> String {
    if plaintext {
        return "plaintext: true".to_owned();
    }
    format!("strict: {}, mtls: {}", tls.strict, mtls_word(tls))
}

/// `mtls` as it is written.
pub(super) fn mtls_word(tls: &TlsSpec) -> &'static str {
    match tls.mtls {
        Mtls::Required => "true",
        Mtls::Off => "false",
        Mtls::Permissive { .. } => "permissive",
    }
}
