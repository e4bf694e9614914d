//! From wire fields to words, one function a word.

use std::str::FromStr;

use certus_pki::csr::BadRequest;
use certus_pki::explain::{Explain, Explanation};
use certus_pki::{CertId, Csr, Epoch, JoinToken, Reason, Serial, Sha256, SpiffeId, TokenId, code};

use crate::v1;

/// A field that does not hold what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A field that is needed is not there.
    #[error("the message has no {field}")]
    Missing {
        /// Which one.
        field: &'static str,
    },
    /// A field of bytes has the wrong length.
    #[error("{field} has {came} bytes, expected {expected}")]
    Length {
        /// Which one.
        field: &'static str,
        /// How many it should have.
        expected: usize,
        /// How many it has.
        came: usize,
    },
    /// A field does not parse.
    #[error("{field}: {why}")]
    Field {
        /// Which one.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A certificate request is not acceptable.
    #[error("the certificate request is not acceptable")]
    Request(#[source] BadRequest),
}

impl Explain for Malformed {
    fn explain(&self) -> Explanation {
        match self {
            Malformed::Request(bad) => bad.explain(),
            _ => Explanation::new(code::BAD_MESSAGE, self.to_string()),
        }
    }
}

/// The value of a text field.
pub fn parsed<T>(field: &'static str, text: &str) -> Result<T, Malformed>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| Malformed::Field { field, why: error.to_string() })
}

/// A node's identity.
pub fn identity(field: &'static str, text: &str) -> Result<SpiffeId, Malformed> {
    parsed(field, text)
}

/// An epoch; one that is absent is the beginning.
pub fn epoch(epoch: Option<&v1::Epoch>) -> Epoch {
    epoch
        .map_or_else(Epoch::default, |epoch| Epoch { generation: epoch.generation, revision: epoch.revision })
}

/// An epoch for the wire.
pub fn epoch_to_wire(epoch: Epoch) -> v1::Epoch {
    v1::Epoch { generation: epoch.generation, revision: epoch.revision }
}

/// A SHA-256 digest.
pub fn hash(field: &'static str, bytes: &[u8]) -> Result<Sha256, Malformed> {
    let wrong = |_| Malformed::Length { field, expected: 32, came: bytes.len() };
    <[u8; 32]>::try_from(bytes).map(Sha256::from_bytes).map_err(wrong)
}

/// The hash of a token's secret half.
pub fn secret_hash(secret: &[u8]) -> Result<Sha256, Malformed> {
    if secret.len() == JoinToken::HALF {
        Ok(Sha256::of(secret))
    } else {
        Err(Malformed::Length { field: "secret", expected: JoinToken::HALF, came: secret.len() })
    }
}

/// A token's public id.
pub fn token_id(bytes: &[u8]) -> Result<TokenId, Malformed> {
    let wrong = |_| Malformed::Length { field: "token id", expected: 6, came: bytes.len() };
    <[u8; 6]>::try_from(bytes).map(TokenId::from_bytes).map_err(wrong)
}

/// A serial number.
pub fn serial(bytes: &[u8]) -> Result<Serial, Malformed> {
    let wrong = Malformed::Length { field: "serial", expected: Serial::BYTES_MAX, came: bytes.len() };
    Serial::from_be_bytes(bytes).ok_or(wrong)
}

/// A certificate's name.
pub fn cert_id(id: Option<&v1::CertId>) -> Result<CertId, Malformed> {
    let id = id.ok_or(Malformed::Missing { field: "certificate id" })?;
    Ok(CertId { issuer: hash("issuer", &id.issuer)?, serial: serial(&id.serial)? })
}

/// A certificate's name for the wire.
pub fn cert_id_to_wire(id: CertId) -> v1::CertId {
    v1::CertId { issuer: id.issuer.as_bytes().to_vec(), serial: id.serial.significant().to_vec() }
}

/// A reason of RFC 5280 5.3.1.
pub fn reason(number: u32) -> Result<Reason, Malformed> {
    let unknown = || Malformed::Field { field: "reason", why: format!("{number} is not a known reason") };
    u8::try_from(number).ok().and_then(Reason::from_number).ok_or_else(unknown)
}

/// A certificate request, with its signature checked.
pub fn csr_of(der: &[u8]) -> Result<Csr, Malformed> {
    Csr::read(der).map_err(Malformed::Request)
}
