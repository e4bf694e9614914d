//! Dials a listener of ours directly, over each transport: one handshake and one stream each time.
//!
//! Unlike a peer it keeps no connection for the next stream, so that every dial is a handshake.

use std::net::SocketAddr;

use certus_node::Transport;
use certus_node::transports::{h2, ws};
use certus_pki::{Accept, Allow};
use certus_tls::{Admission, Client, ClientOptions, Credentials};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{Failure, authority};

/// A byte stream, whatever carries it.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What dials.
pub(crate) struct Direct {
    client: Client,
    transport: Transport,
    to: SocketAddr,
    endpoint: Option<quinn::Endpoint>,
}

/// A connection with one open stream.
pub(crate) struct Held {
    pub(crate) stream: Box<dyn Duplex>,
    pub(crate) admission: Admission,
}

impl Direct {
    pub(crate) fn new(
        credentials: Credentials,
        transport: Transport,
        to: SocketAddr,
    ) -> Result<Direct, Failure> {
        let server = format!("spiffe://{}/worker/server", authority::CLUSTER).parse()?;
        let mut options = ClientOptions::new(Accept::new(Allow::Id(server)));
        options.alpn = match transport {
            Transport::H2 => vec![b"h2".to_vec()],
            Transport::Ws => vec![b"http/1.1".to_vec()],
            Transport::Quic => vec![b"certus/1".to_vec()],
            _ => Vec::new(),
        };
        let endpoint = match transport {
            Transport::Quic => Some(quinn::Endpoint::client(([127, 0, 0, 1], 0).into())?),
            _ => None,
        };
        Ok(Direct { client: Client::new(credentials, options), transport, to, endpoint })
    }

    pub(crate) async fn dial(&self) -> Result<Held, Failure> {
        if let Some(endpoint) = &self.endpoint {
            return self.dial_quic(endpoint).await;
        }
        let tcp = TcpStream::connect(self.to).await?;
        tcp.set_nodelay(true)?;
        let tls = self.client.connect(tcp).await?;
        let admission = tls.admission().clone();
        let stream: Box<dyn Duplex> = match self.transport {
            Transport::H2 => {
                let (client, driver) = h2::connect(tls, h2::Limits::default()).await?;
                tokio::spawn(driver);
                Box::new(client.open(&h2::Ask::new("bench")).await?)
            }
            Transport::Ws => Box::new(ws::connect(tls, &ws::Ask::new("localhost")).await?),
            _ => Box::new(tls),
        };
        Ok(Held { stream, admission })
    }

    async fn dial_quic(&self, endpoint: &quinn::Endpoint) -> Result<Held, Failure> {
        let connection = self.client.connect_quic(endpoint, self.to).await?;
        let (mut send, mut receive) = connection.connection().open_bi().await?;
        // A plain stream; the answer is zero, or why not.
        send.write_all(&[1]).await?;
        let mut answer = [0; 2];
        receive.read_exact(&mut answer).await?;
        if answer != [0, 0] {
            return Err(format!("the stream was refused: {answer:?}").into());
        }
        let admission = connection.admission().clone();
        Ok(Held { stream: Box::new(tokio::io::join(receive, send)), admission })
    }
}
