//! Private and public keys: made, read, signed with. All arithmetic is aws-lc-rs.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA256, RsaKeyPair,
};
use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5912, rfc8410};
use der::Decode;
use spki::SubjectPublicKeyInfoRef;
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

use crate::code;
use crate::explain::{Explain, Explanation};
use crate::hash::Sha256;
use crate::pem;

mod forms;

pub use forms::{KeyFacts, KeyForm, Passphrase};

/// The kinds of key that certificates here may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyType {
    /// ECDSA on P-256 with SHA-256: the default.
    P256,
    /// ECDSA on P-384 with SHA-384.
    P384,
    /// Ed25519 (RFC 8410).
    Ed25519,
    /// RSA with this many bits, signing PKCS#1 v1.5 with SHA-256.
    Rsa(u16),
}

impl FromStr for KeyType {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<KeyType, BadKey> {
        match text {
            "p256" => Ok(KeyType::P256),
            "p384" => Ok(KeyType::P384),
            "ed25519" => Ok(KeyType::Ed25519),
            "rsa2048" => Ok(KeyType::Rsa(2048)),
            "rsa3072" => Ok(KeyType::Rsa(3072)),
            "rsa4096" => Ok(KeyType::Rsa(4096)),
            _ => Err(BadKey::UnknownType { came: text.chars().take(40).collect() }),
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyType::P256 => f.pad("P-256"),
            KeyType::P384 => f.pad("P-384"),
            KeyType::Ed25519 => f.pad("Ed25519"),
            KeyType::Rsa(bits) => write!(f, "RSA-{bits}"),
        }
    }
}

/// Whoever can sign with a key: a [`PrivateKey`], later a key that never leaves its hardware.
pub trait Signer {
    /// The key's public half.
    fn public_key(&self) -> &PublicKey;

    /// The signature of `message`, in the form that X.509 carries.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningFailed>;
}

/// A key could not sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {key_type} key could not sign")]
pub struct SigningFailed {
    /// The key's type.
    pub key_type: KeyType,
}

/// A private key in memory. No `Debug`, no `Display`; aws-lc zeroes it on drop (I7).
pub struct PrivateKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl PrivateKey {
    /// A fresh key, from the provider's generator.
    pub fn generate(key_type: KeyType) -> Result<PrivateKey, BadKey> {
        let failed = |_| BadKey::NotMade { key_type };
        let rsa_size = |bits| match bits {
            2048 => Ok(KeySize::Rsa2048),
            3072 => Ok(KeySize::Rsa3072),
            4096 => Ok(KeySize::Rsa4096),
            _ => Err(BadKey::NotMade { key_type }),
        };
        let pair = match key_type {
            KeyType::P256 => {
                Pair::Ecdsa(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(failed)?)
            }
            KeyType::P384 => {
                Pair::Ecdsa(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).map_err(failed)?)
            }
            KeyType::Ed25519 => Pair::Ed25519(Ed25519KeyPair::generate().map_err(failed)?),
            KeyType::Rsa(bits) => Pair::Rsa(rsa::KeyPair::generate(rsa_size(bits)?).map_err(failed)?),
        };
        PrivateKey::of(pair)
    }

    /// The key in a PKCS#8 document (RFC 5958).
    pub fn from_pkcs8_der(der: &[u8]) -> Result<PrivateKey, BadKey> {
        let ecdsa = [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING]
            .into_iter()
            .find_map(|algorithm| EcdsaKeyPair::from_pkcs8(algorithm, der).ok())
            .map(Pair::Ecdsa);
        let pair = ecdsa
            .or_else(|| Ed25519KeyPair::from_pkcs8(der).ok().map(Pair::Ed25519))
            .or_else(|| RsaKeyPair::from_pkcs8(der).ok().map(Pair::Rsa))
            .ok_or(BadKey::Unreadable)?;
        PrivateKey::of(pair)
    }

    /// The key as a PKCS#8 document, to be sealed or written to a file of mode 0600.
    pub fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, BadKey> {
        let not_made = BadKey::NotMade { key_type: self.public.key_type };
        let document: Result<Pkcs8V1Der<'_>, _> = match &self.pair {
            Pair::Ecdsa(pair) => {
                let document = pair.to_pkcs8v1().map_err(|_| not_made)?;
                return Ok(Zeroizing::new(document.as_ref().to_vec()));
            }
            Pair::Ed25519(pair) => pair.as_der(),
            Pair::Rsa(pair) => pair.as_der(),
        };
        Ok(Zeroizing::new(document.map_err(|_| not_made)?.as_ref().to_vec()))
    }

    /// The key as PEM, to be written to a file of mode 0600.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, BadKey> {
        Ok(Zeroizing::new(pem::encode(pem::PRIVATE_KEY, &self.to_pkcs8_der()?)))
    }

    fn of(pair: Pair) -> Result<PrivateKey, BadKey> {
        let spki: Result<PublicKeyX509Der<'_>, _> = match &pair {
            Pair::Ecdsa(pair) => pair.public_key().as_der(),
            Pair::Ed25519(pair) => pair.public_key().as_der(),
            Pair::Rsa(pair) => pair.public_key().as_der(),
        };
        let public = PublicKey::from_spki_der(spki.map_err(|_| BadKey::Unreadable)?.as_ref())?;
        Ok(PrivateKey { pair, public })
    }
}

impl Signer for PrivateKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningFailed> {
        let failed = |_| SigningFailed { key_type: self.public.key_type };
        let rng = SystemRandom::new();
        match &self.pair {
            Pair::Ecdsa(pair) => Ok(pair.sign(&rng, message).map_err(failed)?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.try_sign(message).map_err(failed)?.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &rng, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
        }
    }
}

/// A public key, as the SubjectPublicKeyInfo that certificates carry (RFC 5280 4.1.2.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    spki: Vec<u8>,
    hash: Sha256,
    key_type: KeyType,
}

impl PublicKey {
    /// The key in a SubjectPublicKeyInfo; one of a type or size that is not accepted is refused.
    pub fn from_spki_der(der: &[u8]) -> Result<PublicKey, BadKey> {
        let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| BadKey::Unreadable)?;
        let key_type = key_type_of(&info)?;
        Ok(PublicKey { spki: der.to_vec(), hash: Sha256::of(der), key_type })
    }

    /// The SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// SHA-256 of the SubjectPublicKeyInfo: the key's name.
    pub fn hash(&self) -> Sha256 {
        self.hash
    }

    /// What kind of key it is.
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }
}

/// RSA keys below this are refused (NIST SP 800-131A), those above take too long to verify.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

fn key_type_of(info: &SubjectPublicKeyInfoRef<'_>) -> Result<KeyType, BadKey> {
    let other = |came: String| BadKey::NotAccepted { came };
    match info.algorithm.oid {
        rfc5912::ID_EC_PUBLIC_KEY => {
            let curve = info.algorithm.parameters.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
            match curve {
                Some(rfc5912::SECP_256_R_1) => Ok(KeyType::P256),
                Some(rfc5912::SECP_384_R_1) => Ok(KeyType::P384),
                Some(curve) => Err(other(format!("an elliptic curve {curve}"))),
                None => Err(other("an elliptic curve without a name".to_owned())),
            }
        }
        rfc8410::ID_ED_25519 => Ok(KeyType::Ed25519),
        rfc5912::RSA_ENCRYPTION => {
            let bits = rsa_bits(info.subject_public_key.raw_bytes()).ok_or(BadKey::Unreadable)?;
            if RSA_BITS.contains(&bits) {
                Ok(KeyType::Rsa(bits as u16))
            } else {
                Err(other(format!("RSA-{bits}")))
            }
        }
        oid => Err(other(format!("algorithm {oid}"))),
    }
}

/// The modulus' length in an RSAPublicKey (RFC 8017 A.1.1).
fn rsa_bits(key: &[u8]) -> Option<usize> {
    #[derive(der::Sequence)]
    struct RsaPublicKey<'a> {
        modulus: der::asn1::UintRef<'a>,
        exponent: der::asn1::UintRef<'a>,
    }
    let key = RsaPublicKey::from_der(key).ok()?;
    let modulus = key.modulus.as_bytes();
    let _ = key.exponent;
    Some(modulus.len() * 8 - modulus.first()?.leading_zeros() as usize)
}

/// A key that cannot be used here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// The name of no key type.
    #[error("`{came}` is not a key type, expected p256, p384, ed25519, rsa2048, rsa3072 or rsa4096")]
    UnknownType {
        /// What came.
        came: String,
    },
    /// A public key of another type or size.
    #[error("the key is {came}, expected P-256, P-384, Ed25519 or RSA of 2048 to 8192 bits")]
    NotAccepted {
        /// What it is.
        came: String,
    },
    /// Bytes that are no key.
    #[error("the bytes are not a private key or a public key of a known type")]
    Unreadable,
    /// A private key in another form.
    #[error(
        "the key is in the form `{came}`, expected PRIVATE KEY, ENCRYPTED PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY"
    )]
    Form {
        /// Its PEM label.
        came: String,
    },
    /// It is encrypted, and there is no passphrase.
    #[error("the key is encrypted, and no passphrase was given")]
    PassphraseNeeded,
    /// The passphrase does not open it.
    #[error("the passphrase does not open the key")]
    WrongPassphrase,
    /// A passphrase that protects nothing.
    #[error("the passphrase is empty, and would protect nothing")]
    EmptyPassphrase,
    /// It is encrypted in a way that is not read, or that costs too much to open.
    #[error("the key is encrypted with {came}")]
    Encryption {
        /// How it is encrypted.
        came: String,
    },
    /// No key, or several.
    #[error("the text holds {came} private keys, expected one")]
    NotOne {
        /// How many it holds.
        came: usize,
    },
    /// Not PEM.
    #[error("the key is not in a PEM text")]
    Pem(#[source] pem::BadPem),
    /// The provider could not make or write it.
    #[error("a {key_type} key could not be made")]
    NotMade {
        /// The type asked for.
        key_type: KeyType,
    },
}

impl Explain for BadKey {
    fn explain(&self) -> Explanation {
        match self {
            BadKey::Pem(bad) => bad.explain(),
            BadKey::Form { .. } => Explanation::new(code::BAD_KEY, self.to_string())
                .hint("openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW"),
            BadKey::PassphraseNeeded => Explanation::new(code::PASSPHRASE_NEEDED, self.to_string())
                .halves("a passphrase", "none")
                .hint("--passphrase-file FILE"),
            BadKey::WrongPassphrase => Explanation::new(code::WRONG_PASSPHRASE, self.to_string())
                .hint("a line end in a passphrase file is not part of it, a space is"),
            BadKey::Encryption { came } => Explanation::new(code::BAD_KEY, self.to_string())
                .halves("PBES2 with PBKDF2 or scrypt, and AES or 3DES, at bearable cost", came)
                .hint("openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW"),
            _ => Explanation::new(code::BAD_KEY, self.to_string()),
        }
    }
}

impl Explain for SigningFailed {
    fn explain(&self) -> Explanation {
        Explanation::new(code::SIGNING_FAILED, self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_made_and_comes_back() {
        for key_type in [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa(2048)] {
            let key = PrivateKey::generate(key_type).ok().unwrap();
            assert_eq!(key.public_key().key_type(), key_type);
            let back = PrivateKey::from_pem(&key.to_pem().unwrap()).ok().unwrap();
            assert_eq!(back.public_key(), key.public_key());
            assert!(!key.sign(b"message").unwrap().is_empty());
        }
    }

    #[test]
    fn small_and_foreign_keys_are_refused_by_name() {
        assert!(PrivateKey::from_pkcs8_der(b"nonsense").is_err());
        assert!(PrivateKey::from_pem("").is_err());
        let sec1 = pem::encode("EC PRIVATE KEY", b"x");
        assert!(matches!(PrivateKey::from_pem(&sec1), Err(BadKey::Unreadable)));
        let dsa = pem::encode("DSA PRIVATE KEY", b"x");
        assert!(matches!(PrivateKey::from_pem(&dsa), Err(BadKey::Form { .. })));
    }
}
