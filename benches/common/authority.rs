//! A cluster's authority in memory, and the same material as files for child processes.
//!
//! It never revokes or rotates by itself: benches say what changes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use certus_node::system_clock;
use certus_pki::{
    Bundle, CaPlan, CertId, ClusterName, Epoch, Issuer, IssuerRef, KeyType, LeafPlan, PrivateKey, Reason,
    Revocation, Root, Serial, Signer, SpiffeId, Validity, defaults, pem,
};
use certus_tls::{Identity, Publisher, Snapshot};

use super::Failure;

/// The cluster of every bench.
pub(crate) const CLUSTER: &str = "bench";

/// A root with an issuer below it, both P-256.
pub(crate) struct Authority {
    cluster: ClusterName,
    root: Issuer,
    issuer: Issuer,
    issuer_key: PrivateKey,
}

/// A key and the chain that certifies it.
pub(crate) struct Made {
    pub(crate) key: PrivateKey,
    pub(crate) chain: Vec<Vec<u8>>,
}

impl Authority {
    pub(crate) fn new() -> Result<Authority, Failure> {
        let cluster: ClusterName = CLUSTER.parse()?;
        let (root_key, issuer_key) = (key()?, key()?);
        let now = system_clock()();
        let plan = CaPlan::root(&cluster, Validity::starting(now, defaults::ROOT_LIFETIME));
        let root = Issuer::self_signed(&plan, serial(), &root_key)?;
        let plan = CaPlan::issuer(&cluster, "issuer", Validity::starting(now, defaults::ISSUER_LIFETIME));
        let issuer = root.sign_ca(&plan, issuer_key.public_key(), serial(), &root_key)?;
        Ok(Authority { cluster, root, issuer, issuer_key })
    }

    pub(crate) fn id(&self, name: &str) -> Result<SpiffeId, Failure> {
        Ok(format!("{}/worker/{name}", self.cluster.uri()).parse()?)
    }

    /// A fresh key and its leaf, for `spiffe://bench/worker/NAME` and `localhost`.
    pub(crate) fn made(&self, name: &str) -> Result<Made, Failure> {
        let key = key()?;
        let chain = self.chain(name, &key)?;
        Ok(Made { key, chain })
    }

    /// The same for a key that is there.
    pub(crate) fn chain(&self, name: &str, key: &PrivateKey) -> Result<Vec<Vec<u8>>, Failure> {
        let plan = LeafPlan {
            identity: self.id(name)?,
            public_key: key.public_key().clone(),
            sans: vec!["localhost".parse()?],
            validity: Validity::starting(system_clock()(), defaults::LEAF_LIFETIME),
        };
        let leaf = self.issuer.sign_leaf(&plan, serial(), &self.issuer_key)?;
        Ok(vec![leaf, self.issuer.certificate().der.clone()])
    }

    pub(crate) fn identity(&self, name: &str) -> Result<Arc<Identity>, Failure> {
        let Made { key, chain } = self.made(name)?;
        Ok(Arc::new(Identity::new(&key, chain)?))
    }

    pub(crate) fn publisher(&self, name: &str) -> Result<Publisher, Failure> {
        let snapshot = Snapshot::new(Some(self.identity(name)?), bundle(1, &[self], &[])?);
        Ok(Publisher::new(snapshot, system_clock()))
    }

    pub(crate) fn revocation(&self, identity: &Identity) -> Revocation {
        let leaf = identity.leaf();
        let cert = CertId { issuer: self.issuer.key_hash(), serial: leaf.serial };
        Revocation { cert, at: system_clock()(), reason: Reason::KeyCompromise, not_after: leaf.not_after }
    }

    pub(crate) fn root_der(&self) -> &[u8] {
        &self.root.certificate().der
    }

    /// Writes what a child process named `name` needs, ours or not.
    pub(crate) fn write(&self, dir: &Path, name: &str) -> Result<(), Failure> {
        let made = self.made(name)?;
        std::fs::write(dir.join(format!("{name}.key")), made.key.to_pkcs8_der()?)?;
        for (place, der) in made.chain.iter().enumerate() {
            std::fs::write(dir.join(format!("{name}.{place}.der")), der)?;
        }
        std::fs::write(dir.join("root.der"), self.root_der())?;
        let chain: String = made.chain.iter().map(|der| pem::encode(pem::CERTIFICATE, der)).collect();
        let key = made.key.to_pem()?;
        std::fs::write(dir.join(format!("{name}.chain.pem")), &chain)?;
        std::fs::write(dir.join(format!("{name}.key.pem")), key.as_bytes())?;
        std::fs::write(dir.join(format!("{name}.both.pem")), format!("{}{chain}", key.as_str()))?;
        std::fs::write(dir.join("root.pem"), pem::encode(pem::CERTIFICATE, self.root_der()))?;
        Ok(())
    }
}

/// What `Authority::write` wrote.
pub(crate) fn read(dir: &Path, name: &str) -> Result<(Made, Vec<u8>), Failure> {
    let key = PrivateKey::from_pkcs8_der(&std::fs::read(dir.join(format!("{name}.key")))?)?;
    let der = |place: usize| std::fs::read(dir.join(format!("{name}.{place}.der")));
    Ok((Made { key, chain: vec![der(0)?, der(1)?] }, std::fs::read(dir.join("root.der"))?))
}

/// The revocation of a certificate of the issuer of `name`, at once.
pub(crate) fn read_revocation(dir: &Path, name: &str, serial: Serial) -> Result<Revocation, Failure> {
    let issuer = certus_pki::Certificate::from_der(&std::fs::read(dir.join(format!("{name}.1.der")))?)?;
    let cert = CertId { issuer: issuer.key_hash(), serial };
    let now = system_clock()();
    Ok(Revocation {
        cert,
        at: now,
        reason: Reason::KeyCompromise,
        not_after: now.plus(defaults::LEAF_LIFETIME),
    })
}

/// What `publisher` trusts, with the root in `other.root.der` or without it.
pub(crate) fn read_bundle(
    dir: &Path,
    publisher: &Publisher,
    other: bool,
    revision: u64,
) -> Result<Arc<Bundle>, Failure> {
    let now = publisher.current().bundle().clone();
    let second = Root::from_der(&std::fs::read(dir.join("other.root.der"))?)?;
    let mut roots: Vec<Root> = now.roots().iter().filter(|root| **root != second).cloned().collect();
    if other {
        roots.push(second);
    }
    let (issuers, revoked) = (now.issuers().copied(), now.revocations().copied());
    let epoch = Epoch { generation: 0, revision };
    Ok(Arc::new(Bundle::new(CLUSTER.parse()?, epoch, roots, issuers, revoked)))
}

/// A cluster member's credentials out of `dir`.
pub(crate) fn read_publisher(dir: &Path, name: &str) -> Result<Publisher, Failure> {
    let (made, root) = read(dir, name)?;
    let issuer = certus_pki::Certificate::from_der(&made.chain[1])?;
    let issuer = IssuerRef { key_hash: issuer.key_hash(), not_after: issuer.not_after };
    let epoch = Epoch { generation: 0, revision: 1 };
    let bundle = Bundle::new(CLUSTER.parse()?, epoch, vec![Root::from_der(&root)?], [issuer], []);
    let identity = Identity::new(&made.key, made.chain)?;
    Ok(Publisher::new(Snapshot::new(Some(Arc::new(identity)), Arc::new(bundle)), system_clock()))
}

/// What is trusted at `revision`.
pub(crate) fn bundle(
    revision: u64,
    authorities: &[&Authority],
    revoked: &[Revocation],
) -> Result<Arc<Bundle>, Failure> {
    let roots = authorities.iter().map(|one| Root::from_der(one.root_der()));
    let issuers = authorities.iter().map(|one| IssuerRef {
        key_hash: one.issuer.key_hash(),
        not_after: one.issuer.certificate().not_after,
    });
    let epoch = Epoch { generation: 0, revision };
    let roots = roots.collect::<Result<Vec<Root>, _>>()?;
    Ok(Arc::new(Bundle::new(CLUSTER.parse()?, epoch, roots, issuers, revoked.iter().copied())))
}

pub(crate) fn key() -> Result<PrivateKey, Failure> {
    Ok(PrivateKey::generate(KeyType::P256)?)
}

fn serial() -> Serial {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut bytes = [0x55; 16];
    bytes[8..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    Serial::from_random(bytes)
}
