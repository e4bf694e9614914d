//! A manager's issuers: the present one signs, the next one is signed ahead, while the root is at hand.
//!
//! The next one begins where the present one is to be replaced, its key is made and sealed here, and it
//! is in every bundle long before it signs: so issuing goes on for one more issuer's life without a root.

use std::time::Duration;

use certus_ca::{ClusterState, Command, Reply, RootRecord, Settings};
use certus_pki::{
    CaPlan, Epoch, Issuer, KeyType, NodeId, PrivateKey, PublicKey, Role, Sha256, Signer, UnixTime, Validity,
};
use tracing::info;

use crate::house::{House, HouseError};
use crate::keys::{IssuingKey, KeysError, ManagerDir, fresh_serial};
use crate::truth::Unanswered;

/// A new issuer signs when every connected node knows it, or after this.
const ISSUER_KNOWN_WITHIN: Duration = Duration::from_secs(30);
/// A new issuer is made when the old one has less than this many lifetimes left of the longest-lived
/// certificates it signs.
const ISSUER_AHEAD: i64 = 2;

impl House {
    /// Lets at `now` the next issuer take over if it is time, and has one signed ahead; returns when the
    /// present one is to be replaced.
    pub(crate) async fn keep_issuers_at(&self, now: UnixTime) -> Result<UnixTime, HouseError> {
        let due = self.issuer_in_time(now).await?;
        self.sign_ahead(now).await?;
        Ok(due)
    }

    /// Lets at `now` the next issuer take over if it is time; makes it first where there is none.
    pub(crate) async fn issuer_in_time(&self, now: UnixTime) -> Result<UnixTime, HouseError> {
        let _one_at_a_time = self.issuers.lock().await;
        let (cluster, root) = self.signing()?;
        let due = issuer_due(&self.shared.issuing().issuer, &cluster.settings);
        if now < due {
            return Ok(due);
        }
        let cluster_key = self.place.cluster_key().map_err(HouseError::Keys)?;
        let issuing = match self.ready_to_follow(&cluster, now)? {
            Some(next) => {
                let issuing = self.place.issuing_key_of(&cluster.name, &cluster_key, next);
                issuing.map_err(HouseError::Keys)?
            }
            None => self.issuer_at_once(&cluster, &root, now).await?,
        };
        self.place.write_issuer(&cluster.name, &cluster_key, &issuing).map_err(HouseError::Keys)?;
        let not_after = issuing.issuer.certificate().not_after;
        self.shared.issue_with(issuing);
        info!(%not_after, "a new issuer signs");
        Ok(issuer_due(&self.shared.issuing().issuer, &cluster.settings))
    }

    /// Has the issuer signed that follows the present one, unless there is one. Where the root is offline,
    /// or ends, there is nothing to be done.
    pub(crate) async fn sign_ahead(&self, now: UnixTime) -> Result<(), HouseError> {
        let _one_at_a_time = self.issuers.lock().await;
        let (cluster, root) = self.signing()?;
        let next = self.place.next_issuer().map_err(HouseError::Keys)?;
        if let Some(next) = next.filter(|next| next.certificate().not_after > now) {
            return match self.record(&next)? {
                Some(active) if active => Ok(()),
                // Struck out: another takes its place.
                Some(_) => self.make_ahead(&cluster, &root, now).await,
                // The manager ended between making it and putting it on record.
                None => self.add(&cluster, &next).await.map(drop),
            };
        }
        self.make_ahead(&cluster, &root, now).await
    }

    async fn make_ahead(
        &self,
        cluster: &ClusterState,
        root: &RootRecord,
        now: UnixTime,
    ) -> Result<(), HouseError> {
        let from = issuer_due(&self.shared.issuing().issuer, &cluster.settings).max(now);
        if root.is_offline() {
            return Ok(());
        }
        let next = match self.make_issuer(cluster, root, from) {
            // The present one lives as long as the root does.
            Err(HouseError::RootEnds { .. }) => return Ok(()),
            made => made?,
        };
        let cluster_key = self.place.cluster_key().map_err(HouseError::Keys)?;
        // Kept first: one on record whose key is lost would be trusted for nothing.
        self.place.write_next_issuer(&cluster.name, &cluster_key, &next).map_err(HouseError::Keys)?;
        self.add(cluster, &next.issuer).await?;
        let certificate = next.issuer.certificate();
        info!(not_before = %certificate.not_before, not_after = %certificate.not_after, "an issuer is signed ahead");
        Ok(())
    }

    /// The issuer that was signed ahead, if it can take over at `now`.
    fn ready_to_follow(&self, cluster: &ClusterState, now: UnixTime) -> Result<Option<Issuer>, HouseError> {
        let Some(next) = self.place.next_issuer().map_err(HouseError::Keys)? else { return Ok(None) };
        let certificate = next.certificate();
        // A leaf must fit in.
        let lives = certificate.not_before <= now
            && certificate.not_after >= now.plus(cluster.settings.leaf_lifetime);
        Ok((lives && self.record(&next)? == Some(true)).then_some(next))
    }

    /// Makes an issuer that signs from now on: opens the root's key for one signature.
    async fn issuer_at_once(
        &self,
        cluster: &ClusterState,
        root: &RootRecord,
        now: UnixTime,
    ) -> Result<IssuingKey, HouseError> {
        let issuing = self.make_issuer(cluster, root, now)?;
        let epoch = self.add(cluster, &issuing.issuer).await?;
        // First ourselves: what we sign and hand out from here on must verify against what we hand out.
        self.take_over()?;
        // Not so long that the present issuer could sign no more meanwhile.
        let present = self.shared.issuing().issuer.certificate().not_after;
        let left = present.secs_since(now) - i64::from(cluster.settings.leaf_lifetime.secs());
        let patience = Duration::from_secs(u64::try_from(left / 2).unwrap_or(0)).min(ISSUER_KNOWN_WITHIN);
        let known = self.shared.presence.wait_enforced(epoch, patience).await;
        info!(known_to = known.enforced, not_yet_to = known.pending.len(), "a new issuer was made");
        Ok(issuing)
    }

    /// A fresh key, and the root's signature over it; valid from `from` on.
    fn make_issuer(
        &self,
        cluster: &ClusterState,
        root: &RootRecord,
        from: UnixTime,
    ) -> Result<IssuingKey, HouseError> {
        let issuing = self.shared.issuing();
        let present = issuing.issuer.certificate().not_after;
        let mut validity = Validity::starting(from, cluster.settings.issuer_lifetime);
        if validity.not_after > root.not_after {
            validity.not_after = root.not_after;
            // One that ends with the root is not made over and over for the sake of seconds.
            if root.not_after <= present.plus(cluster.settings.leaf_lifetime) {
                return Err(HouseError::RootEnds { root: root.not_after, present });
            }
        }
        let key_type: KeyType = issuing.key.public_key().key_type();
        let key = PrivateKey::generate(key_type).map_err(HouseError::Key)?;
        let of = &self.shared.identity.id;
        let issuer = sign_issuer(&self.place, cluster, root, of, key.public_key(), validity);
        let issuer = issuer.map_err(HouseError::Keys)?;
        Ok(IssuingKey { issuer, key })
    }

    /// Puts an issuer on record; returns the epoch from which on it is accepted.
    async fn add(&self, cluster: &ClusterState, issuer: &Issuer) -> Result<Epoch, HouseError> {
        let (der, by) = (issuer.certificate().der.clone(), self.shared.identity.clone());
        let reply = self.shared.truth.propose(&Command::AddIssuer { der, by }).await;
        match reply.map_err(HouseError::Unanswered)? {
            Reply::IssuerAdded { revision, .. } => {
                Ok(Epoch { generation: cluster.epoch.generation, revision })
            }
            _ => Err(HouseError::Unanswered(Unanswered::Mismatched { asked: "new issuer" })),
        }
    }

    /// Whether an issuer's leaves are accepted; nothing where it is not on record.
    fn record(&self, issuer: &Issuer) -> Result<Option<bool>, HouseError> {
        let key_hash: Sha256 = issuer.key_hash();
        let record = self.shared.truth.read(|view| certus_ca::issuer(view, &key_hash));
        Ok(record.map_err(HouseError::Unanswered)?.map(|record| record.active))
    }

    /// The cluster, and the root that signs issuers now.
    pub(crate) fn signing(&self) -> Result<(ClusterState, RootRecord), HouseError> {
        let read = self.shared.truth.read(|view| Ok((certus_ca::cluster(view)?, certus_ca::roots(view)?)));
        let (cluster, roots) = read.map_err(HouseError::Unanswered)?;
        let root = roots.into_iter().filter(|root| root.active).max_by_key(|root| root.not_after);
        cluster.zip(root).ok_or(HouseError::NoIdentity)
    }

    /// Opens the root's key.
    pub(crate) fn root_key(
        &self,
        cluster: &ClusterState,
        root: &RootRecord,
    ) -> Result<PrivateKey, HouseError> {
        let cluster_key = self.place.cluster_key().map_err(HouseError::Keys)?;
        let key = self.place.root_key(&cluster.name, &cluster_key, &root.key_hash, &root.key_sealed);
        key.map_err(HouseError::Keys)
    }
}

/// An issuer for the manager `of`: opens the root's key for this one signature.
pub(crate) fn sign_issuer(
    place: &ManagerDir,
    cluster: &ClusterState,
    root: &RootRecord,
    of: &NodeId,
    key: &PublicKey,
    validity: Validity,
) -> Result<Issuer, KeysError> {
    let cluster_key = place.cluster_key()?;
    let root_key = place.root_key(&cluster.name, &cluster_key, &root.key_hash, &root.key_sealed)?;
    let root = Issuer::from_der(&root.der).map_err(KeysError::Issuer)?;
    let plan = CaPlan::issuer(&cluster.name, &tag(of), validity);
    root.sign_ca(&plan, key, fresh_serial()?, &root_key).map_err(KeysError::Issuer)
}

/// What tells the issuers of one manager from the others'.
pub(crate) fn tag(manager: &NodeId) -> String {
    format!("issuer {manager}")
}

/// When the issuer after `issuer` is to sign: an operator's certificate may live longer than nodes' do.
pub(crate) fn issuer_due(issuer: &Issuer, settings: &Settings) -> UnixTime {
    let longest = settings.lifetime_of(Role::Client).max(settings.lifetime_of(Role::Worker));
    let ahead = ISSUER_AHEAD * i64::from(longest.secs());
    UnixTime::from_secs(issuer.certificate().not_after.secs() - ahead)
}
