//! What a node is told to do: checked options, no text left to parse.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use certus_pki::request::NamePattern;
use certus_pki::{AgentId, Allow, JoinToken, KeyPolicy, Lifetime, NodeId, Role, San, SpiffeId, UnixTime};
use certus_tls::{Clock, Lifecycle, Versions};
use zeroize::Zeroizing;

use crate::clock::system_clock;

/// How connections travel between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// One TLS connection for each carried connection.
    Tcp,
    /// One HTTP/2 connection for many (RFC 9113 8.5).
    H2,
    /// One WebSocket for each (RFC 6455); passes HTTP proxies.
    Ws,
    /// One QUIC connection for many (RFC 9000).
    Quic,
}

impl Transport {
    /// Every transport.
    pub const ALL: [Transport; 4] = [Transport::Tcp, Transport::H2, Transport::Ws, Transport::Quic];

    /// The transport as a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::H2 => "h2",
            Transport::Ws => "ws",
            Transport::Quic => "quic",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The plain service behind a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// `host:port`.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backend::Tcp(address) => f.write_str(address),
            Backend::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Whether callers show certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mtls {
    /// Who shows none is refused.
    Required,
    /// TLS without client certificates; never plaintext.
    Off,
    /// TLS with client certificates, and plaintext on the same port for those that `allow: plaintext`
    /// lets in, until this moment. Not over QUIC.
    Permissive {
        /// When plaintext ends.
        until: UnixTime,
    },
}

/// Whether a Noise session runs inside a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum E2e {
    /// Wherever TLS did not authenticate both ends.
    #[default]
    Auto,
    /// Nowhere.
    Never,
}

/// Where a PEM text is.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// In a file, which is watched.
    File(PathBuf),
    /// Here; it cannot change.
    Text(Zeroizing<String>),
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pem::File(path) => write!(f, "File({})", path.display()),
            Pem::Text(_) => f.write_str("Text"),
        }
    }
}

/// A key with its chain, and trusted roots, that come from outside. What is absent is the node's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaterialSpec {
    /// The certificate, its issuers behind it.
    pub cert: Option<Pem>,
    /// Its key.
    pub key: Option<Pem>,
    /// The trusted roots.
    pub ca: Option<Pem>,
}

impl MaterialSpec {
    /// Whether it names nothing.
    pub fn is_empty(&self) -> bool {
        *self == MaterialSpec::default()
    }
}

/// TLS as one listener or peer speaks it: the node's settings with its own on top, field by field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSpec {
    /// Certificates and roots in the place of the node's own.
    pub material: MaterialSpec,
    /// Whether the other end's certificate is verified.
    pub strict: bool,
    /// Whether callers show one; listeners only.
    pub mtls: Mtls,
    /// Which keys the other end may have.
    pub keys: KeyPolicy,
    /// Names of which the other end must have each.
    pub required_sans: Vec<NamePattern>,
    /// How long after its end a certificate is still taken.
    pub allow_expired: Option<Lifetime>,
    /// Which versions of TLS.
    pub versions: Versions,
    /// What becomes of live connections when trust changes.
    pub lifecycle: Lifecycle,
}

impl TlsSpec {
    /// What a cluster's node does unless told otherwise: everybody proves who it is.
    pub fn cluster() -> TlsSpec {
        TlsSpec {
            material: MaterialSpec::default(),
            strict: true,
            mtls: Mtls::Required,
            keys: KeyPolicy::any(),
            required_sans: Vec::new(),
            allow_expired: None,
            versions: Versions::Tls13,
            lifecycle: Lifecycle::default(),
        }
    }

    /// What an agent without a cluster does unless told otherwise: TLS that authenticates nobody, with
    /// an end-to-end session inside that does.
    pub fn mesh() -> TlsSpec {
        TlsSpec { strict: false, mtls: Mtls::Off, keys: KeyPolicy::elliptic(), ..TlsSpec::cluster() }
    }
}

/// What one listener takes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Streams of one connection at once; h2 and quic.
    pub streams: u32,
    /// Handshakes at once.
    pub handshakes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { connections: CONNECTIONS_MAX, streams: STREAMS_MAX, handshakes: HANDSHAKES_MAX }
    }
}

/// Two sockets and 8 KiB each, when idle.
pub(crate) const CONNECTIONS_MAX: usize = certus_pki::defaults::LISTENER_CONNECTIONS_MAX;
/// What gRPC servers commonly allow; a window each bounds the memory.
pub(crate) const STREAMS_MAX: u32 = certus_pki::defaults::LISTENER_STREAMS_MAX;
/// A handshake takes a quarter of a millisecond of one core: more at once only make all of them late.
pub(crate) const HANDSHAKES_MAX: usize = certus_pki::defaults::LISTENER_HANDSHAKES_MAX;

/// Whether the PROXY protocol (version 2) is spoken on a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Callers come through a proxy that says where from: its header is required. Not over QUIC.
    pub accept: bool,
    /// The service is told where callers come from and who they are.
    pub send: bool,
}

/// Where a node accepts, whom, and for which service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSpec {
    /// Its name in logs and metrics.
    pub name: String,
    /// How connections travel.
    pub transport: Transport,
    /// `host:port` to listen on; port 0 takes any.
    pub address: String,
    /// The service; without one, callers can be linked and nothing more.
    pub forward: Option<Backend>,
    /// Who may connect.
    pub allow: Allow,
    /// How TLS is spoken.
    pub tls: TlsSpec,
    /// No TLS here: a proxy before it ends TLS. Not over QUIC.
    pub plaintext: bool,
    /// Whether a Noise session runs inside.
    pub e2e: E2e,
    /// Who says where callers come from.
    pub proxy_protocol: ProxyProtocol,
    /// The path of a WebSocket.
    pub path: String,
    /// How much it takes.
    pub limits: Limits,
}

impl ListenerSpec {
    /// A listener of a cluster's node: mutual TLS over `transport`, for `allow`.
    pub fn new(
        name: impl Into<String>,
        transport: Transport,
        address: impl Into<String>,
        forward: Backend,
        allow: Allow,
    ) -> ListenerSpec {
        ListenerSpec {
            name: name.into(),
            transport,
            address: address.into(),
            forward: Some(forward),
            allow,
            tls: TlsSpec::cluster(),
            plaintext: false,
            e2e: E2e::default(),
            proxy_protocol: ProxyProtocol::default(),
            path: WS_PATH.to_owned(),
            limits: Limits::default(),
        }
    }
}

/// Where a listener's WebSocket is unless told otherwise.
pub const WS_PATH: &str = "/certus";

/// Who must answer a dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerId {
    /// A node of the cluster.
    Spiffe(SpiffeId),
    /// An agent, by its key.
    Agent(AgentId),
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerId::Spiffe(id) => write!(f, "{id}"),
            PeerId::Agent(id) => write!(f, "{id}"),
        }
    }
}

/// A listener of another node, and the local port that leads there.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerSpec {
    /// Its name in logs and metrics.
    pub name: String,
    /// Who must answer.
    pub id: PeerId,
    /// How connections travel.
    pub transport: Transport,
    /// `host:port` of the other node's listener.
    pub address: String,
    /// `host:port` to listen on here, in the clear, loopback unless one knows better; without one, a
    /// link to the peer is kept up and nothing more.
    pub listen: Option<String>,
    /// How TLS is spoken.
    pub tls: TlsSpec,
    /// No TLS here: the path to the peer ends it elsewhere.
    pub plaintext: bool,
    /// Whether a Noise session runs inside.
    pub e2e: E2e,
    /// Somebody on the way ends TLS, such as a reverse proxy: the session inside cannot be bound to it.
    /// The listener says `plaintext`.
    pub intermediary: bool,
    /// The name the certificate must be for, and that is asked for (SNI); else the host of `address`
    /// where no SPIFFE id tells.
    pub server_name: Option<San>,
    /// The HTTP proxy on the way, `http://[USER:SECRET@]HOST:PORT`; ws only.
    pub http_proxy: Option<Zeroizing<String>>,
    /// The path of a WebSocket.
    pub path: String,
}

impl fmt::Debug for PeerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The proxy's URL may hold a secret, and the rest is known by the name.
        let mut shown = f.debug_struct("PeerSpec");
        shown.field("name", &self.name).field("id", &self.id).field("transport", &self.transport);
        shown.field("address", &self.address).field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl PeerSpec {
    /// A peer of a cluster's node: mutual TLS over `transport` to `id`, from a local port.
    pub fn new(
        name: impl Into<String>,
        id: SpiffeId,
        transport: Transport,
        address: impl Into<String>,
        listen: impl Into<String>,
    ) -> PeerSpec {
        PeerSpec {
            name: name.into(),
            id: PeerId::Spiffe(id),
            transport,
            address: address.into(),
            listen: Some(listen.into()),
            tls: TlsSpec::cluster(),
            plaintext: false,
            e2e: E2e::default(),
            intermediary: false,
            server_name: None,
            http_proxy: None,
            path: WS_PATH.to_owned(),
        }
    }
}

/// Everything a node of a cluster needs to start.
#[derive(Clone)]
pub struct NodeOptions {
    /// Where it keeps its credentials.
    pub data_dir: PathBuf,
    /// The managers' addresses, `host:port`; empty takes those that were used last.
    pub managers: Vec<String>,
    /// Needed once; used only where there are no usable credentials.
    pub token: Option<JoinToken>,
    /// Which node it is; may be left out where `data_dir` holds one identity of the role.
    pub id: Option<NodeId>,
    /// What it is.
    pub role: Role,
    /// Where it accepts.
    pub listeners: Vec<ListenerSpec>,
    /// Whom it dials.
    pub peers: Vec<PeerSpec>,
    /// Where on loopback its numbers are served too.
    pub metrics_listen: Option<SocketAddr>,
    /// When revocations are stale, and what becomes of connections then.
    pub staleness: Staleness,
    /// Where the time comes from.
    pub clock: Clock,
}

/// After how long without a manager what is known of revocations is stale, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// An alarm after this long.
    pub after: Lifetime,
    /// What follows the alarm.
    pub then: OnStale,
}

impl Default for Staleness {
    /// An alarm after an hour, and going on.
    fn default() -> Staleness {
        Staleness { after: certus_pki::defaults::REVOCATION_STALE_AFTER, then: OnStale::Open }
    }
}

/// What becomes of connections when it is not known anymore who was revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStale {
    /// They go on by what is known (I9).
    #[default]
    Open,
    /// Nobody is accepted and nobody dialled by the cluster's trust, and live connections end by
    /// their rule for revocations, until a manager is heard of again. A node that starts has not heard of
    /// one yet.
    Closed,
}

impl NodeOptions {
    /// A node of `role` that keeps its credentials in `data_dir`, by the machine's clock.
    pub fn new(data_dir: impl Into<PathBuf>, role: Role) -> NodeOptions {
        NodeOptions {
            data_dir: data_dir.into(),
            managers: Vec::new(),
            token: None,
            id: None,
            role,
            listeners: Vec::new(),
            peers: Vec::new(),
            metrics_listen: None,
            staleness: Staleness::default(),
            clock: system_clock(),
        }
    }
}

/// Everything an agent, a node without a cluster, needs to start.
#[derive(Clone)]
pub struct AgentOptions {
    /// Where it keeps its end-to-end key.
    pub data_dir: PathBuf,
    /// What it is called in a certificate that is made for it.
    pub name: String,
    /// Its certificate and trusted roots. Where there is no certificate, one is made at start and kept
    /// nowhere.
    pub material: MaterialSpec,
    /// Where it accepts.
    pub listeners: Vec<ListenerSpec>,
    /// Whom it dials.
    pub peers: Vec<PeerSpec>,
    /// Where on loopback its numbers are served too.
    pub metrics_listen: Option<SocketAddr>,
    /// Where the time comes from.
    pub clock: Clock,
}

impl AgentOptions {
    /// An agent that keeps its key in `data_dir`, by the machine's clock.
    pub fn new(data_dir: impl Into<PathBuf>) -> AgentOptions {
        AgentOptions {
            data_dir: data_dir.into(),
            name: "certus-agent".to_owned(),
            material: MaterialSpec::default(),
            listeners: Vec::new(),
            peers: Vec::new(),
            metrics_listen: None,
            clock: system_clock(),
        }
    }
}
