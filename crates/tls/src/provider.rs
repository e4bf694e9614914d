//! What rustls is built with: one provider of primitives, and the clock that is handed in.

use std::fmt;
use std::sync::{Arc, LazyLock};

use rustls::CipherSuite;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::time_provider::TimeProvider;

use crate::Clock;

/// X25519MLKEM768 first, then X25519 and the NIST curves; AEAD suites only, the one with SHA-256 first
/// (`docs/decisions/0007-cipher-suite.md`).
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = aws_lc_rs::default_provider();
    let first = CipherSuite::TLS13_AES_128_GCM_SHA256;
    // Stable: the others keep their order.
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != first);
    Arc::new(provider)
});

pub(crate) fn provider() -> Arc<CryptoProvider> {
    PROVIDER.clone()
}

/// How peers may sign their handshakes.
pub(crate) fn signatures() -> &'static WebPkiSupportedAlgorithms {
    &PROVIDER.signature_verification_algorithms
}

/// The handed-in clock as rustls wants to see one: it ages sessions by it.
pub(crate) struct Time(pub(crate) Clock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<rustls_pki_types::UnixTime> {
        let secs = u64::try_from((self.0)().secs()).ok()?;
        Some(rustls_pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(secs)))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Time")
    }
}
