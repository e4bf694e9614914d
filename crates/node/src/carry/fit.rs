//! What a specification asks of a transport that cannot give it.
//!
//! Ignored, it would say that something is the case which is not.

use super::CarryError;
use crate::spec::{ListenerSpec, Mtls, PeerSpec, Transport};

/// Refuses a listener that QUIC cannot be.
pub(super) fn listener_fits(spec: &ListenerSpec) -> Result<(), CarryError> {
    let wrong = [
        (spec.plaintext, NO_PLAINTEXT),
        (matches!(spec.tls.mtls, Mtls::Permissive { .. }), NO_PERMISSIVE),
        (spec.allow.mentions_plaintext(), NO_CALLERS_IN_THE_CLEAR),
        (spec.proxy_protocol.accept, NO_PROXY_HEADER),
    ];
    fits(&spec.name, spec.transport, &wrong)
}

/// Refuses a peer that QUIC cannot reach.
pub(super) fn peer_fits(spec: &PeerSpec) -> Result<(), CarryError> {
    fits(&spec.name, spec.transport, &[(spec.plaintext, NO_PLAINTEXT)])
}

fn fits(name: &str, transport: Transport, wrong: &[(bool, &'static str)]) -> Result<(), CarryError> {
    match wrong.iter().find(|(is_asked, _)| *is_asked && transport == Transport::Quic) {
        Some((_, what)) => Err(CarryError::NotOverQuic { name: name.to_owned(), what }),
        None => Ok(()),
    }
}

const NO_PLAINTEXT: &str = "`plaintext`, and QUIC is never without TLS (RFC 9001)";
const NO_PERMISSIVE: &str = "`Mtls::Permissive`, and QUIC is never without TLS (RFC 9001)";
const NO_CALLERS_IN_THE_CLEAR: &str = "`Allow::Plaintext`, and QUIC is never without TLS (RFC 9001)";
const NO_PROXY_HEADER: &str =
    "`proxy_protocol.accept`, and its header comes before a TCP connection's first byte";
