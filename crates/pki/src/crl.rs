//! Revocation lists (RFC 5280 5): made by CAs from files, read from anywhere.
//!
//! A cluster's own revocations do not travel so; they are pushed (see [`crate::bundle`]).

use std::collections::BTreeMap;

use const_oid::AssociatedOid;
use const_oid::db::rfc5280;
use der::asn1::{AnyRef, BitStringRef, OctetString};
use der::{Decode, Encode, Enumerated, Reader, Tag, Tagged};
use spki::{AlgorithmIdentifierOwned, AlgorithmIdentifierRef};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, CrlNumber, KeyUsage};
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::Time;

use crate::cert::Certificate;
use crate::code;
use crate::csr::proves;
use crate::explain::{Explain, Explanation};
use crate::issue::encode::{Signing, encoding};
use crate::issue::offline::{add, short_time, signed};
use crate::issue::{Issuer, NotIssued};
use crate::key::Signer;
use crate::pem;
use crate::revoke::Reason;
use crate::serial::Serial;
use crate::subject::Subject;
use crate::time::UnixTime;

/// Larger than a list of a million entries with reasons; what is larger is not read.
pub const CRL_BYTES_MAX: usize = 64 << 20;

/// What a revocation list shall say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlPlan {
    /// Its number, above that of the list before it (RFC 5280 5.2.3).
    pub number: u64,
    /// The number of the list before it, if there was one.
    pub previous: Option<u64>,
    /// When it is made.
    pub this_update: UnixTime,
    /// When the next one is made at the latest; afterwards readers do not go by this one.
    pub next_update: UnixTime,
    /// What is revoked.
    pub revoked: Vec<RevokedCert>,
}

/// One entry of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevokedCert {
    /// Which certificate of the list's issuer.
    pub serial: Serial,
    /// Since when.
    pub at: UnixTime,
    /// Why; a reason not in [`Reason`] reads as unspecified.
    pub reason: Reason,
}

#[derive(der::Sequence)]
struct TbsCertList<'a> {
    version: u8,
    algorithm: AlgorithmIdentifierOwned,
    issuer: AnyRef<'a>,
    this_update: Time,
    next_update: Time,
    revoked: Option<Vec<Entry>>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

#[derive(der::Sequence)]
struct Entry {
    serial: SerialNumber,
    at: Time,
    extensions: Option<Vec<Extension>>,
}

/// CRLReason (RFC 5280 5.3.1), as far as it is written here.
#[derive(Clone, Copy, Debug, Enumerated, PartialEq, Eq)]
#[repr(u32)]
enum ReasonCode {
    Unspecified = 0,
    KeyCompromise = 1,
    CaCompromise = 2,
    AffiliationChanged = 3,
    Superseded = 4,
    CessationOfOperation = 5,
    CertificateHold = 6,
    RemoveFromCrl = 8,
    PrivilegeWithdrawn = 9,
    AaCompromise = 10,
}

impl Issuer {
    /// Signs a revocation list, DER.
    ///
    /// ```
    /// # use certus_pki::*;
    /// # let now = UnixTime::from_secs(1_800_000_000);
    /// # let key = PrivateKey::generate(KeyType::P256)?;
    /// # let plan = AuthorityPlan::new("CN=root".parse()?, None, Validity::starting(now, Lifetime::from_days(365)));
    /// # let root = Issuer::found(&plan, Serial::from_random([7; 16]), &key)?;
    /// let stolen = Serial::from_random([9; 16]);
    /// let plan = CrlPlan {
    ///     number: 2,
    ///     previous: Some(1),
    ///     this_update: now,
    ///     next_update: now.plus(Lifetime::from_days(7)),
    ///     revoked: vec![RevokedCert { serial: stolen, at: now, reason: Reason::KeyCompromise }],
    /// };
    /// let crl = Crl::from_der(&root.sign_crl(&plan, &key)?)?;
    /// crl.check_signed_by(root.certificate())?;
    /// assert_eq!(crl.entry(&stolen).map(|entry| entry.reason), Some(Reason::KeyCompromise));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A number that does not grow, a key that is not this CA's, moments that cannot be stated.
    pub fn sign_crl(&self, plan: &CrlPlan, key: &dyn Signer) -> Result<Vec<u8>, NotIssued> {
        self.owns(key)?;
        if let Some(previous) = plan.previous.filter(|previous| plan.number <= *previous) {
            return Err(NotIssued::CrlNumber { came: plan.number, previous });
        }
        if plan.next_update < plan.this_update {
            let (not_before, not_after) = (plan.this_update, plan.next_update);
            return Err(NotIssued::EndsBeforeItBegins { not_before, not_after });
        }
        let revoked = plan.revoked.iter().map(Entry::of).collect::<Result<Vec<_>, _>>()?;
        let mut extensions = Vec::new();
        let key_identifier = Some(OctetString::new(self.key_id()).map_err(encoding)?);
        let authority = AuthorityKeyIdentifier { key_identifier, ..AuthorityKeyIdentifier::default() };
        add(&mut extensions, false, &authority)?;
        add(&mut extensions, false, &CrlNumber::try_from(plan.number).map_err(encoding)?)?;
        let name = self.subject_name()?;
        let list = TbsCertList {
            // Version 2, counted from 0.
            version: 1,
            algorithm: Signing::algorithm(key.public_key()),
            issuer: AnyRef::from_der(name.der()).map_err(encoding)?,
            this_update: short_time(plan.this_update)?,
            next_update: short_time(plan.next_update)?,
            // RFC 5280 5.1.2.6: an empty list is left out.
            revoked: Some(revoked).filter(|revoked| !revoked.is_empty()),
            extensions,
        };
        signed(&list.to_der().map_err(encoding)?, key)
    }
}

impl Entry {
    fn of(revoked: &RevokedCert) -> Result<Entry, NotIssued> {
        let code = match revoked.reason {
            // RFC 5280 5.3.1: left out rather than stated as unspecified.
            Reason::Unspecified => None,
            Reason::KeyCompromise => Some(ReasonCode::KeyCompromise),
            Reason::AffiliationChanged => Some(ReasonCode::AffiliationChanged),
            Reason::Superseded => Some(ReasonCode::Superseded),
            Reason::CessationOfOperation => Some(ReasonCode::CessationOfOperation),
            Reason::PrivilegeWithdrawn => Some(ReasonCode::PrivilegeWithdrawn),
        };
        let extension = |code: ReasonCode| {
            let extn_value = OctetString::new(code.to_der().map_err(encoding)?).map_err(encoding)?;
            Ok(vec![Extension { extn_id: rfc5280::ID_CE_CRL_REASONS, critical: false, extn_value }])
        };
        Ok(Entry {
            serial: SerialNumber::new(revoked.serial.significant()).map_err(encoding)?,
            at: short_time(revoked.at)?,
            extensions: code.map(extension).transpose()?,
        })
    }
}

/// A revocation list that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crl {
    /// The whole list.
    pub der: Vec<u8>,
    /// The name of its issuer.
    pub issuer: Subject,
    /// Its issuer's key identifier.
    pub authority_key_id: Option<Vec<u8>>,
    /// Its number, hexadecimal; lists of profiles other than RFC 5280's may have none.
    pub number: Option<String>,
    /// When it was made.
    pub this_update: UnixTime,
    /// When the next one is due; RFC 5280 5.1.2.5 wants it stated, not everybody does.
    pub next_update: Option<UnixTime>,
    /// Critical extensions, of the list or an entry, that are not understood here: it may be about other
    /// certificates than those its issuer signed.
    pub not_understood: Vec<String>,
    entries: BTreeMap<Serial, RevokedCert>,
}

impl Crl {
    /// Reads a list. Nothing is checked: see [`Crl::check_signed_by`] and [`Crl::check_current`].
    pub fn from_der(der: &[u8]) -> Result<Crl, BadCrl> {
        if der.len() > CRL_BYTES_MAX {
            return Err(BadCrl::TooLong { bytes: der.len() });
        }
        read(der).map_err(|error| BadCrl::Malformed { why: error.to_string() })
    }

    /// Every list in a PEM text, in order; there must be one at least.
    pub fn many_from_pem(text: &str) -> Result<Vec<Crl>, BadCrl> {
        let blocks = pem::decode(text).map_err(BadCrl::Pem)?;
        let lists = blocks.iter().filter(|block| block.label == pem::X509_CRL);
        let lists = lists.map(|block| Crl::from_der(&block.der)).collect::<Result<Vec<_>, _>>()?;
        if lists.is_empty() { Err(BadCrl::None) } else { Ok(lists) }
    }

    /// The list as PEM.
    pub fn to_pem(&self) -> String {
        pem::encode(pem::X509_CRL, &self.der)
    }

    /// The entry for a serial number, if it is revoked.
    pub fn entry(&self, serial: &Serial) -> Option<&RevokedCert> {
        self.entries.get(serial)
    }

    /// Every entry, by serial number.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &RevokedCert> {
        self.entries.values()
    }

    /// Whether `ca` is the CA it names.
    pub fn names(&self, ca: &Certificate) -> bool {
        let keys = self.authority_key_id.as_ref().zip(ca.subject_key_id.as_ref());
        self.issuer.der() == ca.subject_der && keys.is_none_or(|(named, key)| named == key)
    }

    /// Checks that `ca` made it: name, key, the right to sign lists, signature.
    pub fn check_signed_by(&self, ca: &Certificate) -> Result<(), BadCrl> {
        if !self.names(ca) {
            let (expected, came) = (ca.subject.clone(), self.issuer.to_string());
            return Err(BadCrl::OtherIssuer { expected, came });
        }
        let may_sign = || -> der::Result<bool> {
            let parsed = x509_cert::Certificate::from_der(&ca.der)?;
            let usage = parsed.tbs_certificate().get_extension::<KeyUsage>()?;
            Ok(usage.is_none_or(|(_, usage)| usage.crl_sign()))
        };
        if !may_sign().unwrap_or(false) {
            return Err(BadCrl::MayNotSign { issuer: ca.subject.clone() });
        }
        let proven = || -> der::Result<bool> {
            let list = SignedList::from_der(&self.der)?;
            let Some(signature) = list.signature.as_bytes() else { return Ok(false) };
            proves(ca.public_key.spki_der(), &list.algorithm, &list.content.to_der()?, signature)
        };
        if proven().unwrap_or(false) { Ok(()) } else { Err(BadCrl::Signature) }
    }

    /// Checks that it may be gone by at `now`: its time, and that all of it is understood.
    pub fn check_current(&self, now: UnixTime) -> Result<(), BadCrl> {
        if now < self.this_update {
            return Err(BadCrl::NotYet { now, this_update: self.this_update });
        }
        if let Some(next_update) = self.next_update.filter(|next| now > *next) {
            return Err(BadCrl::Ended { now, next_update });
        }
        match self.not_understood.first() {
            Some(extension) => Err(BadCrl::NotUnderstood { extension: extension.clone() }),
            None => Ok(()),
        }
    }
}

#[derive(der::Sequence)]
struct SignedList<'a> {
    content: AnyRef<'a>,
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}

fn read(der: &[u8]) -> der::Result<Crl> {
    let list = SignedList::from_der(der)?;
    let mut crl = Crl {
        der: der.to_vec(),
        issuer: Subject::empty(),
        authority_key_id: None,
        number: None,
        this_update: UnixTime::from_secs(0),
        next_update: None,
        not_understood: Vec::new(),
        entries: BTreeMap::new(),
    };
    list.content.sequence(|fields| {
        // Version 1 states none.
        if Tag::peek(fields)? == Tag::Integer && u8::decode(fields)? != 1 {
            return Err(Tag::Integer.value_error().into());
        }
        let algorithm = AlgorithmIdentifierRef::decode(fields)?;
        if algorithm != list.algorithm {
            return Err(Tag::Sequence.value_error().into());
        }
        let issuer = AnyRef::decode(fields)?.to_der()?;
        crl.issuer = Subject::from_der(&issuer).map_err(|_| der::Error::from(Tag::Sequence.value_error()))?;
        crl.this_update = crate::cert::seconds(&Time::decode(fields)?);
        let next = |fields: &mut der::SliceReader<'_>| {
            (!fields.is_finished()).then(|| Tag::peek(fields)).transpose()
        };
        if matches!(next(fields)?, Some(Tag::UtcTime | Tag::GeneralizedTime)) {
            crl.next_update = Some(crate::cert::seconds(&Time::decode(fields)?));
        }
        if next(fields)? == Some(Tag::Sequence) {
            AnyRef::decode(fields)?.sequence(|entries| {
                while !entries.is_finished() {
                    let entry = Entry::decode(entries)?;
                    crl.take(&entry)?;
                }
                Ok::<(), der::Error>(())
            })?;
        }
        if !fields.is_finished() {
            let outer = AnyRef::decode(fields)?;
            let expected = Tag::ContextSpecific { constructed: true, number: der::TagNumber(0) };
            outer.tag().assert_eq(expected)?;
            for extension in Vec::<Extension>::from_der(outer.value())? {
                crl.take_extension(&extension)?;
            }
        }
        Ok::<(), der::Error>(())
    })?;
    Ok(crl)
}

impl Crl {
    fn take(&mut self, entry: &Entry) -> der::Result<()> {
        let bad = || der::Error::from(Tag::Integer.value_error());
        let serial = Serial::from_be_bytes(entry.serial.as_bytes()).ok_or_else(bad)?;
        let mut reason = Reason::Unspecified;
        for extension in entry.extensions.iter().flatten() {
            if extension.extn_id == rfc5280::ID_CE_CRL_REASONS {
                let code = ReasonCode::from_der(extension.extn_value.as_bytes())?;
                reason = Reason::from_number(code as u8).unwrap_or(Reason::Unspecified);
            } else if extension.critical {
                self.not_understood.push(extension.extn_id.to_string());
            }
        }
        self.entries.insert(serial, RevokedCert { serial, at: crate::cert::seconds(&entry.at), reason });
        Ok(())
    }

    fn take_extension(&mut self, extension: &Extension) -> der::Result<()> {
        let value = extension.extn_value.as_bytes();
        if extension.extn_id == AuthorityKeyIdentifier::OID {
            let authority = AuthorityKeyIdentifier::from_der(value)?;
            self.authority_key_id = authority.key_identifier.map(|id| id.as_bytes().to_vec());
        } else if extension.extn_id == CrlNumber::OID {
            let number = CrlNumber::from_der(value)?;
            self.number = Some(crate::hash::hex(number.0.as_bytes()));
        } else if extension.critical {
            self.not_understood.push(extension.extn_id.to_string());
        }
        Ok(())
    }
}

/// A revocation list that cannot be read, or not be gone by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadCrl {
    /// Not a list.
    #[error("not a revocation list: {why}")]
    Malformed {
        /// What is wrong.
        why: String,
    },
    /// Larger than is read.
    #[error("the revocation list has {bytes} bytes, at most {CRL_BYTES_MAX} are read")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// Not PEM.
    #[error("the text is not PEM")]
    Pem(#[source] pem::BadPem),
    /// A text without any.
    #[error("the text holds no revocation list")]
    None,
    /// Another CA's.
    #[error("the revocation list is another CA's")]
    OtherIssuer {
        /// The CA it was held against.
        expected: String,
        /// The CA it names.
        came: String,
    },
    /// Its issuer's key usage does not hold cRLSign.
    #[error("{issuer} may not sign revocation lists")]
    MayNotSign {
        /// The CA.
        issuer: String,
    },
    /// The signature does not verify.
    #[error("the revocation list is not signed by the CA it names")]
    Signature,
    /// Its time has not come.
    #[error("the revocation list is from the future")]
    NotYet {
        /// The time it was compared with.
        now: UnixTime,
        /// When it was made.
        this_update: UnixTime,
    },
    /// Its time is over.
    #[error("the revocation list is out of date")]
    Ended {
        /// The time it was compared with.
        now: UnixTime,
        /// When the next one was due.
        next_update: UnixTime,
    },
    /// It says something that a reader may not ignore.
    #[error("the revocation list holds a critical extension that is not understood")]
    NotUnderstood {
        /// Its object identifier.
        extension: String,
    },
    /// RFC 5280 5.2.3: every list of a version 2 CA has one.
    #[error("the revocation list has no number")]
    NoNumber,
}

impl Explain for BadCrl {
    fn explain(&self) -> Explanation {
        let new = Explanation::new(code::BAD_CRL, self.to_string());
        match self {
            BadCrl::Pem(bad) => bad.explain(),
            BadCrl::OtherIssuer { expected, came } => new.halves(expected, came),
            BadCrl::MayNotSign { .. } => new.halves("key usage cRLSign", "key usage without it"),
            BadCrl::NotYet { now, this_update } => new.fact("now", now).fact("this update", this_update),
            BadCrl::Ended { now, next_update } => new
                .fact("now", now)
                .fact("next update", next_update)
                .hint("fetch the current one; for a CA of your own: certus ca crl"),
            BadCrl::NotUnderstood { extension } => new.fact("extension", extension),
            _ => new,
        }
    }
}
