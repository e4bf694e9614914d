//! A node whose trust is in the test's hands: what it revokes is seen by programs that are not ours.

use std::net::SocketAddr;
use std::sync::Arc;

use certus_node::{Carrier, ListenerSpec, MaterialSpec, Means, Metrics, system_clock};
use certus_pki::{Bundle, CertId, Certificate, Epoch, Reason, Revocation, Root, pem};
use certus_tls::{Publisher, Snapshot};

use crate::world::World;

/// One listener, whose callers are those of the world's authority until they are revoked.
pub(crate) struct Revoking<'a> {
    world: &'a World,
    publisher: Publisher,
    pub(crate) carrier: Carrier,
}

impl<'a> Revoking<'a> {
    pub(crate) fn new(world: &'a World, mut spec: ListenerSpec) -> Revoking<'a> {
        spec.tls.material = MaterialSpec { ca: None, ..world.named("server") };
        let snapshot = Snapshot::new(None, bundle(world, 0, None));
        let publisher = Publisher::new(snapshot, system_clock());
        let means = Means::new(publisher.credentials(), Metrics::new());
        let carrier = world.block_on(Carrier::start(means, vec![spec], vec![])).unwrap();
        Revoking { world, publisher, carrier }
    }

    pub(crate) fn at(&self) -> SocketAddr {
        self.carrier.bound("web").unwrap()
    }

    /// Revokes the certificate of `client.crt`.
    pub(crate) fn revoke(&self) {
        let text = std::fs::read_to_string(self.world.path("client.crt")).unwrap();
        let leaf = Certificate::from_der(&pem::decode(&text).unwrap()[0].der).unwrap();
        let issuer = Certificate::from_der(&self.world.ca.der).unwrap();
        let cert = CertId { issuer: issuer.key_hash(), serial: leaf.serial };
        let (at, reason) = (system_clock()(), Reason::KeyCompromise);
        let revocation = Revocation { cert, at, reason, not_after: leaf.not_after };
        self.publisher.publish_bundle(bundle(self.world, 1, Some(revocation))).unwrap();
    }
}

fn bundle(world: &World, revision: u64, revoked: Option<Revocation>) -> Arc<Bundle> {
    let root = Root::from_der(&world.ca.root_der).unwrap();
    Arc::new(Bundle::of_authorities(Epoch { generation: 0, revision }, vec![root], revoked))
}
