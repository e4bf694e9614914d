//! The plain service behind every pair: it echoes, or swallows a stream and answers with one byte.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Failure;

/// The first byte of a stream that is to be swallowed.
pub(crate) const BULK: u8 = b'B';
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
    let mut buffer = vec![0; 64];
    let mut bulk = None;
    loop {
        let count = tcp.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        if *bulk.get_or_insert(buffer[0] == BULK) {
            buffer.resize(256 << 10, 0);
        } else {
            tcp.write_all(&buffer[..count]).await?;
        }
    }
    if bulk == Some(true) {
        tcp.write_all(b"!").await?;
    }
    Ok(())
}

/// Sends `bytes` through `port` and waits until the service has them all.
pub(crate) async fn bulk(port: SocketAddr, bytes: usize) -> Result<(), Failure> {
    let mut tcp = TcpStream::connect(port).await?;
    let block = vec![BULK; 256 << 10];
    let mut left = bytes;
    while left > 0 {
        let count = left.min(block.len());
        tcp.write_all(&block[..count]).await?;
        left -= count;
    }
    tcp.shutdown().await?;
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
