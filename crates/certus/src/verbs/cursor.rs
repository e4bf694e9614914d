//! Cursors of lists as people carry them about: `n-776f726b…`.
//!
//! Opaque; the letter says which order it is of, so that one of another is refused and not misread.

use std::fmt;

use certus_pki::{Explanation, code};

use crate::args::Order;

/// Longer than any that was given out.
const BYTES_MAX: usize = 512;

/// Which order a cursor is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Certificates by their end.
    Expires,
    /// Certificates by their beginning, from the last on.
    Issued,
    /// Certificates by node.
    Node,
    /// One node's certificates by their end.
    NodeExpires,
    /// Nodes by role and id.
    Nodes,
}

impl Kind {
    /// The one of a list of certificates in this order.
    pub(super) fn of(order: Order) -> Kind {
        match order {
            Order::Expires => Kind::Expires,
            Order::Issued => Kind::Issued,
            Order::Node => Kind::Node,
        }
    }

    const fn letter(self) -> char {
        match self {
            Kind::Expires => 'e',
            Kind::Issued => 'i',
            Kind::Node => 'n',
            Kind::NodeExpires => 'o',
            Kind::Nodes => 'r',
        }
    }
}

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    kind: Kind,
    bytes: Vec<u8>,
}

impl Cursor {
    /// From what the managers said.
    pub(super) fn new(kind: Kind, bytes: Vec<u8>) -> Cursor {
        Cursor { kind, bytes }
    }

    /// The bytes of a cursor that was given back; none at the beginning.
    pub(super) fn given(text: Option<&str>, kind: Kind) -> Result<Vec<u8>, Explanation> {
        let Some(text) = text else { return Ok(Vec::new()) };
        let shown: String = text.chars().take(40).collect();
        let wrong = |what: &str| {
            Explanation::new(code::USAGE, what)
                .halves(format!("{}-HEX, as the end of the list before said", kind.letter()), &shown)
                .hint("the same options as before with --after, or none to begin anew")
        };
        let Some((letter, digits)) = text.split_once('-') else { return Err(wrong("not a cursor")) };
        if letter.chars().ne([kind.letter()]) {
            return Err(wrong("the cursor is of a list in another order"));
        }
        let bytes = from_hex(digits).filter(|bytes| !bytes.is_empty() && bytes.len() <= BYTES_MAX);
        bytes.ok_or_else(|| wrong("not a cursor"))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-", self.kind.letter())?;
        self.bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| match std::str::from_utf8(pair) {
            Ok(pair) if pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
                u8::from_str_radix(pair, 16).ok()
            }
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_what_was_given_out() {
        let cursor = Cursor::new(Kind::Node, b"worker/web-1\0\xff".to_vec());
        let text = cursor.to_string();
        assert_eq!(Cursor::given(Some(&text), Kind::Node).unwrap(), cursor.bytes);
        assert!(Cursor::given(None, Kind::Node).unwrap().is_empty());
        let other = Cursor::given(Some(&text), Kind::Expires).unwrap_err();
        assert!(other.message.contains("another order"), "{other}");
        for wrong in ["", "n", "n-", "n-zz", "n-0", "n-+1", &format!("n-{}", "00".repeat(600))] {
            assert_eq!(Cursor::given(Some(wrong), Kind::Node).unwrap_err().code, code::USAGE, "{wrong}");
        }
    }
}
