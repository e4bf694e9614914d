//! Several managers: joining, answering at any of them, losing one, removing one.

use certus_node::{ApiError, join, system_clock};
use certus_pki::{Explain, KeyType, PrivateKey, Role, Serial, code};
use certus_testkit::cluster::{Cluster, eventually, leaf_of, serial_of};
use certus_wire::v1;

async fn three() -> Cluster {
    let mut cluster = Cluster::start().await;
    cluster.join_manager("m2").await;
    cluster.join_manager("m3").await;
    cluster.voters(3).await;
    cluster
}

async fn token_at(cluster: &Cluster, address: &str) -> certus_pki::JoinToken {
    let request = v1::CreateTokenRequest {
        role: "worker".to_owned(),
        ttl_secs: 3600,
        uses: 1,
        ..v1::CreateTokenRequest::default()
    };
    let api = cluster.operator_at(address);
    let reply = api.cluster(async |mut c| c.create_token(request).await).await.unwrap();
    reply.token.parse().unwrap()
}

/// The issuer that signed the certificate of `serial`.
async fn issuer_of(cluster: &Cluster, serial: &Serial) -> Vec<u8> {
    let certs = cluster.certs().await;
    let of = |cert: &&v1::Cert| cert.id.as_ref().is_some_and(|id| id.serial == serial.significant());
    certs.iter().find(of).unwrap().id.clone().unwrap().issuer
}

async fn remove(
    cluster: &Cluster,
    name: &str,
    compromised: bool,
) -> Result<v1::RemoveManagerReply, ApiError> {
    let request = v1::RemoveManagerRequest { name: name.to_owned(), compromised };
    cluster.operator().api().cluster(async |mut c| c.remove_manager(request).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_managers_replicate_and_each_signs_with_its_own_issuer() {
    let cluster = three().await;
    let managers = cluster.managers().await;
    let named: Vec<(u64, &str)> = managers.iter().map(|m| (m.member, m.node.as_str())).collect();
    assert_eq!(
        named,
        [(1, "spiffe://prod/manager/m1"), (2, "spiffe://prod/manager/m2"), (3, "spiffe://prod/manager/m3")]
    );
    assert_eq!(managers.iter().filter(|manager| manager.leader).count(), 1);
    // A token made at one is good at the next, at once; each signs by itself.
    let addresses = cluster.addresses();
    let mut issuers = Vec::new();
    for (place, address) in addresses.iter().enumerate() {
        let elsewhere = &addresses[(place + 1) % addresses.len()];
        let token = token_at(&cluster, elsewhere).await;
        let key = PrivateKey::generate(KeyType::P256).ok().unwrap();
        let id = format!("web-{place}").parse().unwrap();
        let joined = join(address, &token, Role::Worker, &id, &key, &system_clock()).await.unwrap();
        let leaf = certus_pki::Certificate::from_der(&joined.chain[0]).unwrap();
        issuers.push(issuer_of(&cluster, &leaf.serial).await);
    }
    issuers.sort();
    issuers.dedup();
    assert_eq!(issuers.len(), 3, "three managers, three issuers");

    // A manager is taken out by its removal alone, not by revoking what it proves itself with.
    let serial = leaf_of(&cluster.other("m2").credentials()).serial;
    let request = v1::RevokeRequest { name: serial.to_string(), reason: 0 };
    let refused = cluster.operator().api().cluster(async |mut c| c.revoke(request).await).await.unwrap_err();
    assert_eq!(refused.explain().code, code::PERMISSION_DENIED, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_is_gone_is_not_missed_and_comes_back() {
    let mut cluster = three().await;
    let node = cluster.worker("web-1").await;
    cluster.stop_manager().await;
    let before = serial_of(&node);
    eventually("the node renews at another manager", async || node.renew_now().await.is_ok()).await;
    assert_ne!(serial_of(&node), before);
    let token = cluster.token(|_| ()).await;
    let key = PrivateKey::generate(KeyType::P256).ok().unwrap();
    let id = "web-2".parse().unwrap();
    let address = cluster.addresses().remove(0);
    join(&address, &token, Role::Worker, &id, &key, &system_clock()).await.unwrap();
    cluster.start_manager().await;
    let first = cluster.operator_at(&cluster.manager().address().to_string());
    eventually("the first manager has what it missed", async || {
        let request = v1::GetCertRequest { name: "web-2".into() };
        first.cluster(async |mut c| c.get_cert(request).await).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_nothing_is_promised() {
    let mut cluster = three().await;
    cluster.stop_other("m2").await;
    cluster.stop_other("m3").await;
    let request = v1::CreateTokenRequest {
        role: "worker".to_owned(),
        ttl_secs: 3600,
        uses: 1,
        ..v1::CreateTokenRequest::default()
    };
    let alone = cluster.operator_at(&cluster.manager().address().to_string());
    let refused = alone.cluster(async |mut c| c.create_token(request).await).await;
    assert!(refused.is_err(), "a token that no majority holds");
    cluster.start_other("m2").await;
    eventually("two of three serve again", async || cluster.try_token(|_| ()).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_a_compromised_manager_is_refused_everywhere_and_its_leaves_move() {
    let mut cluster = three().await;
    let second = cluster.other("m2").address().to_string();
    let token = token_at(&cluster, &second).await;
    let mut options = cluster.worker_options("web-1", Some(token));
    options.managers = vec![second.clone()];
    let node = certus_node::Node::start(options).await.unwrap();
    let struck = issuer_of(&cluster, &serial_of(&node)).await;
    let serial = serial_of(&node);
    let away = cluster.other("m2").credentials();

    let reply = remove(&cluster, "m2", true).await.unwrap();
    assert_eq!((reply.node.as_str(), reply.leaves), ("spiffe://prod/manager/m2", 1));
    assert!(reply.could_open_root);
    eventually("it is out of the membership", async || cluster.managers().await.len() == 2).await;
    eventually("the node renewed elsewhere", async || serial_of(&node) != serial).await;
    assert_ne!(issuer_of(&cluster, &serial_of(&node)).await, struck);
    let bundle = cluster.operator_at(&cluster.manager().address().to_string());
    let bundle = bundle.cluster(async |mut c| c.bundle(v1::BundleRequest {}).await).await.unwrap();
    assert!(bundle.issuers.iter().all(|issuer| issuer.key_hash != struck));
    assert!(bundle.struck.iter().any(|issuer| issuer.key_hash == struck));

    // What it holds opens nothing any more.
    let refused = certus_node::Api::new(vec![cluster.manager().address().to_string()], away);
    let refused = refused.cluster(async |mut c| c.status(v1::StatusRequest {}).await).await.unwrap_err();
    assert_eq!(refused.explain().code, code::PEER_REJECTED_US, "{refused:?}");
    assert!(remove(&cluster, "m2", true).await.is_err());
    cluster.stop_other("m2").await;
    cluster.voters(2).await;
    cluster.try_token(|_| ()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_leaves_in_peace_leaves_nobody_behind() {
    let mut cluster = three().await;
    let second = cluster.other("m2").address().to_string();
    let token = token_at(&cluster, &second).await;
    let mut options = cluster.worker_options("web-1", Some(token));
    options.managers = vec![second];
    let node = certus_node::Node::start(options).await.unwrap();
    let serial = serial_of(&node);
    remove(&cluster, "manager/m2", false).await.unwrap();
    eventually("the node renewed elsewhere", async || serial_of(&node) != serial).await;
    cluster.stop_other("m2").await;
    eventually("two managers", async || cluster.managers().await.len() == 2).await;
    assert!(cluster.certs().await.iter().all(|cert| cert.revoked_at.is_none() || cert.node.ends_with("m2")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_only_learns_votes_when_it_is_promoted() {
    let mut cluster = Cluster::start().await;
    cluster.join_manager("m2").await;
    cluster.try_join_manager("m3", |options| options.voter = false).await.unwrap();
    cluster.voters(2).await;
    eventually("the third learns", async || cluster.managers().await.len() == 3).await;
    let request = v1::PromoteManagerRequest { name: "m3".into() };
    let reply = cluster.operator().api().cluster(async |mut c| c.promote_manager(request).await).await;
    assert_eq!(reply.unwrap().node, "spiffe://prod/manager/m3");
    cluster.voters(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_manager_holds_a_certificate_of_its_own_issuer() {
    let cluster = three().await;
    eventually("each renewed with its own", async || {
        ["m2", "m3"].iter().all(|id| {
            let credentials = cluster.other(id).credentials();
            let leaf = leaf_of(&credentials);
            let first = leaf_of(&cluster.manager().credentials());
            leaf.authority_key_id != first.authority_key_id
        })
    })
    .await;
}
