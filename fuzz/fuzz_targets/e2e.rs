//! What an agent reads end to end: a caller's first bytes, an answer, and the records of a session.
//! Nothing that is made without the keys may pass for a call, an answer, a byte or an end.
#![no_main]

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use certus_node::e2e::{AgentKey, Prologue, accept, connect};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};

const PLAIN: Prologue = Prologue { transport: "tcp", exporter: None };

fuzz_target!(|input: (u8, &[u8])| {
    let (kind, bytes) = input;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        match kind % 4 {
            0 => call(&[], bytes).await,
            // Past the check of the length.
            1 => call(&[0, 96], bytes).await,
            2 => answer(bytes).await,
            _ => records(bytes).await,
        }
    });
});

fn key() -> AgentKey {
    AgentKey::generate().ok().expect("randomness")
}

async fn call(head: &[u8], bytes: &[u8]) {
    let (mut there, here) = duplex(1 << 16);
    send(&mut there, &[head, bytes].concat()).await;
    assert!(accept(here, &key(), PLAIN, |_| Ok(())).await.is_err());
}

async fn answer(bytes: &[u8]) {
    let (mut there, here) = duplex(1 << 16);
    send(&mut there, bytes).await;
    assert!(connect(here, &key(), key().id(), PLAIN).await.is_err());
}

/// A real session, into which somebody else writes instead of the dialler.
async fn records(bytes: &[u8]) {
    let (there, here) = duplex(1 << 16);
    let there = Shared(Arc::new(Mutex::new(there)));
    let (mine, theirs) = (key(), key());
    let dialling = connect(there.clone(), &mine, theirs.id(), PLAIN);
    let (dialled, answered) = tokio::join!(dialling, accept(here, &theirs, PLAIN, |_| Ok(())));
    let (_dialled, mut stream) = (dialled.ok().expect("a session"), answered.ok().expect("a session"));
    send(&mut there.clone(), bytes).await;
    let mut heard = Vec::new();
    let ended = stream.read_to_end(&mut heard).await;
    assert!(ended.is_err() && heard.is_empty());
}

async fn send(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    // More would wait for a reader that is not there yet.
    let bytes = &bytes[..bytes.len().min((1 << 16) - 2)];
    let _ = to.write_all(bytes).await;
    let _ = to.shutdown().await;
}

/// A stream that two can write to.
#[derive(Clone)]
struct Shared(Arc<Mutex<DuplexStream>>);

impl Shared {
    fn with<T>(&self, act: impl FnOnce(Pin<&mut DuplexStream>) -> T) -> T {
        act(Pin::new(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl AsyncRead for Shared {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with(|io| io.poll_read(cx, out))
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|io| io.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|io| io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|io| io.poll_shutdown(cx))
    }
}
