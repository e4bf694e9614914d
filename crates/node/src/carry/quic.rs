//! Carried connections in QUIC: a bidirectional stream each, over one authenticated connection.
//!
//! A stream begins with one byte from its opener, 1 for a plain stream and 2 for an end-to-end session;
//! the other end answers with two, zero or the code of its refusal, before anything of the application.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use certus_pki::explain::{Explain, Explanation};
use certus_pki::{Code, code};
use certus_tls::quic::{QuicConnection, explain_quic_close};
use quinn::{ConnectionError, Endpoint, EndpointConfig, Incoming, VarInt};
use tokio::sync::Semaphore;

use super::inbound::{Addresses, Inbound};
use super::wire::{QuicStream, Wire};
use super::{CarryError, Run};
use crate::e2e;
use crate::metrics::Side;

/// The close of a connection one of whose ends lost trust.
pub(super) const CUT: VarInt = VarInt::from_u32(0x403);
/// The close of a node that ends.
const GOING_AWAY: VarInt = VarInt::from_u32(0);
/// No service, or not for this caller.
const REFUSED: VarInt = VarInt::from_u32(0x404);

const PLAIN: u8 = 1;
const SEALED: u8 = 2;
/// From so many handshakes at once on, a caller must first show that its address is its own
/// (RFC 9000 8.1.2).
const UNVALIDATED_MAX: usize = 64;

/// One of a connection's streams, counted while it lives.
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub(super) fn new(streams: &Arc<AtomicUsize>) -> Counted {
        streams.fetch_add(1, Ordering::Relaxed);
        Counted(streams.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What became of the wish for a stream.
pub(super) enum Opened {
    Stream(QuicStream),
    /// The other end says no.
    Refused(Explanation),
    /// The connection is of no more use.
    Lost(ConnectionError),
}

/// Opens a stream and waits until the other end has taken it.
pub(super) async fn open(connection: &QuicConnection, e2e: bool) -> Opened {
    let (mut send, mut receive) = match connection.connection().open_bi().await {
        Ok(opened) => opened,
        Err(error) => return Opened::Lost(error),
    };
    let mut answer = [0; 2];
    let asked = send.write_all(&[if e2e { SEALED } else { PLAIN }]).await.map_err(io::Error::from);
    let answered = match asked {
        Ok(()) => receive.read_exact(&mut answer).await.map_err(io::Error::other),
        Err(error) => Err(error),
    };
    if let Err(error) = answered {
        return match connection.connection().close_reason() {
            Some(lost) => Opened::Lost(lost),
            None => Opened::Refused(
                Explanation::new(code::PEER_UNREACHABLE, "the other end reset the stream")
                    .fact("the system says", error),
            ),
        };
    }
    match u16::from_be_bytes(answer) {
        0 => Opened::Stream(QuicStream { send, receive, counted: None }),
        number => Opened::Refused(
            Explanation::new(code::PEER_REJECTED_US, "the other end refused the stream")
                .fact("its code", Code::from_number(number))
                .hint("the peer's log and `certus node failures` there say what it expected"),
        ),
    }
}

/// Why a connection was lost.
pub(super) fn lost(error: &ConnectionError, address: &str) -> Explanation {
    match explain_quic_close(error) {
        Some(why) => why.explain(),
        None => Explanation::new(code::PEER_UNREACHABLE, "the connection to the peer broke")
            .fact("address", address)
            .fact("QUIC says", error),
    }
}

/// Binds a listener's UDP port.
pub(super) async fn bind(inbound: &Inbound) -> Result<(Endpoint, SocketAddr), CarryError> {
    let spec = &inbound.spec;
    let wrong = |error| CarryError::Listen { name: spec.name.clone(), address: spec.address.clone(), error };
    let config =
        inbound.server.quic_endpoint(spec.limits.streams).map_err(io::Error::other).map_err(wrong)?;
    let socket = tokio::net::UdpSocket::bind(&spec.address).await.map_err(wrong)?;
    let socket = socket.into_std().map_err(wrong)?;
    let runtime = Arc::new(quinn::TokioRuntime);
    let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime).map_err(wrong)?;
    let address = endpoint.local_addr().map_err(wrong)?;
    Ok((endpoint, address))
}

/// Accepts until closing.
pub(super) async fn accept(endpoint: Endpoint, current: super::Current<Inbound>, run: Run) {
    let connections = Arc::new(Semaphore::new(current.get().spec.limits.connections));
    loop {
        let incoming = tokio::select! {
            () = run.closing.cancelled() => break,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        let inbound = current.get();
        let Ok(place) = connections.clone().try_acquire_owned() else {
            let why = super::accept::too_many(inbound.spec.limits.connections);
            inbound.failed(incoming.remote_address(), "", why);
            incoming.refuse();
            continue;
        };
        let busy = inbound.spec.limits.handshakes.saturating_sub(inbound.handshakes.available_permits());
        if busy > UNVALIDATED_MAX && !incoming.remote_address_validated() {
            let _ = incoming.retry();
            continue;
        }
        let run = run.clone();
        run.tasks.clone().spawn(async move {
            connection(&inbound, incoming, &run).await;
            drop(place);
        });
    }
    // Connections end by themselves, or with `ending`; the port is given back when they have.
    tokio::select! {
        () = run.ending.cancelled() => {}
        () = endpoint.wait_idle() => {}
    }
    endpoint.close(GOING_AWAY, b"this node ends");
}

async fn connection(inbound: &Arc<Inbound>, incoming: Incoming, run: &Run) {
    let from = incoming.remote_address();
    let outcome = {
        let _place = inbound.handshakes.acquire().await;
        inbound.server.accept_quic(incoming, inbound.spec.limits.streams).await
    };
    inbound.means.metrics.handshake(Side::Server, outcome.as_ref().map(drop));
    let quic = match outcome {
        Ok(quic) => quic,
        Err(error) => return inbound.failed(from, "", error.explain()),
    };
    let admission = quic.admission().clone();
    let (cut, draining) = (admission.cancelled(), admission.draining());
    let (streams, mut finishing) = (Arc::new(AtomicUsize::new(0)), false);
    loop {
        let opened = tokio::select! {
            biased;
            () = cut.cancelled() => {
                let why = admission.cut().map(|cut| cut.explain());
                let words = why.as_ref().map_or(String::new(), |why| why.code.to_string());
                quic.connection().close(CUT, words.as_bytes());
                if let Some(why) = why {
                    tracing::info!(name = inbound.spec.name, %from, peer = admission.peer_name(),
                        code = %why.code, %why, "a connection broke");
                }
                return;
            }
            () = run.ending.cancelled() => {
                quic.connection().close(GOING_AWAY, b"this node ends");
                return;
            }
            () = draining.cancelled(), if !finishing => { finishing = true; continue }
            () = run.closing.cancelled(), if !finishing => { finishing = true; continue }
            opened = quic.connection().accept_bi() => opened,
            () = idle(&streams), if finishing => {
                quic.connection().close(GOING_AWAY, b"drained");
                return;
            }
        };
        match opened {
            Ok((send, receive)) => {
                let counted = Counted::new(&streams);
                let stream = QuicStream { send, receive, counted: Some(counted) };
                let (inbound, quic, run) = (inbound.clone(), quic.clone(), run.clone());
                run.tasks.clone().spawn(async move {
                    serve(&inbound, stream, &quic, (from, finishing), &run).await;
                });
            }
            Err(error) => {
                tracing::debug!(name = inbound.spec.name, %from, %error, "a QUIC connection ended");
                return;
            }
        }
    }
}

/// Waits until no stream is open.
async fn idle(streams: &AtomicUsize) {
    while streams.load(Ordering::Relaxed) > 0 {
        tokio::time::sleep(IDLE_LOOK).await;
    }
}

/// While a connection drains.
const IDLE_LOOK: std::time::Duration = std::time::Duration::from_millis(50);

/// One stream: authorised anew, as the connection may be old.
async fn serve(
    inbound: &Arc<Inbound>,
    mut stream: QuicStream,
    quic: &QuicConnection,
    (from, finishing): (SocketAddr, bool),
    run: &Run,
) {
    let admission = quic.admission();
    let mut asked = [0];
    if stream.receive.read_exact(&mut asked).await.is_err() {
        return;
    }
    let verdict = match (asked[0], finishing) {
        (PLAIN | SEALED, false) => admission.recheck().map_err(|rejection| rejection.explain()),
        (PLAIN | SEALED, true) => {
            Err(Explanation::new(code::UNAVAILABLE, "the connection ends and takes no more streams"))
        }
        (other, _) => Err(Explanation::new(code::BAD_MESSAGE, "a stream that begins with another byte")
            .halves("1 or 2", other)),
    };
    let number = verdict.as_ref().err().map_or(0, |why| why.code.number());
    if stream.send.write_all(&number.to_be_bytes()).await.is_err() {
        return;
    }
    if let Err(why) = verdict {
        let _ = stream.send.finish();
        let _ = stream.receive.stop(REFUSED);
        return inbound.failed(from, &admission.peer_name(), why);
    }
    let exporter = quic.exporter(e2e::EXPORTER_LABEL, b"");
    // RFC 9001 4.2: QUIC has TLS 1.3 in it.
    let ends = Addresses { from, to: None, tls: Some("1.3") };
    inbound.serve(Wire::Quic(Box::new(stream)), asked[0] == SEALED, exporter, admission, ends, run).await;
}
