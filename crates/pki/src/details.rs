//! All that a certificate says, in words for people: what `cert info` shows beside [`Certificate`].
//!
//! Reading is not trusting, and what is not understood is named, not hidden.

use const_oid::db::{rfc5280, rfc5912, rfc8410};
use const_oid::{AssociatedOid, ObjectIdentifier};
use der::{Decode, Encode};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AuthorityInfoAccessSyntax, BasicConstraints, CrlDistributionPoints, ExtendedKeyUsage, KeyUsage,
    NameConstraints as NameConstraintsExt, SubjectAltName,
};

use crate::alt::AltName;
use crate::cert::{BadCertificate, CERTIFICATE_BYTES_MAX, Certificate};
use crate::constraints::{NameConstraints, Subtree};
use crate::name::shown;
use crate::subject::Subject;

/// What a certificate says beyond [`Certificate`], each part in words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Details {
    /// 1, 2 or 3.
    pub version: u8,
    /// The subject as RFC 4514 writes it.
    pub subject: String,
    /// The issuer as RFC 4514 writes it.
    pub issuer: String,
    /// The algorithm of its signature: `ecdsa-with-SHA256`.
    pub signature_algorithm: String,
    /// What its key may do: `digitalSignature`; nothing where it does not say.
    pub key_usage: Vec<&'static str>,
    /// What it is for: `serverAuth`; nothing where it does not say.
    pub purposes: Vec<String>,
    /// Its names with their kinds: `dns:web.example.com`, `other:directory name`.
    pub names: Vec<String>,
    /// What certificates below it may be called, as far as that is understood.
    pub constraints: NameConstraints,
    /// Constraints of kinds that are not understood here.
    pub other_constraints: usize,
    /// Where its issuer's revocation list is fetched.
    pub crl_urls: Vec<String>,
    /// Where its issuer's certificate, or an OCSP responder, is reached.
    pub issuer_urls: Vec<String>,
    /// Every extension: its object identifier, and whether it is critical.
    pub extensions: Vec<(String, bool)>,
}

impl Certificate {
    /// All that it says.
    ///
    /// # Errors
    /// An extension of a known kind that cannot be read.
    pub fn details(&self) -> Result<Details, BadCertificate> {
        Details::read(&self.der)
    }
}

impl Details {
    /// What the certificate in these bytes says; also of one whose key is not accepted here.
    pub fn read(der: &[u8]) -> Result<Details, BadCertificate> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(BadCertificate::TooLong { bytes: der.len() });
        }
        of(der).map_err(|error| BadCertificate::Malformed { why: error.to_string() })
    }
}

fn of(der: &[u8]) -> der::Result<Details> {
    let parsed = x509_cert::Certificate::from_der(der)?;
    let tbs = parsed.tbs_certificate();
    let written =
        |der: Vec<u8>, fallback: String| Subject::from_der(&der).map_or(fallback, |s| s.to_string());
    let mut details = Details {
        version: tbs.version() as u8 + 1,
        subject: written(tbs.subject().to_der()?, tbs.subject().to_string()),
        issuer: written(tbs.issuer().to_der()?, tbs.issuer().to_string()),
        signature_algorithm: algorithm_in_words(parsed.signature_algorithm().oid),
        key_usage: Vec::new(),
        purposes: Vec::new(),
        names: Vec::new(),
        constraints: NameConstraints::none(),
        other_constraints: 0,
        crl_urls: Vec::new(),
        issuer_urls: Vec::new(),
        extensions: Vec::new(),
    };
    for extension in tbs.extensions().into_iter().flatten() {
        details.take(extension)?;
    }
    Ok(details)
}

impl Details {
    fn take(&mut self, extension: &Extension) -> der::Result<()> {
        let value = extension.extn_value.as_bytes();
        self.extensions.push((extension.extn_id.to_string(), extension.critical));
        match extension.extn_id {
            KeyUsage::OID => self.key_usage = key_usage_in_words(&KeyUsage::from_der(value)?),
            ExtendedKeyUsage::OID => {
                let purposes = ExtendedKeyUsage::from_der(value)?;
                self.purposes = purposes.0.iter().map(purpose_in_words).collect();
            }
            SubjectAltName::OID => {
                self.names = SubjectAltName::from_der(value)?.0.iter().map(name_in_words).collect();
            }
            NameConstraintsExt::OID => {
                let stated = NameConstraintsExt::from_der(value)?;
                self.constraints = NameConstraints::from_extension(&stated);
                let sets = [&stated.permitted_subtrees, &stated.excluded_subtrees];
                let sets = sets.into_iter().flatten().flatten();
                self.other_constraints =
                    sets.filter(|set| Subtree::from_general_name(&set.base).is_none()).count();
            }
            CrlDistributionPoints::OID => {
                for point in CrlDistributionPoints::from_der(value)?.0 {
                    if let Some(DistributionPointName::FullName(names)) = point.distribution_point {
                        self.crl_urls.extend(names.iter().filter_map(url));
                    }
                }
            }
            AuthorityInfoAccessSyntax::OID => {
                let accesses = AuthorityInfoAccessSyntax::from_der(value)?;
                self.issuer_urls.extend(accesses.0.iter().filter_map(|access| url(&access.access_location)));
            }
            // Read by `Certificate`.
            BasicConstraints::OID => {}
            _ => {}
        }
        Ok(())
    }
}

fn url(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(shown(uri.as_str())),
        _ => None,
    }
}

/// A name of any kind in words; one that is not well-formed is shown with its beginning.
pub(crate) fn name_in_words(name: &GeneralName) -> String {
    if let Some(name) = AltName::from_general_name(name) {
        return name.to_string();
    }
    match name {
        GeneralName::DnsName(text) => format!("dns:{} (not well-formed)", shown(text.as_str())),
        GeneralName::Rfc822Name(text) => format!("email:{} (not well-formed)", shown(text.as_str())),
        GeneralName::UniformResourceIdentifier(text) => format!("uri:{}", shown(text.as_str())),
        GeneralName::IpAddress(bytes) => format!("ip:{} bytes (not well-formed)", bytes.as_bytes().len()),
        GeneralName::DirectoryName(name) => format!("other:directory name {}", shown(&name.to_string())),
        GeneralName::OtherName(name) => format!("other:{}", name.type_id),
        GeneralName::RegisteredId(oid) => format!("other:{oid}"),
        GeneralName::EdiPartyName(_) => "other:EDI party name".to_owned(),
    }
}

fn key_usage_in_words(usage: &KeyUsage) -> Vec<&'static str> {
    [
        (usage.digital_signature(), "digitalSignature"),
        (usage.non_repudiation(), "nonRepudiation"),
        (usage.key_encipherment(), "keyEncipherment"),
        (usage.data_encipherment(), "dataEncipherment"),
        (usage.key_agreement(), "keyAgreement"),
        (usage.key_cert_sign(), "keyCertSign"),
        (usage.crl_sign(), "cRLSign"),
        (usage.encipher_only(), "encipherOnly"),
        (usage.decipher_only(), "decipherOnly"),
    ]
    .into_iter()
    .filter_map(|(stated, word)| stated.then_some(word))
    .collect()
}

/// A purpose by its word, or its object identifier.
pub(crate) fn purpose_in_words(oid: &ObjectIdentifier) -> String {
    let word = match *oid {
        rfc5280::ID_KP_SERVER_AUTH => "serverAuth",
        rfc5280::ID_KP_CLIENT_AUTH => "clientAuth",
        rfc5280::ID_KP_CODE_SIGNING => "codeSigning",
        rfc5280::ID_KP_EMAIL_PROTECTION => "emailProtection",
        rfc5280::ID_KP_TIME_STAMPING => "timeStamping",
        rfc5280::ID_KP_OCSP_SIGNING => "OCSPSigning",
        rfc5280::ANY_EXTENDED_KEY_USAGE => "anyExtendedKeyUsage",
        other => return other.to_string(),
    };
    word.to_owned()
}

/// An algorithm of signatures by its usual word, or its object identifier.
pub(crate) fn algorithm_in_words(oid: ObjectIdentifier) -> String {
    let word = match oid {
        rfc5912::ECDSA_WITH_SHA_256 => "ecdsa-with-SHA256",
        rfc5912::ECDSA_WITH_SHA_384 => "ecdsa-with-SHA384",
        rfc5912::ECDSA_WITH_SHA_512 => "ecdsa-with-SHA512",
        rfc5912::SHA_256_WITH_RSA_ENCRYPTION => "sha256WithRSAEncryption",
        rfc5912::SHA_384_WITH_RSA_ENCRYPTION => "sha384WithRSAEncryption",
        rfc5912::SHA_512_WITH_RSA_ENCRYPTION => "sha512WithRSAEncryption",
        rfc5912::ID_RSASSA_PSS => "rsassaPss",
        rfc5912::SHA_1_WITH_RSA_ENCRYPTION => "sha1WithRSAEncryption",
        rfc8410::ID_ED_25519 => "ed25519",
        other => return other.to_string(),
    };
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use crate::{
        AuthorityPlan, Issuer, KeyType, Lifetime, NameConstraints, PrivateKey, Serial, UnixTime, Validity,
    };

    #[test]
    fn what_was_planned_is_said() {
        let key = PrivateKey::generate(KeyType::P256).ok().unwrap();
        let year = Validity::starting(UnixTime::from_secs(1_800_000_000), Lifetime::from_days(365));
        let mut plan = AuthorityPlan::new("CN=a,O=b".parse().unwrap(), Some(0), year);
        plan.constraints =
            NameConstraints { permitted: vec!["dns:example.com".parse().unwrap()], excluded: vec![] };
        plan.crl_urls = vec!["http://crl.example.com/".into()];
        let ca = Issuer::found(&plan, Serial::from_random([7; 16]), &key).unwrap();
        let details = ca.certificate().details().unwrap();
        assert_eq!((details.version, details.subject.as_str()), (3, "CN=a,O=b"));
        assert_eq!(details.signature_algorithm, "ecdsa-with-SHA256");
        assert_eq!(details.key_usage, ["keyCertSign", "cRLSign"]);
        assert_eq!((details.constraints, details.crl_urls), (plan.constraints, plan.crl_urls));
        assert_eq!(details.extensions.iter().filter(|(_, critical)| *critical).count(), 3);
    }
}
