//! Key pairs of the kinds Certus must read.

/// What kind of key to make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyType {
    /// ECDSA on P-256, signing with SHA-256. The default, as in Certus.
    #[default]
    P256,
    /// ECDSA on P-384, signing with SHA-384.
    P384,
    /// Ed25519.
    Ed25519,
    /// RSA of 2048 bits, signing PKCS #1 v1.5 with SHA-256. Slow to make: about 0.1 s, often more.
    Rsa2048,
}

/// A private key. `Debug` shows its kind only.
pub struct Key(pub(crate) rcgen::KeyPair);

impl Key {
    /// Makes a fresh key.
    pub fn generate(key_type: KeyType) -> Self {
        let algorithm = match key_type {
            KeyType::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyType::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            KeyType::Ed25519 => &rcgen::PKCS_ED25519,
            KeyType::Rsa2048 => &rcgen::PKCS_RSA_SHA256,
        };
        Self(rcgen::KeyPair::generate_for(algorithm).expect("aws-lc-rs makes keys of every kind"))
    }

    /// Reads a key from PKCS #8 DER, for example one that Certus made.
    pub fn from_pkcs8_der(der: &[u8]) -> Self {
        Self(rcgen::KeyPair::try_from(der).expect("PKCS #8 DER of a supported kind"))
    }

    /// The private key as PKCS #8 DER.
    pub fn pkcs8_der(&self) -> Vec<u8> {
        self.0.serialize_der()
    }

    /// The private key as PEM, `PRIVATE KEY`.
    pub fn pem(&self) -> String {
        crate::pem("PRIVATE KEY", self.0.serialized_der())
    }

    /// The public key as SubjectPublicKeyInfo DER: what tokens and issuers are pinned by.
    pub fn spki_der(&self) -> Vec<u8> {
        rcgen::PublicKeyData::subject_public_key_info(&self.0)
    }
}

impl Clone for Key {
    fn clone(&self) -> Self {
        Self::from_pkcs8_der(&self.pkcs8_der())
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:?})", self.0.algorithm())
    }
}
