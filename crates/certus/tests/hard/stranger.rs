//! Somebody without a certificate: raw sockets from addresses of their own, TLS, and HTTP/2 by hand.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use certus_pki::{Accept, Allow, Bundle, Epoch, Issuers, Root};
use certus_tls::{Client, ClientOptions, Publisher, Snapshot, TlsStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::World;

/// One of the addresses of loopback that strangers call from; honest callers come from 127.0.0.1.
pub(crate) fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 6, 6, u8::try_from(1 + number % 250).unwrap())
}

/// A connection from there. None where it is not taken at once.
pub(crate) async fn connect(from: Ipv4Addr, to: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.into(), 0)).unwrap();
    tokio::time::timeout(Duration::from_secs(10), socket.connect(to)).await.ok()?.ok()
}

/// TLS without a certificate, to whoever has this cluster's root.
pub(crate) struct Stranger {
    client: Client,
    _publisher: Publisher,
}

impl Stranger {
    pub(crate) fn of(world: &World) -> Stranger {
        let pem = std::fs::read_to_string(world.path("home/certs/cli/ca.crt")).unwrap();
        let roots = certus_pki::pem::decode(&pem).unwrap();
        let root = Root::from_der(&roots[0].der).unwrap();
        let bundle = Bundle::of_authorities(Epoch::default(), vec![root], []);
        let publisher = Publisher::new(Snapshot::new(None, Arc::new(bundle)), certus_node::system_clock());
        let mut options = ClientOptions::new(Accept::new(Allow::Anyone));
        options.issuers = Issuers::AnyBelowRoot;
        options.alpn = vec![b"h2".to_vec()];
        Stranger { client: Client::new(publisher.credentials(), options), _publisher: publisher }
    }

    /// A handshake that ends.
    pub(crate) async fn tls(&self, from: Ipv4Addr, to: SocketAddr) -> Option<TlsStream<TcpStream>> {
        let tcp = connect(from, to).await?;
        tokio::time::timeout(Duration::from_secs(20), self.client.connect(tcp)).await.ok()?.ok()
    }
}

/// The beginning of every HTTP/2 connection (RFC 9113 3.4), with empty settings.
pub(crate) fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes
}

/// One frame (RFC 9113 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A gRPC call of one message on `stream`, whole.
pub(crate) fn call(path: &str, stream: u32, message: &[u8]) -> Vec<u8> {
    let mut bytes = frame(1, 4, stream, &headers(path));
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let mut body = vec![0];
    body.extend(length);
    body.extend(message);
    let chunks = body.len().div_ceil(16_384);
    for (number, chunk) in body.chunks(16_384).enumerate() {
        bytes.extend(frame(0, u8::from(number + 1 == chunks), stream, chunk));
    }
    bytes
}

/// Header fields without compression (RFC 7541 6.2.2).
pub(crate) fn headers(path: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "x"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let mut block = Vec::new();
    for (name, value) in fields {
        block.extend(field(name, value));
    }
    block
}

/// One field, shorter than 127 bytes in each part.
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0, u8::try_from(name.len()).unwrap()];
    bytes.extend(name.as_bytes());
    bytes.push(u8::try_from(value.len()).unwrap());
    bytes.extend(value.as_bytes());
    bytes
}

/// A `JoinRequest` with `secret`, as protocol buffers write it.
pub(crate) fn join_request(secret: &[u8], id: &str, csr: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, value) in [(1, secret), (2, b"worker".as_slice()), (3, id.as_bytes()), (4, csr)] {
        bytes.push(number << 3 | 2);
        let mut length = value.len();
        while length > 127 {
            bytes.push(u8::try_from(length & 127).unwrap() | 128);
            length >>= 7;
        }
        bytes.push(u8::try_from(length).unwrap());
        bytes.extend(value);
    }
    bytes
}

/// Reads whatever comes until the other end hangs up, or for so long; says how much came.
pub(crate) async fn drain(stream: &mut (impl tokio::io::AsyncRead + Unpin), limit: Duration) -> usize {
    let mut total = 0;
    let mut bytes = vec![0; 16 << 10];
    let until = tokio::time::Instant::now() + limit;
    while let Ok(Ok(count @ 1..)) = tokio::time::timeout_at(until, stream.read(&mut bytes)).await {
        total += count;
    }
    total
}

/// Writes until the other end takes no more, or for so long; says whether all was taken.
pub(crate) async fn pour(
    stream: &mut (impl tokio::io::AsyncWrite + Unpin),
    bytes: &[u8],
    limit: Duration,
) -> bool {
    let written = async { stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok() };
    tokio::time::timeout(limit, written).await.unwrap_or(false)
}
