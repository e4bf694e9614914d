//! Revocation lists: one for each CA of the directory whose key is there.

use certus_pki::crl::{Crl, CrlPlan, RevokedCert};
use certus_pki::{Certificate, Issuer, Lifetime, PrivateKey, Sha256, UnixTime};

use crate::account::Account;
use crate::change::Change;
use crate::dir::CaDir;
use crate::error::CaDirError;
use crate::keys::Secrets;
use crate::layout::Pair;
use crate::ledger::Record;

/// A list that was made.
pub struct MadeList {
    /// The list.
    pub crl: Crl,
    /// Whose it is.
    pub ca: Certificate,
    /// Its number.
    pub number: u64,
    /// Its file, relative to the directory.
    pub file: String,
}

impl CaDir {
    /// Makes the next list of every CA here whose key is here, and names those whose key is not.
    ///
    /// # Errors
    /// No key is here, or one cannot be opened.
    pub fn make_lists(
        &mut self,
        secrets: &Secrets,
        lifetime: Lifetime,
        at: UnixTime,
    ) -> Result<(Vec<MadeList>, Vec<String>), CaDirError> {
        let account = self.account()?;
        let given = secrets.ca_key.as_ref().map(|path| secrets.open(path)).transpose()?;
        let mut change = Change::default();
        let (mut made, mut without) = (Vec::new(), Vec::new());
        for files in self.cas() {
            let ca = self.certificates(&files.cert)?.remove(0);
            let key = match &given {
                Some(key) if certus_pki::Signer::public_key(key).hash() == ca.key_hash() => None,
                _ if self.has(&files.key) => Some(secrets.open(&self.file(&files.key))?),
                _ => {
                    without.push(files.cert);
                    continue;
                }
            };
            let Some(key) = key.as_ref().or(given.as_ref()) else { continue };
            made.push(self.make_list(&mut change, &account, ca, key, &files, lifetime, at)?);
        }
        if made.is_empty() {
            let why = without.iter().map(|file| format!("{file}: its key is not there")).collect();
            return Err(CaDirError::NoIssuer { path: self.path().to_owned(), why });
        }
        self.commit(change, at)?;
        Ok((made, without))
    }

    #[allow(clippy::too_many_arguments, reason = "all of it stands in the list")]
    fn make_list(
        &self,
        change: &mut Change,
        account: &Account,
        ca: Certificate,
        key: &PrivateKey,
        files: &Pair,
        lifetime: Lifetime,
        at: UnixTime,
    ) -> Result<MadeList, CaDirError> {
        let issuer = ca.key_hash();
        let previous = account.last_list(&issuer).map(|(number, _)| number);
        let number = previous.unwrap_or(0) + 1;
        let plan = CrlPlan {
            number,
            previous,
            this_update: at,
            next_update: at.plus(lifetime),
            revoked: revoked(account, &issuer),
        };
        let der = Issuer::from_der(&ca.der)
            .and_then(|issuer| issuer.sign_crl(&plan, key))
            .map_err(|error| CaDirError::pki_in(&self.file(&files.cert), &error))?;
        let crl = Crl::from_der(&der).map_err(|error| CaDirError::pki(&error))?;
        let file = self.layout().list(&files.cert);
        change.public(self.file(&file), &crl.to_pem());
        change.record(Record::List { at, issuer, number, next_update: plan.next_update });
        Ok(MadeList { crl, ca, number, file })
    }

    /// Every CA whose certificates may still be in use.
    fn cas(&self) -> Vec<Pair> {
        let issuers = self.issuers().into_iter().map(|(_, files)| files);
        let mut all: Vec<Pair> = std::iter::once(self.layout().root()).chain(issuers).collect();
        all.push(self.layout().old_root());
        all.retain(|files| self.has(&files.cert));
        all
    }
}

/// Also those that have ended: a list must go on naming them once after their end (RFC 5280 3.3), and
/// naming them longer does no harm.
fn revoked(account: &Account, issuer: &Sha256) -> Vec<RevokedCert> {
    let all = account.revocations_of(issuer).into_iter();
    all.map(|revoked| RevokedCert { serial: revoked.serial, at: revoked.at, reason: revoked.reason })
        .collect()
}
