//! Who this process is: a private key and the chain that certifies it.

use std::sync::Arc;

use certus_pki::cert::{BadCertificate, Certificate, NoIdentity};
use certus_pki::key::BadKey;
use certus_pki::{CertId, Explain, Explanation, PrivateKey, Sha256, Signer, SpiffeId, code, verify};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A private key and its chain, leaf first, up to and including the issuer.
///
/// Immutable; a renewal makes a new one. Has no `Debug` (I7).
pub struct Identity {
    key: Arc<dyn SigningKey>,
    chain: Vec<Vec<u8>>,
    leaf: Certificate,
    id: Option<SpiffeId>,
    cert: Option<CertId>,
    /// Whether it may be of another authority than those that are trusted here.
    foreign: bool,
}

impl Identity {
    /// The identity of a cluster's node: `key` under `chain`. Whether it is trusted is asked of a
    /// bundle, later.
    ///
    /// # Errors
    /// The chain is empty, too long or unreadable, the leaf is another key's, or names no identity.
    pub fn new(key: &PrivateKey, chain: Vec<Vec<u8>>) -> Result<Identity, BadIdentity> {
        let identity = Identity::of_any_authority(key, chain)?;
        identity.leaf.identity().map_err(BadIdentity::NoIdentity)?;
        Ok(Identity { foreign: false, ..identity })
    }

    /// The same for a certificate of any authority, which may have names of other kinds only.
    ///
    /// # Errors
    /// The chain is empty, too long or unreadable, or the leaf is another key's.
    pub fn of_any_authority(key: &PrivateKey, chain: Vec<Vec<u8>>) -> Result<Identity, BadIdentity> {
        if !(1..=verify::CHAIN_MAX).contains(&chain.len()) {
            return Err(BadIdentity::ChainLength { came: chain.len() });
        }
        let mut read = Vec::with_capacity(chain.len());
        for (place, der) in chain.iter().enumerate() {
            let certificate = Certificate::from_der(der);
            read.push(certificate.map_err(|error| BadIdentity::Certificate { place, error })?);
        }
        let leaf = read.swap_remove(0);
        let (expected, came) = (leaf.key_hash(), key.public_key().hash());
        if expected != came {
            return Err(BadIdentity::KeyMismatch { expected, came });
        }
        let id = leaf.identity().ok();
        // Without its issuer in the chain nobody can say which certificate a revocation means.
        let issuer = read.iter().find(|above| above.subject_der == leaf.issuer_der);
        let cert = issuer.map(|issuer| CertId { issuer: issuer.key_hash(), serial: leaf.serial });
        let document = key.to_pkcs8_der().map_err(BadIdentity::Key)?;
        let document = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(&document[..]));
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&document)
            .map_err(|_| BadIdentity::Key(BadKey::Unreadable))?;
        Ok(Identity { key, chain, leaf, id, cert, foreign: true })
    }

    /// Its SPIFFE id; always there in a cluster.
    pub fn id(&self) -> Option<&SpiffeId> {
        self.id.as_ref()
    }

    /// Which certificate it is, if its issuer stands in its chain.
    pub fn cert_id(&self) -> Option<CertId> {
        self.cert
    }

    pub(crate) fn is_foreign(&self) -> bool {
        self.foreign
    }

    /// Its certificate.
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// Its chain, leaf first.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// What rustls presents: the chain, and `roots` behind it where a joiner must find them.
    pub(crate) fn certified<'a>(&'a self, roots: impl Iterator<Item = &'a [u8]>) -> Arc<CertifiedKey> {
        let appended = roots.filter(|root| !self.chain.iter().any(|der| der == root));
        let chain = self.chain.iter().map(Vec::as_slice).chain(appended);
        let chain = chain.map(|der| CertificateDer::from(der.to_vec())).collect();
        Arc::new(CertifiedKey::new(chain, self.key.clone()))
    }
}

/// A key and a chain that make no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadIdentity {
    /// None, or more than are sent.
    #[error("the chain has {came} certificates, expected 1 to {max}", max = verify::CHAIN_MAX)]
    ChainLength {
        /// How many it has.
        came: usize,
    },
    /// One that cannot be read.
    #[error("certificate {place} of the chain cannot be read (the leaf is number 0)")]
    Certificate {
        /// Which one, the leaf being 0.
        place: usize,
        /// What is wrong with it.
        #[source]
        error: BadCertificate,
    },
    /// The leaf certifies another key.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch {
        /// The hash of the key that the leaf certifies.
        expected: Sha256,
        /// The hash of the key that came.
        came: Sha256,
    },
    /// The leaf names nobody.
    #[error("the certificate carries no identity")]
    NoIdentity(#[source] NoIdentity),
    /// The key cannot be used for TLS.
    #[error("the private key cannot be used")]
    Key(#[source] BadKey),
}

impl Explain for BadIdentity {
    fn explain(&self) -> Explanation {
        match self {
            BadIdentity::ChainLength { .. } => {
                Explanation::new(code::MALFORMED_CERTIFICATE, self.to_string())
            }
            BadIdentity::Certificate { place, error } => error.explain().fact("place in the chain", place),
            BadIdentity::KeyMismatch { expected, came } => {
                Explanation::new(code::KEY_MISMATCH, self.to_string())
                    .halves(expected.short(), came.short())
                    .hint("the certificate and the key are of two renewals: restore both of one")
            }
            BadIdentity::NoIdentity(_) => Explanation::new(code::NO_IDENTITY, self.to_string())
                .halves("one URI name spiffe://CLUSTER/ROLE/ID", "none, several, or another form"),
            BadIdentity::Key(bad) => bad.explain(),
        }
    }
}
