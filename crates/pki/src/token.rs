//! Join tokens: half a secret, half a pin of the root that the joiner must find.

use std::fmt;
use std::str::FromStr;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::hash::{Sha256, hex, unhex};

/// Admits one role to a cluster: 16 bytes of secret and 16 of the root's public-key hash, as 64
/// hexadecimal digits.
///
/// Has no `Debug` and no `Display` (I7); [`JoinToken::reveal`] is the one way to its text.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct JoinToken {
    secret: [u8; JoinToken::HALF],
    pin: [u8; JoinToken::HALF],
}

impl JoinToken {
    /// 16 bytes: a secret of 128 bits, and a pin that takes 2^128 tries to meet by chance.
    pub const HALF: usize = 16;

    /// A token of the caller's randomness for the root with this public-key hash.
    pub fn new(secret: [u8; JoinToken::HALF], root: &Sha256) -> JoinToken {
        let mut pin = [0; JoinToken::HALF];
        pin.copy_from_slice(&root.as_bytes()[..JoinToken::HALF]);
        JoinToken { secret, pin }
    }

    /// The name by which a token is listed and revoked.
    pub fn id(&self) -> TokenId {
        self.secret_hash().into()
    }

    /// SHA-256 of the secret: what managers keep instead of it.
    pub fn secret_hash(&self) -> Sha256 {
        Sha256::of(&self.secret)
    }

    /// The secret half, to be sent to an authenticated manager and nobody else.
    pub fn secret(&self) -> &[u8; JoinToken::HALF] {
        &self.secret
    }

    /// The public half: the beginning of the root's public-key hash.
    pub fn pin(&self) -> Pin {
        Pin(self.pin)
    }

    /// The token's 64 digits, for the one place that hands it to a person.
    pub fn reveal(&self) -> zeroize::Zeroizing<String> {
        let bytes = zeroize::Zeroizing::new([self.secret, self.pin].concat());
        zeroize::Zeroizing::new(hex(&bytes))
    }
}

impl FromStr for JoinToken {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<JoinToken, NotAToken> {
        let text = text.trim();
        let not_a_token = NotAToken { came: text.chars().count() };
        // Longer texts are not even decoded: part of them may be a secret.
        if text.len() != 4 * JoinToken::HALF {
            return Err(not_a_token);
        }
        let bytes = zeroize::Zeroizing::new(unhex(text).ok_or(not_a_token)?);
        let mut token = JoinToken { secret: [0; JoinToken::HALF], pin: [0; JoinToken::HALF] };
        token.secret.copy_from_slice(&bytes[..JoinToken::HALF]);
        token.pin.copy_from_slice(&bytes[JoinToken::HALF..]);
        Ok(token)
    }
}

/// Text that is not a token. The text itself is not repeated: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a token: expected 64 hexadecimal digits, got {came} characters")]
pub struct NotAToken {
    /// How many characters came.
    pub came: usize,
}

/// The first 16 bytes of a root's public-key hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pin([u8; JoinToken::HALF]);

impl Pin {
    /// Whether `root` is the key that is pinned.
    pub fn matches(&self, root: &Sha256) -> bool {
        root.as_bytes()[..JoinToken::HALF] == self.0
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A token's public name: the first 12 digits of SHA-256 of its secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId([u8; 6]);

impl TokenId {
    /// Its six bytes.
    pub const fn as_bytes(&self) -> &[u8; 6] {
        &self.0
    }

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 6]) -> TokenId {
        TokenId(bytes)
    }
}

impl From<Sha256> for TokenId {
    fn from(secret_hash: Sha256) -> TokenId {
        let mut id = [0; 6];
        id.copy_from_slice(&secret_hash.as_bytes()[..6]);
        TokenId(id)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TokenId {
    type Err = crate::hash::NotHex;

    fn from_str(text: &str) -> Result<TokenId, Self::Err> {
        let not_hex = crate::hash::NotHex { expected: 12, came: text.len() };
        let bytes = unhex(text).and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
        bytes.map(TokenId).ok_or(not_hex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_64_digits_and_comes_back() {
        let root = Sha256::of(b"root");
        let token = JoinToken::new([7; 16], &root);
        let text = token.reveal();
        assert_eq!(text.len(), 64);
        let back: JoinToken = text.parse().ok().unwrap();
        assert!(back.secret() == token.secret() && back.pin() == token.pin());
        assert!(back.pin().matches(&root) && !back.pin().matches(&Sha256::of(b"other")));
        assert_eq!(token.id().to_string(), token.secret_hash().to_string()[..12]);
    }

    #[test]
    fn what_is_no_token_is_refused_without_repeating_it() {
        let text = "g".repeat(64);
        let error = text.parse::<JoinToken>().err().unwrap();
        assert!(!error.to_string().contains(&text));
        assert!("00".repeat(31).parse::<JoinToken>().is_err());
    }
}
