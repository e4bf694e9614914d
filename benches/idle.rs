//! Memory of idle mutual TLS connections on a process that carries them to a service.
//!
//! The listener is a process of its own; callers and service are in this one.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;

use std::path::Path;
use std::sync::Arc;

use certus_node::{Backend, Carrier, ListenerSpec, Means, Metrics, Transport};
use certus_pki::Allow;
use common::child::{self, Child};
use common::{Failure, authority, bare, service};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Connections that are kept.
const CONNECTIONS: usize = 1_000;
/// What `tokio::io::copy_bidirectional` takes by itself.
const BUFFER_BYTES: usize = 8 << 10;

fn main() -> Result<(), Failure> {
    let runtime = common::runtime()?;
    match child::role() {
        Some(role) => runtime.block_on(serve(&role)),
        None => runtime.block_on(drive()),
    }
}

async fn serve(role: &[String]) -> Result<(), Failure> {
    let [kind, to, dir] = role else { return Err("three words tell a child".into()) };
    let dir = Path::new(dir);
    if kind == "bare" {
        let config = bare::server_config(dir, "server")?;
        return child::serve(bare::listener(config, to.parse()?, BUFFER_BYTES).await?).await;
    }
    let publisher = authority::read_publisher(dir, "server")?;
    let means = Means::new(publisher.credentials(), Metrics::new());
    let allow = Allow::Id("spiffe://bench/worker/client".parse()?);
    let spec = ListenerSpec::new("bench", Transport::Tcp, "127.0.0.1:0", Backend::Tcp(to.clone()), allow);
    let carrier = Carrier::start(means, vec![spec], Vec::new()).await?;
    child::serve(carrier.bound("bench").ok_or("not bound")?).await
}

async fn drive() -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let authority = authority::Authority::new()?;
    authority.write(dir.path(), "server")?;
    authority.write(dir.path(), "client")?;
    let place = dir.path().to_str().ok_or("the temporary directory's name is not text")?;
    let service = service::start().await?.to_string();
    let config = bare::client_config(dir.path(), "client", false)?;
    println!("PSS of the listener, {CONNECTIONS} connections after one 64 B echo each");
    println!("{:<8} {:>10} {:>12} {:>18}", "listener", "idle MiB", "loaded MiB", "KiB/connection");
    for kind in ["bare", "certus"] {
        let child = Child::start(&[kind, &service, place])?;
        // The first one pays for what all share.
        drop(open(&child, &config).await?);
        let before = child.pss()?;
        let mut kept = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            kept.push(open(&child, &config).await?);
        }
        let after = child.pss()?;
        for stream in &mut kept {
            service::echo(stream).await?;
        }
        let each = (after - before) / CONNECTIONS as f64;
        println!("{kind:<8} {:>10.1} {:>12.1} {each:>18.1}", before / 1024.0, after / 1024.0);
    }
    Ok(())
}

async fn open(child: &Child, config: &Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, Failure> {
    let tcp = TcpStream::connect(child.address).await?;
    tcp.set_nodelay(true)?;
    let mut tls = TlsConnector::from(config.clone()).connect(bare::host()?, tcp).await?;
    service::echo(&mut tls).await?;
    Ok(tls)
}
