//! The forms that private keys are kept in: PKCS#8 plain and encrypted (RFC 5958, RFC 8018), SEC1
//! (RFC 5915), PKCS#1 (RFC 8017), DER and PEM.
//!
//! Every form is read; PKCS#8 is written, encrypted with PBES2: PBKDF2-HMAC-SHA256 and AES-256-CBC, which
//! openssl, Java and Go read.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, RsaKeyPair,
};
use der::asn1::{AnyRef, OctetStringRef};
use der::{Decode, Encode, Reader, Tag, Tagged};
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::{self, Kdf};
use std::fmt;
use zeroize::Zeroizing;

use super::{BadKey, Pair, PrivateKey};
use crate::hash::Sha256;
use crate::key::{KeyType, Signer};
use crate::pem;

/// A passphrase. It cannot be printed, and is zeroed on drop.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// As long as a passphrase file may be.
    pub const BYTES_MAX: usize = 1024;

    /// The passphrase `text`, all of it.
    pub fn new(text: impl Into<Zeroizing<String>>) -> Passphrase {
        Passphrase(text.into())
    }

    /// The passphrase in a file's text: its first line, without the line's end.
    pub fn from_file_text(text: &str) -> Passphrase {
        Passphrase(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
    }

    /// Whether it is empty, and so no protection.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The passphrase itself, for whoever derives a key from it or hands it on to where that is done.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The passphrase itself, to make a key of it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// The form a private key is kept in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyForm {
    /// PKCS#8, readable by whoever has the file.
    Pkcs8,
    /// PKCS#8 under a passphrase.
    EncryptedPkcs8 {
        /// How, for people: `PBKDF2-HMAC-SHA256 600000, AES-256-CBC`.
        scheme: String,
    },
    /// SEC1, as `openssl ecparam -genkey` writes elliptic-curve keys.
    Sec1,
    /// PKCS#1, as `openssl genrsa -traditional` writes RSA keys.
    Pkcs1,
}

impl fmt::Display for KeyForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyForm::Pkcs8 => f.write_str("PKCS#8"),
            KeyForm::EncryptedPkcs8 { scheme } => write!(f, "PKCS#8, encrypted ({scheme})"),
            KeyForm::Sec1 => f.write_str("SEC1"),
            KeyForm::Pkcs1 => f.write_str("PKCS#1"),
        }
    }
}

/// What can be told of a private key without showing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// How it is kept.
    pub form: KeyForm,
    /// Its type; unknown while it is encrypted.
    pub key_type: Option<KeyType>,
    /// SHA-256 of its public half's SubjectPublicKeyInfo; unknown while it is encrypted.
    pub key_hash: Option<Sha256>,
}

impl KeyFacts {
    /// The facts of the one key in a PEM text. Without a passphrase an encrypted key tells only how it is
    /// encrypted.
    ///
    /// # Errors
    /// No key or several, bytes that are no key, a passphrase that does not fit.
    pub fn of_pem(text: &str, passphrase: Option<&Passphrase>) -> Result<KeyFacts, BadKey> {
        let block = one_block(text)?;
        let form = form_of(&block)?;
        if matches!(form, KeyForm::EncryptedPkcs8 { .. }) && passphrase.is_none() {
            return Ok(KeyFacts { form, key_type: None, key_hash: None });
        }
        let key = PrivateKey::from_block(&block, passphrase)?;
        let public = key.public_key();
        Ok(KeyFacts { form, key_type: Some(public.key_type()), key_hash: Some(public.hash()) })
    }
}

impl PrivateKey {
    /// The one key in a PEM text: PKCS#8, SEC1 or PKCS#1, not encrypted.
    pub fn from_pem(text: &str) -> Result<PrivateKey, BadKey> {
        PrivateKey::from_pem_with(text, None)
    }

    /// The one key in a PEM text, in any form; `passphrase` opens it where it is encrypted.
    ///
    /// # Errors
    /// [`BadKey::PassphraseNeeded`] without one where one is needed, [`BadKey::WrongPassphrase`] where it
    /// does not fit.
    pub fn from_pem_with(text: &str, passphrase: Option<&Passphrase>) -> Result<PrivateKey, BadKey> {
        PrivateKey::from_block(&one_block(text)?, passphrase)
    }

    /// The key in a DER document of any form.
    pub fn from_der(der: &[u8], passphrase: Option<&Passphrase>) -> Result<PrivateKey, BadKey> {
        if EncryptedPrivateKeyInfoRef::from_der(der).is_ok() {
            return PrivateKey::from_encrypted_der(der, passphrase.ok_or(BadKey::PassphraseNeeded)?);
        }
        PrivateKey::from_pkcs8_der(der)
            .or_else(|_| PrivateKey::from_sec1_der(der))
            .or_else(|_| PrivateKey::from_pkcs1_der(der))
    }

    /// The key in an encrypted PKCS#8 document.
    pub fn from_encrypted_der(der: &[u8], passphrase: &Passphrase) -> Result<PrivateKey, BadKey> {
        let scheme = scheme_of(der)?;
        affordable(&scheme)?;
        let info = EncryptedPrivateKeyInfoRef::from_der(der).map_err(|_| BadKey::Unreadable)?;
        let opened = scheme
            .decrypt(passphrase.as_str(), info.encrypted_data.as_bytes())
            .map(Zeroizing::new)
            .map_err(|error| match error {
                pkcs8::pkcs5::Error::UnsupportedAlgorithm { oid } => {
                    BadKey::Encryption { came: format!("algorithm {oid}") }
                }
                _ => BadKey::WrongPassphrase,
            })?;
        // What a wrong passphrase opens is noise; one time in 256 its padding looks right.
        if pkcs8::PrivateKeyInfoRef::from_der(&opened).is_err() {
            return Err(BadKey::WrongPassphrase);
        }
        PrivateKey::from_pkcs8_der(&opened)
    }

    /// The key as an encrypted PKCS#8 document, PEM.
    pub fn to_encrypted_pem(&self, passphrase: &Passphrase) -> Result<String, BadKey> {
        Ok(pem::encode(pem::ENCRYPTED_PRIVATE_KEY, &self.to_encrypted_der(passphrase)?))
    }

    /// The key as an encrypted PKCS#8 document.
    ///
    /// # Errors
    /// [`BadKey::EmptyPassphrase`]: it would protect nothing.
    pub fn to_encrypted_der(&self, passphrase: &Passphrase) -> Result<Vec<u8>, BadKey> {
        if passphrase.is_empty() {
            return Err(BadKey::EmptyPassphrase);
        }
        let not_made = || BadKey::NotMade { key_type: self.public_key().key_type() };
        let (mut salt, mut iv) = ([0; SALT_BYTES], [0; 16]);
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| not_made())?;
        aws_lc_rs::rand::fill(&mut iv).map_err(|_| not_made())?;
        let parameters = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(PBKDF2_ROUNDS, &salt, iv)
            .map_err(|_| not_made())?;
        let sealed =
            parameters.encrypt(passphrase.as_str(), &self.to_pkcs8_der()?).map_err(|_| not_made())?;
        let info = EncryptedPrivateKeyInfoRef {
            encryption_algorithm: parameters.into(),
            encrypted_data: OctetStringRef::new(&sealed).map_err(|_| not_made())?,
        };
        info.to_der().map_err(|_| not_made())
    }

    fn from_block(block: &pem::Block, passphrase: Option<&Passphrase>) -> Result<PrivateKey, BadKey> {
        match form_of(block)? {
            KeyForm::Pkcs8 => PrivateKey::from_pkcs8_der(&block.der),
            KeyForm::Sec1 => PrivateKey::from_sec1_der(&block.der),
            KeyForm::Pkcs1 => PrivateKey::from_pkcs1_der(&block.der),
            KeyForm::EncryptedPkcs8 { .. } => {
                PrivateKey::from_encrypted_der(&block.der, passphrase.ok_or(BadKey::PassphraseNeeded)?)
            }
        }
    }

    fn from_sec1_der(der: &[u8]) -> Result<PrivateKey, BadKey> {
        // RFC 5915 §3; the provider would take PKCS#8 here too.
        let begins_right = AnyRef::from_der(der).and_then(|any| {
            any.sequence(|fields| {
                let version = u8::decode(fields)?;
                let key = AnyRef::decode(fields)?;
                while !fields.is_finished() {
                    AnyRef::decode(fields)?;
                }
                Ok::<bool, der::Error>(version == 1 && key.tag() == Tag::OctetString)
            })
        });
        if begins_right != Ok(true) {
            return Err(BadKey::Unreadable);
        }
        let pair = [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING]
            .into_iter()
            .find_map(|algorithm| EcdsaKeyPair::from_private_key_der(algorithm, der).ok());
        PrivateKey::of(Pair::Ecdsa(pair.ok_or(BadKey::Unreadable)?))
    }

    fn from_pkcs1_der(der: &[u8]) -> Result<PrivateKey, BadKey> {
        PrivateKey::of(Pair::Rsa(RsaKeyPair::from_der(der).map_err(|_| BadKey::Unreadable)?))
    }
}

/// OWASP's advice of 2023 for PBKDF2 with HMAC-SHA256.
const PBKDF2_ROUNDS: u32 = 600_000;
/// RFC 8018 §4.1 asks for 8 at least.
const SALT_BYTES: usize = 16;

/// More rounds than anybody sets: some ten seconds of work.
const PBKDF2_ROUNDS_MAX: u32 = 10_000_000;
/// More memory than openssl's default limit allows many times over, and still not a machine's.
const SCRYPT_BYTES_MAX: u64 = 256 << 20;
/// More lanes than anybody sets.
const SCRYPT_LANES_MAX: u16 = 16;

fn one_block(text: &str) -> Result<pem::Block, BadKey> {
    if text.lines().any(|line| line.starts_with("Proc-Type: 4,ENCRYPTED")) {
        return Err(BadKey::Encryption {
            came: "openssl's traditional form (Proc-Type: 4,ENCRYPTED)".into(),
        });
    }
    let blocks = pem::decode(text).map_err(BadKey::Pem)?;
    let mut keys = blocks.into_iter().filter(|block| block.label.ends_with(pem::PRIVATE_KEY));
    match (keys.next(), keys.next()) {
        (Some(block), None) => Ok(block),
        (None, _) => Err(BadKey::NotOne { came: 0 }),
        (Some(_), Some(_)) => Err(BadKey::NotOne { came: 2 + keys.count() }),
    }
}

fn form_of(block: &pem::Block) -> Result<KeyForm, BadKey> {
    match block.label.as_str() {
        pem::PRIVATE_KEY => Ok(KeyForm::Pkcs8),
        pem::ENCRYPTED_PRIVATE_KEY => {
            Ok(KeyForm::EncryptedPkcs8 { scheme: scheme_in_words(&scheme_of(&block.der)?) })
        }
        "EC PRIVATE KEY" => Ok(KeyForm::Sec1),
        "RSA PRIVATE KEY" => Ok(KeyForm::Pkcs1),
        label => Err(BadKey::Form { came: crate::name::shown(label) }),
    }
}

fn scheme_of(der: &[u8]) -> Result<EncryptionScheme, BadKey> {
    #[derive(der::Sequence)]
    struct Outer<'a> {
        algorithm: spki::AlgorithmIdentifierRef<'a>,
        data: &'a OctetStringRef,
    }
    if der.len() > KEY_BYTES_MAX {
        return Err(BadKey::Unreadable);
    }
    let outer = Outer::from_der(der).map_err(|_| BadKey::Unreadable)?;
    let _ = outer.data;
    EncryptedPrivateKeyInfoRef::from_der(der)
        .map(|info| info.encryption_algorithm)
        .map_err(|_| BadKey::Encryption { came: format!("algorithm {}", outer.algorithm.oid) })
}

/// Larger than any key that is accepted; what is larger is not read.
const KEY_BYTES_MAX: usize = 64 << 10;

/// Refuses what would keep the machine busy: the file says how much work opening it is.
fn affordable(scheme: &EncryptionScheme) -> Result<(), BadKey> {
    let too_much = || BadKey::Encryption { came: scheme_in_words(scheme) };
    let affordable = match scheme.pbes2().map(|parameters| &parameters.kdf) {
        Some(Kdf::Pbkdf2(kdf)) => kdf.iteration_count <= PBKDF2_ROUNDS_MAX,
        Some(Kdf::Scrypt(kdf)) => {
            let block = 128 * u64::from(kdf.block_size);
            kdf.cost_parameter.checked_mul(block).is_some_and(|bytes| bytes <= SCRYPT_BYTES_MAX)
                && kdf.parallelization <= SCRYPT_LANES_MAX
        }
        _ => false,
    };
    if affordable { Ok(()) } else { Err(too_much()) }
}

fn scheme_in_words(scheme: &EncryptionScheme) -> String {
    let Some(parameters) = scheme.pbes2() else { return format!("algorithm {}", scheme.oid()) };
    let kdf = match &parameters.kdf {
        Kdf::Pbkdf2(kdf) => {
            let prf = match kdf.prf {
                pbes2::Pbkdf2Prf::HmacWithSha1 => "SHA1",
                pbes2::Pbkdf2Prf::HmacWithSha224 => "SHA224",
                pbes2::Pbkdf2Prf::HmacWithSha256 => "SHA256",
                pbes2::Pbkdf2Prf::HmacWithSha384 => "SHA384",
                pbes2::Pbkdf2Prf::HmacWithSha512 => "SHA512",
                _ => "?",
            };
            format!("PBKDF2-HMAC-{prf} {}", kdf.iteration_count)
        }
        Kdf::Scrypt(kdf) => format!("scrypt {}", kdf.cost_parameter),
        other => format!("key derivation {}", other.oid()),
    };
    let cipher = match parameters.encryption.oid() {
        pbes2::AES_128_CBC_OID => "AES-128-CBC".to_owned(),
        pbes2::AES_192_CBC_OID => "AES-192-CBC".to_owned(),
        pbes2::AES_256_CBC_OID => "AES-256-CBC".to_owned(),
        pbes2::DES_EDE3_CBC_OID => "3DES-CBC".to_owned(),
        oid => oid.to_string(),
    };
    format!("{kdf}, {cipher}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_under_a_passphrase_opens_with_that_one_only() {
        let key = PrivateKey::generate(KeyType::P256).ok().unwrap();
        let secret = Passphrase::new("correct horse".to_owned());
        let text = key.to_encrypted_pem(&secret).unwrap();
        let back = PrivateKey::from_pem_with(&text, Some(&secret)).ok().unwrap();
        assert_eq!(back.public_key(), key.public_key());
        assert_eq!(PrivateKey::from_pem(&text).err(), Some(BadKey::PassphraseNeeded));
        let wrong = Passphrase::from_file_text("battery staple\nmore\n");
        assert_eq!(PrivateKey::from_pem_with(&text, Some(&wrong)).err(), Some(BadKey::WrongPassphrase));
        let facts = KeyFacts::of_pem(&text, None).unwrap();
        assert_eq!(facts.form.to_string(), "PKCS#8, encrypted (PBKDF2-HMAC-SHA256 600000, AES-256-CBC)");
        assert_eq!((facts.key_type, facts.key_hash), (None, None));
        let none = Passphrase::new(String::new());
        assert_eq!(key.to_encrypted_pem(&none).err(), Some(BadKey::EmptyPassphrase));
    }
}
