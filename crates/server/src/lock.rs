//! The cluster key under a passphrase: what autolock writes in the place of the plain key.
//!
//! No files and no sockets; whoever holds the bytes and the passphrase gets the key, nobody else does.

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::rand::fill;
use certus_pki::explain::{Explain, Explanation};
use certus_pki::key::Passphrase;
use certus_pki::{ClusterName, Sha256, code};
use zeroize::Zeroizing;

use crate::sealing::{Purpose, SealError, SealingKey};

/// The first bytes of a wrapped key, and the version of what follows. A plain key is told from it by its
/// length: it has 32 bytes, and what follows here is longer.
const MAGIC: &[u8; 4] = b"CLCK";
const VERSION: u8 = 1;
/// RFC 9106 §3.1 recommends 16.
const SALT_BYTES: usize = 16;

/// How much work a passphrase costs, as the head of a wrapped key has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Work {
    /// The second recommended option of RFC 9106 §4: 64 MiB and three passes, for machines whose memory
    /// others need too. Some 0.2 s, once a start.
    pub(crate) const USUAL: Work = Work { memory_kib: 64 << 10, passes: 3, lanes: 4 };
    /// Little enough for tests that open thousands of keys; it protects nothing.
    #[cfg(test)]
    pub(crate) const LITTLE: Work = Work { memory_kib: 32, passes: 1, lanes: 1 };

    /// More memory than any version of ours asks for: an altered head must not take the machine's.
    const MEMORY_KIB_MAX: u32 = 256 << 10;
    /// More passes than any version of ours asks for: seconds, not minutes.
    const PASSES_MAX: u32 = 16;
    /// More lanes than any version of ours asks for.
    const LANES_MAX: u32 = 16;

    fn params(self) -> Result<Params, LockError> {
        let affordable = self.memory_kib <= Work::MEMORY_KIB_MAX
            && self.passes <= Work::PASSES_MAX
            && self.lanes <= Work::LANES_MAX;
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(SealingKey::BYTES));
        params.ok().filter(|_| affordable).ok_or(LockError::Work { came: self })
    }

    fn derive(self, passphrase: &Passphrase, salt: &[u8]) -> Result<SealingKey, LockError> {
        let mut key = Zeroizing::new([0; SealingKey::BYTES]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params()?)
            .hash_password_into(passphrase.as_str().as_bytes(), salt, &mut *key)
            .map_err(|_| LockError::Work { came: self })?;
        SealingKey::from_bytes(&*key).map_err(LockError::Seal)
    }
}

/// A cluster key under a passphrase, as it stands in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrappedKey {
    cluster: ClusterName,
    work: Work,
    salt: [u8; SALT_BYTES],
    sealed: Vec<u8>,
}

impl WrappedKey {
    /// Wraps `key`, the cluster key of `cluster`, under `passphrase`.
    pub(crate) fn wrap(
        key: &SealingKey,
        cluster: &ClusterName,
        passphrase: &Passphrase,
        work: Work,
    ) -> Result<WrappedKey, LockError> {
        if passphrase.is_empty() {
            return Err(LockError::Empty);
        }
        let mut salt = [0; SALT_BYTES];
        fill(&mut salt).map_err(|_| LockError::Seal(SealError::NoRandomness))?;
        let mut wrapped = WrappedKey { cluster: cluster.clone(), work, salt, sealed: Vec::new() };
        // The head is bound in: what was altered in it does not open.
        let head = Sha256::of(&wrapped.head());
        let under = work.derive(passphrase, &salt)?;
        let sealed = under.seal(Purpose::ClusterKey, cluster, &head, key.reveal());
        wrapped.sealed = sealed.map_err(LockError::Seal)?;
        Ok(wrapped)
    }

    /// The cluster key, if `passphrase` is the right one.
    pub(crate) fn open(&self, passphrase: &Passphrase) -> Result<SealingKey, LockError> {
        let under = self.work.derive(passphrase, &self.salt)?;
        let head = Sha256::of(&self.head());
        let key = under.open(Purpose::ClusterKey, &self.cluster, &head, &self.sealed);
        let key = key.map_err(|error| match error {
            SealError::Broken { .. } => LockError::WrongKey { cluster: self.cluster.clone() },
            error => LockError::Seal(error),
        })?;
        SealingKey::from_bytes(&key).map_err(LockError::Seal)
    }

    /// Which cluster it is the key of.
    pub(crate) fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// Its bytes, for the file.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        [self.head(), self.sealed.clone()].concat()
    }

    /// What [`WrappedKey::to_bytes`] wrote.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<WrappedKey, LockError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(LockError::Form)?;
        let (version, rest) = rest.split_first().ok_or(LockError::Form)?;
        if *version != VERSION {
            return Err(LockError::Version { came: *version });
        }
        let (memory_kib, rest) = number(rest)?;
        let (passes, rest) = number(rest)?;
        let (lanes, rest) = number(rest)?;
        let (salt, rest) = rest.split_first_chunk().ok_or(LockError::Form)?;
        let (length, rest) = rest.split_first().ok_or(LockError::Form)?;
        let (name, sealed) = rest.split_at_checked(usize::from(*length)).ok_or(LockError::Form)?;
        let name = std::str::from_utf8(name).map_err(|_| LockError::Form)?;
        let cluster = name.parse().map_err(|_| LockError::Form)?;
        let work = Work { memory_kib, passes, lanes };
        work.params()?;
        Ok(WrappedKey { cluster, work, salt: *salt, sealed: sealed.to_vec() })
    }

    /// Everything before what is sealed; see `docs/keys-at-rest.md`.
    fn head(&self) -> Vec<u8> {
        let name = self.cluster.as_str().as_bytes();
        let mut head = [MAGIC, &[VERSION][..]].concat();
        for number in [self.work.memory_kib, self.work.passes, self.work.lanes] {
            head.extend_from_slice(&number.to_be_bytes());
        }
        head.extend_from_slice(&self.salt);
        // A cluster's name has 63 characters at most.
        head.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        head.extend_from_slice(name);
        head
    }
}

fn number(bytes: &[u8]) -> Result<(u32, &[u8]), LockError> {
    let (number, rest) = bytes.split_first_chunk().ok_or(LockError::Form)?;
    Ok((u32::from_be_bytes(*number), rest))
}

/// An unlock key for those who bring no passphrase of their own: 256 random bits, as
/// `CERTUSKEY-1-` and 52 letters and digits.
///
/// # Errors
/// The system gave no randomness.
pub fn fresh_unlock_key() -> Result<Passphrase, LockError> {
    let mut random = Zeroizing::new([0; 32]);
    fill(&mut *random).map_err(|_| LockError::Seal(SealError::NoRandomness))?;
    let mut text = Zeroizing::new(String::with_capacity(UNLOCK_KEY.len() + 52));
    text.push_str(UNLOCK_KEY);
    for group in random.chunks(5) {
        let mut bits = group.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        // Groups of five bits from the left; the last one of the key is filled with zeros.
        let digits = (group.len() * 8).div_ceil(5);
        bits <<= digits * 5 - group.len() * 8;
        for place in (0..digits).rev() {
            text.push(char::from(BASE32[usize::try_from(bits >> (place * 5) & 31).unwrap_or(0)]));
        }
    }
    Ok(Passphrase::new(text))
}

const UNLOCK_KEY: &str = "CERTUSKEY-1-";
/// RFC 4648 §6: no letter is a digit's double, and a terminal marks it with one double click.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A cluster key was not wrapped, or did not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another passphrase than it was wrapped under, or the file was altered.
    #[error("this is not the unlock key of cluster {cluster}")]
    WrongKey {
        /// Whose key was to be opened.
        cluster: ClusterName,
    },
    /// An empty passphrase protects nothing.
    #[error("an empty passphrase unlocks nothing")]
    Empty,
    /// Not a wrapped key.
    #[error("cluster.key holds neither a plain key nor a locked one")]
    Form,
    /// Written by a newer version.
    #[error("cluster.key is of version {came}, expected {VERSION}")]
    Version {
        /// The version that came.
        came: u8,
    },
    /// More work than is done for a passphrase, or none.
    #[error("cluster.key asks for {} KiB, {} passes and {} lanes", .came.memory_kib, .came.passes, .came.lanes)]
    Work {
        /// What it asks for.
        #[allow(private_interfaces, reason = "only its text is for others")]
        came: Work,
    },
    /// It could not be sealed or opened for another reason.
    #[error(transparent)]
    Seal(SealError),
}

impl Explain for LockError {
    fn explain(&self) -> Explanation {
        let new = |code| Explanation::new(code, self.to_string());
        match self {
            LockError::WrongKey { .. } => new(code::WRONG_PASSPHRASE)
                .halves("the key that autolock printed last, or your own passphrase", "another")
                .hint("each `autolock on` and `rotate` made a new key: take the last; nothing else opens it"),
            LockError::Empty => new(code::USAGE).hint("--passphrase-file FILE"),
            LockError::Form | LockError::Version { .. } | LockError::Work { .. } => {
                new(code::SEALED_KEY).hint("restore manager/cluster.key, or use the version that wrote it")
            }
            LockError::Seal(error) => error.explain(),
        }
    }
}

#[cfg(test)]
mod tests;
