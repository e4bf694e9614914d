//! A backup's encryption: a key made of a passphrase, and chunks that can be neither changed, reordered,
//! left off nor added to without being noticed.
//!
//! Argon2id (RFC 9106), then AES-256-GCM in the STREAM construction (Hoang, Reyhanitabar, Rogaway and
//! Vizár, 2015): the nonce of a chunk is a prefix, its number, and whether it is the last. Keys are never
//! written, and have no `Debug` (I7).

use std::io::{self, Read};

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::fill;
use certus_pki::Passphrase;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::BackupError;

/// What every backup begins with.
const MAGIC: &[u8; 8] = b"CERTUSBK";
/// The newest layout that this version reads, and the one it writes.
pub(crate) const BACKUP_FORMAT: u16 = 1;
/// Argon2id, version 1.3: the one way there is to make a key of a passphrase.
const KDF_ARGON2ID: u8 = 1;

/// RFC 9106 §4, the choice for machines without 2 GiB to spare: a guess costs 64 MiB and 0.1 s.
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
const LANES: u32 = 4;
/// A file may ask for more than is written today, and not for all of a machine.
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;

const SALT: usize = 16;
const PREFIX: usize = 7;
/// Everything that the check covers.
const PARAMETERS: usize = MAGIC.len() + 2 + 1 + 4 + 4 + 4 + SALT + PREFIX;
const CHECK: usize = 32;
/// Bytes of a head.
pub(crate) const HEAD: usize = PARAMETERS + CHECK;

/// Plain bytes of every chunk but the last, which may have fewer.
pub(crate) const CHUNK: usize = 64 << 10;
/// Bytes that sealing adds to a chunk.
pub(crate) const TAG: usize = 16;

/// The first bytes of a backup: how its key is made. They are no secret, and every chunk is bound to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head([u8; HEAD]);

/// 32 bytes made of a passphrase and a head's salt, which make the keys of one backup.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct BackupKey([u8; BackupKey::BYTES]);

impl BackupKey {
    pub(crate) const BYTES: usize = 32;

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<BackupKey> {
        Some(BackupKey(bytes.try_into().ok()?))
    }

    /// Its bytes, for the manager that seals with it.
    pub(crate) fn reveal(&self) -> &[u8; BackupKey::BYTES] {
        &self.0
    }

    /// The key of a new backup, and the head that lets the passphrase make it again.
    pub(crate) fn new(passphrase: &Passphrase) -> Result<(Head, BackupKey), BackupError> {
        let mut random = [0; SALT + PREFIX];
        fill(&mut random).map_err(|_| BackupError::NoRandomness)?;
        BackupKey::with_random(passphrase, &random)
    }

    /// The same with given randomness: for examples that must stay as they are.
    pub(crate) fn with_random(
        passphrase: &Passphrase,
        random: &[u8; SALT + PREFIX],
    ) -> Result<(Head, BackupKey), BackupError> {
        let mut head = Vec::with_capacity(HEAD);
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&BACKUP_FORMAT.to_be_bytes());
        head.push(KDF_ARGON2ID);
        for number in [MEMORY_KIB, PASSES, LANES] {
            head.extend_from_slice(&number.to_be_bytes());
        }
        head.extend_from_slice(random);
        let key = derive(passphrase, &random[..SALT], (MEMORY_KIB, PASSES, LANES))?;
        head.extend_from_slice(key.check(&head)?.as_ref());
        let bytes = head.try_into().map_err(|_| BackupError::NoKey)?;
        Ok((Head(bytes), key))
    }

    /// The key of the backup with this head.
    pub(crate) fn of(head: &Head, passphrase: &Passphrase) -> Result<BackupKey, BackupError> {
        let number = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|place| head.0[at + place]));
        let (memory, passes, lanes) = (number(11), number(15), number(19));
        if memory > MEMORY_KIB_MAX || passes > PASSES_MAX || lanes > LANES_MAX {
            let came = format!("{memory} KiB, {passes} passes, {lanes} lanes");
            return Err(BackupError::Parameters { came });
        }
        let key = derive(passphrase, &head.0[23..23 + SALT], (memory, passes, lanes))?;
        let (parameters, check) = head.0.split_at(PARAMETERS);
        let checking = key.hmac()?;
        hmac::verify(&checking, parameters, check).map_err(|_| BackupError::WrongPassphrase)?;
        Ok(key)
    }

    /// Tells a wrong passphrase from a damaged file, before anything is opened.
    fn check(&self, parameters: &[u8]) -> Result<hmac::Tag, BackupError> {
        Ok(hmac::sign(&self.hmac()?, parameters))
    }

    fn hmac(&self) -> Result<hmac::Key, BackupError> {
        let secret = Salt::new(HKDF_SHA256, b"certus.backup.v1").extract(&self.0);
        let expanded = secret.expand(&[b"check"], hmac::HMAC_SHA256).map_err(|_| BackupError::NoKey)?;
        Ok(hmac::Key::from(expanded))
    }

    fn aead(&self) -> Result<LessSafeKey, BackupError> {
        let secret = Salt::new(HKDF_SHA256, b"certus.backup.v1").extract(&self.0);
        let expanded = secret.expand(&[b"chunks"], &AES_256_GCM).map_err(|_| BackupError::NoKey)?;
        Ok(LessSafeKey::new(UnboundKey::from(expanded)))
    }
}

fn derive(
    passphrase: &Passphrase,
    salt: &[u8],
    (memory, passes, lanes): (u32, u32, u32),
) -> Result<BackupKey, BackupError> {
    let params = Params::new(memory, passes, lanes, Some(BackupKey::BYTES)).map_err(|error| {
        BackupError::Parameters { came: format!("{memory} KiB, {passes} passes, {lanes} lanes: {error}") }
    })?;
    let mut key = BackupKey([0; BackupKey::BYTES]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.reveal().as_bytes(), salt, &mut key.0)
        .map_err(|_| BackupError::NoKey)?;
    Ok(key)
}

impl Head {
    pub(crate) fn as_bytes(&self) -> &[u8; HEAD] {
        &self.0
    }

    /// The head in the first bytes of a backup.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Head, BackupError> {
        if !bytes.starts_with(MAGIC) {
            return Err(BackupError::NotABackup);
        }
        let Ok(head) = <[u8; HEAD]>::try_from(bytes) else {
            return Err(BackupError::CutShort { chunks: 0 });
        };
        let format = u16::from_be_bytes([head[8], head[9]]);
        if format > BACKUP_FORMAT {
            return Err(BackupError::Newer { found: format, known: BACKUP_FORMAT });
        }
        if format == 0 || head[10] != KDF_ARGON2ID {
            return Err(BackupError::NotABackup);
        }
        Ok(Head(head))
    }

    fn nonce(&self, number: u32, last: bool) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[..PREFIX].copy_from_slice(&self.0[PARAMETERS - PREFIX..PARAMETERS]);
        nonce[PREFIX..PREFIX + 4].copy_from_slice(&number.to_be_bytes());
        nonce[PREFIX + 4] = u8::from(last);
        Nonce::assume_unique_for_key(nonce)
    }

    fn associated(&self, last: bool) -> Aad<[u8; HEAD + 1]> {
        let mut bytes = [u8::from(last); HEAD + 1];
        bytes[..HEAD].copy_from_slice(&self.0);
        Aad::from(bytes)
    }
}

/// Seals plain bytes, in the order they come.
pub(crate) struct Sealer {
    head: Head,
    key: LessSafeKey,
    number: u32,
    /// What waits for a whole chunk. Never grows, so that no copy is left behind.
    plain: Zeroizing<Vec<u8>>,
}

impl Sealer {
    pub(crate) fn new(head: Head, key: &BackupKey) -> Result<Sealer, BackupError> {
        let plain = Zeroizing::new(Vec::with_capacity(CHUNK));
        Ok(Sealer { head, key: key.aead()?, number: 0, plain })
    }

    /// Takes plain bytes; what becomes whole chunks is appended to `out`.
    pub(crate) fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BackupError> {
        while !bytes.is_empty() {
            // Only what is followed by something is known not to be the last.
            if self.plain.len() == CHUNK {
                self.seal(false, out)?;
            }
            let room = (CHUNK - self.plain.len()).min(bytes.len());
            let (now, rest) = bytes.split_at(room);
            self.plain.extend_from_slice(now);
            bytes = rest;
        }
        Ok(())
    }

    /// The last chunk.
    pub(crate) fn finish(mut self, out: &mut Vec<u8>) -> Result<(), BackupError> {
        self.seal(true, out)
    }

    fn seal(&mut self, last: bool, out: &mut Vec<u8>) -> Result<(), BackupError> {
        let (nonce, associated) = (self.head.nonce(self.number, last), self.head.associated(last));
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, associated, &mut self.plain)
            .map_err(|_| BackupError::NoKey)?;
        out.extend_from_slice(&self.plain);
        out.extend_from_slice(tag.as_ref());
        self.plain.clear();
        // 2^32 chunks are 256 TiB.
        self.number = self.number.checked_add(1).ok_or(BackupError::NoKey)?;
        Ok(())
    }
}

/// Opens the chunks that follow a head.
pub(crate) struct Opener<R> {
    head: Head,
    key: LessSafeKey,
    input: R,
    number: u32,
    /// The chunk that comes next, sealed; read ahead, because the last one is known by nothing coming after.
    ahead: Vec<u8>,
    ended: bool,
}

impl<R: Read> Opener<R> {
    /// Over what follows the head in a backup.
    pub(crate) fn new(head: Head, key: &BackupKey, mut input: R) -> Result<Opener<R>, BackupError> {
        let ahead = read_chunk(&mut input)?;
        Ok(Opener { head, key: key.aead()?, input, number: 0, ahead, ended: false })
    }

    /// The next chunk, opened; none after the last.
    pub(crate) fn next_chunk(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, BackupError> {
        if self.ended {
            return Ok(None);
        }
        let following = read_chunk(&mut self.input)?;
        let sealed = std::mem::replace(&mut self.ahead, following);
        let last = self.ahead.is_empty();
        let Some(plain) = self.open(&sealed, last) else {
            return Err(match (last, self.open(&sealed, !last)) {
                (true, Some(_)) => BackupError::CutShort { chunks: u64::from(self.number) + 1 },
                (false, Some(_)) => BackupError::AfterEnd,
                // Of a chunk that was cut in its middle nothing can be said but that the file ends there.
                (true, None) if sealed.len() < CHUNK + TAG => {
                    BackupError::CutShort { chunks: u64::from(self.number) }
                }
                _ => BackupError::Altered { chunk: u64::from(self.number) },
            });
        };
        self.number = self.number.checked_add(1).ok_or(BackupError::AfterEnd)?;
        self.ended = last;
        Ok(Some(plain))
    }

    fn open(&self, sealed: &[u8], last: bool) -> Option<Zeroizing<Vec<u8>>> {
        let mut plain = Zeroizing::new(sealed.to_vec());
        let (nonce, associated) = (self.head.nonce(self.number, last), self.head.associated(last));
        let length = self.key.open_in_place(nonce, associated, &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

/// Up to a whole chunk of sealed bytes.
fn read_chunk(input: &mut impl Read) -> Result<Vec<u8>, BackupError> {
    let mut chunk = Vec::with_capacity(CHUNK + TAG);
    input.by_ref().take((CHUNK + TAG) as u64).read_to_end(&mut chunk).map_err(reading)?;
    Ok(chunk)
}

pub(crate) fn reading(error: io::Error) -> BackupError {
    BackupError::Reading { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.to_owned())
    }

    fn sealed(plain: &[u8]) -> (Head, BackupKey, Vec<u8>) {
        let (head, key) = BackupKey::new(&passphrase("correct horse")).ok().unwrap();
        let mut out = Vec::new();
        let mut sealer = Sealer::new(head.clone(), &key).unwrap();
        for piece in plain.chunks(10_000) {
            sealer.push(piece, &mut out).unwrap();
        }
        sealer.finish(&mut out).unwrap();
        (head, key, out)
    }

    fn open(head: &Head, key: &BackupKey, sealed: &[u8]) -> Result<Vec<u8>, BackupError> {
        let mut opener = Opener::new(head.clone(), key, sealed)?;
        let mut all = Vec::new();
        while let Some(chunk) = opener.next_chunk()? {
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }

    #[test]
    fn every_length_comes_back() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7] {
            let plain: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
            let (head, key, sealed) = sealed(&plain);
            let chunks = length.div_ceil(CHUNK).max(1);
            assert_eq!(sealed.len(), length + chunks * TAG);
            assert_eq!(open(&head, &key, &sealed).unwrap(), plain, "{length} bytes");
        }
    }

    #[test]
    fn cut_at_every_chunk_and_elsewhere_it_is_called_cut_short() {
        let (head, key, sealed) = sealed(&vec![7; 3 * CHUNK + 100]);
        let whole = CHUNK + TAG;
        for end in [0, 1, whole - 1, whole, whole + 1, 2 * whole, 3 * whole, sealed.len() - 1] {
            let error = open(&head, &key, &sealed[..end]).err().unwrap();
            assert!(matches!(error, BackupError::CutShort { .. }), "{end}: {error:?}");
        }
        let longer = [&sealed[..], b"x"].concat();
        assert!(open(&head, &key, &longer).is_err());
    }

    #[test]
    fn chunks_moved_repeated_or_left_out_are_noticed() {
        let (head, key, sealed) = sealed(&vec![7; 4 * CHUNK]);
        let chunks: Vec<&[u8]> = sealed.chunks(CHUNK + TAG).collect();
        for order in [vec![1, 0, 2, 3], vec![0, 0, 1, 2, 3], vec![0, 2, 3], vec![0, 1, 2, 3, 3], vec![3]] {
            let moved: Vec<u8> = order.iter().flat_map(|place| chunks[*place].iter().copied()).collect();
            assert!(open(&head, &key, &moved).is_err(), "{order:?}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let (head, key, sealed) = sealed(&vec![7; CHUNK + 10]);
        for at in (0..sealed.len()).step_by(997).chain([sealed.len() - 1]) {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(open(&head, &key, &altered).is_err(), "byte {at}");
        }
        // In the head: another salt, prefix or check makes no key that fits.
        for at in [8, 9, 10, 12, 18, 22, 23, 38, 39, 45, 46, HEAD - 1] {
            let mut altered = *head.as_bytes();
            altered[at] ^= 1;
            let opened = Head::from_bytes(&altered)
                .and_then(|altered| BackupKey::of(&altered, &passphrase("correct horse")));
            assert!(opened.is_err(), "head byte {at}");
        }
    }

    #[test]
    fn a_wrong_passphrase_is_called_one_and_greedy_parameters_are_refused() {
        let (head, key, sealed) = sealed(b"secret");
        let wrong = BackupKey::of(&head, &passphrase("wrong")).err().unwrap();
        assert!(matches!(wrong, BackupError::WrongPassphrase), "{wrong:?}");
        let again = BackupKey::of(&head, &passphrase("correct horse")).ok().unwrap();
        assert_eq!(again.reveal(), key.reveal());
        assert_eq!(open(&head, &again, &sealed).unwrap(), b"secret");
        let mut greedy = *head.as_bytes();
        greedy[11] = 0xff;
        let refused = BackupKey::of(&Head::from_bytes(&greedy).unwrap(), &passphrase("x")).err().unwrap();
        assert!(matches!(refused, BackupError::Parameters { .. }), "{refused:?}");
    }

    #[test]
    fn a_newer_format_and_other_files_are_told_apart() {
        let (head, _, _) = sealed(b"");
        let mut newer = *head.as_bytes();
        newer[9] = 2;
        assert!(matches!(Head::from_bytes(&newer), Err(BackupError::Newer { found: 2, known: 1 })));
        assert!(matches!(Head::from_bytes(b"PK\x03\x04"), Err(BackupError::NotABackup)));
        assert!(matches!(Head::from_bytes(&newer[..20]), Err(BackupError::CutShort { chunks: 0 })));
    }
}
