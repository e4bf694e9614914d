//! Ends that are no managers, and a way to one that can be cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use certus_pki::Accept;
use certus_tls::{ClientCertificate, Publisher, Server, ServerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Where nobody listens.
pub(super) fn dead() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Where connections are taken by the system and nobody ever reads: a process that was stopped.
pub(super) fn silent() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // Held as long as the test runs.
    std::mem::forget(listener);
    address
}

/// A manager by its certificate that hangs up after every handshake.
pub(super) fn closing(publisher: Publisher) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let listener = TcpListener::from_std(listener).unwrap();
        let cluster = publisher.current().bundle().cluster().cloned().unwrap();
        let mut options = ServerOptions::new(Accept::cluster(cluster));
        options.client_certificate = ClientCertificate::Optional;
        options.alpn = vec![b"h2".to_vec()];
        options.send_roots = true;
        let server = Arc::new(Server::new(publisher.credentials(), options));
        while let Ok((tcp, _)) = listener.accept().await {
            drop(server.accept(tcp).await);
        }
    });
    address
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Connections end, and new ones too.
    Cut,
    /// Connections stay, and nothing passes.
    Held,
}

/// A way to a manager.
pub(super) struct Proxy {
    address: SocketAddr,
    taken: Arc<AtomicUsize>,
    way: watch::Sender<Way>,
}

impl Proxy {
    pub(super) async fn to(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (way, seen) = watch::channel(Way::Open);
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = taken.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let seen = seen.clone();
                tokio::spawn(async move {
                    if *seen.borrow() != Way::Cut
                        && let Ok(far) = TcpStream::connect(target).await
                    {
                        carry(near, far, seen).await;
                    }
                });
            }
        });
        Proxy { address, taken, way }
    }

    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// How many connections were made to it.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    pub(super) fn cut(&self) {
        self.way.send_replace(Way::Cut);
    }

    pub(super) fn hold(&self) {
        self.way.send_replace(Way::Held);
    }
}

async fn carry(mut near: TcpStream, mut far: TcpStream, mut seen: watch::Receiver<Way>) {
    let (mut there, mut back) = ([0; 4096], [0; 4096]);
    loop {
        let way = *seen.borrow_and_update();
        let passed = tokio::select! {
            changed = seen.changed() => changed.map_or(0, |()| 1),
            read = near.read(&mut there), if way == Way::Open => pass(read, &there, &mut far).await,
            read = far.read(&mut back), if way == Way::Open => pass(read, &back, &mut near).await,
        };
        if passed == 0 || *seen.borrow() == Way::Cut {
            return;
        }
    }
}

async fn pass(read: std::io::Result<usize>, from: &[u8], to: &mut TcpStream) -> usize {
    let read = read.unwrap_or(0);
    match to.write_all(&from[..read]).await {
        Ok(()) => read,
        Err(_) => 0,
    }
}
