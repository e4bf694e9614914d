//! As much HTTP/1.1 as asking one service the same question over one connection.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A head longer than this is not the service's.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// A body longer than this is not the service's.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Asks for `/` and reads the whole answer, leaving the connection open: status and body.
pub(super) async fn get<IO>(io: &mut IO) -> io::Result<(u16, String)>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    io.write_all(b"GET / HTTP/1.1\r\nHost: web-1\r\n\r\n").await?;
    io.flush().await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES_MAX {
            return Err(io::Error::other("the answer's head does not end"));
        }
        head.push(io.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let (Some(status), Some(length)) = (status, length) else {
        return Err(io::Error::other("the answer is not HTTP/1.1 with a length"));
    };
    let mut body = vec![0; usize::min(length, BODY_BYTES_MAX)];
    io.read_exact(&mut body).await?;
    Ok((status, String::from_utf8_lossy(&body).trim_end().to_owned()))
}
