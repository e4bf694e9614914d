//! The id of an agent: the public key by which the end-to-end layer knows it.
//!
//! Only the word; the secret half and the handshake are the node's.

use std::fmt;
use std::str::FromStr;

use crate::code;
use crate::explain::{Explain, Explanation};
use crate::hash::{hex, unhex};
use crate::name::shown;

/// Who an agent is: its static X25519 public key (RFC 7748), written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId([u8; AgentId::BYTES]);

impl AgentId {
    /// The length of an X25519 public key.
    pub const BYTES: usize = 32;

    /// The id with these bytes. Whether they are a key that somebody can hold shows in a handshake.
    pub const fn from_bytes(bytes: [u8; AgentId::BYTES]) -> AgentId {
        AgentId(bytes)
    }

    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; AgentId::BYTES] {
        &self.0
    }

    /// First and last bytes, for people: `5f1c…a2`.
    pub fn short(&self) -> String {
        format!("{:02x}{:02x}…{:02x}", self.0[0], self.0[1], self.0[31])
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for AgentId {
    type Err = NotAnAgentId;

    /// Reads 64 digits of either case.
    fn from_str(text: &str) -> Result<AgentId, NotAnAgentId> {
        let not_an_id = || NotAnAgentId { came: shown(text), chars: text.chars().count() };
        // Length first: what is longer is not even decoded.
        if text.len() != 2 * AgentId::BYTES {
            return Err(not_an_id());
        }
        let bytes = unhex(text).and_then(|bytes| bytes.try_into().ok());
        bytes.map(AgentId).ok_or_else(not_an_id)
    }
}

/// Text that is not an agent's id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{came}` is not an agent id, expected 64 hexadecimal digits, got {chars} characters{}",
    if *.chars == 64 { " that are not all digits" } else { "" })]
pub struct NotAnAgentId {
    /// The beginning of what came.
    pub came: String,
    /// How many characters came.
    pub chars: usize,
}

impl Explain for NotAnAgentId {
    fn explain(&self) -> Explanation {
        Explanation::new(code::BAD_NAME, self.to_string())
            .hint("an agent prints its id at its start: copy all of it")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_is_64_digits_of_either_case(bytes: [u8; 32]) {
            let id = AgentId::from_bytes(bytes);
            let text = id.to_string();
            prop_assert_eq!(text.len(), 64);
            prop_assert!(text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
            prop_assert_eq!(text.parse::<AgentId>(), Ok(id));
            prop_assert_eq!(text.to_uppercase().parse::<AgentId>(), Ok(id));
            prop_assert_eq!(id.as_bytes(), &bytes);
        }

        #[test]
        fn any_text_is_an_id_or_refused_in_few_words(text in ".{0,300}") {
            match text.parse::<AgentId>() {
                Ok(id) => prop_assert_eq!(id.to_string(), text.to_lowercase()),
                Err(error) => {
                    prop_assert!(error.came.chars().count() <= 80);
                    prop_assert_eq!(error.chars, text.chars().count());
                    prop_assert_eq!(error.explain().code, code::BAD_NAME);
                }
            }
        }
    }

    #[test]
    fn both_halves_are_said() {
        let wrong = |text: &str| text.parse::<AgentId>().unwrap_err().to_string();
        assert_eq!(wrong("ab"), "`ab` is not an agent id, expected 64 hexadecimal digits, got 2 characters");
        assert!(wrong(&"g".repeat(64)).ends_with("got 64 characters that are not all digits"));
        assert!(wrong(&"a".repeat(65)).ends_with("got 65 characters"));
        // 64 bytes, 32 characters.
        assert!(wrong(&"é".repeat(32)).ends_with("got 32 characters"));
        assert_eq!(AgentId::from_bytes([0xa2; 32]).short(), "a2a2…a2");
    }
}
