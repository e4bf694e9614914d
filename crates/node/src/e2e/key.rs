//! An agent's secret key, and the file it is kept in.
//!
//! Never printed, never sent, and never written over: a new key is a new id.

use std::path::Path;

use certus_pki::explain::{Explain, Explanation};
use certus_pki::{AgentId, code, pem};
use zeroize::Zeroizing;

use super::error::E2eError;
use super::resolver::public_of;
use crate::files::{FileError, atomic};

/// The static X25519 key by which an agent proves its [`AgentId`].
pub struct AgentKey {
    secret: Zeroizing<[u8; AgentId::BYTES]>,
    id: AgentId,
}

impl AgentKey {
    /// The key's file in an agent's data directory.
    pub const FILE: &'static str = "agent.key";

    /// A new key.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn generate() -> Result<AgentKey, E2eError> {
        let mut secret = Zeroizing::new([0; AgentId::BYTES]);
        aws_lc_rs::rand::fill(&mut *secret)
            .map_err(|_| E2eError::Library { words: "the system gives no randomness".to_owned() })?;
        clamp(&mut secret);
        AgentKey::of(secret)
    }

    /// The key in [`AgentKey::FILE`] of `data_dir`, made there (0600) if there is none. Processes that
    /// start at once end with the same key.
    ///
    /// # Errors
    /// Others can read the file, it is damaged, or the system refuses. It is left as it is then.
    pub fn load_or_make(data_dir: &Path) -> Result<AgentKey, FileError> {
        atomic::make_dir(data_dir)?;
        let path = data_dir.join(AgentKey::FILE);
        if let Some(text) = atomic::read(&path)? {
            return AgentKey::from_file(&path, &text);
        }
        let beside = data_dir.join(LOCK);
        let lock = atomic::open_own(&beside).map_err(|error| FileError::io("open", &beside, error))?;
        lock.lock().map_err(|error| FileError::io("lock", &beside, error))?;
        // Another process may have made it in between.
        if let Some(text) = atomic::read(&path)? {
            return AgentKey::from_file(&path, &text);
        }
        let key = AgentKey::generate().map_err(|error| FileError::content(&path, error.explain()))?;
        atomic::write(&path, key.to_file().as_bytes())?;
        Ok(key)
    }

    /// By what others know this key.
    pub fn id(&self) -> AgentId {
        self.id
    }

    pub(super) fn secret(&self) -> &[u8; AgentId::BYTES] {
        &self.secret
    }

    fn of(secret: Zeroizing<[u8; AgentId::BYTES]>) -> Result<AgentKey, E2eError> {
        let refused = || E2eError::Library { words: "the key is refused".to_owned() };
        let id = public_of(&*secret).ok_or_else(refused)?;
        Ok(AgentKey { secret, id })
    }

    /// The public half stands behind the secret one: a secret has no wrong values, so that a damaged one
    /// would silently be another agent.
    fn to_file(&self) -> Zeroizing<String> {
        let mut both = Zeroizing::new([0; 2 * AgentId::BYTES]);
        both[..AgentId::BYTES].copy_from_slice(&*self.secret);
        both[AgentId::BYTES..].copy_from_slice(self.id.as_bytes());
        Zeroizing::new(pem::encode(LABEL, &*both))
    }

    fn from_file(path: &Path, text: &[u8]) -> Result<AgentKey, FileError> {
        let wrong = |why: Explanation| {
            FileError::content(path, why.hint("restore it from a backup; without it, it gives a new id"))
        };
        let damaged = |words: String| wrong(Explanation::new(code::BAD_ENCODING, words));
        let text = std::str::from_utf8(text).map_err(|_| damaged("it is not text".to_owned()))?;
        let blocks = pem::decode(text).map_err(|error| wrong(error.explain()))?;
        let [block] = &blocks[..] else {
            return Err(damaged(format!("expected one PEM block, got {}", blocks.len())));
        };
        if block.label != LABEL {
            return Err(damaged(format!("expected a block `{LABEL}`, got `{}`", block.label)));
        }
        if block.der.len() != 2 * AgentId::BYTES {
            let (expected, came) = (2 * AgentId::BYTES, block.der.len());
            return Err(damaged(format!("expected a key of {expected} bytes, got {came}")));
        }
        let mut secret = Zeroizing::new([0; AgentId::BYTES]);
        secret.copy_from_slice(&block.der[..AgentId::BYTES]);
        let mut clamped = secret.clone();
        clamp(&mut clamped);
        if *clamped != *secret {
            return Err(damaged("a bit is set that no key has".to_owned()));
        }
        let key = AgentKey::of(secret).map_err(|error| wrong(error.explain()))?;
        if key.id.as_bytes()[..] != block.der[AgentId::BYTES..] {
            let words = "its two halves do not belong to each other";
            return Err(wrong(Explanation::new(code::KEY_MISMATCH, words)));
        }
        Ok(key)
    }
}

/// Sets the bits that X25519 does not read as it reads them (RFC 7748 5), so that a key has one spelling.
fn clamp(secret: &mut [u8; AgentId::BYTES]) {
    secret[0] &= 248;
    secret[31] = (secret[31] & 127) | 64;
}

const LABEL: &str = "CERTUS AGENT KEY";
const LOCK: &str = ".agent.key.lock";

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn loaded(dir: &Path) -> AgentId {
        AgentKey::load_or_make(dir).unwrap().id()
    }

    #[test]
    fn a_key_is_made_once_and_kept_for_its_owner_alone() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("agent");
        let id = loaded(&dir);
        assert_eq!(loaded(&dir), id);
        let meta = fs::metadata(dir.join(AgentKey::FILE)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, 0o600);
        assert_ne!(AgentKey::generate().unwrap().id(), AgentKey::generate().unwrap().id());
    }

    #[test]
    fn starting_at_once_ends_with_one_key() {
        let temp = tempfile::tempdir().unwrap();
        let barrier = std::sync::Barrier::new(16);
        let ids: Vec<AgentId> = std::thread::scope(|scope| {
            let one = || {
                barrier.wait();
                loaded(temp.path())
            };
            let all: Vec<_> = (0..16).map(|_| scope.spawn(one)).collect();
            all.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == loaded(temp.path())), "{ids:?}");
    }

    #[test]
    fn a_key_others_can_read_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let id = loaded(temp.path());
        let path = temp.path().join(AgentKey::FILE);
        for open in [0o640, 0o604, 0o644] {
            fs::set_permissions(&path, Permissions::from_mode(open)).unwrap();
            let why = AgentKey::load_or_make(temp.path()).err().unwrap().explain();
            assert_eq!(why.code, code::FILE_MODE);
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(loaded(temp.path()), id);
    }

    #[test]
    fn damage_is_refused_with_words_and_left_as_it_is() {
        let temp = tempfile::tempdir().unwrap();
        loaded(temp.path());
        let path = temp.path().join(AgentKey::FILE);
        let whole = fs::read(&path).unwrap();
        let refused = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            let why = AgentKey::load_or_make(temp.path()).err().expect("refused").explain();
            assert!(why.code == code::BAD_ENCODING || why.code == code::KEY_MISMATCH, "{why}");
            assert!(why.hint.is_some() && why.message.contains("agent.key cannot be used: "), "{why}");
            assert_eq!(fs::read(&path).unwrap(), content);
            why
        };
        // The line end that follows the block is not part of it.
        for cut in 0..whole.len() - 1 {
            refused(&whole[..cut]);
        }
        // Every character of the base64; the rules for its last one may let another spelling pass.
        let body = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
        for place in body..body + 80 {
            let mut flipped = whole.clone();
            flipped[place] = if flipped[place] == b'A' { b'B' } else { b'A' };
            refused(&flipped);
        }
        let other = pem::encode(pem::PRIVATE_KEY, &[7; 64]);
        assert!(refused(other.as_bytes()).message.contains("`CERTUS AGENT KEY`"));
        assert!(refused(pem::encode(LABEL, &[7; 32]).as_bytes()).message.contains("64 bytes, got 32"));
        assert_eq!(refused(pem::encode(LABEL, &[72; 64]).as_bytes()).code, code::KEY_MISMATCH);
        refused(&[whole.clone(), whole.clone()].concat());
        refused(b"\xff");
    }
}
