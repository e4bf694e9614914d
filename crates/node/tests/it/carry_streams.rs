//! Streams of one connection are judged each for itself: agents that share one, policies that change.

use std::sync::Arc;

use certus_node::e2e::{self, Prologue};
use certus_node::transports::h2::{self, Ask, OpenError};
use certus_node::{AgentKey, E2eStream, ListenerSpec, Means, Metrics, Mtls, TlsSpec, Transport};
use certus_pki::{Accept, Allow, code};
use certus_tls::{Admission, Client, ClientOptions, danger};
use tokio::net::TcpStream;

use crate::authority::Authority;
use crate::world::{End, allow, carried, echo, is_refused, is_reset, listener, ping, tcp, to};

/// A listener that knows nobody by TLS.
async fn agents(authority: &Authority, allowed: &[&str]) -> (End, ListenerSpec, AgentKey) {
    let mut spec = listener(Transport::H2, tcp(echo().await), allowed);
    spec.tls = TlsSpec { mtls: Mtls::Off, ..TlsSpec::mesh() };
    let publisher = authority.publisher("worker/web-1");
    let metrics = Metrics::new();
    let mut means = Means::new(publisher.credentials(), metrics.clone());
    let dir = tempfile::tempdir().unwrap();
    let key = AgentKey::load_or_make(dir.path()).unwrap();
    let known = AgentKey::load_or_make(dir.path()).unwrap();
    means.key = Some(Arc::new(key));
    let carrier = certus_node::Carrier::start(means, vec![spec.clone()], vec![]).await.unwrap();
    (End { publisher, carrier, metrics }, spec, known)
}

/// One HTTP/2 connection that several share, as behind a gateway.
struct Shared {
    client: h2::H2Client,
    exporter: [u8; 32],
    _admission: Admission,
}

impl Shared {
    async fn new(authority: &Authority, one: &End) -> Shared {
        let publisher = authority.publisher("worker/gateway");
        let mut options = ClientOptions::new(Accept::new(Allow::Anyone));
        options.alpn = vec![b"h2".to_vec()];
        let dialler: Client = danger::client_of_any_server(publisher.credentials(), options);
        let tls = dialler.connect(TcpStream::connect(one.port()).await.unwrap()).await.unwrap();
        let exporter = tls.exporter(e2e::EXPORTER_LABEL, b"").unwrap();
        let admission = tls.admission().clone();
        let (client, driver) = h2::connect(tls, h2::Limits::default()).await.unwrap();
        tokio::spawn(driver);
        Shared { client, exporter, _admission: admission }
    }

    async fn open(&self, e2e: bool) -> Result<h2::H2Stream, OpenError> {
        self.client.open(&Ask { authority: "web".to_owned(), e2e }).await
    }

    async fn agent(&self, key: &AgentKey, one: &AgentKey) -> Result<E2eStream<h2::H2Stream>, e2e::E2eError> {
        let prologue = Prologue { transport: "h2", exporter: Some(self.exporter) };
        e2e::connect(self.open(true).await.unwrap(), key, one.id(), prologue).await
    }
}

#[tokio::test]
async fn one_without_a_session_spoils_nothing_for_the_others() {
    let authority = Authority::new("prod");
    let (first, second, stranger) =
        (AgentKey::generate().unwrap(), AgentKey::generate().unwrap(), AgentKey::generate().unwrap());
    let allowed = [format!("agent:{}", first.id()), format!("agent:{}", second.id())];
    let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
    let (mut one, mut spec, key) = agents(&authority, &allowed).await;
    let shared = Shared::new(&authority, &one).await;

    let mut of_first = shared.agent(&first, &key).await.unwrap();
    ping(&mut of_first).await.unwrap();
    // Refused before it is answered, in words.
    let refused = shared.open(false).await.err().unwrap();
    let OpenError::Refused { status: 403, code: Some(code), .. } = refused else { panic!("{refused:?}") };
    assert_eq!(code, code::NO_CERTIFICATE);
    let Err(e2e::E2eError::RefusedUs { code, .. }) = shared.agent(&stranger, &key).await else { panic!() };
    assert_eq!(code, code::NOT_ALLOWED);
    ping(&mut of_first).await.unwrap();
    let mut of_second = shared.agent(&second, &key).await.unwrap();
    ping(&mut of_second).await.unwrap();

    // A policy without the first ends its stream, and no other of the same connection.
    spec.allow = allow(&allowed[1..]);
    let done = one.carrier.reload(vec![spec], vec![]).await.unwrap();
    assert_eq!(done.cut, 1);
    ping(&mut of_first).await.unwrap_err();
    ping(&mut of_second).await.unwrap();
    assert!(shared.agent(&first, &key).await.is_err());
    ping(&mut shared.agent(&second, &key).await.unwrap()).await.unwrap();
}

/// A stream that was taken because anybody was is cut by a policy for agents alone.
#[tokio::test]
async fn a_stream_without_a_session_does_not_outlive_the_policy_that_took_it() {
    let authority = Authority::new("prod");
    for transport in [Transport::H2, Transport::Quic, Transport::Tcp, Transport::Ws] {
        let mut spec = listener(transport, tcp(echo().await), &["any"]);
        let mut one = End::new(authority.publisher("worker/web-1"), vec![spec.clone()], vec![]).await;
        let peer = to(&authority, transport, "worker/web-1", one.port());
        let two = End::new(authority.publisher("worker/web-2"), vec![], vec![peer]).await;
        let mut live = carried(two.port()).await;
        let agent = format!("agent:{}", AgentKey::generate().unwrap().id());
        spec.allow = allow(&[&agent]);
        let done = one.carrier.reload(vec![spec], vec![]).await.unwrap();
        assert_eq!(done.cut, 1, "{transport}");
        is_reset(&format!("{transport}"), &mut live).await;
        is_refused(&format!("{transport}"), two.port()).await;
    }
}
