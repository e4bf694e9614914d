//! A manager's keys at rest: locked and unlocked, and a root that is away when it would be needed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use certus_node::admin;
use certus_pki::key::Passphrase;
use certus_pki::{Certificate, Explain, Lifetime, PrivateKey, Signer, code};
use certus_server::{FoundOptions, Manager, ManagerOptions, found};
use certus_testkit::cluster::{eventually, leaf_of};
use certus_tls::Clock;
use serde_json::Value;

fn options(data_dir: &Path) -> FoundOptions {
    let id = |id: &str| id.parse().unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    FoundOptions::new("prod".parse().unwrap(), data_dir.to_owned(), any, id("m1"), id("op"))
}

fn passphrase(text: &str) -> Arc<Passphrase> {
    Arc::new(Passphrase::new(text.to_owned()))
}

/// The status, and the answer as JSON.
async fn ask(data_dir: &Path, route: &str, body: &str) -> (u16, Value) {
    let socket = certus_node::files::admin_socket(data_dir);
    let (status, answer) = admin::post(&socket, route, body.to_owned()).await.unwrap();
    (status.as_u16(), serde_json::from_str(&answer).unwrap())
}

async fn is_locked(data_dir: &Path) -> bool {
    let socket = certus_node::files::admin_socket(data_dir);
    let answer = admin::get_from(&socket, "/ready").await;
    answer.is_ok_and(|(status, answer)| status.as_u16() == 503 && answer.contains("CT-4120"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_manager_opens_for_its_key_and_for_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("m1");
    let mut founding = options(&data_dir);
    founding.autolock = Some(passphrase("correct horse"));
    found(&founding, certus_node::system_clock()).await.ok().unwrap();

    let mut starting = ManagerOptions::new(data_dir.clone());
    starting.passphrase = Some(passphrase("battery staple"));
    let refused = Manager::start(starting.clone()).await.err().unwrap().explain();
    assert_eq!(refused.code, code::WRONG_PASSPHRASE, "{refused}");

    starting.passphrase = None;
    let manager = tokio::spawn(Manager::start(starting.clone()));
    eventually("the manager says that it is locked", async || is_locked(&data_dir).await).await;
    let (status, answer) = ask(&data_dir, "/operator/ann", "").await;
    assert_eq!((status, &answer["error"]["code"]), (503, &Value::from(4120)), "it serves nothing else");
    let (status, answer) = ask(&data_dir, "/unlock", "battery staple").await;
    assert_eq!((status, &answer["error"]["code"]), (409, &Value::from(1207)));
    let (status, answer) = ask(&data_dir, "/unlock", "correct horse").await;
    assert_eq!((status, &answer["error"]["code"]), (429, &Value::from(2210)), "also the right one waits");
    assert!(is_locked(&data_dir).await);
    eventually("the right key is taken", async || {
        ask(&data_dir, "/unlock", "correct horse").await == (200, serde_json::json!({ "was_locked": true }))
    })
    .await;
    let manager = manager.await.unwrap().unwrap_or_else(|error| panic!("{}", error.explain()));
    assert_eq!(ask(&data_dir, "/unlock", "any").await, (200, serde_json::json!({ "was_locked": false })));
    // What needs the cluster key works as ever, from memory.
    assert_eq!(ask(&data_dir, "/root/export", "pass").await.0, 200);
    manager.shutdown().await.unwrap();

    starting.passphrase = Some(passphrase("correct horse"));
    Manager::start(starting).await.ok().unwrap().shutdown().await.unwrap();
}

/// Given up while it waits, as by SIGTERM: the directory and the socket are free again.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_manager_that_is_told_to_end_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("m1");
    let mut founding = options(&data_dir);
    founding.autolock = Some(passphrase("correct horse"));
    found(&founding, certus_node::system_clock()).await.ok().unwrap();
    for _ in 0..2 {
        let manager = tokio::spawn(Manager::start(ManagerOptions::new(data_dir.clone())));
        eventually("the manager says that it is locked", async || is_locked(&data_dir).await).await;
        manager.abort();
        assert!(manager.await.is_err());
        eventually("nobody answers", async || !is_locked(&data_dir).await).await;
    }
}

/// A clock that the test sets.
fn clock() -> (Clock, Arc<AtomicI64>) {
    let ahead = Arc::new(AtomicI64::new(0));
    let (real, moved) = (certus_node::system_clock(), ahead.clone());
    let clock = move || certus_pki::UnixTime::from_secs(real().secs() + moved.load(Ordering::Relaxed));
    (Arc::new(clock), ahead)
}

fn issuer_of(manager: &Manager) -> Certificate {
    let chain = manager.credentials().current().identity().unwrap().chain()[1].clone();
    Certificate::from_der(&chain).unwrap()
}

/// Founds, starts, waits for the issuer ahead and takes the root offline; returns its key, encrypted.
async fn without_root(data_dir: &Path, starting: &ManagerOptions) -> String {
    found(&options(data_dir), starting.clock.clone()).await.ok().unwrap();
    let manager = Manager::start(starting.clone()).await.ok().unwrap();
    let (status, exported) = ask(data_dir, "/root/export", "pass").await;
    assert_eq!(status, 200, "{exported}");
    let root = exported["root"].as_str().unwrap();
    let (_, wrong) = ask(data_dir, "/root/take-offline", &"ab".repeat(32)).await;
    assert_eq!(wrong["error"]["code"], 1201, "{wrong}");
    let (status, taken) = ask(data_dir, "/root/take-offline", root).await;
    assert_eq!((status, &taken["offline"]), (200, &Value::Bool(true)), "{taken}");
    assert!(!data_dir.join("manager/root-data-key.sealed").exists());
    assert!(data_dir.join("manager/issuer-next.crt").exists(), "one was signed ahead first");
    let (_, again) = ask(data_dir, "/root/take-offline", root).await;
    assert_eq!(again["error"]["code"], 4122);
    let (_, gone) = ask(data_dir, "/root/export", "pass").await;
    assert_eq!(
        (&gone["error"]["code"], &gone["error"]["hint"]),
        (&Value::from(4122), &Value::from("certus cluster root bring-online FILE"))
    );
    manager.shutdown().await.unwrap();
    exported["key"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_slept_past_its_issuer_goes_on_with_the_one_signed_ahead() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("m1");
    let (clock, ahead) = clock();
    let mut starting = ManagerOptions::new(data_dir.clone());
    starting.clock = clock.clone();
    starting.accept_clock = true;
    without_root(&data_dir, &starting).await;
    // Issuers of 365 days, the next one from day 185 on.
    ahead.store(Lifetime::from_days(400).secs().into(), Ordering::Relaxed);
    let manager = Manager::start(starting).await.unwrap_or_else(|error| panic!("{}", error.explain()));
    manager.credentials().current().check(clock()).unwrap();
    assert!(issuer_of(&manager).not_after > clock());
    assert!(leaf_of(&manager.credentials()).not_after > clock());
    manager.shutdown().await.unwrap();
}

/// The crash between the record and the destruction, or a manager that was off meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn what_opens_the_roots_key_goes_also_where_the_manager_was_off() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("m1");
    let starting = ManagerOptions::new(data_dir.clone());
    let file = data_dir.join("manager/root-data-key.sealed");
    found(&options(&data_dir), starting.clock.clone()).await.ok().unwrap();
    let before = std::fs::read(&file).unwrap();
    let manager = Manager::start(starting.clone()).await.ok().unwrap();
    let root = ask(&data_dir, "/root/export", "pass").await.1["root"].as_str().unwrap().to_owned();
    assert_eq!(ask(&data_dir, "/root/take-offline", &root).await.0, 200);
    manager.shutdown().await.unwrap();
    assert!(!file.exists());

    std::fs::write(&file, before).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let manager = Manager::start(starting).await.ok().unwrap();
    eventually("it is destroyed", async || !file.exists()).await;
    manager.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_only_the_root_can_help_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("m1");
    let (clock, ahead) = clock();
    let mut starting = ManagerOptions::new(data_dir.clone());
    starting.clock = clock.clone();
    starting.accept_clock = true;
    let key = without_root(&data_dir, &starting).await;
    ahead.store(Lifetime::from_days(600).secs().into(), Ordering::Relaxed);
    let manager = tokio::spawn(Manager::start(starting.clone()));
    let socket = certus_node::files::admin_socket(&data_dir);
    eventually("it says what it waits for", async || {
        let answer = admin::get_from(&socket, "/ready").await;
        answer.is_ok_and(|(_, answer)| answer.contains("CT-4122") && answer.contains("bring-online"))
    })
    .await;

    let (_, wrong) = ask(&data_dir, "/root/bring-online", &format!("other\n{key}")).await;
    assert_eq!(wrong["error"]["code"], 1207, "{wrong}");
    let foreign = PrivateKey::generate(certus_pki::KeyType::P256).ok().unwrap();
    let foreign = foreign.to_encrypted_pem(&Passphrase::new("pass".to_owned())).unwrap();
    let (_, wrong) = ask(&data_dir, "/root/bring-online", &format!("pass\n{foreign}")).await;
    assert_eq!(wrong["error"]["code"], 1201, "{wrong}");
    assert!(!manager.is_finished());

    let (status, brought) = ask(&data_dir, "/root/bring-online", &format!("pass\n{key}")).await;
    assert_eq!((status, &brought["offline"]), (200, &Value::Bool(false)), "{brought}");
    let manager = manager.await.unwrap().unwrap_or_else(|error| panic!("{}", error.explain()));
    manager.credentials().current().check(clock()).unwrap();
    assert!(data_dir.join("manager/root-data-key.sealed").exists());
    let (_, again) = ask(&data_dir, "/root/bring-online", &format!("pass\n{key}")).await;
    assert_eq!(again["error"]["code"], 4123);
    // It can be opened under the fresh data key, also after a restart.
    manager.shutdown().await.unwrap();
    let manager = Manager::start(starting).await.ok().unwrap();
    let (status, exported) = ask(&data_dir, "/root/export", "pass").await;
    assert_eq!(status, 200, "{exported}");
    let pass = Passphrase::new("pass".to_owned());
    let opened = |pem: &str| PrivateKey::from_pem_with(pem, Some(&pass)).ok().unwrap();
    let same = opened(&key).public_key() == opened(exported["key"].as_str().unwrap()).public_key();
    assert!(same);
    manager.shutdown().await.unwrap();
}
