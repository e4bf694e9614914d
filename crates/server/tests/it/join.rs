//! Tokens and joining: what is let in, and five errors for five causes.

use certus_node::{Node, join, system_clock};
use certus_pki::{Explain, JoinToken, KeyType, Lifetime, PrivateKey, Role, Sha256, UnixTime, code};
use certus_testkit::cluster::{Cluster, eventually, serial_of};

/// The code that joining with `token` is refused with.
async fn refused(cluster: &Cluster, id: &str, role: Role, token: &JoinToken) -> certus_pki::Code {
    let key = PrivateKey::generate(KeyType::P256).ok().unwrap();
    let address = cluster.address().to_string();
    let id = id.parse().unwrap();
    let error = join(&address, token, role, &id, &key, &system_clock()).await.err().unwrap();
    error.explain().code
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_joins_and_goes_on_without_its_token() {
    let cluster = Cluster::start().await;
    let token = cluster.token(|_| ()).await;
    let node = cluster.try_worker("web-1", Some(token)).await.unwrap();
    assert_eq!(node.name(), "spiffe://prod/worker/web-1");
    let serial = serial_of(&node);
    assert!(cluster.certs().await.iter().any(|cert| {
        cert.id.as_ref().is_some_and(|id| id.serial == serial.significant()) && cert.how == "joined"
    }));
    node.shutdown().await;
    let again = cluster.try_worker("web-1", None).await.unwrap();
    assert_eq!(serial_of(&again), serial);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_causes_have_five_errors() {
    let cluster = Cluster::start().await;
    let good = cluster.token(|_| ()).await;

    let wrong_pin = JoinToken::new(*good.secret(), &Sha256::of(b"another root"));
    assert_eq!(refused(&cluster, "a", Role::Worker, &wrong_pin).await, code::WRONG_PIN);

    let root = cluster.operator().credentials().current().bundle().roots()[0].key_hash();
    let unknown = JoinToken::new([9; 16], &root);
    assert_eq!(refused(&cluster, "a", Role::Worker, &unknown).await, code::UNKNOWN_TOKEN);

    assert_eq!(refused(&cluster, "a", Role::Client, &good).await, code::TOKEN_WRONG_ROLE);

    let short = cluster.token(|request| request.ttl_secs = 1).await;
    let ended = system_clock()().plus(Lifetime::from_secs(1));
    // Asked once, when it has ended: who asks without a certificate may not ask without end.
    eventually("the token ends", async || system_clock()() > ended).await;
    assert_eq!(refused(&cluster, "a", Role::Worker, &short).await, code::TOKEN_EXPIRED);

    let _node = cluster.try_worker("a", Some(good.clone())).await.unwrap();
    assert_eq!(refused(&cluster, "b", Role::Worker, &good).await, code::TOKEN_USED_UP);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_token_and_key_are_answered_with_the_same_certificate() {
    let cluster = Cluster::start().await;
    let token = cluster.token(|_| ()).await;
    let key = PrivateKey::generate(KeyType::P256).ok().unwrap();
    let address = cluster.address().to_string();
    let id = "web-1".parse().unwrap();
    let first = join(&address, &token, Role::Worker, &id, &key, &system_clock()).await.unwrap();
    let again = join(&address, &token, Role::Worker, &id, &key, &system_clock()).await.unwrap();
    assert_eq!(first.chain, again.chain);
    let certs = cluster.certs().await;
    assert_eq!(certs.iter().filter(|cert| cert.node.ends_with("/web-1")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_race_for_the_last_use_one_wins() {
    let cluster = Cluster::start().await;
    let token = cluster.token(|request| request.uses = 3).await;
    let address = cluster.address().to_string();
    let mut racers = tokio::task::JoinSet::new();
    for number in 0..12 {
        let (token, address) = (token.clone(), address.clone());
        racers.spawn(async move {
            let key = PrivateKey::generate(KeyType::P256).ok().unwrap();
            let id = format!("web-{number}").parse().unwrap();
            let joined = join(&address, &token, Role::Worker, &id, &key, &system_clock()).await;
            joined.map(|_| ()).map_err(|error| error.explain().code)
        });
    }
    let outcomes = racers.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 3);
    assert!(outcomes.iter().flat_map(|outcome| outcome.err()).all(|code| code == code::TOKEN_USED_UP));
    assert_eq!(cluster.certs().await.iter().filter(|cert| cert.how == "joined").count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_in_use_is_not_taken_over_but_by_a_token_that_says_so() {
    let cluster = Cluster::start().await;
    let first: Node = cluster.worker("web-1").await;
    let other = cluster.token(|_| ()).await;
    assert_eq!(refused(&cluster, "web-1", Role::Worker, &other).await, code::ID_IN_USE);
    let names_it = cluster.token(|request| request.id = Some("web-1".into())).await;
    assert_eq!(refused(&cluster, "web-1", Role::Worker, &names_it).await, code::ID_IN_USE);
    assert_eq!(refused(&cluster, "web-2", Role::Worker, &names_it).await, code::TOKEN_WRONG_ID);

    let serial = serial_of(&first);
    first.shutdown().await;
    let replaces = cluster
        .token(|request| {
            request.id = Some("web-1".into());
            request.replace = true;
        })
        .await;
    let key = PrivateKey::generate(KeyType::P256).ok().unwrap();
    let address = cluster.address().to_string();
    let id = "web-1".parse().unwrap();
    join(&address, &replaces, Role::Worker, &id, &key, &system_clock()).await.unwrap();
    let certs = cluster.certs().await;
    let old = certs.iter().find(|cert| cert.id.as_ref().unwrap().serial == serial.significant());
    assert!(old.unwrap().revoked_at.is_some(), "what the old key holds is revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_come_from_the_token_and_nowhere_else() {
    let cluster = Cluster::start().await;
    let token = cluster.token(|request| request.sans = vec!["web.internal".into(), "10.0.0.7".into()]).await;
    let greedy = certus_forge::Csr::new(&certus_forge::CsrSpec::greedy("evil"));
    let key = PrivateKey::generate(KeyType::P256).ok().unwrap();
    assert!(certus_pki::Csr::read(&greedy.der).is_ok(), "what it asks for is not even read");
    let id = "web-1".parse().unwrap();
    let address = cluster.address().to_string();
    let joined = join(&address, &token, Role::Worker, &id, &key, &system_clock()).await.unwrap();
    let leaf = certus_pki::Certificate::from_der(&joined.chain[0]).unwrap();
    let names: Vec<String> = leaf.sans.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["web.internal", "10.0.0.7"]);
    assert!(!leaf.is_ca && leaf.uris == ["spiffe://prod/worker/web-1"]);
    assert!(leaf.not_after > UnixTime::from_secs(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_admits_nobody() {
    let cluster = Cluster::start().await;
    let token = cluster.token(|_| ()).await;
    let request = certus_wire::v1::RevokeTokenRequest { id: token.id().as_bytes().to_vec() };
    cluster.operator().api().cluster(async |mut c| c.revoke_token(request).await).await.unwrap();
    assert_eq!(refused(&cluster, "a", Role::Worker, &token).await, code::TOKEN_REVOKED);
}
