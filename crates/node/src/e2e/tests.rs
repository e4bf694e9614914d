//! Two agents and what stands between them, in memory.

mod handshake;
mod harm;
mod stream;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use certus_pki::AgentId;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

use super::*;

/// No TLS below.
const PLAIN: Prologue = Prologue { transport: "tcp", exporter: None };

fn key() -> AgentKey {
    AgentKey::generate().unwrap()
}

fn anyone(_: &AgentId) -> Result<(), certus_pki::Explanation> {
    Ok(())
}

/// Waits for `future`, which a test that hangs never sees.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("still waiting")
}

/// A session over two streams that lead to each other: the dialler's end, then the other.
async fn session<A, B>(dialling: A, answering: B) -> (E2eStream<A>, E2eStream<B>)
where
    A: AsyncRead + AsyncWrite + Unpin + Send,
    B: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (mine, theirs) = (key(), key());
    let (dialled, answered) = soon(async {
        tokio::join!(connect(dialling, &mine, theirs.id(), PLAIN), accept(answering, &theirs, PLAIN, anyone))
    })
    .await;
    let (dialled, answered) = (dialled.ok().unwrap(), answered.ok().unwrap());
    assert_eq!((dialled.peer(), answered.peer()), (theirs.id(), mine.id()));
    (dialled, answered)
}

async fn over(capacity: usize) -> (E2eStream<DuplexStream>, E2eStream<DuplexStream>) {
    let (a, b) = duplex(capacity);
    session(a, b).await
}

/// Numbers without a pattern, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// A stream that takes and gives as little as it likes, and makes its callers wait.
struct Ragged<IO> {
    io: IO,
    numbers: Numbers,
    most: usize,
    /// Whether the other end learns that this one shut down.
    carries_ends: bool,
}

impl<IO> Ragged<IO> {
    fn new(io: IO, seed: u64, most: usize) -> Ragged<IO> {
        Ragged { io, numbers: Numbers(seed), most, carries_ends: true }
    }

    fn waits(&mut self, cx: &mut Context<'_>) -> bool {
        let waits = self.numbers.below(4) == 0;
        if waits {
            cx.waker().wake_by_ref();
        }
        waits
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Ragged<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.waits(cx) {
            return Poll::Pending;
        }
        let most = self.most;
        let count = 1 + self.numbers.below(most);
        let mut some = out.take(count);
        let before = some.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut some);
        let count = some.filled().len() - before;
        // `some` initialised them in `out`'s own memory.
        let read = some.filled()[before..].to_vec();
        if count > 0 {
            out.put_slice(&read);
        }
        polled
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Ragged<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.waits(cx) {
            return Poll::Pending;
        }
        let most = self.most;
        let count = (1 + self.numbers.below(most)).min(bytes.len());
        Pin::new(&mut self.io).poll_write(cx, &bytes[..count])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waits(cx) { Poll::Pending } else { Pin::new(&mut self.io).poll_flush(cx) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waits(cx) {
            Poll::Pending
        } else if self.carries_ends {
            Pin::new(&mut self.io).poll_shutdown(cx)
        } else {
            Poll::Ready(Ok(()))
        }
    }
}
