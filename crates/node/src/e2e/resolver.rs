//! The primitives of the Noise session, all from aws-lc-rs.
//!
//! No primitive is written here: only Noise's way of calling them (Noise revision 34 §4, §12).

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::digest;
use certus_pki::AgentId;
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use zeroize::Zeroizing;

/// The bytes by which a sealed message is longer than its payload (RFC 8439 2.8).
pub(super) const TAG_BYTES: usize = 16;

/// Gives `snow` the one suite that is used: 25519, ChaChaPoly, SHA256.
pub(super) struct Resolver;

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(SystemRandom))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::new(Curve25519::default()) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::SHA256).then(|| Box::new(Sha256::default()) as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::ChaChaPoly).then(|| Box::new(ChaChaPoly::default()) as Box<dyn Cipher>)
    }
}

struct SystemRandom;

impl Random for SystemRandom {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        aws_lc_rs::rand::fill(dest).map_err(|_| Error::Rng)
    }
}

/// The public half of an X25519 secret; nothing if the library refuses the secret.
pub(super) fn public_of(secret: &[u8]) -> Option<AgentId> {
    let public = PrivateKey::from_private_key(&X25519, secret).ok()?.compute_public_key().ok()?;
    public.as_ref().try_into().ok().map(AgentId::from_bytes)
}

#[derive(Default)]
struct Curve25519 {
    secret: Zeroizing<[u8; AgentId::BYTES]>,
    public: [u8; AgentId::BYTES],
}

impl Dh for Curve25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        AgentId::BYTES
    }

    fn priv_len(&self) -> usize {
        AgentId::BYTES
    }

    fn set(&mut self, privkey: &[u8]) {
        // The trait has no way to refuse. A secret that is none leaves the public half zero, a point
        // with which every other end refuses to agree.
        let public = public_of(privkey).map(|public| *public.as_bytes());
        self.public = public.unwrap_or_default();
        match privkey.try_into() {
            Ok(secret) => *self.secret = secret,
            Err(_) => self.secret.fill(0),
        }
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut secret = Zeroizing::new([0; AgentId::BYTES]);
        rng.try_fill_bytes(&mut *secret)?;
        self.set(&*secret);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &*self.secret
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), Error> {
        // snow hands over a buffer that also holds longer keys.
        let pubkey = pubkey.get(..AgentId::BYTES).ok_or(Error::Dh)?;
        let out = out.get_mut(..AgentId::BYTES).ok_or(Error::Dh)?;
        let mine = PrivateKey::from_private_key(&X25519, &*self.secret).map_err(|_| Error::Dh)?;
        // RFC 7748 6.1: an all-zero outcome is refused, and it is by the library.
        agree(&mine, UnparsedPublicKey::new(&X25519, pubkey), Error::Dh, |shared| {
            out.copy_from_slice(shared);
            Ok(())
        })
    }
}

struct Sha256(digest::Context);

impl Default for Sha256 {
    fn default() -> Sha256 {
        Sha256(digest::Context::new(&digest::SHA256))
    }
}

impl Hash for Sha256 {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        digest::SHA256.block_len
    }

    fn hash_len(&self) -> usize {
        digest::SHA256_OUTPUT_LEN
    }

    fn reset(&mut self) {
        *self = Sha256::default();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        let Sha256(context) = std::mem::take(self);
        out[..digest::SHA256_OUTPUT_LEN].copy_from_slice(context.finish().as_ref());
    }
}

#[derive(Default)]
struct ChaChaPoly(Option<LessSafeKey>);

/// Noise §12.3: 32 bits of zeros, then the counter in little-endian order.
fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = UnboundKey::new(&CHACHA20_POLY1305, key).ok().map(LessSafeKey::new);
    }

    fn encrypt(&self, counter: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let length = plaintext.len() + TAG_BYTES;
        let (sealed, tag) = out[..length].split_at_mut(plaintext.len());
        let done = self.0.as_ref().map(|key| {
            key.seal_out_of_place_scatter(nonce(counter), Aad::from(authtext), plaintext, sealed, &[], tag)
        });
        // The trait has no way to refuse: what could not be sealed becomes zeros, which nobody opens.
        if !matches!(done, Some(Ok(()))) {
            out[..length].fill(0);
        }
        length
    }

    fn decrypt(
        &self,
        counter: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let key = self.0.as_ref().ok_or(Error::Decrypt)?;
        let length = ciphertext.len().checked_sub(TAG_BYTES).ok_or(Error::Decrypt)?;
        let (sealed, tag) = ciphertext.split_at(length);
        let out = out.get_mut(..length).ok_or(Error::Decrypt)?;
        let opened = key.open_separate_gather(nonce(counter), Aad::from(authtext), sealed, tag, out);
        opened.map(|()| length).map_err(|_| Error::Decrypt)
    }
}

#[cfg(test)]
mod tests;
