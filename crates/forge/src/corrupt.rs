//! Damage: from a good artefact, one that differs in one known way.
//!
//! Works on any signed DER structure (certificate, request, revocation list), in which the
//! signature is the last element.

/// The same with a signature that does not verify. Still well-formed: only a bit of the last
/// signature byte is flipped.
pub fn signature(der: &[u8]) -> Vec<u8> {
    let mut bad = der.to_vec();
    if let Some(last) = bad.last_mut() {
        *last ^= 1;
    }
    bad
}

/// The same with `from` replaced by `to` in what is signed: a name changed after signing.
///
/// Panics if the lengths differ (the DER would no longer parse) or if `from` does not occur.
pub fn replaced(der: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "equal lengths keep the DER well-formed");
    let at = der.windows(from.len()).position(|window| window == from.as_bytes());
    let at = at.unwrap_or_else(|| panic!("{from:?} does not occur in the DER"));
    let mut bad = der.to_vec();
    bad[at..at + to.len()].copy_from_slice(to.as_bytes());
    bad
}

/// The same without its last byte.
pub fn truncated(der: &[u8]) -> Vec<u8> {
    der[..der.len().saturating_sub(1)].to_vec()
}

/// The same followed by bytes that belong to nothing.
pub fn trailing(der: &[u8]) -> Vec<u8> {
    [der, b"\0"].concat()
}
