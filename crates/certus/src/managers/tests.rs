//! The managers as this user calls them: one that is real, and a way to it that loses answers.

use certus_pki::Role;
use certus_testkit::proxy::{Proxy, Way};

use super::*;
use crate::dev::stage::Stage;
use crate::home::Known;

/// A stage looks for a free port before it binds it, so that two at once may find the same.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn this_users_certificate_is_renewed_in_place() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::found(dir.path()).await.unwrap();
    let before = stage.home.require_identity().unwrap();
    assert!(!due(&before.leaf));
    let after = stage.managers.renew(&stage.home).await.unwrap();
    assert_eq!(after.identity, before.identity);
    assert_ne!(after.leaf.key_hash(), before.leaf.key_hash());
    Managers::of(&stage.home, &[]).await.unwrap().status().await.unwrap();
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_managers_are_is_kept_and_used_when_those_that_were_named_are_gone() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::found(dir.path()).await.unwrap();
    let (home, address) = (&stage.home, stage.manager.address().to_string());
    let cluster = home.require_identity().unwrap().identity.cluster;
    let known = || home.known(&cluster).unwrap().unwrap();
    assert!(known().learned.is_empty());
    // Nothing was asked yet, so there is nothing to keep.
    let managers = Managers::of(home, &[]).await.unwrap();
    managers.remember(home).await;
    assert!(known().learned.is_empty());
    managers.status().await.unwrap();
    managers.remember(home).await;
    let first = known();
    assert_eq!(first.learned, std::slice::from_ref(&address));

    // What was named is gone; what was learned is not.
    home.remember(Known { managers: vec!["127.0.0.1:1".into()], ..first.clone() }).unwrap();
    Managers::of(home, &[]).await.unwrap().status().await.unwrap();
    // What was learned is gone and recent; what was named is not. It is learned again, because one failed.
    let now = system_clock()();
    home.remember(Known { learned: vec!["127.0.0.1:1".into()], learned_at: Some(now.secs()), ..first })
        .unwrap();
    let managers = Managers::of(home, &[]).await.unwrap();
    managers.status().await.unwrap();
    managers.remember(home).await;
    assert_eq!((known().learned, known().managers), (vec![address.clone()], vec![address.clone()]));
    // One that is there no more is forgotten with the next command, recent or not.
    home.remember(Known { learned: vec![address.clone(), "127.0.0.1:2".into()], ..known() }).unwrap();
    let managers = Managers::of(home, &[]).await.unwrap();
    managers.status().await.unwrap();
    managers.remember(home).await;
    assert_eq!(known().learned, [address]);
    // Who names managers means these.
    let named = Managers::of(home, &["127.0.0.1:1".into()]).await.unwrap();
    assert_eq!(named.status().await.unwrap_err().code, code::UNREACHABLE);
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_whose_answer_was_lost_is_reported_as_done() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::found(dir.path()).await.unwrap();
    let address = stage.manager.address();
    let proxy = Proxy::to(address).await;
    let admit = async |id: &str| {
        let token = stage.token(id).await.unwrap();
        let key = certus_pki::PrivateKey::generate(certus_pki::KeyType::P256).unwrap();
        let id = id.parse().unwrap();
        certus_node::join(&address.to_string(), &token, Role::Worker, &id, &key, &system_clock())
            .await
            .unwrap()
    };
    let deaf = async || {
        proxy.set(Way::Open);
        let managers = Managers::of(&stage.home, &[proxy.address(), address.to_string()]).await.unwrap();
        managers.status().await.unwrap();
        proxy.set(Way::Deaf);
        managers
    };
    let is_revoked = async |id: &str| {
        let cert = stage.managers.cert(id).await.unwrap().remove(0);
        cert.revoked_at.is_some()
    };
    let joined = admit("web-7").await;
    let serial = certus_pki::Certificate::from_der(&joined.chain[0]).unwrap().serial;
    admit("web-8").await;
    for (name, id, node) in [
        ("web-8".to_owned(), "web-8", Some("spiffe://dev/worker/web-8".to_owned())),
        (serial.to_string(), "web-7", None),
    ] {
        let managers = deaf().await;
        let asked = name.clone();
        let revoking = tokio::spawn(async move { managers.revoke(&asked, Reason::Unspecified).await });
        certus_testkit::cluster::eventually("it is revoked", async || is_revoked(id).await).await;
        proxy.set(Way::Cut);
        let reply = revoking.await.unwrap().unwrap();
        assert_eq!((reply.node, reply.certs.len()), (node, 1), "{name}");
        assert!(reply.epoch.unwrap().revision > 0);
        // Who asks anew is told that it was done before.
        let again = stage.managers.revoke(&name, Reason::Unspecified).await;
        assert_eq!(again.unwrap_err().code, code::ALREADY_REVOKED);
    }
    stage.strike().await;
}
