//! What a service is told of its callers, in the PROXY protocol.

use certus_tls::Admission;

use super::inbound::Addresses;
use super::proxy_protocol::{Ends, Facts, Header, TlsFacts};

/// The header for one caller.
pub(super) fn header(admission: &Admission, ends: Addresses) -> Header {
    let peer = admission.peer().map(|peer| &peer.peer);
    let tls = peer.map(|peer| TlsFacts {
        certificate: !admission.resumed(),
        certificate_in_session: true,
        verified: true,
        version: ends.tls.map(|version| format!("TLSv{version}")),
        common_name: Some(peer.subject.clone()),
    });
    let facts = Facts {
        authority: None,
        tls,
        spiffe_id: peer.and_then(|peer| peer.identity.as_ref()).map(ToString::to_string),
        key_fingerprint: peer.map(|peer| peer.key_hash.to_string()),
    };
    let between = match ends.to {
        Some(destination) => Ends::Tcp { source: ends.from, destination },
        None => Ends::Unspecified,
    };
    Header { ends: between, facts }
}
