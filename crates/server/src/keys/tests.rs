//! What stands in a manager's directory, also after a crash between two writes.

use certus_pki::{CaPlan, KeyType, Lifetime, Signer, UnixTime, Validity};

use super::*;

const NOW: UnixTime = UnixTime::from_secs(1_795_305_600);

struct Place {
    dir: tempfile::TempDir,
    place: ManagerDir,
    cluster: ClusterName,
    cluster_key: SealingKey,
    root_key: PrivateKey,
    root: Issuer,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let place = ManagerDir::of(dir.path());
    place.create().unwrap();
    let cluster: ClusterName = "prod".parse().unwrap();
    let root_key = PrivateKey::generate(KeyType::P256).ok().unwrap();
    let plan = CaPlan::root(&cluster, Validity::starting(NOW, Lifetime::from_days(3650)));
    let root = Issuer::self_signed(&plan, fresh_serial().unwrap(), &root_key).unwrap();
    Place { dir, place, cluster, cluster_key: SealingKey::generate().ok().unwrap(), root_key, root }
}

impl Place {
    fn issuer(&self) -> IssuingKey {
        let key = PrivateKey::generate(KeyType::P256).ok().unwrap();
        let plan = CaPlan::issuer(&self.cluster, "m1", Validity::starting(NOW, Lifetime::from_days(365)));
        let serial = fresh_serial().unwrap();
        let issuer = self.root.sign_ca(&plan, key.public_key(), serial, &self.root_key).unwrap();
        IssuingKey { issuer, key }
    }

    /// The directory as a later start finds it: nothing in memory.
    fn restarted(&self) -> ManagerDir {
        ManagerDir::of(self.dir.path())
    }

    fn holds(&self, secret: &[u8]) -> bool {
        let files = fs::read_dir(self.place.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut contents = files.filter(|path| path.is_file()).map(|path| fs::read(path).unwrap());
        contents.any(|content| content.windows(secret.len()).any(|window| window == secret))
    }
}

fn passphrase() -> Passphrase {
    Passphrase::new("correct horse".to_owned())
}

#[test]
fn i7_a_locked_cluster_key_stands_nowhere_in_the_clear() {
    let world = place();
    let secret = *world.cluster_key.reveal();
    let write = |lock: Option<&Passphrase>| {
        world.place.write_cluster_key(&world.cluster, &world.cluster_key, lock).unwrap();
    };
    write(None);
    assert!(world.holds(&secret));
    assert!(world.restarted().cluster_key().ok().unwrap().reveal() == &secret);

    // The file itself, by the name it loses: what is left of it is overwritten.
    let old = world.dir.path().join("old");
    fs::hard_link(world.place.path().join(CLUSTER_KEY), &old).unwrap();
    write(Some(&passphrase()));
    assert_eq!(fs::read(&old).unwrap(), [0; 32]);
    assert!(!world.holds(&secret));
    let error = world.restarted().cluster_key().err().unwrap();
    assert_eq!(error.explain().code, code::LOCKED);
    let Kept::Locked(wrapped) = world.restarted().kept_cluster_key().unwrap() else { panic!() };
    let opened = world.restarted();
    opened.hold(wrapped.open(&passphrase()).ok().unwrap());
    assert!(opened.clone().cluster_key().ok().unwrap().reveal() == &secret);
    let mode = fs::metadata(world.place.path().join(CLUSTER_KEY)).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o600);

    write(None);
    assert!(world.restarted().cluster_key().ok().unwrap().reveal() == &secret);
}

/// A crash before the rename leaves the old file and a half-written or whole new one beside it.
#[test]
fn a_crash_while_the_lock_changes_leaves_the_old_or_the_new_one() {
    let world = place();
    let secret = *world.cluster_key.reveal();
    world.place.write_cluster_key(&world.cluster, &world.cluster_key, Some(&passphrase())).unwrap();
    let locked = fs::read(world.place.path().join(CLUSTER_KEY)).unwrap();
    for left_over in [&secret[..], &secret[..7], b""] {
        let aside = world.place.path().join("cluster.key.new");
        fs::write(&aside, left_over).unwrap();
        let later = world.restarted();
        later.remove_unfinished().unwrap();
        assert!(!world.holds(&secret), "what was to become a plain key is gone");
        assert_eq!(fs::read(world.place.path().join(CLUSTER_KEY)).unwrap(), locked);
        let Kept::Locked(wrapped) = later.kept_cluster_key().unwrap() else { panic!() };
        assert!(wrapped.open(&passphrase()).is_ok());
    }
}

#[test]
fn a_root_data_key_is_destroyed_and_not_just_unlinked() {
    let world = place();
    let root = world.root.key_hash();
    let data_key = SealingKey::generate().ok().unwrap();
    let write = || {
        let place = &world.place;
        place.write_root_data_key(&world.cluster, &world.cluster_key, &root, &data_key).unwrap();
    };
    let document = world.root_key.to_pkcs8_der().ok().unwrap();
    let sealed = data_key.seal(Purpose::RootKey, &world.cluster, &root, &document).unwrap();
    let open = |sealed: &[u8]| world.place.root_key(&world.cluster, &world.cluster_key, &root, sealed);
    world.place.hold(SealingKey::from_bytes(world.cluster_key.reveal()).ok().unwrap());
    write();
    assert!(open(&sealed).is_ok());
    let (_, revealed) = world.place.reveal_for_sealing(&world.cluster, &root).ok().unwrap();
    assert!(revealed.unwrap().reveal() == data_key.reveal());

    let old = world.dir.path().join("old");
    fs::hard_link(world.place.path().join(ROOT_DATA_KEY), &old).unwrap();
    assert!(world.place.destroy_root_data_key().unwrap());
    assert!(fs::read(&old).unwrap().iter().all(|byte| *byte == 0));
    assert!(!world.place.destroy_root_data_key().unwrap());
    assert!(matches!(open(&sealed), Err(KeysError::RootNotHere { .. })));
    assert!(matches!(open(b""), Err(KeysError::RootOffline { .. })));
    assert_eq!(open(b"").err().unwrap().explain().code, code::ROOT_OFFLINE);
    assert!(world.place.reveal_for_sealing(&world.cluster, &root).ok().unwrap().1.is_none());
}

#[test]
fn the_next_issuer_takes_over_also_after_a_crash_in_between() {
    let world = place();
    let (present, next) = (world.issuer(), world.issuer());
    let (place, cluster, key) = (&world.place, &world.cluster, &world.cluster_key);
    place.write_issuer(cluster, key, &present).unwrap();
    assert!(place.next_issuer().unwrap().is_none());
    place.write_next_issuer(cluster, key, &next).unwrap();
    let found = place.next_issuer().unwrap().unwrap();
    assert_eq!(found.key_hash(), next.issuer.key_hash());
    assert!(place.issuing_key_of(cluster, key, found).is_ok());
    // The present one's key is still there.
    assert_eq!(place.issuing_key(cluster, key).unwrap().issuer.key_hash(), present.issuer.key_hash());

    // It took over, and the crash came before its other name was removed.
    fs::copy(place.path().join(NEXT_ISSUER), place.path().join(ISSUER)).unwrap();
    assert!(place.next_issuer().unwrap().is_none());
    assert_eq!(place.issuing_key(cluster, key).unwrap().issuer.key_hash(), next.issuer.key_hash());

    place.write_issuer(cluster, key, &next).unwrap();
    assert!(!place.path().join(NEXT_ISSUER).exists());
    let keys = fs::read_dir(place.path()).unwrap();
    let keys =
        keys.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(ISSUER_KEY));
    assert_eq!(keys.count(), 1);
}
