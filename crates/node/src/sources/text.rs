//! From PEM texts to the parts of a generation: pure, whatever the texts came from.

use std::fmt;

use certus_pki::cert::BadCertificate;
use certus_pki::key::BadKey;
use certus_pki::pem::BadPem;
use certus_pki::{Certificate, PrivateKey, Root, pem};

use super::material::{Material, MaterialError, Pair, ROOTS_MAX};

/// Which text something is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Key, chain and perhaps roots in one.
    Bundle,
    /// The leaf and its issuers.
    Chain,
    /// The private key.
    Key,
    /// The roots.
    Roots,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Part::Bundle => "the bundle",
            Part::Chain => "the certificate chain",
            Part::Key => "the key",
            Part::Roots => "the text of CA certificates",
        })
    }
}

/// The texts of a generation, borrowed from wherever they are kept.
#[derive(Clone, Copy, Default)]
pub struct Texts<'a> {
    /// Key and chain in one, and perhaps roots.
    pub bundle: Option<&'a str>,
    /// The chain, with `key`.
    pub chain: Option<&'a str>,
    /// The key, with `chain`.
    pub key: Option<&'a str>,
    /// The roots; in the place of those that the bundle holds.
    pub roots: Option<&'a str>,
}

/// The generation in these texts. Reading is not trusting: see [`Material::check`].
///
/// # Errors
/// A text that is not PEM, that lacks what it should hold, or that holds more than is taken.
pub fn read_texts(texts: Texts<'_>) -> Result<Material, MaterialError> {
    let named = [
        (Part::Bundle, texts.bundle),
        (Part::Chain, texts.chain),
        (Part::Key, texts.key),
        (Part::Roots, texts.roots),
    ];
    for (part, text) in named {
        text.map_or(Ok(()), is_whole).map_err(|error| MaterialError::Pem { part, error })?;
    }
    let (mut pair, mut roots) = (None, Vec::new());
    if let Some(text) = texts.bundle {
        (pair, roots) = bundle(text)?;
    } else if let (Some(chain), Some(key)) = (texts.chain, texts.key) {
        let certificates = all(chain, Part::Chain)?.into_iter().map(|(_, certificate)| certificate);
        pair = Some(Pair::new(key_of(key, Part::Key)?, certificates.collect())?);
    }
    if let Some(text) = texts.roots {
        roots = all(text, Part::Roots)?
            .into_iter()
            .map(|(line, certificate)| root(&certificate, line))
            .collect::<Result<_, _>>()?;
    }
    if roots.len() > ROOTS_MAX {
        return Err(MaterialError::TooManyRoots { came: roots.len() });
    }
    Ok(Material::new(pair, roots))
}

/// The generation in one text: a key first or last, its chain, and perhaps CA certificates. Certificates
/// of CAs that signed themselves are roots; all others are the chain, in their order.
///
/// # Errors
/// As [`read_texts`].
pub fn read_bundle(text: &str) -> Result<Material, MaterialError> {
    read_texts(Texts { bundle: Some(text), ..Texts::default() })
}

fn bundle(text: &str) -> Result<(Option<Pair>, Vec<Root>), MaterialError> {
    let key = key_of(text, Part::Bundle)?;
    let (mut chain, mut roots) = (Vec::new(), Vec::new());
    for (line, certificate) in all(text, Part::Bundle)? {
        let names_itself = certificate.issuer_der == certificate.subject_der;
        if certificate.is_ca && names_itself && certificate.verify_signed_by(&certificate) {
            roots.push(root(&certificate, line)?);
        } else {
            chain.push(certificate);
        }
    }
    Ok((Some(Pair::new(key, chain)?), roots))
}

/// A file that is being written may end within the line that begins its next block: a remark, to readers of
/// PEM. One that ends between two blocks cannot be told from a whole one.
fn is_whole(text: &str) -> Result<(), BadPem> {
    let last = text.lines().enumerate().last();
    let cut = last.filter(|(_, line)| line.starts_with('-') && !line.starts_with("-----END "));
    cut.map_or(Ok(()), |(place, _)| Err(BadPem::Unended { line: place + 1 }))
}

fn root(certificate: &Certificate, line: usize) -> Result<Root, MaterialError> {
    Root::from_der(&certificate.der).map_err(|error| MaterialError::Certificate {
        which: certificate.subject.clone(),
        line: Some(line),
        error,
    })
}

fn key_of(text: &str, part: Part) -> Result<PrivateKey, MaterialError> {
    PrivateKey::from_pem(text).map_err(|error| match error {
        BadKey::NotOne { came: 0 } => {
            MaterialError::Absent { part, expected: "private key", came: labels(text) }
        }
        BadKey::Pem(error) => MaterialError::Pem { part, error },
        error => MaterialError::Key(error),
    })
}

/// Every certificate of a text with its line; one at least.
fn all(text: &str, part: Part) -> Result<Vec<(usize, Certificate)>, MaterialError> {
    let blocks = pem::decode(text).map_err(|error| MaterialError::Pem { part, error })?;
    let certificates = blocks.iter().filter(|block| block.label == pem::CERTIFICATE);
    // A chain that is too long is refused by its length; here only what would take long to read.
    let came = certificates.clone().count();
    if came > ROOTS_MAX {
        return Err(MaterialError::TooManyRoots { came });
    }
    let read = certificates.map(|block| {
        let line = block.line;
        let wrong = |error: BadCertificate| MaterialError::Certificate {
            which: format!("a certificate in {part}"),
            line: Some(line),
            error,
        };
        Certificate::from_der(&block.der).map(|certificate| (line, certificate)).map_err(wrong)
    });
    let read: Vec<(usize, Certificate)> = read.collect::<Result<_, _>>()?;
    if read.is_empty() {
        return Err(MaterialError::Absent { part, expected: "certificate", came: labels(text) });
    }
    Ok(read)
}

/// What a text holds, for people.
fn labels(text: &str) -> String {
    /// More would hide the message.
    const SHOWN_MAX: usize = 4;
    if text.trim().is_empty() {
        return "nothing: the text is empty".to_owned();
    }
    let blocks = pem::decode(text).unwrap_or_default();
    if blocks.is_empty() {
        return "no PEM block".to_owned();
    }
    let label = |block: &pem::Block| block.label.chars().take(40).collect::<String>();
    let shown: Vec<String> = blocks.iter().take(SHOWN_MAX).map(label).collect();
    let more = if blocks.len() > SHOWN_MAX { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests;
