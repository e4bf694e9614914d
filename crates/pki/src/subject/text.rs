//! RFC 4514: how the parts of a name are written and read.

use std::fmt;

use const_oid::ObjectIdentifier;
use const_oid::db::{rfc3280, rfc4519};
use der::asn1::Any;
use der::{Decode, Encode, Tag, Tagged};
use x509_cert::attr::AttributeTypeAndValue;

use super::{BadSubject, Subject, any};
use crate::hash::{hex, unhex};
use crate::name::shown;

pub(super) const COMMON_NAME: ObjectIdentifier = rfc4519::COMMON_NAME;
pub(super) const EMAIL_ADDRESS: ObjectIdentifier = rfc3280::EMAIL_ADDRESS;

/// How an attribute's value is encoded.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// UTF8String, as RFC 5280 4.1.2.4 has it.
    Utf8,
    /// PrintableString (X.520: country and serial number).
    Printable,
    /// IA5String (RFC 4519 2.4: domain components; RFC 5280 A.1: e-mail).
    Ia5,
}

/// The types that have a short word (RFC 4514 §3 and those that openssl and Active Directory write), with
/// their bounds from RFC 5280 A.1.
const TYPES: &[(&str, ObjectIdentifier, Kind, usize)] = &[
    ("CN", rfc4519::COMMON_NAME, Kind::Utf8, Subject::COMMON_NAME_CHARS_MAX),
    ("OU", rfc4519::ORGANIZATIONAL_UNIT_NAME, Kind::Utf8, 64),
    ("O", rfc4519::ORGANIZATION_NAME, Kind::Utf8, 64),
    ("L", rfc4519::LOCALITY_NAME, Kind::Utf8, 128),
    ("ST", rfc4519::ST, Kind::Utf8, 128),
    ("C", rfc4519::COUNTRY_NAME, Kind::Printable, 2),
    ("DC", rfc4519::DOMAIN_COMPONENT, Kind::Ia5, 63),
    ("STREET", rfc4519::STREET, Kind::Utf8, 128),
    ("UID", rfc4519::UID, Kind::Utf8, 256),
    ("SN", rfc4519::SN, Kind::Utf8, 64),
    ("GN", rfc4519::GIVEN_NAME, Kind::Utf8, 64),
    ("T", rfc4519::TITLE, Kind::Utf8, 64),
    ("serialNumber", rfc4519::SERIAL_NUMBER, Kind::Printable, 64),
    ("emailAddress", rfc3280::EMAIL_ADDRESS, Kind::Ia5, 255),
];

/// For the error that meets an unknown one.
pub(super) const KNOWN_TYPES: &str =
    "CN, OU, O, L, ST, C, DC, STREET, UID, SN, GN, T, serialNumber, emailAddress";

/// The parts of `written` between separators that no backslash escapes.
pub(super) fn split(written: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in written.char_indices() {
        if c == separator && !escaped {
            parts.push(&written[start..at]);
            start = at + c.len_utf8();
        }
        escaped = !escaped && c == '\\';
    }
    parts.push(&written[start..]);
    parts
}

/// One `TYPE=value`.
pub(super) fn parse(part: &str) -> Result<AttributeTypeAndValue, BadSubject> {
    let bad = || BadSubject::Part { came: shown(part) };
    let (word, value) = part.split_once('=').ok_or_else(bad)?;
    let word = word.trim();
    let dotted = word.strip_prefix("OID.").unwrap_or(word);
    let oid = match alias(word) {
        Some(oid) => oid,
        None if dotted.starts_with(|c: char| c.is_ascii_digit()) => {
            ObjectIdentifier::new(dotted).map_err(|_| BadSubject::Type { came: shown(word) })?
        }
        None => return Err(BadSubject::Type { came: shown(word) }),
    };
    // RFC 4514 §2.4: a value that is not text is its BER in hexadecimal.
    if let Some(digits) = value.trim_matches(' ').strip_prefix('#') {
        let value = unhex(digits).and_then(|der| Any::from_der(&der).ok()).ok_or_else(bad)?;
        return Ok(AttributeTypeAndValue { oid, value });
    }
    attribute(oid, &unescaped(value).ok_or_else(bad)?)
}

fn alias(word: &str) -> Option<ObjectIdentifier> {
    let known = TYPES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(word)).map(|(_, oid, ..)| *oid);
    known.or_else(|| match word.to_ascii_uppercase().as_str() {
        "E" | "EMAIL" => Some(rfc3280::EMAIL_ADDRESS),
        "S" => Some(rfc4519::ST),
        "USERID" => Some(rfc4519::UID),
        "TITLE" => Some(rfc4519::TITLE),
        _ => None,
    })
}

/// The attribute of type `oid` with a text for its value.
pub(super) fn attribute(oid: ObjectIdentifier, value: &str) -> Result<AttributeTypeAndValue, BadSubject> {
    let known = TYPES.iter().find(|(_, known, ..)| *known == oid);
    let (name, kind, max) = known.map_or(("", Kind::Utf8, 1024), |(name, _, kind, max)| (*name, *kind, *max));
    let dotted = oid.to_string();
    let name = if name.is_empty() { &dotted } else { name };
    let chars = value.chars().count();
    if !(1..=max).contains(&chars) {
        return Err(BadSubject::value(name, format!("1 to {max} characters, not {chars}"), value));
    }
    if value.contains('\0') {
        return Err(BadSubject::value(name, "text without a zero byte", value));
    }
    if oid == rfc4519::COUNTRY_NAME && !(chars == 2 && value.bytes().all(|b| b.is_ascii_alphabetic())) {
        return Err(BadSubject::value(name, "two letters (ISO 3166)", value));
    }
    let printable = |b: u8| b.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&b);
    let tag = match kind {
        Kind::Utf8 => Tag::Utf8String,
        Kind::Printable if value.bytes().all(printable) => Tag::PrintableString,
        Kind::Printable => return Err(BadSubject::value(name, "letters, digits and '()+,-./:=?", value)),
        Kind::Ia5 if value.is_ascii() => Tag::Ia5String,
        Kind::Ia5 => return Err(BadSubject::value(name, "ASCII", value)),
    };
    Ok(AttributeTypeAndValue { oid, value: any(tag, value.as_bytes())? })
}

/// A value without its escapes (RFC 4514 §3): `\,` and `\2C` are a comma. Spaces around it fall away
/// unless they are escaped.
fn unescaped(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut kept = 0;
    let mut rest = value.trim_start_matches(' ').chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
            if c != ' ' {
                kept = bytes.len();
            }
            continue;
        }
        let first = rest.next()?;
        match first.to_digit(16) {
            Some(high) => bytes.push((high << 4 | rest.next()?.to_digit(16)?) as u8),
            None => bytes.extend(first.encode_utf8(&mut [0; 4]).bytes()),
        }
        kept = bytes.len();
    }
    bytes.truncate(kept);
    String::from_utf8(bytes).ok()
}

/// Writes one `TYPE=value`; a value that is not text, or whose type has no word, is written in hexadecimal.
pub(super) fn write(f: &mut fmt::Formatter<'_>, attribute: &AttributeTypeAndValue) -> fmt::Result {
    let known = TYPES.iter().find(|(_, oid, ..)| *oid == attribute.oid);
    match (known, value_of(&attribute.value)) {
        (Some((name, ..)), Some(value)) => write!(f, "{name}={}", Escaped(&value)),
        (known, _) => {
            let der = attribute.value.to_der().unwrap_or_default();
            match known {
                Some((name, ..)) => write!(f, "{name}=#{}", hex(&der)),
                None => write!(f, "{}=#{}", attribute.oid, hex(&der)),
            }
        }
    }
}

/// A value as text, if it is one.
pub(super) fn value_of(value: &Any) -> Option<String> {
    match value.tag() {
        Tag::Utf8String => String::from_utf8(value.value().to_vec()).ok(),
        Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => {
            value.value().is_ascii().then(|| String::from_utf8_lossy(value.value()).into_owned())
        }
        // Old CAs write Latin-1 under this tag, whatever T.61 says.
        Tag::TeletexString => Some(value.value().iter().map(|byte| char::from(*byte)).collect()),
        Tag::BmpString => {
            let pairs = value.value().chunks_exact(2);
            let whole = pairs.remainder().is_empty();
            let units: Vec<u16> = pairs.map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            String::from_utf16(&units).ok().filter(|_| whole)
        }
        _ => None,
    }
}

struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.0.chars().count().saturating_sub(1);
        for (place, c) in self.0.chars().enumerate() {
            match c {
                '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' => write!(f, "\\{c}")?,
                '#' if place == 0 => f.write_str("\\#")?,
                ' ' if place == 0 || place == last => f.write_str("\\ ")?,
                // What a terminal would obey is not printed raw.
                c if c.is_control() => {
                    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                        write!(f, "\\{byte:02X}")?;
                    }
                }
                c => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}
