//! What a node keeps on disk.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use certus_node::files::KeyLock;
use certus_node::{FileError, Fresh, IdentityDir, NodeDir};
use certus_pki::key::Passphrase;
use certus_pki::{Certificate, Explain, PrivateKey, Role, Signer, code};

use crate::authority::{Authority, delta, key};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A data directory with an enrolled worker.
fn enrolled(authority: &Authority, root: &Path) -> (NodeDir, IdentityDir, PrivateKey) {
    let dir = NodeDir::open(&root.join("w1")).unwrap();
    let identity = dir.identity(Role::Worker, &"web-1".parse().unwrap());
    let key = key();
    let chain = authority.chain("worker/web-1", key.public_key());
    identity.store(&Fresh { key: &key, chain: &chain, bundle: &authority.bundle() }).unwrap();
    (dir, identity, key)
}

#[test]
fn what_is_stored_comes_back_and_only_its_owner_can_read_it() {
    let (authority, temp) = (Authority::new("prod"), tempfile::tempdir().unwrap());
    let (dir, identity, key) = enrolled(&authority, temp.path());
    let stored = identity.load().unwrap().unwrap();
    assert_eq!(stored.identity, authority.id("worker/web-1"));
    assert_eq!(stored.key.public_key(), key.public_key());
    assert_eq!(stored.bundle, authority.bundle());
    assert_eq!(dir.enrolled(Role::Worker).unwrap(), ["web-1".parse().unwrap()]);
    assert_eq!(dir.enrolled(Role::Manager).unwrap(), []);

    assert_eq!(identity.path(), temp.path().join("w1/certs/worker-web-1"));
    for path in [temp.path().join("w1"), temp.path().join("w1/certs"), identity.path().to_owned()] {
        assert_eq!(mode(&path), 0o700, "{}", path.display());
    }
    let mut names: Vec<_> = fs::read_dir(identity.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["bundle.pem", "ca.crt", "credentials.pem", "node.crt", "node.key"]);
    for name in names {
        assert_eq!(mode(&identity.path().join(&name)), 0o600, "{name}");
    }
    let certificates = fs::read_to_string(identity.path().join("node.crt")).unwrap();
    let certificates = Certificate::many_from_pem(&certificates).unwrap();
    assert_eq!(certificates.iter().map(|c| c.is_ca).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_secret_that_others_can_read_is_refused() {
    let (authority, temp) = (Authority::new("prod"), tempfile::tempdir().unwrap());
    let (_dir, identity, _) = enrolled(&authority, temp.path());
    let path = identity.path().join("credentials.pem");
    for open in [0o640, 0o604, 0o666] {
        fs::set_permissions(&path, Permissions::from_mode(open)).unwrap();
        let why = identity.load().err().unwrap().explain();
        assert_eq!(why.code, code::FILE_MODE);
        assert_eq!(why.facts[0].1, "mode 0600");
        assert_eq!(why.facts[1].1, format!("mode {open:04o}"));
        assert!(why.hint.unwrap().starts_with("chmod 600 "));
    }
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(identity.path(), Permissions::from_mode(0o770)).unwrap();
    let why = identity.store_bundle(&authority.bundle()).err().unwrap().explain();
    assert_eq!(why.code, code::FILE_MODE);
}

#[test]
fn a_crash_leaves_the_old_or_the_new_and_what_is_made_from_it_is_made_again() {
    let (authority, temp) = (Authority::new("prod"), tempfile::tempdir().unwrap());
    let (_dir, identity, key) = enrolled(&authority, temp.path());
    // While the next was being written, under any mode.
    let half = identity.path().join(".credentials.pem.new");
    fs::write(&half, "-----BEGIN PRIVATE KEY-----\nMIG").unwrap();
    // After the truth was replaced, before its copies were.
    fs::write(identity.path().join("node.key"), "another").unwrap();
    fs::remove_file(identity.path().join("ca.crt")).unwrap();
    let stored = identity.load().unwrap().unwrap();
    assert_eq!(stored.key.public_key(), key.public_key());
    let copy = fs::read_to_string(identity.path().join("node.key")).unwrap();
    assert_eq!(PrivateKey::from_pem(&copy).unwrap().public_key(), key.public_key());
    assert!(identity.path().join("ca.crt").exists());

    let next = crate::authority::key();
    let chain = authority.chain("worker/web-1", next.public_key());
    identity.store(&Fresh { key: &next, chain: &chain, bundle: &authority.bundle() }).unwrap();
    assert_eq!(identity.load().unwrap().unwrap().key.public_key(), next.public_key());
    assert!(!half.exists());
}

#[test]
fn a_key_waits_for_its_certificate_across_restarts() {
    let (authority, temp) = (Authority::new("prod"), tempfile::tempdir().unwrap());
    let dir = NodeDir::open(temp.path()).unwrap();
    let identity = dir.identity(Role::Worker, &"web-1".parse().unwrap());
    let first = identity.pending_key(None).unwrap();
    let again = identity.pending_key(None).unwrap();
    assert_eq!(first.public_key(), again.public_key());
    assert!(!identity.is_enrolled());
    let chain = authority.chain("worker/web-1", first.public_key());
    identity.store(&Fresh { key: &first, chain: &chain, bundle: &authority.bundle() }).unwrap();
    let next = identity.pending_key(Some(first.public_key())).unwrap();
    assert_ne!(next.public_key(), first.public_key());
}

#[test]
fn a_bundle_is_kept_beside_the_credentials() {
    let (authority, temp) = (Authority::new("prod"), tempfile::tempdir().unwrap());
    let (_dir, identity, _) = enrolled(&authority, temp.path());
    let mut bundle = authority.bundle();
    let leaf = identity.load().unwrap().unwrap().leaf;
    bundle.apply(&delta(9, vec![certus_pki::Change::Revoked(authority.revocation(&leaf))]));
    identity.store_bundle(&bundle).unwrap();
    assert_eq!(identity.load().unwrap().unwrap().bundle, bundle);
    fs::write(identity.path().join("bundle.pem"), "-----BEGIN CERTUS BUNDLE-----\n").unwrap();
    let why = identity.load().err().unwrap().explain();
    assert_eq!(why.code, code::BAD_ENCODING);
    assert!(why.message.contains("bundle.pem"), "{}", why.message);
}

#[test]
fn a_directory_has_one_process() {
    let temp = tempfile::tempdir().unwrap();
    let first = NodeDir::open(temp.path()).unwrap();
    let second = NodeDir::open(temp.path()).err().unwrap();
    assert!(matches!(second, FileError::InUse { .. }));
    assert_eq!(second.explain().code, code::DIRECTORY_IN_USE);
    drop(first);
    NodeDir::open(temp.path()).unwrap().keep_managers(&["a:1".into(), "b:2".into()]).unwrap();
    assert_eq!(NodeDir::open(temp.path()).unwrap().managers().unwrap(), ["a:1", "b:2"]);
}

#[test]
fn a_key_under_a_lock_is_nowhere_in_the_clear_and_the_lock_may_change() {
    let (authority, temp) = (Authority::new("prod"), tempfile::tempdir().unwrap());
    let (dir, plain, key) = enrolled(&authority, temp.path());
    let lock = |on| KeyLock::new(Passphrase::new("correct horse".to_owned()), on);
    let at = || dir.identity(Role::Worker, &"web-1".parse().unwrap());
    let clear = || {
        let read = |name: &str| fs::read_to_string(plain.path().join(name)).unwrap();
        let text = [read("credentials.pem"), read("node.key")];
        let count = |label: &str| text.iter().filter(|text| text.contains(label)).count();
        (count("-----BEGIN PRIVATE KEY"), count("-----BEGIN ENCRYPTED PRIVATE KEY"))
    };
    assert_eq!(clear(), (2, 0));
    // Loaded under a lock that is on: a change that a crash cut short is finished.
    let locked = at().under(lock(true));
    assert_eq!(locked.load().unwrap().unwrap().key.public_key(), key.public_key());
    assert_eq!(clear(), (0, 2));
    let before = fs::read(plain.path().join("node.key")).unwrap();
    locked.load().unwrap().unwrap();
    assert_eq!(fs::read(plain.path().join("node.key")).unwrap(), before, "it is not written each time");
    assert_eq!(plain.load().err().unwrap().explain().code, code::PASSPHRASE_NEEDED);

    locked.set_lock(false).unwrap();
    assert_eq!(clear(), (2, 0));
    locked.set_lock(true).unwrap();
    let chain = authority.chain("worker/web-1", key.public_key());
    locked.store(&Fresh { key: &key, chain: &chain, bundle: &authority.bundle() }).unwrap();
    assert_eq!(clear(), (0, 2));
    let other = at().under(KeyLock::new(Passphrase::new("battery staple".to_owned()), true));
    assert!(other.load().is_err());
}
