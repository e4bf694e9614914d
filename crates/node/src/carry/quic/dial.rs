//! The dialing end.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use certus_pki::explain::{Explain, Explanation};
use certus_pki::{Code, code};
use certus_tls::Client;
use certus_tls::quic::QuicConnection;
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use quinn::{ConnectionError, Endpoint};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::stream::QuicStream;
use super::{CUT, DONE, PLAIN, SEALED, explain_lost};
use crate::api::unreachable;
use crate::carry::GOODBYE;
use crate::carry::pool::{Opened, Shared};
use crate::metrics::{Metrics, Side};
use crate::transports::h2::STREAMS_MAX;

/// A name with more addresses than this has the others for other reasons.
const ADDRESSES_MAX: usize = 4;
/// RFC 8305 5: the next address is tried beside one that does not answer by then.
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// A resolver that takes longer does not answer.
const RESOLVE_WITHIN: Duration = Duration::from_secs(3);

/// A connection that we dialed.
#[derive(Clone)]
pub(in crate::carry) struct Dialed {
    pub(in crate::carry) connection: QuicConnection,
    e2e: bool,
    streams: Arc<AtomicUsize>,
    /// What the other end takes, as far as we were made to wait.
    streams_max: Arc<AtomicUsize>,
    /// Closes it with its last user.
    users: Arc<DropGuard>,
}

impl Dialed {
    fn new(connection: QuicConnection, e2e: bool) -> Dialed {
        let unused = CancellationToken::new();
        let users = Arc::new(unused.clone().drop_guard());
        let (watched, cut) = (connection.clone(), connection.admission().cancelled());
        tokio::spawn(async move {
            let quic = watched.connection();
            tokio::select! {
                () = cut.cancelled() => quic.close(CUT, b"our side no longer trusts it"),
                () = unused.cancelled() => quic.close(DONE, b"no more streams"),
                _ = quic.closed() => {}
            }
            watched.admission().end();
        });
        let streams_max = Arc::new(AtomicUsize::new(STREAMS_MAX as usize));
        Dialed { connection, e2e, streams: Arc::default(), streams_max, users }
    }

    fn gone(&self, error: &ConnectionError) -> Explanation {
        let address = self.connection.connection().remote_address();
        explain_lost(error).unwrap_or_else(|| {
            Explanation::new(code::PEER_UNREACHABLE, "the connection to the peer broke")
                .fact("address", address)
                .fact("QUIC says", error)
        })
    }
}

impl Shared for Dialed {
    type Stream = QuicStream;

    fn is_usable(&self) -> bool {
        self.connection.admission().is_usable() && self.connection.connection().close_reason().is_none()
    }

    fn streams(&self) -> &Arc<AtomicUsize> {
        &self.streams
    }

    fn streams_max(&self) -> usize {
        self.streams_max.load(Ordering::Relaxed)
    }

    async fn open(&self, wait: bool) -> Opened<QuicStream> {
        let quic = self.connection.connection();
        let mut opening = quic.open_bi().boxed();
        let opened = match opening.as_mut().now_or_never() {
            Some(opened) => opened,
            None if wait => opening.await,
            None => {
                // It takes no more now than are open, of which this one is counted as one already.
                let open = self.streams.load(Ordering::Relaxed).saturating_sub(1);
                self.streams_max.store(open.max(1), Ordering::Relaxed);
                return Opened::Full;
            }
        };
        let (send, receive) = match opened {
            Ok(opened) => opened,
            Err(error) => return Opened::Gone(self.gone(&error)),
        };
        let mut stream = QuicStream::new(send, receive, None);
        stream.user = Some(self.users.clone());
        let mut answer = [0; 2];
        let ask = [if self.e2e { SEALED } else { PLAIN }];
        let answered = async {
            stream.send.write_all(&ask).await.map_err(io::Error::from)?;
            stream.receive.read_exact(&mut answer).await.map_err(io::Error::other)
        };
        if let Err(error) = answered.await {
            return match quic.close_reason() {
                Some(lost) => Opened::Gone(self.gone(&lost)),
                None => Opened::Refused(
                    Explanation::new(code::STREAM_REFUSED, "the other end reset the stream")
                        .fact("the system says", error),
                ),
            };
        }
        match Code::from_number(u16::from_be_bytes(answer)) {
            code if code.number() == 0 => Opened::Stream(stream),
            code => {
                let why = Explanation::new(code, "the other end refused the stream")
                    .fact("said by", "the other end")
                    .hint("its log has the reason with both halves");
                if code == code::UNAVAILABLE { Opened::Gone(why) } else { Opened::Refused(why) }
            }
        }
    }

    fn retire(&self) {
        self.connection.admission().end();
    }
}

/// The UDP sockets that one peer is dialed from: one for each family of addresses, once it is needed.
#[derive(Default)]
pub(in crate::carry) struct Endpoints(Mutex<[Option<Endpoint>; 2]>);

impl Endpoints {
    /// A connection to the peer at `address`, by whichever of its addresses answers.
    pub(in crate::carry) async fn connect(
        &self,
        client: &Client,
        address: &str,
        e2e: bool,
        metrics: &Metrics,
    ) -> Result<Dialed, Explanation> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the resolver does not answer");
        let resolving = tokio::time::timeout(RESOLVE_WITHIN, tokio::net::lookup_host(address));
        let resolved = resolving.await.map_err(late).flatten();
        let resolved = resolved.map_err(|error| unreachable("the peer", address, &error))?;
        let mut waiting = resolved.take(ADDRESSES_MAX).collect::<Vec<_>>().into_iter();
        let mut trying = FuturesUnordered::new();
        let mut failed = None;
        loop {
            match waiting.next() {
                Some(next) => trying.push(self.attempt(client, next, metrics)),
                None if trying.is_empty() => break,
                None => {}
            }
            let tried = if waiting.len() == 0 {
                trying.next().await
            } else {
                tokio::time::timeout(NEXT_ADDRESS, trying.next()).await.unwrap_or_default()
            };
            match tried {
                Some(Ok(connection)) => return Ok(Dialed::new(connection, e2e)),
                Some(Err(why)) => failed = Some(why),
                None => {}
            }
        }
        Err(failed.unwrap_or_else(|| {
            Explanation::new(code::PEER_UNREACHABLE, "the peer's name has no address")
                .fact("address", address)
        }))
    }

    /// Ends every connection, and says so.
    pub(in crate::carry) async fn close(&self) {
        let endpoints = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for endpoint in endpoints.into_iter().flatten() {
            endpoint.close(DONE, b"this node ends");
            let _ = tokio::time::timeout(GOODBYE, endpoint.wait_idle()).await;
        }
    }

    async fn attempt(
        &self,
        client: &Client,
        address: SocketAddr,
        metrics: &Metrics,
    ) -> Result<QuicConnection, Explanation> {
        let endpoint = self.towards(address).map_err(|error| {
            Explanation::new(code::LISTEN, "no UDP socket is to be had").fact("the system says", error)
        })?;
        let outcome = client.connect_quic(&endpoint, address).await;
        metrics.handshake(Side::Client, outcome.as_ref().map(drop));
        outcome.map_err(|error| error.explain())
    }

    fn towards(&self, address: SocketAddr) -> io::Result<Endpoint> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = &mut kept[usize::from(address.is_ipv6())];
        if let Some(endpoint) = place {
            return Ok(endpoint.clone());
        }
        let any: SocketAddr =
            if address.is_ipv6() { ([0_u16; 8], 0).into() } else { ([0, 0, 0, 0], 0).into() };
        let endpoint = Endpoint::client(any)?;
        *place = Some(endpoint.clone());
        Ok(endpoint)
    }
}
