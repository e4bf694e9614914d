//! Answers that are lost on the way: asked again at another address, nothing happens twice.

use certus_node::api::join_any;
use certus_node::{Api, ApiError, join, system_clock};
use certus_pki::{Csr, Explain, KeyType, PrivateKey, Role, code};
use certus_testkit::cluster::{Cluster, eventually};
use certus_testkit::proxy::{Proxy, Way};
use certus_wire::v1;

/// A real manager behind a way that loses answers, and beside it directly.
struct World {
    cluster: Cluster,
    proxy: Proxy,
}

impl World {
    async fn new() -> World {
        let cluster = Cluster::start().await;
        let proxy = Proxy::to(cluster.address()).await;
        World { cluster, proxy }
    }

    fn both(&self) -> Vec<String> {
        vec![self.proxy.address(), self.cluster.address().to_string()]
    }

    /// A client of the operator that has a connection through the proxy, whose answers are lost from now on.
    async fn deaf(&self) -> Api {
        self.proxy.set(Way::Open);
        let api = Api::new(self.both(), self.cluster.operator().credentials());
        api.cluster(async |mut c| c.status(v1::StatusRequest {}).await).await.unwrap();
        assert_eq!(api.working(), Some(self.proxy.address()));
        self.proxy.set(Way::Deaf);
        api
    }

    /// What becomes of `call` when its first answer is lost, after it took effect.
    async fn lost<T: Send + 'static>(
        &self,
        call: impl Future<Output = T> + Send + 'static,
        took_effect: impl AsyncFnMut() -> bool,
    ) -> T {
        let calling = tokio::spawn(call);
        eventually("the call took effect", took_effect).await;
        self.proxy.set(Way::Cut);
        calling.await.unwrap()
    }

    async fn tokens(&self) -> Vec<v1::Token> {
        let ask = v1::ListRequest { after: Vec::new(), limit: 0 };
        let api = self.cluster.operator().api();
        api.cluster(async |mut c| c.list_tokens(ask).await).await.unwrap().tokens
    }

    async fn certs_of(&self, node: &str) -> Vec<v1::Cert> {
        let certs = self.cluster.certs().await;
        certs.into_iter().filter(|cert| cert.node.ends_with(node)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_and_a_renewal_whose_answers_are_lost_give_one_certificate_each() {
    let world = World::new().await;
    let token = world.cluster.token(|_| ()).await;
    let key = PrivateKey::generate(KeyType::P256).unwrap();
    let (id, clock) = ("web-1".parse().unwrap(), system_clock());
    // It took effect, and this is the answer that nobody hears.
    join(&world.proxy.address(), &token, Role::Worker, &id, &key, &clock).await.unwrap();
    world.proxy.set(Way::Cut);
    let joined = join_any(&world.both(), &token, Role::Worker, &id, &key, &clock).await;
    let (_, joined) = joined.map_err(|error| error.map(|error| error.explain())).unwrap();
    assert_eq!(world.certs_of("worker/web-1").await.len(), 1);
    assert_eq!(joined.managers, [world.cluster.address().to_string()]);

    // Its renewal, likewise.
    world.proxy.set(Way::Open);
    let own = certus_tls::Identity::new(&key, joined.chain).unwrap();
    let snapshot = certus_tls::Snapshot::new(Some(own.into()), joined.bundle.into());
    let publisher = certus_tls::Publisher::new(snapshot, system_clock());
    let api = Api::new(world.both(), publisher.credentials());
    let managers = api.cluster(async |mut c| c.list_managers(v1::ListManagersRequest {}).await).await;
    assert_eq!(managers.unwrap().managers[0].address, world.cluster.address().to_string());
    world.proxy.set(Way::Deaf);
    let fresh = PrivateKey::generate(KeyType::P256).unwrap();
    let csr = Csr::make(&fresh, "web-1").unwrap();
    let renewing = async move { api.node(async |mut c| c.renew(v1::RenewRequest { csr }).await).await };
    let renewed = async || world.certs_of("worker/web-1").await.len() == 2;
    let credentials = world.lost(renewing, renewed).await.unwrap();
    let certs = world.certs_of("worker/web-1").await;
    assert_eq!(certs.len(), 2);
    assert!(certs.iter().any(|cert| cert.newest && cert.der == credentials.chain[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_answer_is_lost_is_carried_out_once_and_known_to_be_done() {
    let world = World::new().await;
    let node = world.cluster.worker("web-1").await;
    // Renewing is asked for twice and means one directive more.
    let api = world.deaf().await;
    let ask = v1::RotateRequest { name: "web-1".into() };
    let rotating = async move { api.cluster(async |mut c| c.rotate(ask).await).await };
    let rotated = async || world.certs_of("worker/web-1").await.len() > 1;
    world.lost(rotating, rotated).await.unwrap();

    let api = world.deaf().await;
    let ask = v1::RevokeRequest { name: "web-1".into(), reason: 0 };
    let revoking = async move { api.cluster(async |mut c| c.revoke(ask).await).await };
    let revoked = async || world.certs_of("worker/web-1").await.iter().all(|cert| cert.revoked_at.is_some());
    let error = world.lost(revoking, revoked).await.unwrap_err();
    assert!(error.may_be_done(), "{}", error.explain());
    node.shutdown().await;

    world.cluster.token(|_| ()).await;
    let token = world.tokens().await.iter().find(|token| token.used == 0).unwrap().id.clone();
    let api = world.deaf().await;
    let ask = v1::RevokeTokenRequest { id: token.clone() };
    let revoking = async move { api.cluster(async |mut c| c.revoke_token(ask).await).await };
    let revoked =
        async || world.tokens().await.iter().any(|known| known.id == token && known.revoked_at.is_some());
    let outcome: Result<v1::RevokeTokenReply, ApiError> = world.lost(revoking, revoked).await;
    let error = outcome.unwrap_err();
    assert!(error.may_be_done(), "{}", error.explain());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_answer_is_lost_leaves_one_that_nobody_knows() {
    let world = World::new().await;
    let api = world.deaf().await;
    let ask = v1::CreateTokenRequest { role: "worker".into(), ttl_secs: 60, uses: 1, ..Default::default() };
    let creating = async move { api.cluster(async |mut c| c.create_token(ask).await).await };
    world.lost(creating, async || world.tokens().await.len() == 1).await.unwrap();
    assert_eq!(world.tokens().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_manager_is_never_asked_twice() {
    let world = World::new().await;
    // Not sent where nobody is there; sent once where the answer is lost.
    let api = world.deaf().await;
    let ask = v1::RemoveManagerRequest { name: "m9".into(), compromised: false };
    let removing = async move { api.cluster(async |mut c| c.remove_manager(ask).await).await };
    let error = world.lost(removing, async || true).await.unwrap_err();
    // Cut before it left, it was never asked of the first, and so may be of the other: which knows no m9.
    let unsent = matches!(&error, ApiError::Refused(why) if why.code == code::UNKNOWN_NODE);
    let lost = matches!(error, ApiError::Unreachable { .. } | ApiError::Deadline { .. });
    assert!(lost || unsent, "{error:?}");
    let api = Api::new(world.both(), world.cluster.operator().credentials());
    let ask = v1::RemoveManagerRequest { name: "m9".into(), compromised: false };
    let error = api.cluster(async |mut c| c.remove_manager(ask).await).await.unwrap_err();
    assert_eq!(error.explain().code, code::UNKNOWN_NODE, "{}", error.explain());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_told_where_the_managers_are() {
    let world = World::new().await;
    let node = world.cluster.worker("web-1").await;
    let kept = world.cluster.data_dir("web-1").join("certs/worker-web-1/managers");
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), format!("{}\n", world.cluster.address()));
    // The stream says so too, to a node that has lost its list.
    node.shutdown().await;
    std::fs::remove_file(&kept).unwrap();
    let _node = world.cluster.try_worker("web-1", None).await.unwrap();
    eventually("it is kept again", async || kept.exists()).await;
}
