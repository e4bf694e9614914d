//! What every byte stream of the transports must do, whatever it travels in.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Longer than anything here takes on the slowest machine; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits with patience.
pub(super) async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("this should have happened by now")
}

/// Chance that is the same in every run (xorshift).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// From 1 to `most`.
    pub(super) fn throw(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 as usize % most + 1
    }
}

/// The byte at a place; 251 is prime, so that no power of two is a period.
fn byte(at: usize) -> u8 {
    (at % 251) as u8
}

async fn send(mut to: impl AsyncWrite + Unpin, total: usize, most: usize, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut at = 0;
    while at < total {
        let count = dice.throw(most).min(total - at);
        let bytes: Vec<u8> = (at..at + count).map(byte).collect();
        to.write_all(&bytes).await.unwrap();
        if dice.throw(4) == 1 {
            to.flush().await.unwrap();
        }
        at += count;
    }
    to.shutdown().await.unwrap();
}

async fn receive(mut from: impl AsyncRead + Unpin, total: usize, most: usize, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut at = 0;
    loop {
        let mut buffer = vec![0; dice.throw(most)];
        let count = from.read(&mut buffer).await.unwrap();
        if count == 0 {
            break;
        }
        assert!(buffer[..count].iter().enumerate().all(|(place, came)| *came == byte(at + place)));
        at += count;
    }
    assert_eq!(at, total);
    assert_eq!(from.read(&mut [0; 9]).await.unwrap(), 0, "an end stays an end");
}

/// Sends `total` bytes both ways at once, in pieces of up to `most`, and checks each of them.
pub(super) async fn both_ways<A, B>(a: A, b: B, total: usize, most: usize)
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let ((from_a, to_a), (from_b, to_b)) = (split(a), split(b));
    soon(async {
        tokio::join!(
            send(to_a, total, most, 1),
            receive(from_b, total, most, 2),
            send(to_b, total, most, 3),
            receive(from_a, total, most, 4),
        )
    })
    .await;
}

/// Ends one direction, then uses the other.
pub(super) async fn half_close<A, B>(mut asks: A, mut answers: B)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answering = tokio::spawn(async move {
        let mut question = Vec::new();
        answers.read_to_end(&mut question).await.unwrap();
        answers.write_all(&question.repeat(1000)).await.unwrap();
        answers.shutdown().await.unwrap();
        answers
    });
    soon(async move {
        asks.write_all(b"question").await.unwrap();
        asks.shutdown().await.unwrap();
        assert!(asks.write_all(b"more").await.is_err());
        let mut answer = Vec::new();
        asks.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"question".repeat(1000));
        drop(answering.await.unwrap());
    })
    .await;
}

/// Two ends of one TCP connection.
pub(super) async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (dialed, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (dialed.unwrap(), accepted.unwrap().0)
}
