//! A peer: a local port that leads to another node's listener, and to nobody else's.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use certus_pki::code;
use certus_pki::explain::{Explain, Explanation};
use certus_tls::{Admission, Credentials, explain_source};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::accept::End;
use super::dial::Dialer;
use super::pump::{Broken, Carried, Done, carry};
use super::quic::explain_lost;
use super::reload::Follows;
use super::rest::{Asks, Rest};
use super::seats::Seat;
use super::wire::{Outer, Wire};
use super::{GOODBYE, Run};
use crate::clock::jitter;
use crate::e2e::E2eError;
use crate::metrics::Side;
use crate::spec::{CONNECTIONS_MAX, Pem};
use crate::transports::ws::WsClosed;

pub(super) struct Outbound {
    pub(super) dialer: Dialer,
}

impl Follows for Outbound {
    fn take_policy_of(&self, next: &Outbound) -> usize {
        self.dialer.take_policy_of(&next.dialer)
    }

    fn judge_by(&self, next: &Outbound) -> usize {
        self.dialer.judge_by(&next.dialer)
    }

    fn roots(&self) -> Option<Option<Pem>> {
        self.dialer.roots()
    }

    fn credentials(&self) -> Credentials {
        self.dialer.credentials()
    }
}

impl Outbound {
    fn failed(&self, why: Explanation) {
        let spec = &self.dialer.spec;
        let (name, transport, peer) = (&spec.name, spec.transport.as_str(), spec.id.to_string());
        self.dialer.means.failures.record(Side::Client, name, transport, &spec.address, &peer, why);
    }

    /// Keeps one connection to the peer up: for peers that are linked and not carried to.
    pub(super) async fn keep_linked(self: Arc<Self>, run: Run) {
        let name = &self.dialer.spec.name;
        let mut pause = LINK_PAUSE_FIRST;
        loop {
            let opened = tokio::select! {
                () = run.closing.cancelled() => return,
                opened = self.dialer.open() => opened,
            };
            let began = Instant::now();
            match opened {
                Ok((wire, admission)) => {
                    tracing::info!(name, peer = %self.dialer.spec.id, "linked to a peer");
                    self.dialer.means.metrics.linked(name, true);
                    let broken = super::hold(wire, &admission, &run).await;
                    self.dialer.means.metrics.linked(name, false);
                    if let Some(why) = broken {
                        self.broke(why);
                    }
                }
                Err(why) => self.failed(why),
            }
            if run.closing.is_cancelled() {
                return;
            }
            // One that was refused at once is no link.
            if began.elapsed() > LINK_HELD {
                pause = LINK_PAUSE_FIRST;
            }
            let jittered = pause.mul_f64(0.5 + f64::from(jitter()) / 2_000.0);
            tokio::select! {
                () = run.closing.cancelled() => return,
                () = tokio::time::sleep(jittered) => {}
            }
            pause = (pause * 2).min(LINK_PAUSE_MAX);
        }
    }

    /// A connection that stood is no more.
    fn broke(&self, why: Explanation) {
        if why.code == code::PEER_REJECTED_US {
            // In TLS 1.3 it only seemed to stand.
            self.dialer.means.metrics.late_refusal();
            return self.failed(why);
        }
        let spec = &self.dialer.spec;
        tracing::info!(name = spec.name, peer = %spec.id, code = %why.code, %why, "a connection broke");
    }
}

/// Most links break because the other end restarts.
const LINK_PAUSE_FIRST: Duration = Duration::from_millis(500);
/// A peer that is back is linked within a minute.
const LINK_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Longer than any refusal takes.
const LINK_HELD: Duration = Duration::from_secs(10);

impl End for Outbound {
    fn name(&self) -> &str {
        &self.dialer.spec.name
    }

    fn connections_max(&self) -> usize {
        CONNECTIONS_MAX
    }

    fn refused(&self, _from: SocketAddr, why: Explanation) {
        self.failed(why);
    }

    async fn carry(self: Arc<Self>, plain: TcpStream, from: SocketAddr, seat: Seat, run: Run) {
        // Whoever reaches this port is one of us.
        seat.settle();
        let (name, peer) = (self.dialer.spec.name.as_str(), &self.dialer.spec.id);
        let outcome = tokio::select! {
            () = run.ending.cancelled() => return,
            // What handshakes take is given back before the connection is carried.
            outcome = Box::pin(self.dialer.open()) => outcome,
        };
        let (wire, admission) = match outcome {
            Ok(opened) => opened,
            Err(why) => {
                self.failed(why);
                return plain.reset();
            }
        };
        let (carried, ended) = carry_until(wire, plain, false, &admission, &run).await;
        let (towards, back) = (carried.towards, carried.back);
        self.dialer.means.metrics.carried(Side::Client, ended.is_ok(), towards, back);
        match ended {
            Ok(how) => tracing::info!(name, %from, %peer, towards, back, how, "a connection ended"),
            Err(why) => {
                tracing::debug!(name, %from, towards, back, "so much went through");
                self.broke(why);
            }
        }
    }
}

/// A plain connection that can be ended so that its other end does not take it for complete.
pub(super) trait Reset {
    /// Makes the close that follows a reset.
    fn reset(&self);
}

impl Reset for TcpStream {
    fn reset(&self) {
        let _ = self.set_zero_linger();
    }
}

/// Carries until both directions ended, either side broke, one end lost trust, or the run ends. Says how
/// it ended, or what broke it. One that drains, or whose node closes, is half-closed once it rests.
pub(super) async fn carry_until<P>(
    wire: Wire,
    plain: P,
    inbound: bool,
    admission: &Admission,
    run: &Run,
) -> (Carried, Result<&'static str, Explanation>)
where
    P: AsyncRead + AsyncWrite + Reset + Unpin,
{
    let cut = admission.cancelled();
    let alone = wire.is_alone();
    let asks = if alone { Asks::Either(admission.draining(), &run.closing) } else { Asks::Nothing };
    let rest = Rest::new(asks, wire.ends_whole());
    let (mut wire, mut plain) = (split(wire), split(plain));
    let mut carried = Carried::default();
    let ended = tokio::select! {
        biased;
        // Woken even where both directions wait on the plain side.
        () = cut.cancelled() => None,
        () = run.ending.cancelled() => {
            // The end of the stream is said, so that the peer can tell it from one that was cut off.
            let _ = tokio::time::timeout(GOODBYE, wire.1.shutdown()).await;
            return (carried, Ok("this node ends"));
        }
        ended = carry(&mut wire, &mut plain, inbound, &mut carried, &rest) => Some(ended),
    };
    let mut wire = wire.0.unsplit(wire.1);
    let outcome = match (admission.cut(), ended) {
        (Some(cut), _) => Err(cut.explain()),
        (None, Some(Err(Broken::Wire(error)))) => match (explain_wire(&error), &mut wire) {
            (Some(why), _) => Err(why),
            (None, Wire::Tcp(outer)) => Err(last_word(outer).await.unwrap_or_else(|| broken_wire(&error))),
            (None, _) => Err(broken_wire(&error)),
        },
        (None, Some(Err(Broken::Plain(error)))) => {
            Err(Explanation::new(code::BACKEND, "the plain side of the connection broke")
                .fact("the system says", error))
        }
        (None, Some(Err(Broken::Late))) => {
            Err(Explanation::new(code::UNAVAILABLE, "more came while the connection drained")
                .halves("nothing after the last answer", "another request")
                .hint("the caller may send it again, over another connection"))
        }
        (None, Some(Ok(Done::Drained))) => {
            wire.goodbye().await;
            return (carried, Ok("drained"));
        }
        (None, Some(Ok(Done::Whole)) | None) => Ok("both ends are done"),
    };
    if let Err(why) = &outcome {
        plain.0.unsplit(plain.1).reset();
        wire.abort(why).await;
    }
    (carried, outcome)
}

fn broken_wire(error: &io::Error) -> Explanation {
    Explanation::new(code::PEER_UNREACHABLE, "the connection to the peer broke")
        .fact("the system says", error)
}

/// What the other end said before it hung up on somebody who was still sending: in TLS 1.3 its refusal
/// of our certificate comes so, and a write that fails says nothing of it.
async fn last_word(outer: &mut Outer) -> Option<Explanation> {
    let mut ignored = [0; 1 << 10];
    let reading = async {
        // A refusal is the first that a peer says; who said this much has not refused.
        for _ in 0..4 {
            match outer.read(&mut ignored).await {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return explain_wire(&error),
            }
        }
        None
    };
    tokio::time::timeout(GOODBYE, reading).await.ok().flatten()
}

/// What an error of a stream means, where the peer, a policy or a protocol is its cause.
pub(super) fn explain_wire(error: &io::Error) -> Option<Explanation> {
    if let Some(error) = E2eError::inside(error) {
        return Some(error.explain());
    }
    if let Some(closed) = WsClosed::of(error) {
        return Some(closed.explain());
    }
    if let Some(why) = explain_source(error) {
        return Some(why);
    }
    let mut next: Option<&(dyn std::error::Error + 'static)> = error.get_ref().map(|inner| inner as _);
    while let Some(error) = next {
        let lost = error.downcast_ref::<quinn::ConnectionError>();
        if let Some(why) = lost.and_then(explain_lost) {
            return Some(why);
        }
        next = error.source();
    }
    None
}
