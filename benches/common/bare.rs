//! The baselines: bare rustls ends with the same certificates, and a relay without TLS.
//!
//! They verify chains and nothing else: no identities, no revocations, no registry of connections.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::authority::Made;
use super::{Failure, authority};

/// What serves bulk best in a bare pair.
const BUFFER_BYTES: usize = 64 << 10;

type Material = (RootCertStore, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn material(dir: &Path, name: &str) -> Result<Material, Failure> {
    let (made, root) = authority::read(dir, name)?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(root))?;
    let chain = made.chain.into_iter().map(CertificateDer::from).collect();
    let key = PrivatePkcs8KeyDer::from(made.key.to_pkcs8_der()?.to_vec());
    Ok((roots, chain, PrivateKeyDer::Pkcs8(key)))
}

pub(crate) fn server_config(dir: &Path, name: &str) -> Result<Arc<ServerConfig>, Failure> {
    let (roots, chain, key) = material(dir, name)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

pub(crate) fn client_config(dir: &Path, name: &str, resume: bool) -> Result<Arc<ClientConfig>, Failure> {
    client_config_of(dir, name, resume, true)
}

/// The same; without `hybrid` it offers X25519 alone, which every server has.
pub(crate) fn client_config_of(
    dir: &Path,
    name: &str,
    resume: bool,
    hybrid: bool,
) -> Result<Arc<ClientConfig>, Failure> {
    let (roots, chain, key) = material(dir, name)?;
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    if !hybrid {
        provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    if !resume {
        config.resumption = Resumption::disabled();
    }
    Ok(Arc::new(config))
}

/// The same for a certificate that is in memory; it resumes.
pub(crate) fn client_config_from(dir: &Path, made: &Made) -> Result<Arc<ClientConfig>, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(std::fs::read(dir.join("root.der"))?))?;
    let chain = made.chain.iter().cloned().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.key.to_pkcs8_der()?.to_vec()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    config.resumption = Resumption::in_memory_sessions(SESSIONS_OF_ONE);
    Ok(Arc::new(config))
}

/// One destination; rustls would keep room for 256.
const SESSIONS_OF_ONE: usize = 8;

/// The name in every leaf.
pub(crate) fn host() -> Result<ServerName<'static>, Failure> {
    Ok(ServerName::try_from("localhost")?)
}

/// Ends TLS and forwards to `forward`.
pub(crate) async fn listener(config: Arc<ServerConfig>, forward: SocketAddr) -> Result<SocketAddr, Failure> {
    let tcp = TcpListener::bind("127.0.0.1:0").await?;
    let address = tcp.local_addr()?;
    let acceptor = TlsAcceptor::from(config);
    tokio::spawn(async move {
        while let Ok((near, _)) = tcp.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                near.set_nodelay(true)?;
                let mut near = acceptor.accept(near).await?;
                let mut far = TcpStream::connect(forward).await?;
                far.set_nodelay(true)?;
                tokio::io::copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER_BYTES, BUFFER_BYTES)
                    .await
            });
        }
    });
    Ok(address)
}

/// Accepts in the clear and dials TLS.
pub(crate) async fn dialer(config: Arc<ClientConfig>, to: SocketAddr) -> Result<SocketAddr, Failure> {
    let tcp = TcpListener::bind("127.0.0.1:0").await?;
    let address = tcp.local_addr()?;
    let (connector, host) = (TlsConnector::from(config), host()?);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = tcp.accept().await {
            let (connector, host) = (connector.clone(), host.clone());
            tokio::spawn(async move {
                near.set_nodelay(true)?;
                let far = TcpStream::connect(to).await?;
                far.set_nodelay(true)?;
                let mut far = connector.connect(host, far).await?;
                tokio::io::copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER_BYTES, BUFFER_BYTES)
                    .await
            });
        }
    });
    Ok(address)
}

/// One half of a pair without TLS.
pub(crate) async fn relay(to: SocketAddr) -> Result<SocketAddr, Failure> {
    let tcp = TcpListener::bind("127.0.0.1:0").await?;
    let address = tcp.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut near, _)) = tcp.accept().await {
            tokio::spawn(async move {
                near.set_nodelay(true)?;
                let mut far = TcpStream::connect(to).await?;
                far.set_nodelay(true)?;
                tokio::io::copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER_BYTES, BUFFER_BYTES)
                    .await
            });
        }
    });
    Ok(address)
}
