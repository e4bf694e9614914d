//! A certificate that signs itself, made at start and kept in memory only.
//!
//! Nobody vouches for it: it encrypts, and says nothing about who the node is.

use std::time::Duration;

use certus_pki::renewal::renew_at;
use certus_pki::{
    AltName, AuthorityPlan, CertPlan, Certificate, Issuer, KeyType, Names, PrivateKey, Signer, Subject,
    UnixTime, Usage, Validity, defaults,
};

use super::error::SourceError;
use super::material::{Material, Needs, Pair};
use super::watch::{Habits, Origin, TICK};
use crate::clock::serial;

/// What the certificate says.
#[derive(Clone, Debug)]
pub struct Ephemeral {
    subject: Subject,
    names: Names,
}

impl Ephemeral {
    /// A certificate with this common name, for `localhost`, the loopback addresses and `names`.
    ///
    /// # Errors
    /// A common name that cannot stand in a certificate, or too many names.
    pub fn new(
        common_name: &str,
        names: impl IntoIterator<Item = AltName>,
    ) -> Result<Ephemeral, SourceError> {
        let subject = Subject::common_name(common_name).map_err(|error| SourceError::not_made(&error))?;
        let names =
            Names::new(loopback().into_iter().chain(names)).map_err(|error| SourceError::not_made(&error))?;
        Ok(Ephemeral { subject, names })
    }

    /// A new key and its certificate: P-256, for 90 days, for both sides of a connection.
    ///
    /// # Errors
    /// The machine has no randomness.
    pub fn make(&self, now: UnixTime) -> Result<Material, SourceError> {
        let key = PrivateKey::generate(KeyType::P256).map_err(|error| SourceError::not_made(&error))?;
        let validity = Validity::starting(now, defaults::LEAF_LIFETIME);
        // Issued by a CA of the same name and key, which is forgotten at once: so it names itself as its
        // issuer and is no CA.
        let plan = AuthorityPlan::new(self.subject.clone(), Some(0), validity);
        let oneself = Issuer::found(&plan, serial(), &key).map_err(|error| SourceError::not_made(&error))?;
        let plan = CertPlan::new(self.subject.clone(), self.names.clone(), Usage::ANY, validity);
        let der = oneself
            .sign_cert(&plan, key.public_key(), serial(), &key)
            .map_err(|error| SourceError::not_made(&error))?;
        let leaf = Certificate::from_der(&der).map_err(|error| SourceError::not_made(&error))?;
        let pair = Pair::new(key, vec![leaf]).map_err(|error| SourceError::not_made(&error))?;
        let material = Material::new(Some(pair), Vec::new());
        material.check(now, Needs::IDENTITY).map_err(|error| SourceError::not_made(&error))?;
        Ok(material)
    }

    /// When the next is made: after two thirds of its time.
    pub fn due_at(material: &Material) -> Option<UnixTime> {
        let leaf = material.pair()?.leaf();
        Some(renew_at(leaf.not_before.plus(defaults::BACKDATE), leaf.not_after, 0))
    }
}

impl Origin for Ephemeral {
    fn read(&self, current: Option<&Material>, now: UnixTime) -> Result<Option<Material>, SourceError> {
        let leaf = current.and_then(|current| current.pair()).map(Pair::leaf);
        let is_early = leaf.is_some_and(|leaf| now < leaf.not_before);
        match current.and_then(Ephemeral::due_at) {
            // A clock that was set back far would make it useless.
            Some(due) if now < due && !is_early => Ok(None),
            _ => self.make(now).map(Some),
        }
    }

    fn habits(&self) -> Habits {
        Habits { is_static: false, rotates: true, poll: TICK, settle: Duration::ZERO, files: Vec::new() }
    }
}

/// What every certificate that is made here is for.
pub(super) fn loopback() -> [AltName; 3] {
    [
        AltName::Dns("localhost".to_owned()),
        AltName::Ip(std::net::Ipv4Addr::LOCALHOST.into()),
        AltName::Ip(std::net::Ipv6Addr::LOCALHOST.into()),
    ]
}

#[cfg(test)]
mod tests;
