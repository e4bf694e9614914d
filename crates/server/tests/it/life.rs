//! What lasts: the truth over restarts, certificates over renewals, nodes while the manager is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use certus_pki::{Explain, Lifetime, UnixTime, code};
use certus_server::{FoundOptions, Founded, ManagerOptions, OperatorIdentity, found};
use certus_testkit::cluster::{Cluster, Operator, eventually, leaf_of, serial_of};
use certus_wire::v1;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_founded_is_not_founded_again() {
    let cluster = Cluster::start().await;
    let id = |id: &str| id.parse().unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let options = FoundOptions::new("prod".parse().unwrap(), cluster.data_dir("m1"), any, id("m1"), id("op"));
    let error = found(&options, certus_node::system_clock()).await.err().unwrap();
    assert_eq!(error.explain().code, code::ALREADY_EXISTS);

    let nowhere = ManagerOptions::new(cluster.data_dir("nothing"));
    let error = certus_server::Manager::start(nowhere).await.err().unwrap();
    assert_eq!(error.explain().code, code::NO_MANAGER_DATA);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_cannot_outlive_its_leaves_three_times_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let id = |id: &str| id.parse().unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let mut options =
        FoundOptions::new("prod".parse().unwrap(), dir.path().join("m1"), any, id("m1"), id("op"));
    options.leaf_lifetime = Lifetime::from_days(90);
    options.issuer_lifetime = Lifetime::from_days(269);
    let error = found(&options, certus_node::system_clock()).await.err().unwrap();
    assert_eq!(error.explain().code, code::ISSUER_TOO_SHORT);
    assert!(!certus_server::is_founded(&options.data_dir));
    options.issuer_lifetime = Lifetime::from_days(270);
    found(&options, certus_node::system_clock()).await.ok().unwrap();
    assert!(certus_server::is_founded(&options.data_dir));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_truth_outlives_the_manager() {
    let mut cluster = Cluster::start().await;
    let node = cluster.worker("web-1").await;
    let serial = serial_of(&node);
    let before = cluster.certs().await;
    cluster.stop_manager().await;
    cluster.start_manager().await;
    assert_eq!(cluster.certs().await, before);
    assert!(before.iter().any(|cert| cert.id.as_ref().unwrap().serial == serial.significant()));
    node.renew_now().await.unwrap();
    assert_ne!(serial_of(&node), serial);
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_node_serves_while_the_manager_is_away_and_recovers() {
    let mut cluster = Cluster::start().await;
    let node = cluster.worker("web-1").await;
    let serial = serial_of(&node);
    cluster.stop_manager().await;
    let error = node.renew_now().await.err().unwrap();
    assert_eq!(error.explain().code, code::UNREACHABLE, "{error:?}");
    assert_eq!(serial_of(&node), serial, "the last good credentials stay");
    cluster.start_manager().await;
    eventually("the node renews by itself once the manager is back", async || serial_of(&node) != serial)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn short_lived_certificates_renew_by_themselves_with_fresh_keys() {
    let cluster = Cluster::with_leaf_lifetime(Lifetime::from_secs(12)).await;
    let node = cluster.worker("web-1").await;
    let first = leaf_of(&node.credentials());
    let manager = leaf_of(&cluster.manager().credentials());
    eventually("the node renewed twice", async || node.metrics().renewals().0 >= 2).await;
    eventually("the manager renewed", async || {
        leaf_of(&cluster.manager().credentials()).serial != manager.serial
    })
    .await;
    let now = leaf_of(&node.credentials());
    assert_ne!(now.key_hash(), first.key_hash());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_told_to_renew_does_so_at_once() {
    let cluster = Cluster::start().await;
    let node = cluster.worker("web-1").await;
    let serial = serial_of(&node);
    eventually("the node watches", async || {
        let status =
            cluster.operator().api().cluster(async |mut c| c.status(v1::StatusRequest {}).await).await;
        !status.unwrap().connected.is_empty()
    })
    .await;
    let request = v1::RotateRequest { name: "web-1".into() };
    let reply = cluster.operator().api().cluster(async |mut c| c.rotate(request).await).await.unwrap();
    assert!(reply.connected);
    tokio::time::timeout(Duration::from_secs(20), async {
        eventually("it renewed", async || serial_of(&node) != serial).await;
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_managers_do_not_run_on_one_directory() {
    let cluster = Cluster::start().await;
    let options = ManagerOptions::new(cluster.data_dir("m1"));
    let error = certus_server::Manager::start(options).await.err().unwrap().explain();
    assert!(error.message.contains("another process"), "{error}");
}

/// A manager that is switched on after its certificate, or its issuer, ended: nobody else could help it.
#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_slept_gives_itself_a_new_certificate() {
    for (days, issuers) in [(91, 1), (200, 2), (400, 1)] {
        let dir = tempfile::tempdir().unwrap();
        let id = |id: &str| id.parse().unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let data_dir = dir.path().join("m1");
        let options = FoundOptions::new("prod".parse().unwrap(), data_dir.clone(), any, id("m1"), id("op"));
        let now = certus_node::system_clock();
        let then = now.clone();
        found(&options, std::sync::Arc::new(move || then().minus(Lifetime::from_days(days))))
            .await
            .ok()
            .unwrap();
        for _ in 0..2 {
            let mut options = ManagerOptions::new(data_dir.clone());
            options.accept_clock = true;
            let manager = certus_server::Manager::start(options).await;
            let manager = manager.unwrap_or_else(|error| panic!("after {days} d: {}", error.explain()));
            assert!(leaf_of(&manager.credentials()).not_after > now());
            manager.credentials().current().check(now()).unwrap();
            let trusted = manager.credentials().current().bundle().issuers().len();
            // The one that is signed ahead may be there already.
            assert!((issuers..=issuers + 1).contains(&trusted), "after {days} d: {trusted}");
            manager.shutdown().await.unwrap();
        }
    }
}

/// Certificates of ten seconds under issuers of thirty, for two lives of an issuer: nothing runs out.
#[tokio::test(flavor = "multi_thread")]
async fn issuers_follow_each_other_without_a_gap() {
    let cluster = Cluster::with_lifetimes(Lifetime::from_secs(10), Lifetime::from_secs(30)).await;
    let node = cluster.worker("web-1").await;
    let mut seen = std::collections::BTreeSet::new();
    let begin = std::time::Instant::now();
    while begin.elapsed() < Duration::from_secs(45) {
        for credentials in [node.credentials(), cluster.manager().credentials()] {
            let now = certus_node::system_clock()();
            credentials.current().check(now).unwrap_or_else(|error| panic!("{}", error.explain()));
        }
        let issuer = node.credentials().current().identity().unwrap().chain()[1].clone();
        seen.insert(certus_pki::Certificate::from_der(&issuer).unwrap().key_hash());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(seen.len() >= 3, "the node's certificates came from {} issuers", seen.len());
    let trusted = node.credentials().current().bundle().issuers().len();
    // One signs, one follows, two still vouch for their last leaves, one has ended meanwhile.
    assert!(trusted <= 5, "{trusted} issuers are trusted: those that ended are not forgotten");
    // An attempt on a busy machine may fail and be made again; what counts is that nothing ran out.
    assert!(node.metrics().renewals().0 >= 5);
}

/// What a rollover of the issuer leaves behind for those who were away while it happened.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_while_the_issuer_changed_finds_back() {
    let cluster = Cluster::with_lifetimes(Lifetime::from_secs(20), Lifetime::from_secs(60)).await;
    let token = cluster.token(|request| request.uses = 2).await;
    // The next issuer is made after a third of this one's life; what joins shortly before outlives that.
    tokio::time::sleep(Duration::from_secs(14)).await;
    let node = cluster.try_worker("web-1", Some(token.clone())).await.unwrap();
    let first = node.credentials().current().identity().unwrap().chain()[1].clone();
    let first = certus_pki::Certificate::from_der(&first).unwrap().key_hash();
    node.shutdown().await;
    let own = || cluster.manager().credentials().current().identity().unwrap().chain()[1].clone();
    eventually("the manager's own certificate is of a new issuer", async || {
        certus_pki::Certificate::from_der(&own()).unwrap().key_hash() != first
    })
    .await;
    let node = match cluster.try_worker("web-1", None).await {
        Ok(node) => node,
        // The machine was so slow that its certificate ended.
        Err(_) => cluster.try_worker("web-9", Some(token)).await.unwrap(),
    };
    eventually("it has heard of the new issuer", async || {
        node.credentials().current().bundle().issuers().len() > 1
    })
    .await;
    node.renew_now().await.unwrap();
    let keys = || {
        let keys = std::fs::read_dir(cluster.data_dir("m1").join("manager")).unwrap();
        let keys = keys.filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_string_lossy().ends_with("issuer-key.sealed")
        });
        keys.count()
    };
    // The present one's and the next one's.
    eventually("the key of the issuer before is gone", async || keys() <= 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founding_whose_operator_is_not_kept_did_not_happen() {
    let dir = tempfile::tempdir().unwrap();
    let id = |id: &str| id.parse().unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let data_dir = dir.path().join("m1");
    let options = FoundOptions::new("prod".parse().unwrap(), data_dir.clone(), any, id("m1"), id("op"));
    let full = || certus_pki::Explanation::new(code::FILE, "the disk is full");
    let clock = certus_node::system_clock();
    let failed = certus_server::found_keeping(&options, clock.clone(), |_| Err(full())).await.err().unwrap();
    assert_eq!(failed.explain().message, "the disk is full");
    assert!(!certus_server::is_founded(&data_dir));
    found(&options, clock).await.ok().unwrap();
    assert!(certus_server::refuse_founded(&data_dir).is_err());
}

/// Nobody can tell a manager that is alone that its clock is wrong, but the time of the last change.
#[tokio::test(flavor = "multi_thread")]
async fn i5_a_lone_manager_refuses_a_clock_that_cannot_be_right() {
    let dir = tempfile::tempdir().unwrap();
    let id = |id: &str| id.parse().unwrap();
    let data_dir = dir.path().join("m1");
    let any = "127.0.0.1:0".parse().unwrap();
    let options = FoundOptions::new("prod".parse().unwrap(), data_dir.clone(), any, id("m1"), id("op"));
    let Founded { operator, .. } = found(&options, certus_node::system_clock()).await.ok().unwrap();
    let off = Arc::new(AtomicI64::new(0));
    let clock: certus_tls::Clock = {
        let (off, now) = (off.clone(), certus_node::system_clock());
        Arc::new(move || UnixTime::from_secs(now().secs() + off.load(Ordering::Relaxed)))
    };
    let start = async |secs: i64, accept_clock: bool| {
        off.store(secs, Ordering::Relaxed);
        let mut options = ManagerOptions::new(data_dir.clone());
        (options.clock, options.accept_clock) = (clock.clone(), accept_clock);
        certus_server::Manager::start(options).await
    };
    let day = 86_400;
    for (secs, says) in [(-120, "120 s behind"), (-3 * day, "3 d behind"), (31 * day, "31 d ahead")] {
        let why = start(secs, false).await.err().unwrap().explain();
        assert_eq!(why.code, certus_pki::code::CLOCK_OFF);
        assert!(why.message.contains(says), "{why}");
        let both = why.facts.iter().any(|(what, _)| what.contains("last change"))
            && why.facts.iter().any(|(what, _)| what.contains("clock"));
        assert!(both && why.hint.is_some(), "{why:?}");
    }
    // The word is about clocks that are ahead: time does not go back on anybody's word.
    assert!(start(-120, true).await.is_err());
    // What clocks differ, and holidays, are nothing; a refused start left nothing behind.
    for secs in [-30, 0] {
        start(secs, false)
            .await
            .unwrap_or_else(|error| panic!("{secs}: {}", error.explain()))
            .shutdown()
            .await
            .unwrap();
    }

    // A clock that leaps while the manager runs carries nothing with it.
    let manager = start(0, false).await.ok().unwrap();
    let OperatorIdentity { key, chain, bundle, .. } = operator;
    let operator = Operator::new(&key, chain, bundle, manager.address());
    let token =
        || v1::CreateTokenRequest { role: "worker".into(), ttl_secs: 60, uses: 1, ..Default::default() };
    let ask = async || operator.api().cluster(async |mut c| c.create_token(token()).await).await;
    ask().await.unwrap();
    off.store(40 * day, Ordering::Relaxed);
    let refused = ask().await.err().unwrap().explain();
    assert!(refused.to_string().contains("cannot commit"), "{refused}");
    off.store(0, Ordering::Relaxed);
    ask().await.unwrap();
    manager.shutdown().await.unwrap();
    start(0, false).await.ok().unwrap().shutdown().await.unwrap();

    // Holidays need no word; a longer absence does.
    start(29 * day, false).await.ok().unwrap().shutdown().await.unwrap();
    start(400 * day, true).await.ok().unwrap().shutdown().await.unwrap();
}
