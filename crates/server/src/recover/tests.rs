//! A founded manager that grew to three voters and is the last: recovered, it serves.

use std::sync::Arc;

use certus_ca::{Command, CreateToken};
use certus_node::system_clock;
use certus_pki::{Explain, Grant, JoinToken, Lifetime, Role, code};

use super::*;
use crate::found::{FoundOptions, found};
use crate::replica::make_three;
use crate::{Manager, ManagerOptions};

async fn founded(dir: &Path) -> PathBuf {
    let data_dir = dir.join("m1");
    let id = |id: &str| id.parse().unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let options = FoundOptions::new("prod".parse().unwrap(), data_dir.clone(), any, id("m1"), id("op"));
    found(&options, system_clock()).await.ok().unwrap();
    data_dir
}

/// Makes a token by the manager itself, in its log.
async fn token(data_dir: &Path) -> certus_pki::TokenId {
    let storage = Storage::in_directory(&ManagerDir::of(data_dir).store()).unwrap();
    let replica = Replica::<CaMachine>::open(storage, Arc::new(|| system_clock()().secs())).await.unwrap();
    let truth = Truth::alone(replica, system_clock());
    let root = truth.read(|view| certus_ca::roots(view)).unwrap()[0].key_hash;
    let token = JoinToken::new([7; JoinToken::HALF], &root);
    let create = CreateToken {
        secret_hash: token.secret_hash(),
        root,
        role: Role::Worker,
        id: None,
        sans: Vec::new(),
        ttl: Lifetime::from_hours(1),
        uses: 1,
        replace: false,
        grant: Grant::None,
        by: "spiffe://prod/manager/m1".parse().unwrap(),
    };
    truth.propose(&Command::CreateToken(create)).await.unwrap();
    truth.replica.shutdown().await.unwrap();
    certus_pki::TokenId::from(token.secret_hash())
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_the_last_of_three_managers_becomes_the_cluster_and_keeps_what_it_knew() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = founded(dir.path()).await;
    let token = token(&data_dir).await;
    let store = ManagerDir::of(&data_dir).store();
    make_three(&Storage::in_directory(&store).unwrap()).unwrap();

    let stake = stake(&data_dir).unwrap();
    assert_eq!((stake.manager.to_string().as_str(), stake.voters), ("spiffe://prod/manager/m1", 3));
    assert_eq!(stake.others, [(2, "m2:7443".to_owned()), (3, "m3:7443".to_owned())]);
    let recovered = recover(&data_dir, system_clock()).await.unwrap();
    assert_eq!(recovered.stake, stake);
    assert_eq!(recovered.epoch.generation, stake.epoch.generation + 1);
    assert!(recovered.epoch.revision > stake.epoch.revision);

    let mut options = ManagerOptions::new(data_dir.clone());
    options.listen = Some("127.0.0.1:0".parse().unwrap());
    let manager = Manager::start(options).await.unwrap_or_else(|error| panic!("{}", error.explain()));
    assert_eq!(manager.credentials().current().epoch(), recovered.epoch);
    let storage = dir.path().join("m1");
    assert!(super::stake(&storage).err().unwrap().explain().code == code::DIRECTORY_IN_USE);
    manager.shutdown().await.unwrap();

    let storage = Storage::in_directory(&store).unwrap();
    let view = storage.view().unwrap();
    let kept = certus_ca::token(&view, &token).unwrap().unwrap();
    assert!(kept.is_live(system_clock()()), "tokens stay what they were");
    let audits = certus_ca::audit(&view, None, 100).unwrap().items;
    assert!(audits.iter().any(|record| matches!(record.event, certus_ca::Event::Recovered { .. })));
    drop((view, storage));
    let again = super::stake(&data_dir).err().unwrap().explain();
    assert_eq!(again.code, code::NOT_RECOVERABLE);
}
