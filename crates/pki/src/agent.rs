//! The id of an agent: a static X25519 public key, known without any certificate.

use std::fmt;
use std::str::FromStr;

use crate::hash::{NotHex, Sha256};

/// Which agent: its static X25519 public key, printed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId([u8; 32]);

impl AgentId {
    /// The agent with this public key.
    pub const fn from_bytes(bytes: [u8; 32]) -> AgentId {
        AgentId(bytes)
    }

    /// Its public key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// First and last bytes, for people: `5f1c…a2`.
    pub fn short(&self) -> String {
        Sha256::from_bytes(self.0).short()
    }
}

impl FromStr for AgentId {
    type Err = NotHex;

    fn from_str(text: &str) -> Result<AgentId, NotHex> {
        text.parse::<Sha256>().map(|digits| AgentId(*digits.as_bytes()))
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::hash::hex(&self.0))
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
