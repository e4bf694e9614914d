//! A listener with certificates of its own in a node of a cluster: it shows those, and trusts as it is told.

use std::time::Duration;

use certus_forge::{Ca, LeafSpec};
use certus_node::{MaterialSpec, PeerSpec, Pem, Transport};
use certus_pki::{Change, code};
use certus_tls::Action;
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

fn roots(of: &[&Ca]) -> MaterialSpec {
    let text: String = of.iter().map(|ca| ca.pem.as_str()).collect();
    MaterialSpec { ca: Some(Pem::Text(Zeroizing::new(text))), ..MaterialSpec::default() }
}

/// A dialler with a certificate of `ca`, which the cluster knows nothing of.
async fn foreign(ca: &Ca, authority: &Authority, peer: PeerSpec) -> End {
    let leaf = ca.leaf(&LeafSpec { dns: vec!["web.example".into()], ..LeafSpec::named("web") });
    let text = |text: &str| Some(Pem::Text(Zeroizing::new(text.to_owned())));
    let mut peer = peer;
    (peer.tls.material.cert, peer.tls.material.key) = (text(&leaf.chain_pem), text(&leaf.key_pem));
    End::new(authority.publisher("worker/web-2"), vec![], vec![peer]).await
}

/// Live connections are judged by the roots that a reload names, as a change of policy.
#[tokio::test]
async fn other_roots_of_a_listener_judge_those_who_are_here() {
    for transport in Transport::ALL {
        for action in [Action::Cut, Action::Keep, Action::Drain(Duration::from_millis(300))] {
            let what = format!("{transport}, {action:?}");
            let (authority, old, new) = (Authority::new("prod"), Ca::root("old"), Ca::root("new"));
            let mut spec = listener(transport, tcp(echo().await), &["dns:web.example"]);
            spec.tls.material = roots(&[&old]);
            // Not a matter of revocation: that would keep them.
            (spec.tls.lifecycle.on_policy_change, spec.tls.lifecycle.on_revocation) = (action, Action::Keep);
            let mut one = End::new(authority.publisher("worker/web-1"), vec![spec.clone()], vec![]).await;
            let two = foreign(&old, &authority, to(&authority, transport, "worker/web-1", one.port())).await;
            let mut live = carried(two.port()).await;
            spec.tls.material = roots(&[&old, &new]);
            assert_eq!(one.carrier.reload(vec![spec.clone()], vec![]).await.unwrap().cut, 0, "{what}");
            ping(&mut live).await.unwrap();
            spec.tls.material = roots(&[&new]);
            let cut = one.carrier.reload(vec![spec], vec![]).await.unwrap().cut;
            assert_eq!(cut, usize::from(action == Action::Cut), "{what}");
            match action {
                Action::Keep => ping(&mut live).await.unwrap(),
                _ => is_reset(&what, &mut live).await,
            }
        }
    }
}

/// The same at the end that dials; and back to the cluster's own roots.
#[tokio::test]
async fn other_roots_of_a_peer_judge_those_who_are_here() {
    for transport in Transport::ALL {
        let what = format!("{transport}");
        let (authority, other) = (Authority::new("prod"), Ca::root("other"));
        let forward = tcp(echo().await);
        let spec = listener(transport, forward, &["spiffe://prod/worker/*"]);
        let one = End::new(authority.publisher("worker/web-1"), vec![spec], vec![]).await;
        let mut peer = to(&authority, transport, "worker/web-1", one.port());
        let mut two = End::new(authority.publisher("worker/web-2"), vec![], vec![peer.clone()]).await;
        let at = two.port();
        let mut live = carried(at).await;
        peer.tls.material = roots(&[&other]);
        assert_eq!(two.carrier.reload(vec![], vec![peer]).await.unwrap().cut, 1, "{what}");
        is_reset(&what, &mut live).await;
        is_refused(&what, at).await;
        two.failed_with(&what, code::UNKNOWN_AUTHORITY).await;
    }
}

/// What is configured now is also followed for those who came under what was configured before.
#[tokio::test]
async fn files_that_were_configured_later_are_followed_for_those_who_came_before() {
    let (authority, old, new) = (Authority::new("prod"), Ca::root("old"), Ca::root("new"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.crt");
    std::fs::write(&file, format!("{}{}", old.pem, new.pem)).unwrap();
    let mut spec = listener(Transport::Tcp, tcp(echo().await), &["dns:web.example"]);
    spec.tls.material = roots(&[&old]);
    let mut one = End::new(authority.publisher("worker/web-1"), vec![spec.clone()], vec![]).await;
    let two = foreign(&old, &authority, to(&authority, Transport::Tcp, "worker/web-1", one.port())).await;
    let mut live = carried(two.port()).await;
    spec.tls.material.ca = Some(Pem::File(file.clone()));
    assert_eq!(one.carrier.reload(vec![spec], vec![]).await.unwrap().cut, 0);
    ping(&mut live).await.unwrap();
    std::fs::write(&file, &new.pem).unwrap();
    is_reset("the old root is gone from the file", &mut live).await;
}
