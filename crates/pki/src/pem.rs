//! PEM text (RFC 7468): blocks in, blocks out, with the line where something is wrong.

use der::pem::LineEnding;
use zeroize::Zeroizing;

use crate::code;
use crate::explain::{Explain, Explanation};

/// The label of a certificate.
pub const CERTIFICATE: &str = "CERTIFICATE";
/// The label of a PKCS#8 private key.
pub const PRIVATE_KEY: &str = "PRIVATE KEY";
/// The label of a PKCS#8 private key under a passphrase.
pub const ENCRYPTED_PRIVATE_KEY: &str = "ENCRYPTED PRIVATE KEY";
/// The label of a certificate revocation list.
pub const X509_CRL: &str = "X509 CRL";
/// The label of a certificate request.
pub const CERTIFICATE_REQUEST: &str = "CERTIFICATE REQUEST";

/// More text than any bundle of ours needs; what is longer is not read.
pub const TEXT_BYTES_MAX: usize = 16 << 20;
/// More blocks than any bundle of ours needs.
pub const BLOCKS_MAX: usize = 10_000;

/// One block of a PEM text. Zeroed on drop, as it may be a key.
#[derive(Clone)]
pub struct Block {
    /// What stands after `BEGIN`.
    pub label: String,
    /// What the base64 spells.
    pub der: Zeroizing<Vec<u8>>,
    /// The line, from 1, of its `BEGIN`.
    pub line: usize,
}

/// The PEM text of `der` under `label`.
pub fn encode(label: &str, der: &[u8]) -> String {
    // Fails only for a label that is not one, and ours are constants; an empty text is then the answer.
    der::pem::encode_string(label, LineEnding::LF, der).unwrap_or_default()
}

/// The blocks of a text, in order; text between blocks is skipped, as RFC 7468 §2 allows.
pub fn decode(text: &str) -> Result<Vec<Block>, BadPem> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(BadPem::TooLong { bytes: text.len(), max: TEXT_BYTES_MAX });
    }
    let mut blocks = Vec::new();
    let mut open: Option<(usize, Zeroizing<String>)> = None;
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
        match &mut open {
            None if line.starts_with("-----BEGIN ") => {
                open = Some((number, Zeroizing::new(format!("{line}\n"))));
            }
            None => {}
            Some((_, body)) => {
                body.push_str(line);
                body.push('\n');
                if line.starts_with("-----END ") {
                    let (begin, body) = open.take().unwrap_or_default();
                    blocks.push(block(&body, begin)?);
                    if blocks.len() > BLOCKS_MAX {
                        return Err(BadPem::TooMany { max: BLOCKS_MAX });
                    }
                }
            }
        }
    }
    match open {
        Some((line, _)) => Err(BadPem::Unended { line }),
        None => Ok(blocks),
    }
}

/// The block in `body`, wrapped at whatever width: RFC 7468 §2 has readers ignore line breaks.
fn block(body: &str, line: usize) -> Result<Block, BadPem> {
    let body = body.as_bytes();
    let mut der = Zeroizing::new(Vec::new());
    let rewrapped = der::pem::Decoder::new_detect_wrap(body)
        .and_then(|mut decoder| decoder.decode_to_end(&mut der).map(|_| decoder.type_label().to_owned()));
    if let Ok(label) = rewrapped {
        return Ok(Block { label, der, line });
    }
    // The strict reader knows better what is wrong, headers for one.
    let (label, der) =
        der::pem::decode_vec(body).map_err(|error| BadPem::Block { line, why: error.to_string() })?;
    Ok(Block { label: label.to_owned(), der: Zeroizing::new(der), line })
}

/// Text that is not the PEM it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPem {
    /// The block is not well-formed.
    #[error("the PEM block that begins on line {line} is not well-formed: {why}")]
    Block {
        /// The line of its `BEGIN`.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// A `BEGIN` without its `END`.
    #[error("the PEM block that begins on line {line} has no END line")]
    Unended {
        /// The line of its `BEGIN`.
        line: usize,
    },
    /// More text than is read.
    #[error("the text has {bytes} bytes, at most {max} are read")]
    TooLong {
        /// How many came.
        bytes: usize,
        /// How many are read.
        max: usize,
    },
    /// More blocks than are read.
    #[error("the text has more than {max} PEM blocks")]
    TooMany {
        /// How many are read.
        max: usize,
    },
}

impl Explain for BadPem {
    fn explain(&self) -> Explanation {
        Explanation::new(code::BAD_ENCODING, self.to_string())
            .hint("the file must hold whole blocks, from -----BEGIN to -----END, nothing cut off")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_in_order_with_their_lines() {
        let text = format!("a remark\n{}{}", encode(CERTIFICATE, b"one"), encode(PRIVATE_KEY, b"two"));
        let blocks = decode(&text).unwrap();
        let seen: Vec<_> = blocks.iter().map(|b| (b.label.as_str(), b.der.as_slice(), b.line)).collect();
        assert_eq!(seen, [(CERTIFICATE, &b"one"[..], 2), (PRIVATE_KEY, &b"two"[..], 5)]);
    }

    #[test]
    fn what_is_cut_off_names_its_line() {
        let text = format!("\n\n{}", encode(CERTIFICATE, b"one"));
        let cut = text.replace("-----END CERTIFICATE-----\n", "");
        assert_eq!(decode(&cut).err(), Some(BadPem::Unended { line: 3 }));
        assert!(matches!(decode(&text.replace("b25l", "b2?l")), Err(BadPem::Block { line: 3, .. })));
    }
}
