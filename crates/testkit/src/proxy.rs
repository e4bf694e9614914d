//! A way to a manager that a test can cut, stop, or make deaf on one side.
//!
//! Carries bytes; knows nothing of what they mean.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Everything.
    Open,
    /// What callers say; answers are held back.
    Deaf,
    /// Nothing; connections stay.
    Held,
    /// Connections end, and new ones end at once.
    Cut,
}

/// A listener of its own before somebody else's.
pub struct Proxy {
    address: SocketAddr,
    way: watch::Sender<Way>,
}

impl Proxy {
    /// Before `target`, everything passing.
    pub async fn to(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (way, seen) = watch::channel(Way::Open);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(connection(near, target, seen.clone()));
            }
        });
        Proxy { address, way }
    }

    /// Where to dial.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Changes what passes, on open connections too.
    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn connection(near: TcpStream, target: SocketAddr, seen: watch::Receiver<Way>) {
    if *seen.borrow() == Way::Cut {
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else { return };
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let says = |way| matches!(way, Way::Open | Way::Deaf);
    let answers = |way| way == Way::Open;
    // Either end ends both.
    tokio::select! {
        () = carry(near_read, far_write, seen.clone(), says) => {}
        () = carry(far_read, near_write, seen, answers) => {}
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut seen: watch::Receiver<Way>,
    passes: impl Fn(Way) -> bool,
) {
    let mut bytes = [0; 4096];
    loop {
        let way = *seen.borrow_and_update();
        if way == Way::Cut {
            return;
        }
        tokio::select! {
            changed = seen.changed() => if changed.is_err() { return },
            read = from.read(&mut bytes), if passes(way) => match read {
                Ok(count @ 1..) if to.write_all(&bytes[..count]).await.is_ok() => {}
                _ => return,
            },
        }
    }
}
