//! A cluster's authority in memory, and a clock that tests set.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use certus_node::system_clock;
use certus_pki::{
    Bundle, CaPlan, CertId, Certificate, ClusterName, Delta, Epoch, Issuer, IssuerRef, KeyType, LeafPlan,
    Lifetime, PrivateKey, PublicKey, Reason, Revocation, Root, Serial, Signer, SpiffeId, Validity, defaults,
};
use certus_tls::{Clock, Identity, Publisher, Snapshot};

pub(crate) struct Authority {
    pub(crate) cluster: ClusterName,
    pub(crate) root: Issuer,
    issuer: Issuer,
    issuer_key: PrivateKey,
    serials: AtomicU64,
    ahead: Arc<AtomicI64>,
    /// Of the leaves that are signed from now on, in seconds.
    pub(crate) leaf_lifetime: AtomicU32,
}

pub(crate) fn key() -> PrivateKey {
    PrivateKey::generate(KeyType::P256).unwrap()
}

impl Authority {
    pub(crate) fn new(cluster: &str) -> Authority {
        let cluster: ClusterName = cluster.parse().unwrap();
        let (root_key, issuer_key) = (key(), key());
        let now = system_clock()();
        let root_plan = CaPlan::root(&cluster, Validity::starting(now, defaults::ROOT_LIFETIME));
        let root = Issuer::self_signed(&root_plan, Serial::from_random([1; 16]), &root_key).unwrap();
        let plan = CaPlan::issuer(&cluster, "issuer 1", Validity::starting(now, defaults::ISSUER_LIFETIME));
        let serial = Serial::from_random([2; 16]);
        let issuer = root.sign_ca(&plan, issuer_key.public_key(), serial, &root_key).unwrap();
        Authority {
            cluster,
            root,
            issuer,
            issuer_key,
            serials: AtomicU64::new(3),
            ahead: Arc::default(),
            leaf_lifetime: AtomicU32::new(defaults::LEAF_LIFETIME.secs()),
        }
    }

    /// The clock of everybody in the test.
    pub(crate) fn clock(&self) -> Clock {
        let (machine, ahead) = (system_clock(), self.ahead.clone());
        Arc::new(move || certus_pki::UnixTime::from_secs(machine().secs() + ahead.load(Ordering::Relaxed)))
    }

    /// Lets time pass at once.
    pub(crate) fn pass(&self, time: Lifetime) {
        self.ahead.fetch_add(i64::from(time.secs()), Ordering::Relaxed);
    }

    pub(crate) fn id(&self, role_and_id: &str) -> SpiffeId {
        format!("{}/{role_and_id}", self.cluster.uri()).parse().unwrap()
    }

    /// Leaf and issuer for `role/id` over `key`.
    pub(crate) fn chain(&self, role_and_id: &str, key: &PublicKey) -> Vec<Vec<u8>> {
        let now = self.clock()();
        let plan = LeafPlan {
            identity: self.id(role_and_id),
            public_key: key.clone(),
            sans: Vec::new(),
            validity: Validity::starting(
                now,
                Lifetime::from_secs(self.leaf_lifetime.load(Ordering::Relaxed)),
            ),
        };
        let mut serial = [0x55; 16];
        serial[8..].copy_from_slice(&self.serials.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        let leaf = self.issuer.sign_leaf(&plan, Serial::from_random(serial), &self.issuer_key).unwrap();
        vec![leaf, self.issuer.certificate().der.clone()]
    }

    /// What is trusted at revision 1.
    pub(crate) fn bundle(&self) -> Bundle {
        let root = Root::from_der(&self.root.certificate().der).unwrap();
        let issuer =
            IssuerRef { key_hash: self.issuer.key_hash(), not_after: self.issuer.certificate().not_after };
        let epoch = Epoch { generation: 0, revision: 1 };
        Bundle::new(self.cluster.clone(), epoch, vec![root], [issuer], [])
    }

    /// Somebody with a certificate, at work.
    pub(crate) fn publisher(&self, role_and_id: &str) -> Publisher {
        let key = key();
        let identity = Identity::new(&key, self.chain(role_and_id, key.public_key())).unwrap();
        let snapshot = Snapshot::new(Some(Arc::new(identity)), Arc::new(self.bundle()));
        Publisher::new(snapshot, self.clock())
    }

    /// The revocation of the leaf of `chain`.
    pub(crate) fn revocation(&self, leaf: &Certificate) -> Revocation {
        let cert = CertId { issuer: self.issuer.key_hash(), serial: leaf.serial };
        Revocation { cert, at: self.clock()(), reason: Reason::KeyCompromise, not_after: leaf.not_after }
    }
}

/// What changed at a revision.
pub(crate) fn delta(revision: u64, changes: Vec<certus_pki::Change>) -> Delta {
    Delta { epoch: Epoch { generation: 0, revision }, changes }
}
