//! PKCS#12 containers (RFC 7292): a key with its chain, or trusted certificates, under a passphrase.
//!
//! Written with PBES2 (PBKDF2-HMAC-SHA256, AES-256-CBC) and an HMAC-SHA256 tag, which openssl 3 and Java 17
//! read; the older ciphers of either are read, never written.

use der::asn1::AnyRef;
use der::{Decode, Tag, Tagged};
use p12_keystore::error::Error;
use p12_keystore::{EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, PrivateKeyChain};

use crate::cert::{BadCertificate, Certificate};
use crate::code;
use crate::explain::{Explain, Explanation};
use crate::hash::Sha256;
use crate::key::{BadKey, Passphrase, PrivateKey, Signer};

/// Larger than any container of a key and a chain; what is larger is not read.
pub const PKCS12_BYTES_MAX: usize = 4 << 20;

/// More certificates than any chain or trust store of a private CA.
pub const CERTIFICATES_MAX: usize = 1000;

/// The cost of opening a container by guessing. Java 17 refuses more than five million.
const ROUNDS: u32 = 100_000;

/// What a container holds.
pub struct Contents {
    /// The keys with their names.
    pub keys: Vec<(Option<String>, PrivateKey)>,
    /// The certificates, in the container's order.
    pub certificates: Vec<Certificate>,
}

impl Contents {
    /// The one key, and its chain: its certificate first, then each certificate's issuer as far as the
    /// container holds it.
    ///
    /// # Errors
    /// No key or several, no certificate that fits the key.
    pub fn identity(mut self) -> Result<(PrivateKey, Vec<Certificate>), BadPkcs12> {
        let came = self.keys.len();
        let Some((_, key)) = self.keys.pop().filter(|_| came == 1) else {
            return Err(BadPkcs12::NotOneKey { came });
        };
        let fits = |certificate: &Certificate| certificate.public_key == *key.public_key();
        let leaf = self.certificates.iter().find(|c| fits(c)).ok_or(BadPkcs12::NoCertificate)?;
        let mut chain = vec![leaf.clone()];
        while let Some(next) = chain.last().and_then(|last| {
            let above = |c: &&Certificate| c.subject_der == last.issuer_der && !chain.contains(c);
            self.certificates.iter().find(above)
        }) {
            chain.push(next.clone());
        }
        Ok((key, chain))
    }
}

/// A container with one key and its chain, its own certificate first.
///
/// # Errors
/// A key that is not the first certificate's, an empty passphrase, more certificates than are read.
pub fn write(
    name: &str,
    key: &PrivateKey,
    chain: &[Certificate],
    passphrase: &Passphrase,
) -> Result<Vec<u8>, BadPkcs12> {
    let leaf = chain.first().ok_or(BadPkcs12::NoCertificate)?;
    if leaf.public_key != *key.public_key() {
        let (expected, came) = (leaf.key_hash(), key.public_key().hash());
        return Err(BadPkcs12::WrongKey { expected, came });
    }
    let document = key.to_pkcs8_der().map_err(BadPkcs12::Key)?;
    let key = p12_keystore::PrivateKey::from_der(&document).map_err(not_made)?;
    let chain = chain
        .iter()
        .map(|certificate| p12_keystore::Certificate::from_der(&certificate.der).map_err(not_made))
        .collect::<Result<Vec<_>, _>>()?;
    let mut store = KeyStore::new();
    // The key and its certificate are tied together by an identifier; both openssl and Java use a digest.
    let digest = leaf.fingerprint();
    let id = &digest.as_bytes()[..20];
    store.add_entry(name, KeyStoreEntry::PrivateKeyChain(PrivateKeyChain::new(id, key, chain)));
    sealed(&store, passphrase)
}

/// A container of trusted certificates, as Java's trust stores are.
pub fn write_trust(
    certificates: &[(String, Certificate)],
    passphrase: &Passphrase,
) -> Result<Vec<u8>, BadPkcs12> {
    let mut store = KeyStore::new();
    for (name, certificate) in certificates {
        let certificate = p12_keystore::Certificate::from_der(&certificate.der).map_err(not_made)?;
        store.add_entry(name, KeyStoreEntry::Certificate(certificate));
    }
    sealed(&store, passphrase)
}

/// Opens a container.
///
/// # Errors
/// [`BadPkcs12::WrongPassphrase`] where it does not fit; bytes that are no container; keys and
/// certificates that are not accepted here.
pub fn read(der: &[u8], passphrase: &Passphrase) -> Result<Contents, BadPkcs12> {
    if der.len() > PKCS12_BYTES_MAX {
        return Err(BadPkcs12::TooLong { bytes: der.len() });
    }
    // Without a tag over the whole, anybody could have put a certificate in.
    if !has_mac(der).map_err(|error| BadPkcs12::Malformed { why: error.to_string() })? {
        return Err(BadPkcs12::NoMac);
    }
    let archive = p12_keystore::Pkcs12Archive::from_pkcs12(der, passphrase.as_str()).map_err(not_read)?;
    if archive.certs.len() > CERTIFICATES_MAX {
        return Err(BadPkcs12::TooMany { came: archive.certs.len() });
    }
    let keys = archive
        .keys
        .iter()
        .map(|bag| Ok((bag.friendly_name.clone(), PrivateKey::from_pkcs8_der(bag.key.as_der())?)))
        .collect::<Result<_, _>>()
        .map_err(BadPkcs12::Key)?;
    let certificates = archive.certs.iter().map(|bag| Certificate::from_der(bag.cert.as_der()));
    let certificates = certificates.collect::<Result<_, _>>().map_err(BadPkcs12::Certificate)?;
    Ok(Contents { keys, certificates })
}

fn sealed(store: &KeyStore, passphrase: &Passphrase) -> Result<Vec<u8>, BadPkcs12> {
    if passphrase.is_empty() {
        return Err(BadPkcs12::EmptyPassphrase);
    }
    store
        .writer(passphrase.as_str())
        .encryption_algorithm(EncryptionAlgorithm::PbeWithHmacSha256AndAes256)
        .encryption_iterations(ROUNDS)
        .mac_algorithm(MacAlgorithm::HmacSha256)
        .mac_iterations(ROUNDS)
        .write()
        .map_err(not_made)
}

/// Whether a PFX (RFC 7292 4) has the third of its parts, the tag.
fn has_mac(der: &[u8]) -> der::Result<bool> {
    let pfx = AnyRef::from_der(der)?;
    pfx.tag().assert_eq(Tag::Sequence)?;
    pfx.sequence(|fields| {
        use der::Reader;
        u8::decode(fields)?;
        AnyRef::decode(fields)?;
        let has = !fields.is_finished();
        if has {
            AnyRef::decode(fields)?;
        }
        Ok(has)
    })
}

fn not_made(error: Error) -> BadPkcs12 {
    BadPkcs12::NotMade { why: error.to_string() }
}

fn not_read(error: Error) -> BadPkcs12 {
    match error {
        Error::MacError(_) => BadPkcs12::WrongPassphrase,
        other => BadPkcs12::Malformed { why: other.to_string() },
    }
}

/// A container that cannot be read or made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadPkcs12 {
    /// Not a container, or one whose ciphers are not read.
    #[error("not a PKCS#12 container that can be read: {why}")]
    Malformed {
        /// What is wrong.
        why: String,
    },
    /// Larger than is read.
    #[error("the PKCS#12 container has {bytes} bytes, at most {PKCS12_BYTES_MAX} are read")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// More certificates than are read.
    #[error("the PKCS#12 container has {came} certificates, at most {CERTIFICATES_MAX} are read")]
    TooMany {
        /// How many it has.
        came: usize,
    },
    /// The passphrase does not open it.
    #[error("the passphrase does not open the PKCS#12 container")]
    WrongPassphrase,
    /// A passphrase that protects nothing.
    #[error("the passphrase is empty, and would protect nothing")]
    EmptyPassphrase,
    /// Nothing proves that it is as its maker left it.
    #[error("the PKCS#12 container has no integrity tag (MAC)")]
    NoMac,
    /// No key, or several.
    #[error("the PKCS#12 container holds {came} keys, expected one")]
    NotOneKey {
        /// How many it holds.
        came: usize,
    },
    /// No certificate that fits the key.
    #[error("there is no certificate for the key")]
    NoCertificate,
    /// The key is another certificate's.
    #[error("the key does not fit the first certificate")]
    WrongKey {
        /// The certificate's key.
        expected: Sha256,
        /// The key that came.
        came: Sha256,
    },
    /// A key that is not accepted.
    #[error("a key in the PKCS#12 container is not one that is accepted")]
    Key(#[source] BadKey),
    /// A certificate that cannot be read.
    #[error("a certificate in the PKCS#12 container cannot be read")]
    Certificate(#[source] BadCertificate),
    /// It could not be encoded.
    #[error("the PKCS#12 container could not be made: {why}")]
    NotMade {
        /// Why.
        why: String,
    },
}

impl Explain for BadPkcs12 {
    fn explain(&self) -> Explanation {
        let new = Explanation::new(code::BAD_PKCS12, self.to_string());
        match self {
            BadPkcs12::Key(bad) => bad.explain(),
            BadPkcs12::Certificate(bad) => bad.explain(),
            BadPkcs12::WrongPassphrase => Explanation::new(code::WRONG_PASSPHRASE, self.to_string())
                .hint("a line end in a passphrase file is not part of it, a space is"),
            BadPkcs12::WrongKey { expected, came } => {
                Explanation::new(code::KEY_MISMATCH, self.to_string()).halves(expected, came)
            }
            BadPkcs12::NoMac => new.hint("openssl pkcs12 -export writes one; -nomac leaves it out"),
            _ => new,
        }
    }
}
