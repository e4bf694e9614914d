//! WebSockets with tungstenite: the server knows its caller, and says goodbye with 1008 when that caller
//! is no longer accepted.
//!
//! `cargo run -p certus-examples --example websocket_mtls`
#![allow(clippy::print_stdout, reason = "an example shows what came of it")]

use std::error::Error;
use std::path::Path;

use certus_node::embed::{Allow, ListenOptions, PeerStream, Policy, alpn};
use certus_node::{EndpointBuilder, Node};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{accept_async, client_async};

/// What the client saw.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    /// The first message.
    pub greeting: String,
    /// The code of the close after the policy changed.
    pub closed_with: Option<u16>,
}

/// Serves, connects, and then changes the server's policy under the open connection.
pub async fn run(certs: &Path) -> Result<Seen, Box<dyn Error + Send + Sync>> {
    let orders = developing(certs, "orders").build().await?;
    let options = ListenOptions::default().alpn(alpn::WEBSOCKET);
    let mut listener = orders.listen_with("127.0.0.1:0", options).await?;
    let address = format!("localhost:{}", listener.local_addr().port());
    tokio::spawn(async move {
        loop {
            // Each in a task of its own; handshakes are over by now.
            tokio::spawn(greet(listener.accept().await));
        }
    });

    let shop = developing(certs, "shop").build().await?;
    let stream = shop.connector().alpn(alpn::WEBSOCKET).connect(&address).await?;
    let (mut socket, _) = client_async(format!("wss://{address}/"), stream).await?;
    let greeting = match socket.next().await {
        Some(message) => message?.into_text()?.to_string(),
        None => return Err("the server said nothing".into()),
    };

    orders.set_policy(Policy::allowing("dns:somebody.else".parse::<Allow>()?))?;
    let mut closed_with = None;
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Close(Some(frame)) = message {
            closed_with = Some(frame.code.into());
        }
    }
    Ok(Seen { greeting, closed_with })
}

/// Greets a caller and echoes what it says, until it goes or is no longer accepted.
async fn greet(stream: PeerStream) -> Result<(), tungstenite::Error> {
    let peer = stream.peer().clone();
    // So that a cut leaves room for a close frame; from then on nothing else is said.
    let mut socket = accept_async(stream.ended_by_caller()).await?;
    socket.send(Message::text(format!("hello, {}", peer.name()))).await?;
    let cut = peer.cancelled();
    loop {
        tokio::select! {
            biased;
            () = cut.cancelled() => {
                let frame = CloseFrame { code: CloseCode::Policy, reason: "no longer accepted".into() };
                return socket.close(Some(frame)).await;
            }
            message = socket.next() => match message {
                Some(Ok(text @ Message::Text(_))) => socket.send(text).await?,
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
        }
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
