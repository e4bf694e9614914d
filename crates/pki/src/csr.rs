//! Certificate requests (PKCS#10, RFC 2986): made by nodes, read by managers.
//!
//! From a request only the public key is taken, and the proof that the asker holds its other half. The
//! names and extensions it asks for are never read: they come from the token or from policy.

use der::asn1::{AnyRef, BitStringRef};
use der::{Decode, Encode, Reader, SliceReader, Tag, Tagged};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use spki::AlgorithmIdentifierRef;
use webpki::{ALL_VERIFICATION_ALGS, RawPublicKeyEntity};
use x509_cert::builder::Builder;
use x509_cert::request::RequestBuilder;

use crate::code;
use crate::explain::{Explain, Explanation};
use crate::issue::encode::{Signing, bit_string, common_name};
use crate::key::{BadKey, PublicKey, Signer, SigningFailed};
use crate::pem;

/// Larger than any request of ours; what is larger is not read.
pub const REQUEST_BYTES_MAX: usize = 16 << 10;

/// A certificate request whose signature was checked: its maker holds the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Csr {
    /// The key that asks.
    pub public_key: PublicKey,
}

#[derive(der::Sequence)]
struct SignedRequest<'a> {
    info: AnyRef<'a>,
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}

impl Csr {
    /// A request for a certificate over `key`, DER. The name in it is for people; managers ignore it.
    pub fn make(key: &dyn Signer, name: &str) -> Result<Vec<u8>, BadRequest> {
        let not_made = |why: &dyn std::fmt::Display| BadRequest::Malformed { why: why.to_string() };
        let subject = common_name(name).map_err(|e| not_made(&e))?;
        let signing = Signing::new(key).map_err(|e| not_made(&e))?;
        let mut builder = RequestBuilder::new(subject).map_err(|e| not_made(&e))?;
        let info = builder.finalize(&signing).map_err(|e| not_made(&e))?;
        let signature = key.sign(&info).map_err(BadRequest::Signing)?;
        let signature = bit_string(&signature).map_err(|e| not_made(&e))?;
        let request = builder.assemble(signature, &signing).map_err(|e| not_made(&e))?;
        request.to_der().map_err(|e| not_made(&e))
    }

    /// Reads a request and checks that it is signed with the key it names.
    pub fn read(der: &[u8]) -> Result<Csr, BadRequest> {
        if der.len() > REQUEST_BYTES_MAX {
            return Err(BadRequest::TooLong { bytes: der.len() });
        }
        let malformed = |error: der::Error| BadRequest::Malformed { why: error.to_string() };
        let request = SignedRequest::from_der(der).map_err(malformed)?;
        // DER has one encoding: what is encoded again is what was signed.
        let signed = request.info.to_der().map_err(malformed)?;
        let spki = key_in(request.info).map_err(malformed)?;
        let public_key = PublicKey::from_spki_der(&spki).map_err(BadRequest::Key)?;
        let signature = request.signature.as_bytes().ok_or(BadRequest::NotProven)?;
        if proves(&spki, &request.algorithm, &signed, signature).map_err(malformed)? {
            Ok(Csr { public_key })
        } else {
            Err(BadRequest::NotProven)
        }
    }
}

/// The SubjectPublicKeyInfo in a CertificationRequestInfo (RFC 2986 4.1). The name and the attributes are
/// stepped over, whatever they hold.
fn key_in(info: AnyRef<'_>) -> Result<Vec<u8>, der::Error> {
    info.tag().assert_eq(Tag::Sequence)?;
    let mut reader = SliceReader::new(info.value())?;
    if u8::decode(&mut reader)? != 0 {
        return Err(Tag::Integer.value_error().into());
    }
    AnyRef::decode(&mut reader)?;
    let key = AnyRef::decode(&mut reader)?;
    if !reader.is_finished() {
        AnyRef::decode(&mut reader)?;
    }
    reader.finish()?;
    key.to_der()
}

/// Whether `signature` over `signed` was made with the key `spki`, by any known algorithm that has
/// the stated identifier.
pub(crate) fn proves(
    spki: &[u8],
    algorithm: &AlgorithmIdentifierRef<'_>,
    signed: &[u8],
    signature: &[u8],
) -> Result<bool, der::Error> {
    let spki = SubjectPublicKeyInfoDer::from(spki);
    let Ok(key) = RawPublicKeyEntity::try_from(&spki) else { return Ok(false) };
    let stated = algorithm.to_der()?;
    Ok(ALL_VERIFICATION_ALGS
        .iter()
        // An identifier is the SEQUENCE's content; the identifiers here are all shorter than 128 bytes.
        .filter(|known| stated.get(2..) == Some(known.signature_alg_id().as_ref()))
        .any(|known| key.verify_signature(*known, signed, signature).is_ok()))
}

/// A certificate request that is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// Not a request.
    #[error("not a certificate request: {why}")]
    Malformed {
        /// What is wrong.
        why: String,
    },
    /// Larger than is read.
    #[error("the certificate request has {bytes} bytes, at most {REQUEST_BYTES_MAX} are read")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// A key that is not accepted.
    #[error("the certificate request's key is not one that is accepted")]
    Key(#[source] BadKey),
    /// The signature is not by the key it names.
    #[error("the certificate request is not signed with the key it names")]
    NotProven,
    /// Not PEM.
    #[error("the text is not PEM")]
    Pem(#[source] pem::BadPem),
    /// None, or several.
    #[error("the text holds {came} certificate requests, expected one")]
    NotOne {
        /// How many it holds.
        came: usize,
    },
    /// The key could not sign.
    #[error("the certificate request could not be signed")]
    Signing(#[source] SigningFailed),
}

impl Explain for BadRequest {
    fn explain(&self) -> Explanation {
        match self {
            BadRequest::Key(key) => key.explain(),
            BadRequest::Pem(bad) => bad.explain(),
            BadRequest::Signing(failed) => failed.explain(),
            _ => Explanation::new(code::BAD_REQUEST, self.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyType, PrivateKey};

    #[test]
    fn requests_of_every_key_type_prove_their_key() {
        for key_type in [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa(2048)] {
            let key = PrivateKey::generate(key_type).ok().unwrap();
            let der = Csr::make(&key, "web-1").unwrap();
            assert_eq!(Csr::read(&der).unwrap().public_key, *key.public_key());
        }
    }

    #[test]
    fn a_request_signed_by_another_key_is_refused() {
        let key = PrivateKey::generate(KeyType::P256).ok().unwrap();
        let mut der = Csr::make(&key, "web-1").unwrap();
        let last = der.len() - 1;
        der[last] ^= 1;
        assert_eq!(Csr::read(&der), Err(BadRequest::NotProven));
        assert!(matches!(Csr::read(&der[..last]), Err(BadRequest::Malformed { .. })));
        assert!(matches!(Csr::read(&vec![0; 20_000]), Err(BadRequest::TooLong { .. })));
    }
}
