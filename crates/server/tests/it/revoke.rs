//! Revocation: pushed, enforced, reported; and it stays.

use certus_pki::{Explain, Reason, code};
use certus_testkit::cluster::{Cluster, eventually, serial_of};
use certus_wire::v1;

async fn revoke(cluster: &Cluster, name: &str) -> v1::RevokeReply {
    let request = v1::RevokeRequest { name: name.into(), reason: Reason::KeyCompromise.number().into() };
    cluster.operator().api().cluster(async |mut c| c.revoke(request).await).await.unwrap()
}

async fn connected(cluster: &Cluster) -> usize {
    let status = cluster.operator().api().cluster(async |mut c| c.status(v1::StatusRequest {}).await).await;
    status.unwrap().connected.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_a_revoked_node_neither_renews_nor_comes_back_and_others_enforce_it() {
    let mut cluster = Cluster::start().await;
    let (one, two) = (cluster.worker("web-1").await, cluster.worker("web-2").await);
    let offline = cluster.worker("web-3").await;
    eventually("all three watch", async || connected(&cluster).await == 3).await;
    offline.shutdown().await;
    eventually("one has left", async || connected(&cluster).await == 2).await;

    let reply = revoke(&cluster, "web-2").await;
    assert_eq!(reply.certs.len(), 1);
    let request = v1::EnforcementRequest { epoch: reply.epoch, wait_ms: 30_000 };
    let report = cluster.operator().api();
    let report =
        report.cluster_within(std::time::Duration::from_secs(40), async |mut c| c.enforcement(request).await);
    let report = report.await.unwrap();
    assert!(report.pending.is_empty(), "{report:?}");
    assert!(report.enforced >= 1);
    let names: Vec<&str> = report.offline.iter().map(|offline| offline.node.as_str()).collect();
    assert_eq!(names, ["spiffe://prod/worker/web-3"], "who is revoked is not missed");
    assert!(report.offline[0].since.is_some());
    assert_eq!(one.credentials().current().bundle().revocations().len(), 1);

    let error = two.renew_now().await.err().unwrap().explain();
    assert!(
        [code::PEER_REJECTED_US, code::RENEWAL_BARRED, code::REVOKED, code::REMOVED].contains(&error.code),
        "{error}"
    );
    let again = cluster.token(|_| ()).await;
    let key = certus_pki::PrivateKey::generate(certus_pki::KeyType::P256).ok().unwrap();
    let (address, id) = (cluster.address().to_string(), "web-2".parse().unwrap());
    let clock = certus_node::system_clock();
    let join = certus_node::join(&address, &again, certus_pki::Role::Worker, &id, &key, &clock).await;
    assert_eq!(join.err().unwrap().explain().code, code::ID_IN_USE);

    cluster.stop_manager().await;
    cluster.start_manager().await;
    let error = two.renew_now().await.err().unwrap().explain();
    assert!(
        [code::PEER_REJECTED_US, code::RENEWAL_BARRED, code::REVOKED, code::REMOVED].contains(&error.code),
        "{error}"
    );
    let certs = cluster.certs().await;
    let gone = certs.iter().find(|cert| cert.node.ends_with("/web-2")).unwrap();
    assert_eq!(gone.reason, u32::from(Reason::KeyCompromise.number()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_learns_of_revocations_when_it_is_back() {
    let cluster = Cluster::start().await;
    let (one, two) = (cluster.worker("web-1").await, cluster.worker("web-2").await);
    one.shutdown().await;
    revoke(&cluster, "web-2").await;
    let one = cluster.try_worker("web-1", None).await.unwrap();
    let serial = serial_of(&two);
    eventually("it has the revocation", async || {
        one.credentials().current().bundle().revocations().any(|revocation| revocation.cert.serial == serial)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_a_serial_bars_renewal_from_it() {
    let cluster = Cluster::start().await;
    let node = cluster.worker("web-1").await;
    let serial = serial_of(&node).to_string();
    let reply = revoke(&cluster, &serial).await;
    assert_eq!(reply.node, None);
    let error = node.renew_now().await.err().unwrap().explain();
    assert!(
        [code::PEER_REJECTED_US, code::RENEWAL_BARRED, code::REVOKED, code::REMOVED].contains(&error.code),
        "{error}"
    );
    let again = v1::RevokeRequest { name: serial, reason: 0 };
    let again = cluster.operator().api().cluster(async |mut c| c.revoke(again).await).await;
    assert_eq!(again.err().unwrap().explain().code, code::ALREADY_REVOKED);
    let unknown = v1::RevokeRequest { name: "nobody".into(), reason: 0 };
    let unknown = cluster.operator().api().cluster(async |mut c| c.revoke(unknown).await).await;
    assert_eq!(unknown.err().unwrap().explain().code, code::UNKNOWN_NODE);
}
