//! A gRPC service with tonic that knows its callers, and a channel to it.
//!
//! `cargo run -p certus-examples --example tonic_mtls`
#![allow(clippy::print_stdout, reason = "an example shows what came of it")]

use std::error::Error;
use std::path::Path;

use certus_node::embed::{ListenOptions, PeerInfo, alpn};
use certus_node::{EndpointBuilder, Node};
use greeter::greeter_client::GreeterClient;
use greeter::greeter_server::{Greeter, GreeterServer};
use greeter::{HelloReply, HelloRequest};
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

/// The protocol, as compiled.
#[allow(missing_docs, reason = "generated")]
pub mod greeter {
    tonic::include_proto!("greeter.v1");
}

struct ByName;

#[tonic::async_trait]
impl Greeter for ByName {
    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let peer = request.extensions().get::<PeerInfo>();
        let peer = peer.ok_or_else(|| Status::unauthenticated("nobody is known"))?;
        Ok(Response::new(HelloReply { message: format!("hello, {}", peer.name()) }))
    }
}

/// Serves and calls once; returns what the service answered.
pub async fn run(certs: &Path) -> Result<String, Box<dyn Error + Send + Sync>> {
    let orders = developing(certs, "orders").build().await?;
    let listener = orders.listen_with("127.0.0.1:0", ListenOptions::default().alpn(alpn::GRPC)).await?;
    let port = listener.local_addr().port();
    let server = Server::builder().add_service(GreeterServer::new(ByName));
    tokio::spawn(server.serve_with_incoming(listener));

    let shop = developing(certs, "shop").build().await?;
    // TLS is the connector's affair, so the scheme that tonic sees is http.
    let uri = Channel::from_shared(format!("http://localhost:{port}"))?;
    let channel = uri.connect_with_connector(shop.connector().alpn(alpn::GRPC)).await?;
    let reply = GreeterClient::new(channel).hello(HelloRequest {}).await?;
    Ok(reply.into_inner().message)
}

fn developing(certs: &Path, id: &str) -> EndpointBuilder {
    Node::builder().id(id).address("localhost:8443").cert_dir(certs).development()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let certs = tempfile::tempdir()?;
    println!("{}", run(certs.path()).await?);
    Ok(())
}
