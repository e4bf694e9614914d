//! An HTTPS service with axum that knows its callers, and a client for it with hyper.
//!
//! `cargo run -p certus-examples --example axum_mtls`
#![allow(clippy::print_stdout, reason = "an example shows what came of it")]

use std::error::Error;
use std::path::Path;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use certus_node::embed::{Endpoint, ListenOptions, PeerInfo, alpn};
use certus_node::{EndpointBuilder, Node};
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// Serves and asks once; returns what the service answered.
pub async fn run(certs: &Path) -> Result<String, Box<dyn Error + Send + Sync>> {
    let orders = developing(certs, "orders").build().await?;
    let shop = developing(certs, "shop").build().await?;

    let address = serve(&orders).await?;
    ask(&shop, &format!("https://localhost:{}/", address.port())).await
}

/// The server: every request comes from somebody whose certificate was verified.
async fn serve(endpoint: &Endpoint) -> Result<std::net::SocketAddr, Box<dyn Error + Send + Sync>> {
    let listener = endpoint.listen_with("127.0.0.1:0", ListenOptions::default().alpn(alpn::HTTP)).await?;
    let address = listener.local_addr();
    let hello = |peer: PeerInfo| async move { format!("hello, {}", peer.name()) };
    let app = Router::new().route("/", get(hello));
    let service = app.into_make_service_with_connect_info::<PeerInfo>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    Ok(address)
}

/// The client: the server's certificate must be for the host in the URI.
async fn ask(endpoint: &Endpoint, uri: &str) -> Result<String, Box<dyn Error + Send + Sync>> {
    let client = Client::builder(TokioExecutor::new()).build(endpoint.connector().alpn(alpn::HTTP));
    let request = Request::get(uri.parse::<Uri>()?).body(Empty::<Bytes>::new())?;
    let response = client.request(request).await?;
    let body = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(body.to_vec())?)
}

/// In production: `Node::builder().tls(TlsOptions::new(TlsSource::files(cert, key, ca)))`.
fn developing(certs: &Path, id: &str) -> EndpointBuilder {
    Node::builder().id(id).address("localhost:8443").cert_dir(certs).development()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let certs = tempfile::tempdir()?;
    println!("{}", run(certs.path()).await?);
    Ok(())
}
