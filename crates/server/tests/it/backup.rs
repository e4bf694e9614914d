//! Backups of a real manager: made under load, restored elsewhere, and who goes on afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use certus_node::system_clock;
use certus_pki::{Explain, Passphrase, Reason, code};
use certus_server::backup::{BackupOptions, RestoreOptions, backup, restore, verify};
use certus_server::{Manager, ManagerOptions};
use certus_testkit::cluster::{Cluster, eventually, leaf_of, serial_of};
use certus_wire::v1;

fn passphrase() -> Passphrase {
    Passphrase::new("correct horse battery staple".to_owned())
}

async fn backed_up(cluster: &Cluster, name: &str) -> PathBuf {
    let file = cluster.dir().join(name);
    let options = BackupOptions::new(cluster.data_dir("m1"), file.clone(), passphrase());
    let made = backup(&options, |_| ()).await.unwrap_or_else(|error| panic!("{}", error.explain()));
    assert_eq!(verify(&file, &passphrase(), |_| ()).unwrap(), made);
    file
}

/// Restores into `m2`, and runs it where the lost manager was.
async fn restored(cluster: &Cluster, file: &Path) -> (certus_server::backup::Restored, Manager) {
    let mut options = RestoreOptions::new(file.to_owned(), passphrase(), cluster.data_dir("m2"));
    options.listen = Some(cluster.address());
    let done = restore(&options, system_clock(), |_| ()).await;
    let done = done.unwrap_or_else(|error| panic!("{}", error.explain()));
    let manager = Manager::start(ManagerOptions::new(cluster.data_dir("m2"))).await;
    (done, manager.unwrap_or_else(|error| panic!("{}", error.explain())))
}

async fn status(cluster: &Cluster) -> v1::ClusterStatus {
    let api = cluster.operator().api();
    api.cluster(async |mut c| c.status(v1::StatusRequest {}).await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_backup_made_under_load_is_restored_elsewhere_and_known_nodes_go_on() {
    let mut cluster = Cluster::start().await;
    let node = cluster.worker("web-1").await;
    let cluster_ref = &cluster;
    // Others join all the while.
    let done = Arc::new(AtomicBool::new(false));
    let joining = async {
        let mut joined = 0;
        while !done.load(Ordering::Relaxed) || joined < 3 {
            cluster_ref.worker(&format!("other-{joined}")).await.shutdown().await;
            joined += 1;
        }
        joined
    };
    let backing = async {
        eventually("some have joined", async || cluster_ref.certs().await.len() > 3).await;
        let file = backed_up(cluster_ref, "prod.backup").await;
        done.store(true, Ordering::Relaxed);
        file
    };
    let (joined, file) = tokio::join!(joining, backing);
    let made = verify(&file, &passphrase(), |_| ()).unwrap();
    assert!((4..=joined + 3).contains(&(made.tables["certs"] as usize)), "{made:?}");
    assert_eq!(made.tables["certs"], made.tables["by_node"], "one moment, whatever happened meanwhile");
    assert_eq!(made.tables["certs"], made.tables["by_expiry"]);

    let before = node.credentials().current().epoch();
    let serials: Vec<Vec<u8>> = cluster.certs().await.into_iter().map(|c| c.id.unwrap().serial).collect();
    cluster.stop_manager().await;
    let (done, manager) = restored(&cluster, &file).await;
    assert_eq!(done.epoch.generation, before.generation + 1);
    assert!(!done.new_issuer);
    eventually("the worker has the new generation", async || {
        node.credentials().current().epoch() >= done.epoch
    })
    .await;
    let serial = serial_of(&node);
    eventually("it renews", async || node.renew_now().await.is_ok()).await;
    assert_ne!(serial_of(&node), serial);
    assert!(!serials.contains(&serial_of(&node).significant().to_vec()));
    // The manager's own certificate is new, and was never that of the backup's manager.
    let own = leaf_of(&manager.credentials());
    assert!(!serials.contains(&own.serial.significant().to_vec()));
    // What is made now is one generation on, and reaches the worker.
    let token = cluster.token(|request| request.id = Some("late".into())).await;
    let late = cluster.try_worker("late", Some(token)).await.unwrap();
    assert_eq!(late.credentials().current().epoch().generation, done.epoch.generation);
    manager.shutdown().await.unwrap();
    // Restored once, it starts again as any manager does.
    let again = Manager::start(ManagerOptions::new(cluster.data_dir("m2"))).await.ok().unwrap();
    assert_eq!(status(&cluster).await.epoch.unwrap().generation, done.epoch.generation);
    again.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_after_the_backup_is_noticed_refused_in_words_and_revocable() {
    let mut cluster = Cluster::start().await;
    let known = cluster.worker("known").await;
    let renewed = cluster.worker("renewed").await;
    let spare = cluster.token(|_| ()).await;
    let file = backed_up(&cluster, "prod.backup").await;
    renewed.renew_now().await.unwrap();
    let unknown = cluster.worker("unknown").await;
    cluster.stop_manager().await;
    // Certificates are taken for lost only when they could not be on their way to the record any more.
    // Within the back-dating of certificates, so that nodes whose clocks are right accept the manager's.
    let ahead = certus_pki::Lifetime::from_minutes(3);
    let options = || {
        let mut options = ManagerOptions::new(cluster.data_dir("m2"));
        let now = system_clock();
        options.clock = Arc::new(move || now().plus(ahead));
        options
    };
    let mut restoring = RestoreOptions::new(file, passphrase(), cluster.data_dir("m2"));
    restoring.listen = Some(cluster.address());
    let done = restore(&restoring, options().clock, |_| ()).await.unwrap();
    assert!(done.tokens_voided >= 3, "{done:?}");
    let manager = Manager::start(options()).await.ok().unwrap();

    eventually("known renews", async || known.renew_now().await.is_ok()).await;
    let told = unknown.renew_now().await.unwrap_err().explain();
    assert_eq!(told.code, code::UNKNOWN_NODE, "{told}");
    assert!(told.hint.unwrap().contains("certus token create --role worker --id unknown"));
    let told = renewed.renew_now().await.unwrap_err().explain();
    assert_eq!(told.code, code::RENEWAL_BARRED, "{told}");
    let hint = told.hint.unwrap();
    assert!(hint.contains("certus token create --role worker --id renewed --replace"), "{hint}");
    let late = cluster.try_worker("late", Some(spare)).await.err().unwrap().explain();
    assert_eq!(late.code, code::TOKEN_REVOKED, "{late}");

    let seen = status(&cluster).await.unrecorded;
    let mut nodes: Vec<&str> = seen.iter().map(|cert| cert.node.as_str()).collect();
    nodes.dedup();
    assert_eq!(nodes, ["spiffe://prod/worker/renewed", "spiffe://prod/worker/unknown"]);
    let serial = serial_of(&unknown);
    let listed = seen.iter().find(|cert| cert.id.as_ref().unwrap().serial == serial.significant()).unwrap();
    assert_eq!(listed.fingerprint, leaf_of(&unknown.credentials()).fingerprint().as_bytes());

    let request =
        v1::RevokeRequest { name: serial.to_string(), reason: Reason::KeyCompromise.number().into() };
    let api = cluster.operator().api();
    let reply = api.cluster(async |mut c| c.revoke(request).await).await.unwrap();
    assert_eq!((reply.node, reply.certs.len()), (None, 1));
    eventually("others refuse it", async || {
        let bundle = known.credentials().current().bundle().clone();
        bundle.revocations().any(|revocation| revocation.cert.serial == serial)
    })
    .await;
    eventually("its node knows", async || {
        let told = unknown.renew_now().await.unwrap_err().explain();
        [code::REMOVED, code::REVOKED, code::PEER_REJECTED_US].contains(&told.code)
    })
    .await;
    let left = status(&cluster).await.unrecorded;
    assert!(left.iter().all(|cert| cert.node.ends_with("/renewed")), "{left:?}");
    let all = cluster.certs().await;
    assert!(all.iter().any(|cert| cert.how == "unrecorded" && cert.revoked_at.is_some()));
    manager.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_whose_issuer_ended_restores_with_a_new_one_that_nodes_accept() {
    let mut cluster = Cluster::start().await;
    let node = cluster.worker("web-1").await;
    let file = backed_up(&cluster, "prod.backup").await;
    cluster.stop_manager().await;
    // 300 days later: the issuer of a year cannot sign for 90 days any more.
    let now = system_clock();
    let later: certus_tls::Clock = Arc::new(move || now().plus(certus_pki::Lifetime::from_days(300)));
    let mut options = RestoreOptions::new(file, passphrase(), cluster.data_dir("m2"));
    options.listen = Some(cluster.address());
    let done = restore(&options, later.clone(), |_| ()).await.unwrap();
    assert!(done.new_issuer);
    let mut start = ManagerOptions::new(cluster.data_dir("m2"));
    start.clock = later;
    let manager = Manager::start(start).await.unwrap_or_else(|error| panic!("{}", error.explain()));
    // The founding one, the one that was signed ahead of it, and the new one.
    assert_eq!(manager.credentials().current().bundle().issuers().len(), 3);
    drop(node);
    manager.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_restored_over_anything_and_nothing_is_backed_up_over_a_file() {
    let cluster = Cluster::start().await;
    let file = backed_up(&cluster, "prod.backup").await;
    let code_of = |told: certus_pki::Explanation| told.code;
    let options = BackupOptions::new(cluster.data_dir("m1"), file.clone(), passphrase());
    let bytes = fs::read(&file).unwrap();
    assert_eq!(code_of(backup(&options, |_| ()).await.err().unwrap().explain()), code::ALREADY_EXISTS);
    assert!(fs::read(&file).unwrap() == bytes);
    let mut forced = options.clone();
    forced.force = true;
    backup(&forced, |_| ()).await.unwrap();

    let over = RestoreOptions::new(file.clone(), passphrase(), cluster.data_dir("m1"));
    let told = restore(&over, system_clock(), |_| ()).await.err().unwrap().explain();
    assert_eq!(told.code, code::ALREADY_EXISTS);
    let used = cluster.dir().join("used");
    fs::create_dir(&used).unwrap();
    fs::write(used.join("file"), "x").unwrap();
    let over = RestoreOptions::new(file.clone(), passphrase(), used.clone());
    let told = restore(&over, system_clock(), |_| ()).await.err().unwrap().explain();
    assert_eq!(told.code, code::ALREADY_EXISTS);
    assert_eq!(fs::read_dir(&used).unwrap().count(), 1);

    // A wrong passphrase, and a file that was cut, make nothing either.
    let fresh = cluster.dir().join("fresh");
    let wrong = Passphrase::new("wrong".to_owned());
    let options = RestoreOptions::new(file.clone(), wrong, fresh.clone());
    let told = restore(&options, system_clock(), |_| ()).await.err().unwrap().explain();
    assert_eq!(told.code, code::WRONG_PASSPHRASE);
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let options = RestoreOptions::new(file.clone(), passphrase(), fresh.clone());
    let told = restore(&options, system_clock(), |_| ()).await.err().unwrap().explain();
    assert_eq!(told.code, code::BACKUP_DAMAGED);
    assert!(!fresh.exists());
    fs::write(&file, &whole).unwrap();
    // What a restore that was cut short left behind is in nobody's way.
    fs::create_dir_all(fresh.join("manager.unfinished/store")).unwrap();
    fs::create_dir_all(fresh.join("certs")).unwrap();
    restore(&options, system_clock(), |_| ()).await.unwrap();
    assert!(certus_server::is_founded(&fresh));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_manager_has_nothing_to_recover_from() {
    let mut cluster = Cluster::start().await;
    let running = certus_server::recover::stake(&cluster.data_dir("m1")).err().unwrap().explain();
    assert_eq!(running.code, code::DIRECTORY_IN_USE);
    cluster.stop_manager().await;
    let alone = certus_server::recover::stake(&cluster.data_dir("m1")).err().unwrap().explain();
    assert_eq!(alone.code, code::NOT_RECOVERABLE, "{alone}");
    let nothing = certus_server::recover::stake(&cluster.data_dir("m9")).err().unwrap().explain();
    assert_eq!(nothing.code, code::NO_MANAGER_DATA);
    cluster.start_manager().await;
}

/// What a newer version wrote is refused by the daemon before anything is touched.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_store_is_refused_in_words_and_left_as_it_is() {
    use redb::{Database, TableDefinition};
    let mut cluster = Cluster::start().await;
    cluster.stop_manager().await;
    let store = cluster.data_dir("m1").join("manager/store");
    let set = |number: u64| {
        let database = Database::open(store.join("state.redb")).unwrap();
        let txn = database.begin_write().unwrap();
        let format = TableDefinition::<&str, u64>::new("certus_format");
        txn.open_table(format).unwrap().insert("state", number).unwrap();
        txn.commit().unwrap();
    };
    set(99);
    let bytes = || ["log.redb", "state.redb"].map(|file| fs::read(store.join(file)).unwrap());
    let before = bytes();
    let options = ManagerOptions::new(cluster.data_dir("m1"));
    let told = Manager::start(options).await.err().unwrap().explain();
    assert_eq!(told.code, code::NEWER_FORMAT, "{told}");
    assert!(told.facts.iter().any(|(_, came)| came == "format 99"), "{told}");
    assert!(told.hint.is_some());
    assert!(bytes() == before, "the store was changed");
    // The version that wrote it starts.
    set(2);
    cluster.start_manager().await;
}
