//! Names of subjects and issuers (X.501), as text (RFC 4514) and as the bytes that certificates carry.
//!
//! The bytes are kept as they came: a chain breaks when a foreign CA's name is written anew.

use std::fmt;
use std::str::FromStr;

use const_oid::ObjectIdentifier;
use der::asn1::{Any, SetOfVec};
use der::{Decode, Encode, Tag};
use x509_cert::attr::AttributeTypeAndValue;

use crate::code;
use crate::explain::{Explain, Explanation};
use crate::name::shown;

mod text;

/// A distinguished name; empty where a certificate's names stand in its extension only.
///
/// ```
/// use certus_pki::Subject;
///
/// let name: Subject = "CN=Web 1,OU=Ops,OU=EU,O=Müller\\, GmbH,C=DE".parse()?;
/// assert_eq!(name.to_string(), "CN=Web 1,OU=Ops,OU=EU,O=Müller\\, GmbH,C=DE");
/// # Ok::<(), certus_pki::subject::BadSubject>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    der: Vec<u8>,
}

/// One relative name: a set of attributes, almost always of one.
type Relative = SetOfVec<AttributeTypeAndValue>;

impl Subject {
    /// Larger than any name that fits a directory; what is larger is not read.
    pub const BYTES_MAX: usize = 8 << 10;
    /// RFC 5280 A.1 bounds a common name to 64 characters.
    pub const COMMON_NAME_CHARS_MAX: usize = 64;
    /// More attributes than any directory nests.
    pub const ATTRIBUTES_MAX: usize = 64;

    /// No name at all.
    pub fn empty() -> Subject {
        Subject { der: vec![0x30, 0] }
    }

    /// The name `CN=text`.
    pub fn common_name(text: &str) -> Result<Subject, BadSubject> {
        Subject::of(vec![vec![(text::COMMON_NAME, text.to_owned())]])
    }

    /// The name in a DER encoding, whose bytes are kept.
    pub fn from_der(der: &[u8]) -> Result<Subject, BadSubject> {
        if der.len() > Subject::BYTES_MAX {
            return Err(BadSubject::TooLong { bytes: der.len() });
        }
        let relatives = Vec::<Relative>::from_der(der)
            .map_err(|error| BadSubject::Malformed { why: error.to_string() })?;
        let attributes = relatives.iter().map(SetOfVec::len).sum();
        if attributes > Subject::ATTRIBUTES_MAX {
            return Err(BadSubject::TooMany { came: attributes });
        }
        Ok(Subject { der: der.to_vec() })
    }

    /// The DER encoding.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whether it names nobody.
    pub fn is_empty(&self) -> bool {
        self.der == [0x30, 0]
    }

    /// The text of its first attribute of type common name.
    pub fn first_common_name(&self) -> Option<String> {
        let relatives = self.relatives();
        let mut attributes = relatives.iter().flat_map(SetOfVec::iter);
        attributes.find(|attribute| attribute.oid == text::COMMON_NAME).and_then(|a| text::value_of(&a.value))
    }

    /// The e-mail addresses in it, an old place for them (RFC 5280 4.1.2.6).
    pub(crate) fn email_addresses(&self) -> Vec<String> {
        let relatives = self.relatives();
        let attributes = relatives.iter().flat_map(SetOfVec::iter);
        attributes.filter(|a| a.oid == text::EMAIL_ADDRESS).filter_map(|a| text::value_of(&a.value)).collect()
    }

    /// The name of these attributes, first relative name first.
    fn of(relatives: Vec<Vec<(ObjectIdentifier, String)>>) -> Result<Subject, BadSubject> {
        let encoded = relatives
            .into_iter()
            .map(|relative| {
                let attributes = relative
                    .into_iter()
                    .map(|(oid, value)| text::attribute(oid, &value))
                    .collect::<Result<Vec<_>, _>>()?;
                SetOfVec::try_from(attributes).map_err(malformed)
            })
            .collect::<Result<Vec<Relative>, BadSubject>>()?;
        Subject::from_der(&encoded.to_der().map_err(malformed)?)
    }

    fn relatives(&self) -> Vec<Relative> {
        // It was read before.
        Vec::<Relative>::from_der(&self.der).unwrap_or_default()
    }
}

fn malformed(error: der::Error) -> BadSubject {
    BadSubject::Malformed { why: error.to_string() }
}

impl FromStr for Subject {
    type Err = BadSubject;

    /// RFC 4514 text: `CN=web-1,OU=Ops,O=Example,C=DE`, the most specific part first.
    fn from_str(written: &str) -> Result<Subject, BadSubject> {
        if written.len() > Subject::BYTES_MAX {
            return Err(BadSubject::TooLong { bytes: written.len() });
        }
        if written.trim_matches(' ').is_empty() {
            return Ok(Subject::empty());
        }
        let mut relatives = Vec::new();
        for relative in text::split(written, ',') {
            let attributes = text::split(relative, '+').into_iter().map(text::parse);
            relatives.push(attributes.collect::<Result<Vec<_>, _>>()?);
        }
        // RFC 4514 §2.1: the text begins with the last relative name.
        relatives.reverse();
        let encoded = relatives
            .into_iter()
            .map(|attributes| SetOfVec::try_from(attributes).map_err(malformed))
            .collect::<Result<Vec<Relative>, _>>()?;
        Subject::from_der(&encoded.to_der().map_err(malformed)?)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, relative) in self.relatives().iter().rev().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            for (place, attribute) in relative.iter().enumerate() {
                if place > 0 {
                    f.write_str("+")?;
                }
                text::write(f, attribute)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({self})")
    }
}

/// A name that a certificate cannot carry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadSubject {
    /// A part that is not `TYPE=value`.
    #[error("`{came}` is not a part of a name, expected TYPE=value, as in CN=web-1,O=Example,C=DE")]
    Part {
        /// What came.
        came: String,
    },
    /// An attribute type that is not known.
    #[error("`{came}` is not an attribute type, expected {} or an object identifier", text::KNOWN_TYPES)]
    Type {
        /// What came.
        came: String,
    },
    /// A value that its attribute cannot hold.
    #[error("`{came}` cannot be a value of {attribute}, expected {expected}")]
    Value {
        /// The attribute.
        attribute: String,
        /// What it takes.
        expected: String,
        /// What came.
        came: String,
    },
    /// Larger than is read.
    #[error("the name has {bytes} bytes, at most {} are read", Subject::BYTES_MAX)]
    TooLong {
        /// How many came.
        bytes: usize,
    },
    /// More attributes than are read.
    #[error("the name has {came} attributes, at most {} are read", Subject::ATTRIBUTES_MAX)]
    TooMany {
        /// How many came.
        came: usize,
    },
    /// Bytes that are no name.
    #[error("not a name: {why}")]
    Malformed {
        /// What is wrong.
        why: String,
    },
}

impl BadSubject {
    fn value(attribute: &str, expected: impl Into<String>, came: &str) -> BadSubject {
        BadSubject::Value { attribute: attribute.to_owned(), expected: expected.into(), came: shown(came) }
    }
}

impl Explain for BadSubject {
    fn explain(&self) -> Explanation {
        let new = Explanation::new(code::BAD_NAME, self.to_string());
        match self {
            BadSubject::Value { expected, came, .. } => new.halves(expected, came),
            _ => new,
        }
    }
}

/// An attribute's value under `tag`.
fn any(tag: Tag, bytes: &[u8]) -> Result<Any, BadSubject> {
    Any::new(tag, bytes).map_err(malformed)
}

#[cfg(test)]
mod tests;
