//! QUIC with quinn: many streams over one connection whose ends know each other.
//!
//! `cargo run -p certus-examples --example quic_mtls`
#![allow(clippy::print_stdout, reason = "an example shows what came of it")]

use std::error::Error;
use std::io;
use std::path::Path;

use certus_node::embed::{ListenOptions, QuicPeer};
use certus_node::{EndpointBuilder, Node};

/// What is agreed on in the handshake (RFC 7301).
const PROTOCOL: &str = "greet/1";
/// A question is short.
const QUESTION_MAX: usize = 1024;

/// Serves and asks twice over one connection; returns the answers.
pub async fn run(certs: &Path) -> Result<Vec<String>, Box<dyn Error + Send + Sync>> {
    let orders = developing(certs, "orders").build().await?;
    let mut listener = orders.quic_listen("127.0.0.1:0", ListenOptions::default().alpn([PROTOCOL])).await?;
    let address = format!("127.0.0.1:{}", listener.local_addr().port());
    tokio::spawn(async move {
        loop {
            tokio::spawn(answer(listener.accept().await));
        }
    });

    let shop = developing(certs, "shop").build().await?;
    let quic = shop.connector().alpn([PROTOCOL]).connect_quic(&address).await?;
    let mut answers = Vec::new();
    for question in ["good morning", "good night"] {
        let (mut send, mut receive) = quic.open_bi().await?;
        send.write_all(question.as_bytes()).await?;
        send.finish()?;
        answers.push(String::from_utf8(receive.read_to_end(QUESTION_MAX).await?)?);
    }
    Ok(answers)
}

/// Answers every stream of one connection, until it ends or its peer is no longer accepted.
async fn answer(quic: QuicPeer) -> io::Result<()> {
    loop {
        let (mut send, mut receive) = quic.accept_bi().await?;
        let question = receive.read_to_end(QUESTION_MAX).await.map_err(io::Error::other)?;
        let answer = format!("{}, {}", String::from_utf8_lossy(&question), quic.peer().name());
        send.write_all(answer.as_bytes()).await?;
        send.finish().map_err(io::Error::other)?;
    }
}

fn developing(certs: &Path, id: &str) -> EndpointBuilder {
    Node::builder().id(id).address("localhost:8443").cert_dir(certs).development()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let certs = tempfile::tempdir()?;
    println!("{:?}", run(certs.path()).await?);
    Ok(())
}
