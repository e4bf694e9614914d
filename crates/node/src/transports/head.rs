//! Reads the head of an HTTP/1.1 message and not one byte more.
//!
//! What follows the head belongs to whoever gets the stream next. Nothing is interpreted here.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// A request of ours takes some 300 bytes; proxies and their cookies add a few thousand.
pub(super) const HEAD_BYTES_MAX: usize = 16 << 10;

/// A head that did not come whole.
#[derive(Debug)]
pub(super) enum NoHead {
    /// Longer than [`HEAD_BYTES_MAX`].
    TooLong,
    /// The stream ended within it, after so many bytes.
    Ended(usize),
    /// The stream broke.
    Io(io::Error),
}

/// Everything up to and including the empty line.
pub(super) async fn read_head(io: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, NoHead> {
    let mut head = Vec::with_capacity(512);
    while head.len() < HEAD_BYTES_MAX {
        // One at a time: what is read too much could not be given back. TLS has it in memory.
        match io.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(NoHead::Ended(head.len()));
            }
            Err(error) => return Err(NoHead::Io(error)),
        }
        // RFC 9112 2.2: a lone LF may end a line too.
        if head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n") {
            return Ok(head);
        }
    }
    Err(NoHead::TooLong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_follows_the_head_is_left() {
        let mut bytes: &[u8] = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n\r\n\r\nrest";
        assert_eq!(read_head(&mut bytes).await.unwrap(), b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n");
        assert_eq!(bytes, b"\r\n\r\nrest");
    }

    #[tokio::test]
    async fn long_and_short_heads_are_told_apart() {
        let long = vec![b'a'; HEAD_BYTES_MAX + 9];
        let mut bytes = &long[..];
        assert!(matches!(read_head(&mut bytes).await, Err(NoHead::TooLong)));
        assert_eq!(bytes.len(), 9);
        let mut bytes: &[u8] = b"GET / HTTP/1.1\r\n";
        assert!(matches!(read_head(&mut bytes).await, Err(NoHead::Ended(16))));
    }
}
