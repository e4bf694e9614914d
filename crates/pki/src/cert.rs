//! Reading certificates (RFC 5280 4): what one says, as plain values.
//!
//! Reading is not trusting: nothing here checks a signature or a time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280;
use der::asn1::{AnyRef, BitStringRef};
use der::{Decode, Encode};
use spki::AlgorithmIdentifierRef;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::Time;

use crate::code;
use crate::csr::proves;
use crate::explain::{Explain, Explanation};
use crate::hash::Sha256;
use crate::issue::Usage;
use crate::key::PublicKey;
use crate::name::{BadName, SpiffeId};
use crate::pem;
use crate::san::San;
use crate::serial::Serial;
use crate::time::UnixTime;

/// Larger than any certificate of a hundred names; what is larger is not read.
pub const CERTIFICATE_BYTES_MAX: usize = 64 << 10;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The whole certificate.
    pub der: Vec<u8>,
    /// Its serial number.
    pub serial: Serial,
    /// Its issuer's name, DER.
    pub issuer_der: Vec<u8>,
    /// Its issuer's name, RFC 4514.
    pub issuer: String,
    /// Its subject's name, DER.
    pub subject_der: Vec<u8>,
    /// Its subject's name, RFC 4514.
    pub subject: String,
    /// Its first moment.
    pub not_before: UnixTime,
    /// Its last moment.
    pub not_after: UnixTime,
    /// Its subject's key.
    pub public_key: PublicKey,
    /// Whether it may sign certificates.
    pub is_ca: bool,
    /// How many CA certificates may stand below it.
    pub path_len: Option<u8>,
    /// Whether its key may sign handshakes; true where key usage is not stated.
    pub digital_signature: bool,
    /// Which sides of a connection it is for.
    pub usage: Usage,
    /// Its URI names.
    pub uris: Vec<String>,
    /// Its DNS names and addresses.
    pub sans: Vec<San>,
    /// Names of other kinds, or that are not well-formed.
    pub other_names: usize,
    /// Its subject key identifier.
    pub subject_key_id: Option<Vec<u8>>,
    /// Its issuer's key identifier.
    pub authority_key_id: Option<Vec<u8>>,
}

impl Certificate {
    /// Reads one certificate.
    pub fn from_der(der: &[u8]) -> Result<Certificate, BadCertificate> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(BadCertificate::TooLong { bytes: der.len() });
        }
        let malformed = |error: der::Error| BadCertificate::Malformed { why: error.to_string() };
        let parsed = x509_cert::Certificate::from_der(der).map_err(malformed)?;
        let tbs = parsed.tbs_certificate();
        let spki = tbs.subject_public_key_info().to_der().map_err(malformed)?;
        let basic = tbs.get_extension::<BasicConstraints>().map_err(malformed)?;
        let key_usage = tbs.get_extension::<KeyUsage>().map_err(malformed)?;
        let extended = tbs.get_extension::<ExtendedKeyUsage>().map_err(malformed)?;
        let names = tbs.get_extension::<SubjectAltName>().map_err(malformed)?;
        let subject_key_id = tbs.get_extension::<SubjectKeyIdentifier>().map_err(malformed)?;
        let authority = tbs.get_extension::<AuthorityKeyIdentifier>().map_err(malformed)?;
        // The bytes of a negative number read like those of a positive one, and serials name certificates.
        if is_negative(tbs.serial_number()).map_err(malformed)? {
            return Err(BadCertificate::Malformed { why: "the serial number is negative".to_owned() });
        }
        let mut certificate = Certificate {
            der: der.to_vec(),
            serial: Serial::from_be_bytes(tbs.serial_number().as_bytes())
                .ok_or(BadCertificate::LongSerial { bytes: tbs.serial_number().as_bytes().len() })?,
            issuer_der: tbs.issuer().to_der().map_err(malformed)?,
            issuer: tbs.issuer().to_string(),
            subject_der: tbs.subject().to_der().map_err(malformed)?,
            subject: tbs.subject().to_string(),
            not_before: seconds(&tbs.validity().not_before),
            not_after: seconds(&tbs.validity().not_after),
            public_key: PublicKey::from_spki_der(&spki).map_err(BadCertificate::Key)?,
            is_ca: basic.as_ref().is_some_and(|(_, basic)| basic.ca),
            path_len: basic.and_then(|(_, basic)| basic.path_len_constraint),
            digital_signature: key_usage.is_none_or(|(_, usage)| usage.digital_signature()),
            usage: extended.map_or(Usage::ANY, |(_, extended)| usage_of(&extended.0)),
            uris: Vec::new(),
            sans: Vec::new(),
            other_names: 0,
            subject_key_id: subject_key_id.map(|(_, id)| id.0.as_bytes().to_vec()),
            authority_key_id: authority
                .and_then(|(_, id)| id.key_identifier)
                .map(|id| id.as_bytes().to_vec()),
        };
        for name in names.map(|(_, names)| names.0).unwrap_or_default() {
            certificate.take_name(&name);
        }
        Ok(certificate)
    }

    /// Reads every certificate of a PEM text, in order; there must be one at least.
    pub fn many_from_pem(text: &str) -> Result<Vec<Certificate>, BadCertificate> {
        let blocks = pem::decode(text).map_err(BadCertificate::Pem)?;
        let certificates: Vec<Certificate> = blocks
            .iter()
            .filter(|block| block.label == pem::CERTIFICATE)
            .map(|block| {
                Certificate::from_der(&block.der)
                    .map_err(|error| BadCertificate::AtLine { line: block.line, error: Box::new(error) })
            })
            .collect::<Result<_, _>>()?;
        if certificates.is_empty() { Err(BadCertificate::None) } else { Ok(certificates) }
    }

    /// The certificate as PEM.
    pub fn to_pem(&self) -> String {
        pem::encode(pem::CERTIFICATE, &self.der)
    }

    /// SHA-256 of the whole certificate.
    pub fn fingerprint(&self) -> Sha256 {
        Sha256::of(&self.der)
    }

    /// SHA-256 of its public key's SubjectPublicKeyInfo.
    pub fn key_hash(&self) -> Sha256 {
        self.public_key.hash()
    }

    /// Whether `signer`'s key made the signature on it. Names, times and constraints are not looked at.
    pub fn verify_signed_by(&self, signer: &Certificate) -> bool {
        let checked = || -> der::Result<bool> {
            let signed = SignedCertificate::from_der(&self.der)?;
            let spki = x509_cert::Certificate::from_der(&signer.der)?;
            let spki = spki.tbs_certificate().subject_public_key_info().to_der()?;
            let Some(signature) = signed.signature.as_bytes() else { return Ok(false) };
            // DER has one encoding: what is encoded again is what was signed.
            proves(&spki, &signed.algorithm, &signed.tbs.to_der()?, signature)
        };
        checked().unwrap_or(false)
    }

    /// Its identity: the one URI it carries, if that is a node's.
    pub fn identity(&self) -> Result<SpiffeId, NoIdentity> {
        match &self.uris[..] {
            [uri] => uri.parse().map_err(NoIdentity::Bad),
            uris => Err(NoIdentity::Count { came: uris.len() }),
        }
    }

    /// The subject's common name as RFC 4514 writes it, or the whole subject where it has none.
    pub fn common_name(&self) -> &str {
        let mut start = 0;
        let mut escaped = false;
        for (at, c) in self.subject.char_indices().chain([(self.subject.len(), ',')]) {
            if !escaped && matches!(c, ',' | '+') {
                if let Some(name) = self.subject[start..at].strip_prefix("CN=") {
                    return name;
                }
                start = at + 1;
            }
            escaped = !escaped && c == '\\';
        }
        &self.subject
    }

    fn take_name(&mut self, name: &GeneralName) {
        let taken = match name {
            GeneralName::UniformResourceIdentifier(uri) => {
                self.uris.push(uri.as_str().to_owned());
                return;
            }
            GeneralName::DnsName(name) => name.as_str().parse().ok().filter(|san| matches!(san, San::Dns(_))),
            GeneralName::IpAddress(bytes) => ip(bytes.as_bytes()).map(San::Ip),
            _ => None,
        };
        match taken {
            Some(san) => self.sans.push(san),
            None => self.other_names += 1,
        }
    }
}

/// The outermost sequence (RFC 5280 4.1), with what was signed as it stands.
#[derive(der::Sequence)]
struct SignedCertificate<'a> {
    tbs: AnyRef<'a>,
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}

fn is_negative(serial: &SerialNumber) -> der::Result<bool> {
    // Behind tag and length; a length of one byte, as there are 21 bytes at most.
    Ok(serial.to_der()?.get(2).is_some_and(|first| first & 0x80 != 0))
}

pub(crate) fn seconds(time: &Time) -> UnixTime {
    UnixTime::from_secs(i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX))
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(|octets| Ipv4Addr::from(octets).into());
    v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into()))
}

pub(crate) fn usage_of(purposes: &[ObjectIdentifier]) -> Usage {
    let any = purposes.contains(&rfc5280::ANY_EXTENDED_KEY_USAGE);
    Usage {
        server: any || purposes.contains(&rfc5280::ID_KP_SERVER_AUTH),
        client: any || purposes.contains(&rfc5280::ID_KP_CLIENT_AUTH),
    }
}

/// A certificate that carries no identity of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoIdentity {
    /// None, or several.
    #[error("the certificate carries {came} URI names, expected exactly one: its identity")]
    Count {
        /// How many it carries.
        came: usize,
    },
    /// One that is not an identity.
    #[error("the certificate's URI name is not an identity")]
    Bad(#[source] BadName),
}

/// Bytes that are not a certificate that can be used here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// Not a certificate.
    #[error("not a certificate: {why}")]
    Malformed {
        /// What is wrong.
        why: String,
    },
    /// Larger than is read.
    #[error("the certificate has {bytes} bytes, at most {CERTIFICATE_BYTES_MAX} are read")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// RFC 5280 4.1.2.2.
    #[error("the serial number has {bytes} bytes, at most 20 are allowed")]
    LongSerial {
        /// How many it has.
        bytes: usize,
    },
    /// Its key cannot be used.
    #[error("the certificate's key is not one that is accepted")]
    Key(#[source] crate::key::BadKey),
    /// Not PEM.
    #[error("the text is not PEM")]
    Pem(#[source] pem::BadPem),
    /// One of several.
    #[error("the certificate on line {line} cannot be read")]
    AtLine {
        /// Where it begins.
        line: usize,
        /// What is wrong with it.
        #[source]
        error: Box<BadCertificate>,
    },
    /// A text without any.
    #[error("the text holds no certificate")]
    None,
}

impl Explain for BadCertificate {
    fn explain(&self) -> Explanation {
        match self {
            BadCertificate::Key(key) => key.explain(),
            BadCertificate::Pem(bad) => bad.explain(),
            BadCertificate::AtLine { line, error } => error.explain().fact("line", line),
            _ => Explanation::new(code::MALFORMED_CERTIFICATE, self.to_string()),
        }
    }
}
