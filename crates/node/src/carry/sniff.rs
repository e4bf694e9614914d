//! Tells TLS from plaintext by a connection's first bytes, for listeners that take both.
//!
//! Decides nothing else: whether plaintext is taken at all is policy. Not a byte is lost; what was
//! looked at is read again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::timeout;

/// A TLS record says what it is in three: handshake, and a version from SSL 3.0's to 0x0304.
const HEAD_BYTES: usize = 3;

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// A TLS handshake. Also one that stopped within its first three bytes: TLS's own limit ends it.
    Tls,
    /// Something else, or an end.
    Plaintext,
    /// Nothing came in time. In many protocols the server speaks first, SMTP and MySQL among them, so
    /// this counts as plaintext.
    Silent,
}

/// What bytes look like from their start on; `None` as long as more of them could still be either.
pub fn begins(bytes: &[u8]) -> Option<Begins> {
    // RFC 8446 5.1: content type 22, then the legacy version. 5 bytes of a record's head, of which the
    // length tells nothing.
    match bytes {
        [0x16, 0x03, 0x00..=0x04, ..] => Some(Begins::Tls),
        [] | [0x16] | [0x16, 0x03] => None,
        _ => Some(Begins::Plaintext),
    }
}

/// Waits for enough of the first bytes to tell, at most `limit` in all, and gives the stream back whole.
///
/// # Errors
/// The stream broke.
pub async fn sniff<IO>(io: IO, limit: Duration) -> io::Result<(Begins, Peeked<IO>)>
where
    IO: AsyncRead + Unpin,
{
    let mut peeked = Peeked { io, head: [0; HEAD_BYTES], len: 0, at: 0 };
    let begin = match timeout(limit, peeked.look()).await {
        Ok(begin) => begin?,
        // Reading is cancelled without loss: what came is in the head.
        Err(_) if peeked.len == 0 => Begins::Silent,
        Err(_) => Begins::Tls,
    };
    Ok((begin, peeked))
}

/// A stream whose first bytes were looked at, and are read again.
#[derive(Debug)]
pub struct Peeked<IO> {
    io: IO,
    head: [u8; HEAD_BYTES],
    /// How many bytes of the head came.
    len: usize,
    /// How many of them were read again.
    at: usize,
}

impl<IO> Peeked<IO> {
    /// A stream that was not looked at.
    pub fn whole(io: IO) -> Peeked<IO> {
        Peeked { io, head: [0; HEAD_BYTES], len: 0, at: 0 }
    }

    /// The stream below; what was looked at does not come from it again.
    pub fn inner(&self) -> &IO {
        &self.io
    }
}

impl<IO: AsyncRead + Unpin> Peeked<IO> {
    /// A client may send one byte at a time.
    async fn look(&mut self) -> io::Result<Begins> {
        loop {
            if let Some(begin) = begins(&self.head[..self.len]) {
                return Ok(begin);
            }
            match self.io.read(&mut self.head[self.len..]).await? {
                0 => return Ok(Begins::Plaintext),
                count => self.len += count,
            }
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Peeked<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.at < this.len {
            let count = (this.len - this.at).min(buf.remaining());
            buf.put_slice(&this.head[this.at..this.at + count]);
            this.at += count;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Peeked<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, duplex};

    const LONG: Duration = Duration::from_secs(60);

    async fn rest(mut peeked: Peeked<impl AsyncRead + Unpin>) -> Vec<u8> {
        let mut bytes = Vec::new();
        peeked.read_to_end(&mut bytes).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn tls_and_plaintext_are_told_apart_and_read_whole() {
        let cases: [(&[u8], Begins); 10] = [
            (b"\x16\x03\x01\x02\x00\x01", Begins::Tls),
            (b"\x16\x03\x00", Begins::Tls),
            (b"\x16\x03\x04\x00\x05", Begins::Tls),
            (b"\x16\x03\x05\x00\x05", Begins::Plaintext),
            (b"\x16\x02\x01", Begins::Plaintext),
            (b"\x15\x03\x01", Begins::Plaintext),
            (b"GET / HTTP/1.1\r\n", Begins::Plaintext),
            (b"\x00", Begins::Plaintext),
            (b"\x16\x03", Begins::Plaintext),
            (b"", Begins::Plaintext),
        ];
        for (bytes, expected) in cases {
            let (begin, peeked) = sniff(bytes, LONG).await.unwrap();
            assert_eq!(begin, expected, "{bytes:x?}");
            assert_eq!(rest(peeked).await, bytes);
        }
    }

    #[tokio::test]
    async fn a_client_that_trickles_is_understood() {
        // A pipe of one byte hands over one byte at a time.
        let (mut client, server) = duplex(1);
        let client = tokio::spawn(async move { client.write_all(b"\x16\x03\x03\x00\x01rest").await });
        let (begin, peeked) = sniff(server, LONG).await.unwrap();
        assert_eq!(begin, Begins::Tls);
        let rest = tokio::spawn(rest(peeked));
        client.await.unwrap().unwrap();
        assert_eq!(rest.await.unwrap(), b"\x16\x03\x03\x00\x01rest");
    }

    #[tokio::test]
    async fn the_limit_ends_the_wait_and_loses_nothing() {
        let (mut client, server) = duplex(64);
        let (begin, mut peeked) = sniff(server, Duration::ZERO).await.unwrap();
        assert_eq!(begin, Begins::Silent);
        peeked.write_all(b"220 hello\r\n").await.unwrap();
        let mut greeting = [0; 11];
        client.read_exact(&mut greeting).await.unwrap();
        client.write_all(b"EHLO").await.unwrap();
        drop(client);
        assert_eq!(rest(peeked).await, b"EHLO");

        let (mut client, server) = duplex(64);
        client.write_all(b"\x16\x03").await.unwrap();
        let (begin, peeked) = sniff(server, Duration::from_millis(1)).await.unwrap();
        assert_eq!(begin, Begins::Tls);
        drop(client);
        assert_eq!(rest(peeked).await, b"\x16\x03");
    }

    #[tokio::test]
    async fn small_buffers_get_the_head_in_pieces() {
        let (_, mut peeked) = sniff(&b"\x16\x03\x01ab"[..], LONG).await.unwrap();
        let mut bytes = Vec::new();
        for _ in 0..5 {
            bytes.push(peeked.read_u8().await.unwrap());
        }
        assert_eq!(bytes, b"\x16\x03\x01ab");
    }
}
