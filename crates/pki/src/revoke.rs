//! Revocations: which certificate, since when, and why.

use std::fmt;
use std::str::FromStr;

use crate::hash::Sha256;
use crate::serial::Serial;
use crate::time::UnixTime;

/// A certificate's worldwide name: its issuer's public key and its serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertId {
    /// SHA-256 of the issuer's SubjectPublicKeyInfo.
    pub issuer: Sha256,
    /// The serial number, unique under that issuer.
    pub serial: Serial,
}

/// One revoked certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Which one.
    pub cert: CertId,
    /// When the cluster decided it.
    pub at: UnixTime,
    /// Why.
    pub reason: Reason,
    /// When the certificate ends by itself; afterwards the revocation may be forgotten.
    pub not_after: UnixTime,
}

/// Why a certificate was revoked: the reasons of RFC 5280 5.3.1 that an operator gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// No reason given.
    Unspecified,
    /// Its key is in other hands.
    KeyCompromise,
    /// The names or the role changed.
    AffiliationChanged,
    /// Another certificate took its place.
    Superseded,
    /// The node is gone.
    CessationOfOperation,
    /// The right to it was withdrawn.
    PrivilegeWithdrawn,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 6] = [
        Reason::Unspecified,
        Reason::KeyCompromise,
        Reason::AffiliationChanged,
        Reason::Superseded,
        Reason::CessationOfOperation,
        Reason::PrivilegeWithdrawn,
    ];

    /// The reason as a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Unspecified => "unspecified",
            Reason::KeyCompromise => "key-compromise",
            Reason::AffiliationChanged => "affiliation-changed",
            Reason::Superseded => "superseded",
            Reason::CessationOfOperation => "cessation-of-operation",
            Reason::PrivilegeWithdrawn => "privilege-withdrawn",
        }
    }

    /// Its number in RFC 5280 5.3.1.
    pub const fn number(self) -> u8 {
        match self {
            Reason::Unspecified => 0,
            Reason::KeyCompromise => 1,
            Reason::AffiliationChanged => 3,
            Reason::Superseded => 4,
            Reason::CessationOfOperation => 5,
            Reason::PrivilegeWithdrawn => 9,
        }
    }

    /// The reason with this number.
    pub fn from_number(number: u8) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.number() == number)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Reason {
    type Err = BadReason;

    fn from_str(text: &str) -> Result<Reason, BadReason> {
        let found = Reason::ALL.into_iter().find(|reason| reason.as_str() == text);
        found.ok_or_else(|| BadReason(text.chars().take(40).collect()))
    }
}

/// The name of no reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a reason, expected unspecified, key-compromise, affiliation-changed, superseded, cessation-of-operation or privilege-withdrawn"
)]
pub struct BadReason(String);
