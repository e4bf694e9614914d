//! Memory of an idle mutual TLS connection: what a listener's process grows by for each, after one message
//! of 64 bytes went there and back.
//!
//! Bare rustls and our `Server` hold the connection alone. Carriers hold the connection to the service too,
//! and over h2 and quic a stream of a connection that carries no other. `--connections N` (1000),
//! `--only "tcp listener"` for one row.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use certus_pki::{Accept, Allow};
use certus_tls::{Server, ServerOptions};
use common::child::{self, Child};
use common::direct::{Direct, Duplex, Held};
use common::{Failure, authority, bare, carriers, number_of, service, value_of};
use rustls::ClientConfig;
use tokio::io::AsyncReadExt;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The carriers that are measured.
const KINDS: [&str; 5] = ["bare", "tcp", "h2", "ws", "quic"];
/// Connections before the first look, so that what is made once is there.
const WARM: usize = 50;
/// Dials at once.
const AT_ONCE: usize = 8;
/// Until buffers that shrink when idle have.
const SETTLE: Duration = Duration::from_secs(1);

fn main() -> Result<(), Failure> {
    child::many_files();
    match child::role() {
        Some(role) if role[0] == "server" => common::runtime()?.block_on(serve(&role)),
        Some(role) => common::runtime()?.block_on(carriers::run(&role)),
        None => common::runtime()?.block_on(drive()),
    }
}

/// TLS and an echo, nothing behind it.
async fn serve(role: &[String]) -> Result<(), Failure> {
    let [_, kind, dir] = role else { return Err("three words tell a child".into()) };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    if kind == "certus" {
        let publisher = authority::read_publisher(Path::new(dir), "server")?;
        let allow = Allow::Id(format!("spiffe://{}/worker/*", authority::CLUSTER).parse()?);
        let server = Arc::new(Server::new(publisher.credentials(), ServerOptions::new(Accept::new(allow))));
        tokio::spawn(async move {
            let _publisher = publisher;
            while let Ok((tcp, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(
                    async move { echo(server.accept(tcp).await.map_err(std::io::Error::other)?).await },
                );
            }
        });
    } else {
        let acceptor = TlsAcceptor::from(bare::server_config(Path::new(dir), "server")?);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move { echo(acceptor.accept(tcp).await?).await });
            }
        });
    }
    child::serve(address).await
}

async fn echo<IO: AsyncRead + AsyncWrite + Unpin>(mut io: IO) -> std::io::Result<()> {
    let mut buffer = [0; 64];
    loop {
        let count = io.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        io.write_all(&buffer[..count]).await?;
        io.flush().await?;
    }
}

/// What dials, and keeps what it dialed.
enum Dialer {
    Bare(Arc<ClientConfig>, SocketAddr),
    Plain(SocketAddr),
    Ours(Box<Direct>),
}

impl Dialer {
    async fn dial(&self) -> Result<Box<dyn Duplex>, Failure> {
        match self {
            Dialer::Bare(config, to) => {
                let tcp = TcpStream::connect(to).await?;
                Ok(Box::new(TlsConnector::from(config.clone()).connect(bare::host()?, tcp).await?))
            }
            Dialer::Plain(to) => Ok(Box::new(TcpStream::connect(to).await?)),
            Dialer::Ours(direct) => {
                let Held { stream, .. } = direct.dial().await?;
                Ok(stream)
            }
        }
    }
}

async fn drive() -> Result<(), Failure> {
    let count = number_of("--connections", 1000)?;
    let dir = tempfile::tempdir()?;
    let place = dir.path().to_str().ok_or("the temporary directory's name is not text")?;
    let authority = authority::Authority::new()?;
    authority.write(dir.path(), "server")?;
    authority.write(dir.path(), "client")?;
    let client = authority::read_publisher(dir.path(), "client")?;
    let backend = service::start().await?;
    let config = bare::client_config(dir.path(), "client", false)?;
    println!("{count} connections; KiB of the process, and for each connection (PSS)");
    println!("{:<24} {:>8} {:>8} {:>14}", "", "before", "after", "a connection");
    let only = value_of("--only");
    let wanted = |name: String| only.as_deref().is_none_or(|only| only == name);
    for kind in ["bare", "certus"].into_iter().filter(|kind| wanted(format!("{kind} server"))) {
        let server = Child::start(&["server", kind, place])?;
        let dialer = Dialer::Bare(config.clone(), server.address);
        measure(&format!("{kind} server"), &server, dialer, count).await?;
    }
    for kind in KINDS.into_iter().filter(|kind| wanted(format!("{kind} listener"))) {
        let listener = Child::start(&["listener", kind, place, &backend.to_string()])?;
        let dialer = match kind {
            "bare" => Dialer::Bare(config.clone(), listener.address),
            _ => {
                let transport = carriers::transport_of(kind)?;
                Dialer::Ours(Box::new(Direct::new(client.credentials(), transport, listener.address)?))
            }
        };
        measure(&format!("{kind} listener"), &listener, dialer, count).await?;
    }
    // Here h2 and quic carry up to 100 streams over each connection.
    for kind in KINDS.into_iter().filter(|kind| wanted(format!("{kind} dialer"))) {
        let ends = carriers::pair(kind, dir.path(), backend)?;
        let dialer = Dialer::Plain(ends[1].address);
        measure(&format!("{kind} dialer"), &ends[1], dialer, count).await?;
    }
    Ok(())
}

async fn measure(name: &str, process: &Child, dialer: Dialer, count: usize) -> Result<(), Failure> {
    let dialer = Arc::new(dialer);
    let mut kept = hold(&dialer, WARM).await?;
    tokio::time::sleep(SETTLE).await;
    let before = process.pss()?;
    kept.extend(hold(&dialer, count).await?);
    tokio::time::sleep(SETTLE).await;
    let after = process.pss()?;
    // All of them lived until now.
    for stream in &mut kept {
        service::echo(stream).await.map_err(|error| format!("{name}: {error}"))?;
    }
    println!("{name:<24} {before:>8.0} {after:>8.0} {:>14.1}", (after - before) / count as f64);
    Ok(())
}

async fn hold(dialer: &Arc<Dialer>, count: usize) -> Result<Vec<Box<dyn Duplex>>, Failure> {
    let mut dialing = tokio::task::JoinSet::new();
    for one in 0..AT_ONCE {
        let dialer = dialer.clone();
        dialing.spawn(async move {
            let mut kept = Vec::new();
            for _ in (one..count).step_by(AT_ONCE) {
                let mut stream = dialer.dial().await?;
                service::echo(&mut stream).await?;
                kept.push(stream);
            }
            Ok::<_, Failure>(kept)
        });
    }
    let mut kept = Vec::new();
    while let Some(one) = dialing.join_next().await {
        kept.extend(one??);
    }
    Ok(kept)
}
