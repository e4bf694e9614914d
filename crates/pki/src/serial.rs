//! Serial numbers of certificates.

use std::fmt;
use std::str::FromStr;

use crate::hash::{NotHex, hex, unhex};

/// A certificate's serial number: a positive integer of at most 20 bytes (RFC 5280 4.1.2.2).
///
/// Ours are 128 random bits; others' may be anything up to that size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial([u8; Serial::BYTES_MAX]);

impl Serial {
    /// RFC 5280 4.1.2.2: at most 20 octets.
    pub const BYTES_MAX: usize = 20;

    /// A serial of 128 bits of the caller's randomness.
    pub fn from_random(random: [u8; 16]) -> Serial {
        let mut bytes = [0; Serial::BYTES_MAX];
        bytes[4..].copy_from_slice(&random);
        Serial(bytes)
    }

    /// A serial from the big-endian bytes of an integer, or nothing if it has more than 20.
    pub fn from_be_bytes(bytes: &[u8]) -> Option<Serial> {
        let significant = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
        let mut padded = [0; Serial::BYTES_MAX];
        let start = Serial::BYTES_MAX.checked_sub(significant.len())?;
        padded[start..].copy_from_slice(significant);
        Some(Serial(padded))
    }

    /// All 20 bytes, big-endian, zero-padded: a fixed-width key that sorts as the number does.
    pub const fn as_bytes(&self) -> &[u8; Serial::BYTES_MAX] {
        &self.0
    }

    /// The bytes without leading zeros; one zero byte for zero.
    pub fn significant(&self) -> &[u8] {
        let zeros = self.0.iter().take_while(|byte| **byte == 0).count();
        &self.0[zeros.min(Serial::BYTES_MAX - 1)..]
    }

    /// Whether RFC 5280 4.1.2.2 lets a CA issue it: above zero, and at most 20 bytes with the sign bit.
    pub fn may_be_issued(&self) -> bool {
        self.0[0] & 0x80 == 0 && self.0 != [0; Serial::BYTES_MAX]
    }

    /// First and last digits, for people: `7c01…e9`.
    pub fn short(&self) -> String {
        let text = self.to_string();
        if text.len() <= 8 { text } else { format!("{}…{}", &text[..4], &text[text.len() - 2..]) }
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(self.significant()))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Serial {
    type Err = NotHex;

    /// Hexadecimal digits, with or without the colons that openssl prints.
    fn from_str(text: &str) -> Result<Serial, NotHex> {
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        let digits = if digits.len().is_multiple_of(2) { digits } else { format!("0{digits}") };
        let not_hex = || NotHex { expected: 2 * Serial::BYTES_MAX, came: text.len() };
        let bytes = unhex(&digits).filter(|bytes| !bytes.is_empty()).ok_or_else(not_hex)?;
        Serial::from_be_bytes(&bytes).ok_or_else(not_hex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_round_trip() {
        let serial = Serial::from_random([0x0a; 16]);
        assert_eq!(serial.to_string().parse::<Serial>().unwrap(), serial);
        assert_eq!(Serial::from_be_bytes(serial.significant()), Some(serial));
        assert_eq!("0A:0b".parse::<Serial>().unwrap().to_string(), "0a0b");
        assert_eq!("a0b".parse::<Serial>().unwrap().to_string(), "0a0b");
    }

    #[test]
    fn what_is_no_serial_is_refused() {
        assert!("".parse::<Serial>().is_err());
        assert!("xyz".parse::<Serial>().is_err());
        assert!("01".repeat(21).parse::<Serial>().is_err());
        assert_eq!(Serial::from_be_bytes(&[1; 21]), None);
    }
}
