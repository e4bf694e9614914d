//! A node of role manager becomes a manager: an issuer is signed for it, and it is given the keys that
//! the cluster's secrets at rest are sealed under.
//!
//! Those keys leave only sealed (RFC 9180) to a key that the newcomer made for this, over a connection on
//! which it proved to be who was admitted.

use std::time::Duration;

use certus_ca::{Command, Enlist, Reply, RootRecord};
use certus_pki::explain::{Explain, Explanation};
use certus_pki::{ClusterName, Issuer, PublicKey, SpiffeId, Validity, code};
use certus_wire::v1;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as HPKE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke as _, HpkePrivateKey, HpkePublicKey};
use tracing::info;
use zeroize::Zeroizing;

use crate::issuers::sign_issuer;
use crate::keys::KeysError;
use crate::sealing::{Purpose, SealingKey};
use crate::shared::Shared;
use crate::truth::Unanswered;

/// What a newcomer asks.
pub(crate) struct EnlistAsk {
    /// Who it is.
    pub(crate) node: SpiffeId,
    /// Where the other managers reach it.
    pub(crate) address: String,
    /// Its issuer's key, which it has shown to hold.
    pub(crate) issuer_key: PublicKey,
    /// The key that the cluster's keys are sealed to.
    pub(crate) sealing_key: Vec<u8>,
    /// Whether it shall vote.
    pub(crate) voter: bool,
}

/// What opens everything else at rest: the cluster key, and the root data key where the root is online.
/// No `Debug` (I7).
pub(crate) struct ClusterKeys {
    pub(crate) cluster_key: SealingKey,
    pub(crate) root_data_key: Option<SealingKey>,
}

impl ClusterKeys {
    /// Version 1: the cluster key, then the root data key or nothing.
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(1 + 2 * SealingKey::BYTES));
        bytes.push(1);
        bytes.extend_from_slice(self.cluster_key.reveal());
        if let Some(key) = &self.root_data_key {
            bytes.extend_from_slice(key.reveal());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<ClusterKeys> {
        let (version, rest) = bytes.split_first()?;
        let (cluster_key, rest) = rest.split_at_checked(SealingKey::BYTES).filter(|_| *version == 1)?;
        let root_data_key = match rest.len() {
            0 => None,
            _ => Some(SealingKey::from_bytes(rest).ok()?),
        };
        Some(ClusterKeys { cluster_key: SealingKey::from_bytes(cluster_key).ok()?, root_data_key })
    }

    /// Seals the keys to `to`: the encapsulated key, and the sealed keys.
    pub(crate) fn seal(
        &self,
        to: &[u8],
        cluster: &ClusterName,
        node: &SpiffeId,
        member: u64,
    ) -> Result<(Vec<u8>, Vec<u8>), EnlistError> {
        let key = HpkePublicKey(to.to_vec());
        let bound = bound_to(cluster, node, member);
        let sealed = HPKE.seal(INFO, &bound, &self.to_bytes(), &key);
        sealed.map(|(encapsulated, sealed)| (encapsulated.0, sealed)).map_err(|_| EnlistError::BadKey)
    }
}

/// The newcomer's half: a key that is used once, for this.
pub(crate) struct Receiver {
    public: HpkePublicKey,
    private: HpkePrivateKey,
}

impl Receiver {
    pub(crate) fn generate() -> Result<Receiver, EnlistError> {
        let (public, private) = HPKE.generate_key_pair().map_err(|_| EnlistError::BadKey)?;
        Ok(Receiver { public, private })
    }

    pub(crate) fn public(&self) -> Vec<u8> {
        self.public.0.clone()
    }

    /// Opens what was sealed for this newcomer under this number.
    pub(crate) fn open(
        &self,
        (encapsulated, sealed): (&[u8], &[u8]),
        cluster: &ClusterName,
        node: &SpiffeId,
        member: u64,
    ) -> Result<ClusterKeys, EnlistError> {
        let encapsulated = EncapsulatedSecret(encapsulated.to_vec());
        let bound = bound_to(cluster, node, member);
        let opened = HPKE.open(&encapsulated, INFO, &bound, sealed, &self.private);
        let opened = Zeroizing::new(opened.map_err(|_| EnlistError::NotForUs)?);
        ClusterKeys::from_bytes(&opened).ok_or(EnlistError::NotForUs)
    }
}

/// Another manager answers from its disk, or is not there.
const ASK: Duration = Duration::from_secs(3);

/// What the sealing is for; another use of the same keys must not open it.
const INFO: &[u8] = b"certus.v1 keys of the cluster for a new manager";

/// Who the keys are for, each part ended by a zero byte that none of them can hold.
fn bound_to(cluster: &ClusterName, node: &SpiffeId, member: u64) -> Vec<u8> {
    format!("{cluster}\0{node}\0{member}\0").into_bytes()
}

impl Shared {
    /// Gives a newcomer its issuer, its number and the cluster's keys. On record first (I4).
    pub(crate) async fn enlist(&self, ask: EnlistAsk) -> Result<v1::EnlistReply, EnlistError> {
        // Before anything is signed: a key that nothing can be sealed to is found out now.
        let keys = self.cluster_keys()?;
        keys.seal(&ask.sealing_key, &self.identity.cluster, &ask.node, 0)?;
        let issuer = self.sign_issuer(&ask.node, &ask.issuer_key)?;
        let der = issuer.certificate().der.clone();
        let command = Command::Enlist(Enlist {
            node: ask.node.clone(),
            address: ask.address.clone(),
            issuer_der: der.clone(),
            voter: ask.voter,
            by: self.identity.clone(),
        });
        let reply = self.truth.propose(&command).await.map_err(EnlistError::Unanswered)?;
        let Reply::Enlisted { member, .. } = reply else {
            return Err(EnlistError::Unanswered(Unanswered::Mismatched { asked: "enlisting" }));
        };
        let (encapsulated, sealed) =
            keys.seal(&ask.sealing_key, &self.identity.cluster, &ask.node, member)?;
        info!(node = %ask.node, member, address = ask.address, "a manager was enlisted");
        Ok(v1::EnlistReply {
            member,
            issuer: der,
            encapsulated,
            sealed,
            managers: self.managers_on_record().map_err(EnlistError::Unanswered)?,
        })
    }

    /// The keys that a manager needs that was there before, sealed to it: it was away when the root was
    /// brought back.
    pub(crate) fn keys_for(
        &self,
        node: &SpiffeId,
        public_key: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), EnlistError> {
        let known =
            self.truth.read(|view| certus_ca::manager(view, node)).map_err(EnlistError::Unanswered)?;
        let member = known.ok_or(EnlistError::NoRoot)?.member;
        self.cluster_keys()?.seal(public_key, &self.identity.cluster, node, member)
    }

    /// Asks the other managers for what opens the root's key; true if one of them had it.
    pub(crate) async fn fetch_root_data_key(&self, root: &RootRecord) -> Result<bool, EnlistError> {
        let present = self.present_managers().map_err(EnlistError::Unanswered)?;
        let own = present.iter().find(|manager| manager.node == self.identity).map(|manager| manager.member);
        let (Some(own), Some(lines)) = (own, self.truth.lines()) else { return Ok(false) };
        for manager in present.iter().filter(|manager| manager.member != own) {
            let Some(mut client) = lines.to(manager.member, Some(&manager.address)) else { continue };
            let receiver = Receiver::generate()?;
            let asked = client.keys(v1::KeysRequest { public_key: receiver.public() });
            let Ok(Ok(reply)) = tokio::time::timeout(ASK, asked).await else { continue };
            let reply = reply.into_inner();
            let sealed = (&reply.encapsulated[..], &reply.sealed[..]);
            let keys = receiver.open(sealed, &self.identity.cluster, &self.identity, own)?;
            let Some(root_data_key) = keys.root_data_key else { continue };
            let cluster_key = self.place.cluster_key().map_err(EnlistError::Keys)?;
            let cluster = &self.identity.cluster;
            // One that was away as well has what opened it before.
            let opens = root_data_key.open(Purpose::RootKey, cluster, &root.key_hash, &root.key_sealed);
            if opens.is_err() {
                continue;
            }
            let written =
                self.place.write_root_data_key(cluster, &cluster_key, &root.key_hash, &root_data_key);
            written.map_err(EnlistError::Keys)?;
            info!(from = %manager.node, "what opens the root's key came from another manager");
            return Ok(true);
        }
        Ok(false)
    }

    /// The keys of this manager that another one needs.
    fn cluster_keys(&self) -> Result<ClusterKeys, EnlistError> {
        let roots = self.truth.read(|view| certus_ca::roots(view)).map_err(EnlistError::Unanswered)?;
        let root = roots.into_iter().filter(|root| root.active).max_by_key(|root| root.not_after);
        let root = root.ok_or(EnlistError::NoRoot)?;
        let keys = self.place.reveal_for_sealing(&self.identity.cluster, &root.key_hash);
        let (cluster_key, root_data_key) = keys.map_err(EnlistError::Keys)?;
        Ok(ClusterKeys { cluster_key, root_data_key })
    }

    /// An issuer for another manager: opens the root's key for one signature.
    fn sign_issuer(&self, node: &SpiffeId, key: &PublicKey) -> Result<Issuer, EnlistError> {
        let read = self.truth.read(|view| Ok((certus_ca::cluster(view)?, certus_ca::roots(view)?)));
        let (cluster, roots) = read.map_err(EnlistError::Unanswered)?;
        let root = roots.into_iter().filter(|root| root.active).max_by_key(|root| root.not_after);
        let (Some(cluster), Some(root)) = (cluster, root) else { return Err(EnlistError::NoRoot) };
        let mut validity = Validity::starting(self.truth.now(), cluster.settings.issuer_lifetime);
        validity.not_after = validity.not_after.min(root.not_after);
        sign_issuer(&self.place, &cluster, &root, &node.id, key, validity).map_err(EnlistError::Keys)
    }
}

/// A newcomer did not become a manager.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnlistError {
    /// The rules refuse it, or cannot be asked.
    #[error(transparent)]
    Unanswered(Unanswered),
    /// This manager's own secrets refuse.
    #[error(transparent)]
    Keys(KeysError),
    /// No root is trusted here.
    #[error("no root is trusted here: this manager has not caught up yet")]
    NoRoot,
    /// The newcomer's key is none.
    #[error("nothing can be sealed to the key that the new manager sent")]
    BadKey,
    /// What was sealed does not open.
    #[error("the cluster's keys that the manager sent do not open here")]
    NotForUs,
}

impl Explain for EnlistError {
    fn explain(&self) -> Explanation {
        match self {
            EnlistError::Unanswered(error) => error.explain(),
            EnlistError::Keys(error) => error.explain(),
            EnlistError::NoRoot => Explanation::new(code::UNAVAILABLE, self.to_string())
                .hint("ask another manager, or this one a moment later"),
            EnlistError::BadKey => Explanation::new(code::BAD_MESSAGE, self.to_string())
                .hint("both managers should run the same version of certus"),
            EnlistError::NotForUs => {
                Explanation::new(code::SEALED_KEY, self.to_string()).hint("certus manager join, once more")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i12_the_clusters_keys_open_only_for_whom_they_were_sealed() {
        let keys = ClusterKeys {
            cluster_key: SealingKey::generate().ok().unwrap(),
            root_data_key: Some(SealingKey::generate().ok().unwrap()),
        };
        let cluster: ClusterName = "prod".parse().unwrap();
        let node: SpiffeId = "spiffe://prod/manager/m2".parse().unwrap();
        let receiver = Receiver::generate().ok().unwrap();
        let (encapsulated, sealed) = keys.seal(&receiver.public(), &cluster, &node, 2).ok().unwrap();
        let parts = (&encapsulated[..], &sealed[..]);
        let opened = receiver.open(parts, &cluster, &node, 2).ok().unwrap();
        assert_eq!(opened.cluster_key.reveal(), keys.cluster_key.reveal());
        let data_keys = [&opened, &keys].map(|keys| keys.root_data_key.as_ref().map(|key| *key.reveal()));
        assert_eq!(data_keys[0], data_keys[1]);

        assert!(receiver.open(parts, &cluster, &node, 3).is_err(), "another number");
        let other: SpiffeId = "spiffe://prod/manager/m3".parse().unwrap();
        assert!(receiver.open(parts, &cluster, &other, 2).is_err(), "another node");
        assert!(Receiver::generate().ok().unwrap().open(parts, &cluster, &node, 2).is_err(), "another key");
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(receiver.open((&encapsulated, &altered), &cluster, &node, 2).is_err(), "byte {at}");
        }
        let offline = ClusterKeys { root_data_key: None, ..keys };
        let (encapsulated, sealed) = offline.seal(&receiver.public(), &cluster, &node, 2).ok().unwrap();
        let opened = receiver.open((&encapsulated, &sealed), &cluster, &node, 2).ok().unwrap();
        assert!(opened.root_data_key.is_none());
        assert!(keys_of(&[7; 32]).is_err() || keys_of(&[]).is_err());
    }

    fn keys_of(to: &[u8]) -> Result<(Vec<u8>, Vec<u8>), EnlistError> {
        let keys = ClusterKeys { cluster_key: SealingKey::generate().ok().unwrap(), root_data_key: None };
        keys.seal(to, &"prod".parse().unwrap(), &"spiffe://prod/manager/m2".parse().unwrap(), 2)
    }
}
