//! A listener with certificates of its own in a node of a cluster: it shows those, and trusts as it is told.

use certus_forge::{Ca, LeafSpec};
use certus_node::{MaterialSpec, Pem, Transport};
use certus_pki::{Change, code};
use zeroize::Zeroizing;

use crate::authority::{Authority, delta};
use crate::world::{End, allow, carried, echo, is_refused, is_reset, listener, ping, reaching, tcp, to};

fn inline(ca: &Ca) -> MaterialSpec {
    let leaf = ca.leaf(&LeafSpec { dns: vec!["db.example".into()], ..LeafSpec::named("db") });
    let text = |text: &str| Some(Pem::Text(Zeroizing::new(text.to_owned())));
    MaterialSpec { cert: text(&leaf.chain_pem), key: text(&leaf.key_pem), ca: None }
}

/// Its callers are the cluster's, with everything the cluster knows of them.
#[tokio::test]
async fn a_foreign_certificate_leaves_the_clusters_trust_as_it_is() {
    for transport in Transport::ALL {
        let what = format!("{transport}");
        let (authority, ca) = (Authority::new("prod"), Ca::root("example"));
        let mut spec = listener(transport, tcp(echo().await), &["spiffe://prod/worker/*"]);
        spec.tls.material = inline(&ca);
        let one = End::new(authority.publisher("worker/web-1"), vec![spec], vec![]).await;
        let dialler = |id: &str| {
            let mut peer = to(&authority, transport, "worker/none", one.port());
            peer.id = certus_node::PeerId::Agent(certus_node::AgentKey::generate().unwrap().id());
            peer.e2e = certus_node::E2e::Never;
            peer.server_name = Some("db.example".parse().unwrap());
            let text = Some(Pem::Text(Zeroizing::new(ca.pem.clone())));
            peer.tls.material = MaterialSpec { ca: text, ..MaterialSpec::default() };
            End::new(authority.publisher(id), vec![], vec![peer])
        };
        let two = dialler("worker/web-2").await;
        let mut live = carried(two.port()).await;
        // An issuer that is struck from the cluster is struck here too.
        let issuer = one.publisher.current().bundle().issuers().next().unwrap().key_hash;
        one.publisher.apply(&delta(2, vec![Change::IssuerRemoved(issuer)])).unwrap();
        is_reset(&what, &mut live).await;
        is_refused(&what, two.port()).await;
        one.failed_with(&what, code::ISSUER_NOT_ACTIVE).await;
    }
}

/// A reload with another certificate in the configuration itself is one with another certificate.
#[tokio::test]
async fn inline_material_that_changes_is_noticed() {
    let (authority, ca) = (Authority::new("prod"), Ca::root("example"));
    let mut spec = listener(Transport::Tcp, tcp(echo().await), &["spiffe://prod/worker/*"]);
    spec.tls.material = inline(&ca);
    let mut one = End::new(authority.publisher("worker/web-1"), vec![spec.clone()], vec![]).await;
    assert_eq!(one.carrier.reload(vec![spec.clone()], vec![]).await.unwrap().changed, 0);
    spec.tls.material = inline(&ca);
    assert_eq!(one.carrier.reload(vec![spec.clone()], vec![]).await.unwrap().changed, 1);
    // And back to the cluster's own.
    spec.tls.material = MaterialSpec::default();
    spec.allow = allow(&["spiffe://prod/worker/web-2"]);
    assert_eq!(one.carrier.reload(vec![spec], vec![]).await.unwrap().changed, 1);
    let two = reaching(&authority, Transport::Tcp, "worker/web-2", one.port()).await;
    ping(&mut carried(two.port()).await).await.unwrap();
}
