//! Keys at rest: AES-256-GCM under keys derived from the cluster key, one derivation per purpose.
//!
//! What is sealed is bound to its purpose, cluster and key by associated data: a sealed blob that was
//! moved or renamed does not open.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::rand::fill;
use certus_pki::explain::{Explain, Explanation};
use certus_pki::key::Passphrase;
use certus_pki::{ClusterName, Sha256, code};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The first bytes of a sealed blob: what it is, and in which form.
const MAGIC: &[u8; 5] = b"CSEA\x01";

/// 32 random bytes from which every key that seals something is derived. No `Debug` (I7).
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct SealingKey([u8; SealingKey::BYTES]);

/// What something is sealed for. Each purpose has its own derived key.
#[allow(clippy::enum_variant_names, reason = "they are keys, and are called by their names")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The key that seals the root's private key; kept beside, never in, log and snapshots.
    RootDataKey,
    /// The root's private key, which is replicated.
    RootKey,
    /// A manager's issuer key.
    IssuerKey,
    /// The cluster key, under what a passphrase derives.
    ClusterKey,
    /// A manager's own TLS key, in a file that other programs read too.
    NodeKey,
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Purpose::RootDataKey => "certus root data key",
            Purpose::RootKey => "certus root key",
            Purpose::IssuerKey => "certus issuer key",
            Purpose::ClusterKey => "certus cluster key",
            Purpose::NodeKey => "certus node key",
        }
    }
}

impl SealingKey {
    /// AES-256.
    pub(crate) const BYTES: usize = 32;

    /// A fresh key from the provider's generator.
    pub(crate) fn generate() -> Result<SealingKey, SealError> {
        let mut key = SealingKey([0; SealingKey::BYTES]);
        fill(&mut key.0).map_err(|_| SealError::NoRandomness)?;
        Ok(key)
    }

    /// The key with these bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<SealingKey, SealError> {
        let wrong = |_| SealError::Length { expected: SealingKey::BYTES, came: bytes.len() };
        Ok(SealingKey(bytes.try_into().map_err(wrong)?))
    }

    /// Its bytes, for the file of mode 0600 that keeps them, or to be sealed.
    pub(crate) fn reveal(&self) -> &[u8; SealingKey::BYTES] {
        &self.0
    }

    /// Seals `plain` for `purpose`, bound to the cluster and to the key it belongs to.
    pub(crate) fn seal(
        &self,
        purpose: Purpose,
        cluster: &ClusterName,
        key: &Sha256,
        plain: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        fill(&mut nonce).map_err(|_| SealError::NoRandomness)?;
        let mut body = Zeroizing::new(plain.to_vec());
        let tag = self
            .derive(purpose)?
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated(purpose, cluster, key)),
                &mut body,
            )
            .map_err(|_| SealError::Broken { purpose })?;
        Ok([MAGIC, &nonce[..], &body, tag.as_ref()].concat())
    }

    /// Opens what [`SealingKey::seal`] made for the same purpose, cluster and key.
    pub(crate) fn open(
        &self,
        purpose: Purpose,
        cluster: &ClusterName,
        key: &Sha256,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let rest = sealed.strip_prefix(MAGIC).ok_or(SealError::Form { purpose })?;
        let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or(SealError::Form { purpose })?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Form { purpose })?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = self
            .derive(purpose)?
            .open_in_place(nonce, Aad::from(associated(purpose, cluster, key)), &mut body)
            .map_err(|_| SealError::Broken { purpose })?
            .len();
        body.truncate(length);
        Ok(body)
    }

    /// A passphrase that only who has this key knows: for files in a form that takes one.
    pub(crate) fn passphrase(&self, cluster: &ClusterName) -> Result<Passphrase, SealError> {
        let purpose = Purpose::NodeKey;
        let secret = Salt::new(HKDF_SHA256, b"certus.v1").extract(&self.0);
        let mut bytes = Zeroizing::new([0; SealingKey::BYTES]);
        secret
            .expand(&[purpose.as_str().as_bytes(), b"\0", cluster.as_str().as_bytes()], HKDF_SHA256)
            .and_then(|derived| derived.fill(&mut *bytes))
            .map_err(|_| SealError::Broken { purpose })?;
        let mut digits = Zeroizing::new(String::with_capacity(2 * SealingKey::BYTES));
        for byte in bytes.iter() {
            for digit in [byte >> 4, byte & 15] {
                digits.push(char::from_digit(digit.into(), 16).unwrap_or_default());
            }
        }
        Ok(Passphrase::new(digits))
    }

    fn derive(&self, purpose: Purpose) -> Result<LessSafeKey, SealError> {
        let broken = |_| SealError::Broken { purpose };
        let secret = Salt::new(HKDF_SHA256, b"certus.v1").extract(&self.0);
        let info = [purpose.as_str().as_bytes()];
        let derived = secret.expand(&info, &AES_256_GCM).map_err(broken)?;
        Ok(LessSafeKey::new(UnboundKey::from(derived)))
    }
}

/// Purpose, cluster and key, each ended by a zero byte that none of them can hold.
fn associated(purpose: Purpose, cluster: &ClusterName, key: &Sha256) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in [purpose.as_str(), cluster.as_str(), &key.to_string()] {
        bytes.extend_from_slice(part.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// Something could not be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not something that was sealed here.
    #[error("the {} is not in a form that this version seals", .purpose.as_str())]
    Form {
        /// What it should be.
        purpose: Purpose,
    },
    /// Altered, or sealed under another key, for another cluster or another purpose.
    #[error("the {} does not open: it was altered, or sealed under another cluster key", .purpose.as_str())]
    Broken {
        /// What it should be.
        purpose: Purpose,
    },
    /// A key of another length.
    #[error("the cluster key has {came} bytes, expected {expected}")]
    Length {
        /// How many it should have.
        expected: usize,
        /// How many it has.
        came: usize,
    },
    /// The provider's generator failed.
    #[error("the system gave no randomness")]
    NoRandomness,
}

impl Explain for SealError {
    fn explain(&self) -> Explanation {
        Explanation::new(code::SEALED_KEY, self.to_string())
            .hint("the data directory's manager/ must be kept whole: cluster.key belongs to its store")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i12_what_is_sealed_opens_only_for_its_purpose_cluster_and_key() {
        let key = SealingKey::generate().ok().unwrap();
        let (prod, dev) = ("prod".parse().unwrap(), "dev".parse().unwrap());
        let (one, two) = (Sha256::of(b"1"), Sha256::of(b"2"));
        let sealed = key.seal(Purpose::IssuerKey, &prod, &one, b"secret").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        let opened = key.open(Purpose::IssuerKey, &prod, &one, &sealed).unwrap();
        assert_eq!(opened.as_slice(), b"secret");

        let broken = |purpose| Err(SealError::Broken { purpose });
        assert_eq!(key.open(Purpose::RootKey, &prod, &one, &sealed), broken(Purpose::RootKey));
        assert_eq!(key.open(Purpose::IssuerKey, &dev, &one, &sealed), broken(Purpose::IssuerKey));
        assert_eq!(key.open(Purpose::IssuerKey, &prod, &two, &sealed), broken(Purpose::IssuerKey));
        let other = SealingKey::generate().ok().unwrap();
        assert_eq!(other.open(Purpose::IssuerKey, &prod, &one, &sealed), broken(Purpose::IssuerKey));
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let key = SealingKey::generate().ok().unwrap();
        let (prod, id) = ("prod".parse().unwrap(), Sha256::of(b"1"));
        let sealed = key.seal(Purpose::RootKey, &prod, &id, b"secret").unwrap();
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(key.open(Purpose::RootKey, &prod, &id, &altered).is_err(), "byte {at}");
        }
        assert!(key.open(Purpose::RootKey, &prod, &id, &[]).is_err());
    }
}
