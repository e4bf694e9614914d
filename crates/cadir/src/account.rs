//! What the ledger adds up to: which certificates are current, which are revoked, which end soon.

use std::collections::{HashMap, HashSet};

use certus_pki::{Reason, Serial, Sha256, UnixTime};

use crate::change::Change;
use crate::dir::CaDir;
use crate::error::CaDirError;
use crate::ledger::{Issued, Phase, Record, Revoked};

/// The whole ledger, read once.
pub struct Account {
    /// Every CA certificate, in order.
    pub authorities: Vec<Issued>,
    /// Every leaf, in order.
    pub leaves: Vec<Issued>,
    revoked: HashMap<(Sha256, Serial), Revoked>,
    lists: HashMap<Sha256, (u64, UnixTime)>,
    phase: Option<Phase>,
}

/// How an issued certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Valid, and the newest in its place.
    Current,
    /// A newer one is in its place.
    Replaced,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

impl Standing {
    /// The standing as a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Standing::Current => "ok",
            Standing::Replaced => "replaced",
            Standing::Expired => "expired",
            Standing::Revoked => "revoked",
        }
    }
}

impl CaDir {
    /// Reads the ledger.
    pub fn account(&self) -> Result<Account, CaDirError> {
        let mut account = Account {
            authorities: Vec::new(),
            leaves: Vec::new(),
            revoked: HashMap::new(),
            lists: HashMap::new(),
            phase: None,
        };
        for record in self.records()? {
            match record {
                Record::Begun { .. } => {}
                Record::Authority(issued) => account.authorities.push(issued),
                Record::Leaf(issued) => account.leaves.push(issued),
                Record::Revoked(revoked) => {
                    account.revoked.insert((revoked.issuer, revoked.serial), revoked);
                }
                Record::List { issuer, number, next_update, .. } => {
                    account.lists.insert(issuer, (number, next_update));
                }
                Record::Rotation { phase, .. } => account.phase = Some(phase),
            }
        }
        Ok(account)
    }

    /// Revokes certificates of the ledger.
    pub fn revoke(&mut self, certs: &[Issued], reason: Reason, at: UnixTime) -> Result<(), CaDirError> {
        let mut change = Change::default();
        for Issued { serial, issuer, not_after, .. } in certs {
            let (serial, issuer, not_after) = (*serial, *issuer, *not_after);
            change.record(Record::Revoked(Revoked { at, serial, issuer, reason, not_after }));
        }
        self.commit(change, at)
    }
}

impl Account {
    /// The revocation of a certificate.
    pub fn revocation(&self, issued: &Issued) -> Option<&Revoked> {
        self.revoked.get(&(issued.issuer, issued.serial))
    }

    /// Every revocation of certificates that one key signed, oldest serial first.
    pub fn revocations_of(&self, issuer: &Sha256) -> Vec<Revoked> {
        let mut all: Vec<Revoked> =
            self.revoked.values().filter(|revoked| revoked.issuer == *issuer).copied().collect();
        all.sort_by_key(|revoked| revoked.serial);
        all
    }

    /// The number of the last revocation list of a key, and when the next is due.
    pub fn last_list(&self, issuer: &Sha256) -> Option<(u64, UnixTime)> {
        self.lists.get(issuer).copied()
    }

    /// The step of a change of roots that was done last; nothing where none is going on.
    pub fn phase(&self) -> Option<Phase> {
        self.phase.filter(|phase| *phase != Phase::Finished)
    }

    /// Every leaf with how it is, in the order they were issued.
    pub fn standings(&self, at: UnixTime) -> Vec<(&Issued, Standing)> {
        let mut places = HashSet::new();
        let mut all: Vec<(&Issued, Standing)> = Vec::with_capacity(self.leaves.len());
        for issued in self.leaves.iter().rev() {
            // What went to standard output has no place that another could take.
            let newest = issued.file.is_empty() || places.insert(issued.file.as_str());
            let standing = if self.revocation(issued).is_some() {
                Standing::Revoked
            } else if issued.not_after < at {
                if newest { Standing::Expired } else { Standing::Replaced }
            } else if newest {
                Standing::Current
            } else {
                Standing::Replaced
            };
            all.push((issued, standing));
        }
        all.reverse();
        all
    }

    /// The leaves that a person means: by serial number, by file, or by name, those that can still be
    /// revoked before those that cannot.
    pub fn find(&self, object: &str, at: UnixTime) -> Result<Vec<Issued>, CaDirError> {
        let serial = object.parse::<Serial>().ok();
        let all = self.standings(at);
        let by_serial = all.iter().filter(|(issued, _)| Some(issued.serial) == serial);
        let mut found: Vec<_> = by_serial.collect();
        if found.is_empty() {
            let named = |issued: &Issued| issued.name == object || issued.file == object;
            found = all.iter().filter(|(issued, _)| named(issued)).collect();
        }
        let can = |standing: Standing| matches!(standing, Standing::Current | Standing::Replaced);
        let alive: Vec<Issued> = found
            .iter()
            .filter(|(issued, standing)| can(*standing) && issued.not_after >= at)
            .map(|(issued, _)| (*issued).clone())
            .collect();
        match (alive.is_empty(), found.first()) {
            (false, _) => Ok(alive),
            (true, Some((issued, Standing::Revoked))) => {
                let since = self.revocation(issued).map_or(at, |revoked| revoked.at);
                Err(CaDirError::AlreadyRevoked { serial: issued.serial, at: since })
            }
            (true, Some((issued, _))) => Ok(vec![(*issued).clone()]),
            (true, None) => Err(CaDirError::Unknown { came: object.chars().take(80).collect() }),
        }
    }
}
