//! The accepting end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use certus_pki::explain::{Explain, Explanation};
use certus_pki::{code, defaults};
use certus_tls::quic::QuicConnection;
use quinn::{Endpoint, EndpointConfig, Incoming, VarInt};

use super::stream::QuicStream;
use super::{CUT, DONE, PLAIN, SEALED};
use crate::carry::accept::too_many;
use crate::carry::inbound::{Addresses, Inbound};
use crate::carry::pool::Counted;
use crate::carry::seats::{Seat, Seats};
use crate::carry::wire::Wire;
use crate::carry::{CarryError, Current, GOODBYE, Run};
use crate::clock::duration;
use crate::e2e;
use crate::metrics::Side;

/// No service, or not for this caller.
const REFUSED: VarInt = VarInt::from_u32(0x404);
/// From so many handshakes at once on, a caller must first show that its address is its own
/// (RFC 9000 8.1.2).
const UNVALIDATED_MAX: usize = 64;
/// A connection that ended takes its 30 KiB for three seconds more, for packets that are still on their way
/// (RFC 9000 10.2): so many of them, and callers are not answered until there are fewer. They ask again
/// within a second.
const ENDED_MAX: usize = 2_048;
/// While a connection drains.
const IDLE_LOOK: Duration = Duration::from_millis(50);

/// Binds a listener's UDP port.
pub(in crate::carry) async fn bind(inbound: &Inbound) -> Result<(Endpoint, SocketAddr), CarryError> {
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

/// Accepts until closing, and gives the port back when the connections that were accepted have ended.
pub(in crate::carry) async fn accept(endpoint: Endpoint, current: Current<Inbound>, run: Run) {
    let seats = Seats::new();
    loop {
        let incoming = tokio::select! {
            () = run.closing.cancelled() => break,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        let inbound = current.get();
        let limits = inbound.spec.limits;
        if inbound.handshakes.taken() >= UNVALIDATED_MAX.min(limits.handshakes.div_ceil(2))
            && !incoming.remote_address_validated()
        {
            let _ = incoming.retry();
            continue;
        }
        if endpoint.open_connections() >= seats.taken() + ENDED_MAX {
            incoming.ignore();
            continue;
        }
        let Some(seat) = seats.take(limits.connections) else {
            inbound.failed(incoming.remote_address(), "", too_many(limits.connections));
            incoming.refuse();
            continue;
        };
        let to = endpoint
            .local_addr()
            .ok()
            .map(|bound| SocketAddr::new(incoming.local_ip().unwrap_or_else(|| bound.ip()), bound.port()));
        let run = run.clone();
        run.tasks.clone().spawn(async move {
            let ends = Addresses { from: incoming.remote_address(), to, tls: Some("1.3") };
            connection(&inbound, incoming, ends, &seat, &run).await;
        });
    }
    let refusing = async {
        // At once, so that nobody waits for an answer.
        while let Some(incoming) = endpoint.accept().await {
            incoming.refuse();
        }
    };
    tokio::select! {
        () = run.ending.cancelled() => {}
        () = endpoint.wait_idle() => return,
        () = refusing => {}
    }
    // Each connection says goodbye for its streams, and then for itself.
    let _ = tokio::time::timeout(2 * GOODBYE, endpoint.wait_idle()).await;
    endpoint.close(DONE, b"this node ends");
    // The last packets say goodbye.
    let _ = tokio::time::timeout(GOODBYE, endpoint.wait_idle()).await;
}

async fn connection(inbound: &Arc<Inbound>, incoming: Incoming, ends: Addresses, seat: &Seat, run: &Run) {
    let from = ends.from;
    let streams = inbound.spec.limits.streams;
    let handshake = async {
        let place = inbound.handshakes.place().await?;
        place.hold(inbound.server.accept_quic(incoming, streams)).await
    };
    let outcome = tokio::select! {
        () = run.ending.cancelled() => return,
        () = seat.wanted() => return inbound.failed(from, "", Seat::given_up()),
        outcome = handshake => outcome,
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(why) => return inbound.failed(from, "", why),
    };
    inbound.means.metrics.handshake(Side::Server, outcome.as_ref().map(drop));
    match outcome {
        Ok(quic) => {
            seat.settle();
            streams_of(inbound, quic, ends, run).await;
        }
        Err(error) => inbound.failed(from, "", error.explain()),
    }
}

/// Takes streams until the connection ends.
async fn streams_of(inbound: &Arc<Inbound>, quic: QuicConnection, ends: Addresses, run: &Run) {
    let from = ends.from;
    let admission = quic.admission().clone();
    inbound.means.note_expired(&inbound.spec.name, &admission);
    let (cut, draining) = (admission.cancelled(), admission.draining());
    let (streams, mut finishing) = (Arc::new(AtomicUsize::new(0)), false);
    loop {
        let opened = tokio::select! {
            biased;
            () = cut.cancelled() => {
                let Some(why) = admission.cut().map(|cut| cut.explain()) else { return };
                quic.connection().close(CUT, why.code.to_string().as_bytes());
                tracing::info!(name = inbound.spec.name, %from, peer = admission.peer_name(),
                    code = %why.code, %why, "a connection broke");
                return;
            }
            () = run.ending.cancelled() => {
                // Its streams say first that they end.
                let _ = tokio::time::timeout(GOODBYE, idle(&streams)).await;
                quic.connection().close(DONE, b"this node ends");
                return;
            }
            () = draining.cancelled(), if !finishing => { finishing = true; continue }
            () = run.closing.cancelled(), if !finishing => { finishing = true; continue }
            opened = quic.connection().accept_bi() => opened,
            () = idle(&streams), if finishing => {
                quic.connection().close(DONE, b"drained");
                return;
            }
        };
        match opened {
            Ok((send, receive)) => {
                let stream = QuicStream::new(send, receive, Some(Counted::new(&streams)));
                let (inbound, quic, run) = (inbound.clone(), quic.clone(), run.clone());
                run.tasks.clone().spawn(async move {
                    serve(&inbound, stream, &quic, (ends, finishing), &run).await;
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

/// One stream: authorised anew, as the connection may be old.
async fn serve(
    inbound: &Arc<Inbound>,
    mut stream: QuicStream,
    quic: &QuicConnection,
    (ends, finishing): (Addresses, bool),
    run: &Run,
) {
    let admission = quic.admission();
    let mut asked = [0];
    let limit = duration(defaults::HANDSHAKE_TIMEOUT);
    let read = tokio::select! {
        () = run.ending.cancelled() => return,
        read = tokio::time::timeout(limit, stream.receive.read_exact(&mut asked)) => read,
    };
    if !matches!(read, Ok(Ok(()))) {
        return;
    }
    let verdict = match asked[0] {
        PLAIN | SEALED if finishing => {
            // Opened before it could know; it dials again.
            let _ = answer(&mut stream, code::UNAVAILABLE.number()).await;
            return;
        }
        asked @ (PLAIN | SEALED) => inbound.judge_stream(asked == SEALED, admission),
        other => Err(Explanation::new(code::BAD_MESSAGE, "a stream that begins with another byte")
            .halves("1 or 2", other)),
    };
    if let Err(why) = verdict {
        let _ = answer(&mut stream, why.code.number()).await;
        return inbound.failed(ends.from, &admission.peer_name(), why);
    }
    if stream.send.write_all(&0_u16.to_be_bytes()).await.is_err() {
        return;
    }
    let exporter = quic.exporter(e2e::EXPORTER_LABEL, b"");
    inbound.serve(Wire::Quic(Box::new(stream)), asked[0] == SEALED, exporter, admission, ends, run).await;
}

/// A refusal, all of it.
async fn answer(stream: &mut QuicStream, number: u16) -> io::Result<()> {
    stream.send.write_all(&number.to_be_bytes()).await?;
    let _ = stream.receive.stop(REFUSED);
    tokio::io::AsyncWriteExt::shutdown(stream).await
}
