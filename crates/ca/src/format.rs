//! The persisted bytes: what the log and the tables hold, and nothing else does.
//!
//! A value is a tag for its kind, a version, and its fields in order: numbers big-endian and of fixed
//! width, texts and lists with a 32-bit length before them, choices as one byte. Tags of choices are
//! never reused. `tests/golden/` holds an example of every kind, as the first release wrote it.

mod codec;
mod commands;
mod records;

pub(crate) use codec::{Persist, Reader, Writer, persist_enum, persist_struct};

use crate::command::{Command, Reply};
use crate::record::{
    AuditRecord, CertRecord, IssuerRecord, ManagerRecord, NodeRecord, RootRecord, TokenRecord,
};
use crate::refusal::Refusal;

/// Bytes that no version of this program wrote, or only a newer one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes end too early.
    #[error("the bytes end before {what}")]
    Short {
        /// What should have come.
        what: &'static str,
    },
    /// The bytes go on after their end.
    #[error("{bytes} bytes too many")]
    Long {
        /// How many.
        bytes: usize,
    },
    /// Another kind of value.
    #[error("expected a value of kind {expected}, got {came}")]
    Kind {
        /// The kind that was expected.
        expected: u8,
        /// The kind that came.
        came: u8,
    },
    /// Another version.
    #[error("expected version {expected} of kind {kind}, got {came}")]
    Version {
        /// The kind.
        kind: u8,
        /// The version that was expected.
        expected: u8,
        /// The version that came.
        came: u8,
    },
    /// A choice that does not exist.
    #[error("{came} is no {what}")]
    Choice {
        /// Of what.
        what: &'static str,
        /// What came.
        came: u8,
    },
    /// A length above its bound.
    #[error("a length of {came} for {what}, at most {max} are read")]
    TooLong {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
        /// What came.
        came: usize,
    },
    /// A value that its own type refuses.
    #[error("not a {what}: {why}")]
    Value {
        /// Of what type.
        what: &'static str,
        /// Why not.
        why: String,
    },
}

/// A whole value: its kind and version stand before it.
pub(crate) trait Document: Persist {
    /// Its kind; never reused.
    const KIND: u8;
    /// Raised when its fields change.
    const VERSION: u8 = 1;

    /// The value's bytes.
    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.byte(Self::KIND);
        out.byte(Self::VERSION);
        self.write(&mut out);
        out.into_bytes()
    }

    /// The value in `bytes`, all of them.
    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        let kind = from.byte("a kind")?;
        if kind != Self::KIND {
            return Err(Malformed::Kind { expected: Self::KIND, came: kind });
        }
        let version = from.byte("a version")?;
        if version != Self::VERSION {
            return Err(Malformed::Version { kind, expected: Self::VERSION, came: version });
        }
        let value = Self::read(&mut from)?;
        from.end()?;
        Ok(value)
    }
}

/// The bytes of a command that is about to be proposed: those that every replica can read again.
///
/// Bytes in the log that cannot be read stop every replica, so what a caller made up (too many names,
/// a name that is none) is turned away here.
///
/// # Errors
/// [`Refusal::OutOfBounds`].
pub fn carry_command(command: &Command) -> Result<Vec<u8>, Refusal> {
    let bytes = command.encode();
    match Command::decode(&bytes) {
        Ok(again) if again == *command => Ok(bytes),
        Ok(_) => Err(Refusal::out_of_bounds("command", "values in their plain form", "another form")),
        Err(error) => Err(Refusal::out_of_bounds("command", "what the log can carry", error)),
    }
}

macro_rules! public {
    ($($encode:ident, $decode:ident, $type:ty, $what:literal;)*) => {$(
        #[doc = concat!("The bytes of ", $what, ".")]
        pub fn $encode(value: &$type) -> Vec<u8> {
            value.encode()
        }

        #[doc = concat!("The value in the bytes of ", $what, ".")]
        pub fn $decode(bytes: &[u8]) -> Result<$type, Malformed> {
            <$type>::decode(bytes)
        }
    )*};
}

public! {
    encode_command, decode_command, Command, "a command";
    encode_reply, decode_reply, Reply, "a reply";
    encode_refusal, decode_refusal, Refusal, "a refusal";
    encode_outcome, decode_outcome, Result<Reply, Refusal>, "a command's outcome";
    encode_node, decode_node, NodeRecord, "a node's record";
    encode_cert, decode_cert, CertRecord, "a certificate's record";
    encode_token, decode_token, TokenRecord, "a token's record";
    encode_issuer, decode_issuer, IssuerRecord, "an issuer's record";
    encode_root, decode_root, RootRecord, "a root's record";
    encode_manager, decode_manager, ManagerRecord, "a manager's record";
    encode_audit, decode_audit, AuditRecord, "an audit record";
    encode_delta, decode_delta, certus_pki::Delta, "a delta";
}

#[cfg(test)]
pub(crate) mod tests;
