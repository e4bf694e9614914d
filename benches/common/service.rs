//! The plain service behind every pair: it echoes, or swallows a stream and answers with one byte.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Failure;

/// The first byte of a stream that is to be swallowed; its length follows in eight.
pub(crate) const BULK: u8 = b'B';
/// It and the length behind it.
const HEAD_BYTES: usize = 9;
/// What is written and read at once.
const BLOCK_BYTES: usize = 256 << 10;
/// What is sent and comes back.
pub(crate) const MESSAGE: [u8; 64] = [b'e'; 64];

pub(crate) async fn start() -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(answer(tcp));
        }
    });
    Ok(address)
}

async fn answer(mut tcp: TcpStream) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    let mut buffer = vec![0; MESSAGE.len()];
    loop {
        let count = tcp.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        if buffer[0] == BULK {
            return swallow(tcp, &buffer[..count]).await;
        }
        tcp.write_all(&buffer[..count]).await?;
    }
}

/// Not every tunnel carries the end of one direction alone, so the length is said.
async fn swallow(mut tcp: TcpStream, begun: &[u8]) -> std::io::Result<()> {
    let mut head = begun.to_vec();
    while head.len() < HEAD_BYTES {
        head.push(tcp.read_u8().await?);
    }
    let length = head[1..HEAD_BYTES].try_into().map(u64::from_be_bytes).unwrap_or_default();
    let mut left = length.saturating_sub((head.len() - HEAD_BYTES) as u64);
    let mut buffer = vec![0; BLOCK_BYTES];
    while left > 0 {
        let count = tcp.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        left = left.saturating_sub(count as u64);
    }
    tcp.write_all(b"!").await
}

/// Sends `bytes` through `port` and waits until the service has them all.
pub(crate) async fn bulk(port: SocketAddr, bytes: usize) -> Result<(), Failure> {
    let mut tcp = TcpStream::connect(port).await?;
    tcp.write_u8(BULK).await?;
    tcp.write_u64(bytes as u64).await?;
    let block = vec![BULK; BLOCK_BYTES];
    let mut left = bytes;
    while left > 0 {
        let count = left.min(block.len());
        tcp.write_all(&block[..count]).await?;
        left -= count;
    }
    tcp.read_exact(&mut [0]).await?;
    Ok(())
}

/// An open connection through `port`, after one message there and back.
pub(crate) async fn open(port: SocketAddr) -> Result<TcpStream, Failure> {
    let mut tcp = TcpStream::connect(port).await?;
    tcp.set_nodelay(true)?;
    echo(&mut tcp).await?;
    Ok(tcp)
}

/// One message there and back.
pub(crate) async fn echo<IO>(stream: &mut IO) -> Result<(), Failure>
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    stream.write_all(&MESSAGE).await?;
    stream.flush().await?;
    stream.read_exact(&mut [0; MESSAGE.len()]).await?;
    Ok(())
}
