//! Looking at a TLS server: the chain it serves, and what it asks of clients. Trusts nothing it reads.

mod danger;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use certus_pki::{Certificate, Explain, Explanation, UnixTime, code, defaults};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// As many names of authorities as a server lists for people to choose from.
const HINTS_MAX: usize = 100;

/// What a server showed.
pub(crate) struct Served {
    /// Its chain, leaf first, those that can be read.
    pub(crate) chain: Vec<Certificate>,
    /// `TLS 1.3`.
    pub(crate) version: String,
    /// The cipher suite's name.
    pub(crate) suite: String,
    /// The authorities whose certificates it asks of clients; none where it asks for none.
    pub(crate) asks: Option<Vec<String>>,
}

/// Connects to `HOST:PORT`, looks, and hangs up. No certificate is sent, no byte of an application.
pub(crate) async fn served(address: &str) -> Result<Served, Explanation> {
    let limit = Duration::from_secs(defaults::HANDSHAKE_TIMEOUT.secs().into());
    match tokio::time::timeout(limit, look(address)).await {
        Ok(looked) => looked,
        Err(_) => {
            let told = Explanation::new(code::HANDSHAKE_TIMEOUT, format!("{address} did not answer in time"));
            Err(told.fact("waited", defaults::HANDSHAKE_TIMEOUT))
        }
    }
}

async fn look(address: &str) -> Result<Served, Explanation> {
    let unreachable = |error: std::io::Error| {
        Explanation::new(code::PEER_UNREACHABLE, format!("{address} cannot be reached"))
            .fact("the system says", error)
    };
    let stream = TcpStream::connect(address).await.map_err(unreachable)?;
    let asked = Arc::new(Asked::default());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let failed = |error: &dyn std::fmt::Display| {
        Explanation::new(code::HANDSHAKE_FAILED, format!("no TLS handshake with {address}"))
            .fact("reason", error)
    };
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(danger::ReadOnly::new(&provider)))
        .with_client_cert_resolver(Arc::clone(&asked) as Arc<dyn ResolvesClientCert>);
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(|error| failed(&error))?;
    let stream =
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| failed(&error))?;
    let (_, connection) = stream.get_ref();
    let chain = connection.peer_certificates().unwrap_or_default();
    let chain = chain.iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>();
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3".to_owned(),
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2".to_owned(),
        other => format!("{other:?}"),
    };
    let suite = connection.negotiated_cipher_suite();
    Ok(Served {
        chain: chain.map_err(|error| error.explain().fact("server", address))?,
        version,
        suite: suite.map_or_else(String::new, |suite| format!("{:?}", suite.suite())),
        asks: asked.0.lock().map(|mut asked| asked.take()).unwrap_or_default(),
    })
}

/// Notes what the server asks for, and sends nothing.
#[derive(Debug, Default)]
struct Asked(Mutex<Option<Vec<String>>>);

impl ResolvesClientCert for Asked {
    fn resolve(&self, hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let names = hints.iter().take(HINTS_MAX).map(|der| {
            certus_pki::Subject::from_der(der)
                .map_or_else(|_| "a name that cannot be read".to_owned(), |s| s.to_string())
        });
        if let Ok(mut asked) = self.0.lock() {
            *asked = Some(names.collect());
        }
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// When a chain stops holding: its first end.
pub(crate) fn first_end(chain: &[Certificate]) -> Option<UnixTime> {
    chain.iter().map(|certificate| certificate.not_after).min()
}
