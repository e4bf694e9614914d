//! Where two ends meet: over a byte stream in memory, or over UDP on this machine.

use std::net::SocketAddr;
use std::time::Duration;

use certus_pki::Accept;
use certus_tls::quic::{QuicConnection, explain_quic_close};
use certus_tls::{
    Admission, Client, ClientOptions, HandshakeError, Publisher, Server, ServerOptions, TlsStream,
    explain_read_error,
};
use quinn::Endpoint;
use tokio::io::{AsyncReadExt, DuplexStream};

use crate::world::{connect, meet};

/// Streams that a caller may have open.
pub(crate) const STREAMS: u32 = 4;
/// For what comes soon or never.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Stream,
    Udp,
}

/// A listener that is reached both ways.
pub(crate) struct Place {
    pub(crate) server: Server,
    pub(crate) endpoint: Endpoint,
    /// From where our own dialers call.
    pub(crate) dialing: Endpoint,
}

/// A connection, or what is left of it.
pub(crate) enum Either {
    Stream(Box<TlsStream<DuplexStream>>),
    Udp(QuicConnection),
}

pub(crate) type Met = Result<Either, HandshakeError>;

impl Place {
    pub(crate) fn new(node: &Publisher, options: ServerOptions) -> Place {
        let server = Server::new(node.credentials(), options);
        let here = SocketAddr::from(([127, 0, 0, 1], 0));
        let endpoint = Endpoint::server(server.quic_endpoint(STREAMS).unwrap(), here).unwrap();
        Place { server, endpoint, dialing: Endpoint::client(here).unwrap() }
    }

    pub(crate) fn accepting(node: &Publisher, accept: Accept) -> Place {
        Place::new(node, ServerOptions::new(accept))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoint.local_addr().unwrap()
    }

    /// The next caller over UDP.
    pub(crate) async fn accept_quic(&self) -> Result<QuicConnection, HandshakeError> {
        let incoming = tokio::time::timeout(SOON, self.endpoint.accept()).await.unwrap().unwrap();
        self.server.accept_quic(incoming, STREAMS).await
    }

    /// Lets a client dial: what each of the two says of it.
    pub(crate) async fn meet(&self, over: Over, client: &Client) -> (Met, Met) {
        match over {
            Over::Stream => {
                let (served, dialed) = meet(&self.server, client).await;
                (served.map(Either::stream), dialed.map(Either::stream))
            }
            Over::Udp => {
                let dial = client.connect_quic(&self.dialing, self.address());
                let (served, dialed) = tokio::join!(self.accept_quic(), dial);
                (served.map(Either::Udp), dialed.map(Either::Udp))
            }
        }
    }

    /// Both ends of a connection that is expected to come about, after a word in each direction.
    pub(crate) async fn connect(&self, over: Over, client: &Client) -> (Either, Either) {
        if over == Over::Stream {
            let (served, dialed) = connect(&self.server, client).await;
            return (Either::stream(served), Either::stream(dialed));
        }
        let (served, dialed) = self.meet(over, client).await;
        let [Either::Udp(served), Either::Udp(dialed)] = [served, dialed].map(|end| end.ok().unwrap()) else {
            panic!("over UDP")
        };
        words(served.connection(), dialed.connection()).await;
        (Either::Udp(served), Either::Udp(dialed))
    }

    /// Why the server refuses the client, and the alert by which that one learns it.
    pub(crate) async fn refusal(&self, over: Over, client: &Client) -> (HandshakeError, &'static str) {
        let (served, dialed) = self.meet(over, client).await;
        let told = match dialed {
            Ok(end) => end.told().await,
            Err(error) => error,
        };
        let HandshakeError::PeerRejectedUs { alert, .. } = told else { panic!("{over:?}: {told:?}") };
        (served.err().expect("the server should refuse"), alert)
    }
}

impl Either {
    pub(crate) fn stream(stream: TlsStream<DuplexStream>) -> Either {
        Either::Stream(Box::new(stream))
    }

    pub(crate) fn admission(&self) -> &Admission {
        match self {
            Either::Stream(stream) => stream.admission(),
            Either::Udp(quic) => quic.admission(),
        }
    }

    pub(crate) fn resumed(&self) -> bool {
        self.admission().resumed()
    }

    /// What the end of the connection meant.
    async fn told(self) -> HandshakeError {
        match self {
            Either::Stream(mut stream) => {
                let error = stream.read(&mut [0; 16]).await.expect_err("the read should fail");
                explain_read_error(&error).unwrap_or_else(|| panic!("unexplained: {error:?}"))
            }
            Either::Udp(quic) => {
                let error = tokio::time::timeout(SOON, quic.connection().closed()).await.unwrap();
                explain_quic_close(&error).unwrap_or_else(|| panic!("unexplained: {error:?}"))
            }
        }
    }
}

/// A word in each direction on a stream of its own; the client has then read the tickets too.
pub(crate) async fn words(served: &quinn::Connection, dialed: &quinn::Connection) {
    let asks = async {
        let (mut send, mut receive) = dialed.open_bi().await.unwrap();
        send.write_all(b"ping").await.unwrap();
        let mut word = [0; 4];
        receive.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"pong");
    };
    let answers = async {
        let (mut send, mut receive) = served.accept_bi().await.unwrap();
        receive.read_exact(&mut [0; 4]).await.unwrap();
        send.write_all(b"pong").await.unwrap();
        send.finish().unwrap();
        // The last bytes may still be under way.
        drop(receive);
        send.stopped().await.unwrap();
    };
    tokio::join!(asks, answers);
}

/// A dialer of those that `accept` takes.
pub(crate) fn dialer(node: &Publisher, accept: Accept) -> Client {
    Client::new(node.credentials(), ClientOptions::new(accept))
}
