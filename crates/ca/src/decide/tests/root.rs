//! The root's key leaves the cluster and comes back.

use certus_pki::{Lifetime, Sha256};

use crate::limits::ROOT_KEY_SEALED_MAX;
use crate::tests::{World, identity, operator};
use crate::{Command, Cursor, Refusal, Reply, audit, epoch, root};

fn take(root: Sha256) -> Command {
    Command::TakeRootOffline { root, by: operator() }
}

fn bring(root: Sha256, key_sealed: &[u8]) -> Command {
    Command::BringRootOnline { root, key_sealed: key_sealed.to_vec(), by: operator() }
}

#[test]
fn the_roots_key_leaves_and_comes_back() {
    let mut world = World::founded();
    let key = world.root.key_hash();
    let sealed = |world: &World| root(&world.store, &key).unwrap().unwrap().key_sealed;
    let before = epoch(&world.store).unwrap();
    assert_eq!(world.apply(&bring(key, b"again")), Err(Refusal::RootOnline { root: key }));
    assert_eq!(world.apply(&take(key)), Ok(Reply::RootTakenOffline { root: key }));
    assert!(sealed(&world).is_empty());
    assert!(root(&world.store, &key).unwrap().unwrap().active, "it is trusted as before");
    assert_eq!(world.apply(&take(key)), Err(Refusal::RootOffline { root: key }));

    // What the root signed before is still taken.
    world.add_issuer(Lifetime::from_days(300)).unwrap();
    for wrong in [&b""[..], &vec![0; ROOT_KEY_SEALED_MAX + 1]] {
        let refusal = world.apply(&bring(key, wrong)).unwrap_err();
        assert!(matches!(refusal, Refusal::OutOfBounds { .. }), "{refusal:?}");
    }
    assert_eq!(world.apply(&bring(key, b"again")), Ok(Reply::RootBroughtOnline { root: key }));
    assert_eq!(sealed(&world), b"again");
    // Nodes trust what they trusted: only the issuer was news.
    assert_eq!(epoch(&world.store).unwrap().revision, before.revision + 1);
}

#[test]
fn i8_who_may_not_or_names_no_root_changes_nothing_but_the_audit() {
    let mut world = World::founded();
    let key = world.root.key_hash();
    let before = root(&world.store, &key).unwrap();
    let stranger = identity(certus_pki::Role::Manager, "m9");
    let foreign = Sha256::of(b"another root");
    let refused = [
        world.apply(&take(foreign)).unwrap_err(),
        world.apply(&Command::TakeRootOffline { root: key, by: stranger }).unwrap_err(),
    ];
    assert_eq!(refused[0], Refusal::RootNotActive { came: foreign });
    assert!(matches!(refused[1], Refusal::NotPermitted { .. }));
    assert_eq!(root(&world.store, &key).unwrap(), before);
    let page = audit(&world.store, None::<&Cursor>, 10).unwrap();
    assert_eq!(page.items.iter().filter(|record| record.refused.is_some()).count(), 2);
}
