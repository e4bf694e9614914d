//! A strict mesh: certificates in files at both ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use certus_forge::{Ca, KeyType, LeafSpec};
use certus_node::{MaterialSpec, Mtls, Pem};
use certus_pki::KeyPolicy;

use super::*;
use crate::world::echo;

/// A pair and the roots, in files.
fn material(dir: &Path, ca: &Ca, spec: &LeafSpec) -> MaterialSpec {
    let leaf = ca.leaf(spec);
    let put = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        Some(Pem::File(path))
    };
    MaterialSpec {
        cert: put("tls.crt", &leaf.chain_pem),
        key: put("tls.key", &leaf.key_pem),
        ca: put("ca.crt", &ca.pem),
    }
}

fn server() -> LeafSpec {
    LeafSpec { dns: vec!["db.mesh".into()], ips: vec!["127.0.0.1".parse().unwrap()], ..LeafSpec::named("db") }
}

fn client() -> LeafSpec {
    LeafSpec { dns: vec!["web.mesh".into()], ..LeafSpec::named("web") }
}

fn strict() -> TlsSpec {
    TlsSpec { strict: true, mtls: Mtls::Required, ..TlsSpec::mesh() }
}

async fn agent(material: MaterialSpec) -> Agent {
    Agent::with(|options| options.material = material).await
}

#[tokio::test]
async fn both_ends_prove_themselves_by_certificates() {
    for transport in Transport::ALL {
        let (here, there, ca) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Ca::root("mesh"));
        let one = agent(material(here.path(), &ca, &server())).await;
        let two = agent(material(there.path(), &ca, &client())).await;
        let mut spec = open(transport, echo().await, "dns:web.mesh");
        spec.tls = strict();
        let at = one.listens(spec.clone()).await;
        let mut peer = known(transport, one.node.agent_id(), at);
        peer.tls = strict();
        for e2e in [E2e::Auto, E2e::Never] {
            peer.e2e = e2e;
            ping(&mut carried(two.dials(peer.clone()).await).await).await.unwrap();
        }
        // By a name, too.
        peer.server_name = Some("db.mesh".parse().unwrap());
        ping(&mut carried(two.dials(peer.clone()).await).await).await.unwrap();

        // The certificate is for another name.
        peer.server_name = Some("cache.mesh".parse().unwrap());
        is_refused("another name", two.dials(peer.clone()).await).await;
        let why = two.failed_with(&format!("{transport}"), code::WRONG_NAME).await.why;
        assert!(why.to_string().contains("cache.mesh") && why.to_string().contains("db.mesh"), "{why}");
        peer.server_name = None;

        // A caller with another name.
        spec.allow = allow(&["dns:other.mesh"]);
        one.node.reload(vec![spec], vec![]).await.unwrap();
        is_refused("not allowed", two.dials(peer).await).await;
        one.failed_with(&format!("{transport}"), code::NOT_ALLOWED).await;
        two.failed_with(&format!("{transport}"), code::PEER_REJECTED_US).await;
    }
}

#[tokio::test]
async fn a_kind_of_key_that_is_not_taken_is_said() {
    for transport in Transport::ALL {
        let (here, there, ca) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Ca::root("mesh"));
        let one = agent(material(here.path(), &ca, &server())).await;
        let rsa = LeafSpec { key_type: KeyType::Rsa2048, ..client() };
        let two = agent(material(there.path(), &ca, &rsa)).await;
        let mut spec = open(transport, echo().await, "dns:web.mesh");
        spec.tls = TlsSpec { keys: KeyPolicy::elliptic(), ..strict() };
        let at = one.listens(spec).await;
        let mut peer = known(transport, one.node.agent_id(), at);
        peer.tls = strict();
        is_refused("RSA", two.dials(peer).await).await;
        let why = one.failed_with(&format!("{transport}"), code::KEY_NOT_ACCEPTED).await.why;
        assert!(why.to_string().contains("RSA"), "{why}");
        two.failed_with(&format!("{transport}"), code::PEER_REJECTED_US).await;
    }
}

/// Swapped on disk, in force for the next handshake; broken on disk, of no effect.
#[tokio::test]
async fn files_of_a_listener_are_followed() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let (dir, there, ca) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Ca::root("mesh"));
        let mut spec = listener(transport, tcp(echo().await), &["dns:web.mesh"]);
        spec.tls = strict();
        spec.tls.material = material(dir.path(), &ca, &server());
        let end = crate::world::End::new(authority.publisher("worker/web-1"), vec![spec], vec![]).await;
        let two = agent(material(there.path(), &ca, &client())).await;
        let mut peer = known(transport, AgentKey::generate().unwrap().id(), end.port());
        (peer.tls, peer.e2e) = (strict(), E2e::Never);
        let port = two.dials(peer.clone()).await;
        let mut live = carried(port).await;
        let shown = || async {
            // A peer of its own each time: kept connections show what was in force then.
            let two = agent(material(there.path(), &ca, &client())).await;
            let port = two.dials(peer.clone()).await;
            let _tcp = carried(port).await;
            let connections = two.node.registry().connections();
            connections.last().and_then(|one| one.peer.clone()).unwrap().peer.cert.serial
        };
        let before = shown().await;
        fs::write(dir.path().join("tls.crt"), "-----BEGIN CERTIFICATE-----\nnothing").unwrap();
        assert_eq!(shown().await, before, "{transport}: what is broken changes nothing");
        material(dir.path(), &ca, &server());
        let mut after = shown().await;
        for _ in 0..1_000 {
            if after != before {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            after = shown().await;
        }
        assert_ne!(after, before, "{transport}: the new certificate is in force");
        ping(&mut live).await.unwrap();
    }
}
