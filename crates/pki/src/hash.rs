//! SHA-256 digests, by which keys and certificates are named.

use std::fmt;
use std::str::FromStr;

/// A SHA-256 digest, printed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Sha256 {
        let mut digest = [0; 32];
        digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
        Sha256(digest)
    }

    /// A digest that was computed elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Sha256 {
        Sha256(bytes)
    }

    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// First and last bytes, for people: `5f1c…a2`.
    pub fn short(&self) -> String {
        format!("{:02x}{:02x}…{:02x}", self.0[0], self.0[1], self.0[31])
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256 {
    type Err = NotHex;

    fn from_str(text: &str) -> Result<Sha256, NotHex> {
        let bytes = unhex(text).ok_or(NotHex { expected: 64, came: text.len() })?;
        let bytes =
            <[u8; 32]>::try_from(bytes).map_err(|bytes| NotHex { expected: 64, came: bytes.len() * 2 })?;
        Ok(Sha256(bytes))
    }
}

/// Text that is not the hexadecimal number it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} hexadecimal digits, got {came} characters that are not")]
pub struct NotHex {
    /// How many digits were expected.
    pub expected: usize,
    /// How many characters came.
    pub came: usize,
}

/// Lower-case hexadecimal digits of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // In one allocation: the bytes may be a secret, and what grows leaves copies behind.
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The bytes that hexadecimal `text` spells, or nothing if it spells none.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16);
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes().chunks_exact(2).map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8)).collect()
}
