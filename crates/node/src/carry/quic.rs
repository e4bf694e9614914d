//! Carried connections in QUIC: a bidirectional stream each, over one authenticated connection.
//!
//! A stream begins with one byte from its opener, 1 for a plain stream and 2 for an end-to-end session;
//! the other end answers with two, zero or the code of its refusal, before anything of the application.

mod accept;
mod dial;
mod stream;

use certus_pki::code;
use certus_pki::explain::{Explain, Explanation};
use certus_tls::quic::explain_quic_close;
use quinn::{ConnectionError, VarInt};

pub(super) use accept::{accept, bind};
pub(super) use dial::{Dialed, Endpoints};
pub(crate) use stream::QuicStream;

/// The close of a connection one of whose ends lost trust.
const CUT: VarInt = VarInt::from_u32(0x403);
/// The close of a node that ends, or of a connection that is of no more use.
const DONE: VarInt = VarInt::from_u32(0);

const PLAIN: u8 = 1;
const SEALED: u8 = 2;

/// What the end of a connection means, where the other end or its silence is the cause.
pub(super) fn explain_lost(error: &ConnectionError) -> Option<Explanation> {
    match error {
        ConnectionError::ApplicationClosed(close) if close.error_code == CUT => {
            let reason = String::from_utf8_lossy(&close.reason);
            let reason: String = reason.chars().filter(|c| c.is_ascii_graphic()).take(REASON_MAX).collect();
            Some(
                Explanation::new(
                    code::PEER_REJECTED_US,
                    "the peer rejected our certificate: it no longer accepts us",
                )
                .fact("its reason", reason)
                .hint("the peer's log says what it expected and what came"),
            )
        }
        ConnectionError::ApplicationClosed(close) => Some(
            Explanation::new(code::TRANSPORT_CLOSED, "the other end closed the QUIC connection")
                .fact("code", close.error_code),
        ),
        ConnectionError::TimedOut => Some(
            Explanation::new(code::TRANSPORT_SILENT, "the other end of the QUIC connection is silent")
                .hint("it is down, or something between the two drops UDP packets"),
        ),
        other => explain_quic_close(other).map(|why| why.explain()),
    }
}

/// A code, or one of our labels.
const REASON_MAX: usize = 40;
