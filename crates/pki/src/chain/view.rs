//! A certificate with all that a path validator looks at, read once.

use const_oid::{AssociatedOid, ObjectIdentifier};
use der::asn1::{AnyRef, BitStringRef};
use der::{Decode, Encode};
use rustls_pki_types::SignatureVerificationAlgorithm;
use spki::AlgorithmIdentifierRef;
use webpki::ALL_VERIFICATION_ALGS;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::constraints::name::NameConstraints as NameConstraintsExt;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName,
};

use super::rejection::ChainRejection;
use crate::cert::{BadCertificate, Certificate};
use crate::csr::proves;
use crate::details::{algorithm_in_words, purpose_in_words};

/// More extensions than any certificate has.
pub(super) const EXTENSIONS_MAX: usize = 64;

pub(super) struct View {
    pub(super) cert: Certificate,
    /// 1, 2 or 3.
    pub(super) version: u8,
    pub(super) extensions: Vec<Extension>,
    pub(super) basic: Option<BasicConstraints>,
    pub(super) key_usage: Option<KeyUsage>,
    pub(super) purposes: Option<Vec<ObjectIdentifier>>,
    pub(super) names: Option<Vec<GeneralName>>,
    pub(super) constraints: Option<NameConstraintsExt>,
    pub(super) authority: Option<AuthorityKeyIdentifier>,
    tbs: Vec<u8>,
    algorithm: Vec<u8>,
    inner_algorithm: Vec<u8>,
    signature: Vec<u8>,
}

/// Why a certificate cannot be looked at.
pub(super) struct Unreadable(BadCertificate);

impl Unreadable {
    /// The rejection; `which` says whose certificate it is.
    pub(super) fn of(self, which: String) -> ChainRejection {
        ChainRejection::Certificate { which, error: self.0 }
    }
}

impl View {
    pub(super) fn read(der: &[u8]) -> Result<View, Unreadable> {
        let cert = Certificate::from_der(der).map_err(Unreadable)?;
        View::of(cert).map_err(|error| Unreadable(BadCertificate::Malformed { why: error.to_string() }))
    }

    fn of(cert: Certificate) -> der::Result<View> {
        #[derive(der::Sequence)]
        struct Outer<'a> {
            tbs: AnyRef<'a>,
            algorithm: AlgorithmIdentifierRef<'a>,
            signature: BitStringRef<'a>,
        }
        let outer = Outer::from_der(&cert.der)?;
        let parsed = x509_cert::Certificate::from_der(&cert.der)?;
        let parsed = parsed.tbs_certificate();
        let extensions = parsed.extensions().cloned().unwrap_or_default();
        fn typed<T: AssociatedOid + for<'a> Decode<'a, Error = der::Error>>(
            extensions: &[Extension],
        ) -> der::Result<Option<T>> {
            let found = extensions.iter().find(|extension| extension.extn_id == T::OID);
            found.map(|extension| T::from_der(extension.extn_value.as_bytes())).transpose()
        }
        let (tbs, algorithm) = (outer.tbs.to_der()?, outer.algorithm.to_der()?);
        let signature = outer.signature.as_bytes().unwrap_or_default().to_vec();
        Ok(View {
            version: parsed.version() as u8 + 1,
            basic: typed(&extensions)?,
            key_usage: typed(&extensions)?,
            purposes: typed::<ExtendedKeyUsage>(&extensions)?.map(|purposes| purposes.0),
            names: typed::<SubjectAltName>(&extensions)?.map(|names| names.0),
            constraints: typed(&extensions)?,
            authority: typed(&extensions)?,
            extensions,
            tbs,
            algorithm,
            inner_algorithm: parsed.signature().to_der()?,
            signature,
            cert,
        })
    }

    /// Its name for people: the subject, or the serial number where it has none.
    pub(super) fn called(&self) -> String {
        if self.cert.subject.is_empty() {
            format!("serial {}", self.cert.serial)
        } else {
            self.cert.subject.clone()
        }
    }

    /// Whether `above`'s key made its signature, by the algorithm that both places state.
    pub(super) fn is_signed_by(&self, above: &View) -> bool {
        let Ok(algorithm) = AlgorithmIdentifierRef::from_der(&self.algorithm) else { return false };
        self.algorithm == self.inner_algorithm
            && proves(above.cert.public_key.spki_der(), &algorithm, &self.tbs, &self.signature)
                .unwrap_or(false)
    }

    /// The algorithm of its signature in words, if that is not one that is accepted: SHA-1, for example.
    pub(super) fn unknown_algorithm(&self) -> Option<String> {
        let known = |known: &&dyn SignatureVerificationAlgorithm| {
            // An identifier is the SEQUENCE's content; the identifiers here are all shorter than 128 bytes.
            self.algorithm.get(2..) == Some(known.signature_alg_id().as_ref())
        };
        if ALL_VERIFICATION_ALGS.iter().any(known) {
            return None;
        }
        let oid = AlgorithmIdentifierRef::from_der(&self.algorithm).map(|algorithm| algorithm.oid);
        Some(oid.map_or_else(|_| "unreadable".to_owned(), algorithm_in_words))
    }

    /// Whether its issuer's name is `above`'s name.
    pub(super) fn names_issuer(&self, above: &View) -> bool {
        self.cert.issuer_der == above.cert.subject_der
    }

    /// Whether issuer and subject have one name (RFC 5280 3.2).
    pub(super) fn is_self_issued(&self) -> bool {
        self.cert.issuer_der == self.cert.subject_der
    }

    pub(super) fn has_critical(&self, oid: ObjectIdentifier) -> bool {
        self.extensions.iter().any(|extension| extension.extn_id == oid && extension.critical)
    }

    pub(super) fn constrains_email(&self) -> bool {
        let sets = self.constraints.iter().flat_map(|c| [&c.permitted_subtrees, &c.excluded_subtrees]);
        sets.flatten().flatten().any(|set| matches!(set.base, GeneralName::Rfc822Name(_)))
    }

    /// Extended key usages for people.
    pub(super) fn purposes_in_words(&self) -> String {
        let words: Vec<String> = self.purposes.iter().flatten().map(purpose_in_words).collect();
        if words.is_empty() { "none".to_owned() } else { words.join(", ") }
    }
}
