//! Renewing: with a fresh key, by the newest certificate or the one before, and never by an older one.

use certus_pki::{Lifetime, Role, San, defaults};

use crate::tests::{World, identity, key, worker};
use crate::{Barred, Refusal, RenewAsk, Reply, Target, cert, due, node};

fn why(result: Result<crate::Issued, Refusal>) -> Barred {
    match result {
        Err(Refusal::RenewalBarred { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_renewal_carries_names_and_moves_the_deadline() {
    let mut world = World::founded();
    let mut create = world.token(1);
    create.sans = vec!["web.internal".parse().unwrap()];
    let sans: Vec<San> = create.sans.clone();
    world.create(create).unwrap();
    let first = world.join(1, "web-1", &key()).unwrap();
    world.wait(Lifetime::from_days(61));
    let overdue = |world: &World| {
        due(&world.store, world.now, 10).unwrap().iter().any(|due| due.node == worker("web-1"))
    };
    assert!(overdue(&world));
    let second = world.renew(&first.node, first.cert, &key()).unwrap();
    assert!(!overdue(&world));
    let record = node(&world.store, &first.node).unwrap().unwrap();
    assert_eq!((record.newest, record.previous), (second.cert, Some(first.cert)));
    assert_eq!(record.sans, sans);
    let newest = cert(&world.store, &second.cert).unwrap().unwrap();
    assert_eq!(newest.not_after, world.now.plus(defaults::LEAF_LIFETIME));
    assert_eq!(cert(&world.store, &first.cert).unwrap().unwrap().revoked, None);
}

#[test]
fn a_lost_answer_locks_nobody_out() {
    let mut world = World::founded();
    let held = world.worker(1, "web-1");
    let lost = key();
    let second = world.renew(&held.identity, held.cert, &lost).unwrap();
    // Asked again with the same key: the same certificate. With a new key: a new one.
    let retried = world.renew(&held.identity, held.cert, &lost).unwrap();
    assert!(retried.again && retried.cert == second.cert);
    let third = world.renew(&held.identity, held.cert, &key()).unwrap();
    assert_ne!(third.cert, second.cert);
    let fourth = world.renew(&held.identity, held.cert, &key()).unwrap();
    // The answers that were lost may not renew; the one that arrived may.
    let barred = why(world.renew(&held.identity, second.cert, &key()));
    assert!(matches!(barred, Barred::OlderKey { .. }));
    world.renew(&held.identity, fourth.cert, &key()).unwrap();
}

#[test]
fn an_older_certificate_is_refused() {
    let mut world = World::founded();
    let held = world.worker(1, "web-1");
    let second = world.renew(&held.identity, held.cert, &key()).unwrap();
    world.renew(&held.identity, second.cert, &key()).unwrap();
    let barred = why(world.renew(&held.identity, held.cert, &key()));
    assert_eq!(barred, Barred::OlderKey { newest_at: world.now });
}

#[test]
fn only_ones_own_living_certificate_renews_and_only_to_a_fresh_key() {
    let mut world = World::founded();
    let one = world.worker(1, "web-1");
    let other = world.worker(2, "web-2");
    assert_eq!(why(world.renew(&one.identity, other.cert, &key())), Barred::NotItsCert);
    let unknown = world.renew(&worker("web-9"), one.cert, &key());
    assert!(matches!(unknown, Err(Refusal::UnknownNode { .. })));

    let first = key();
    let create = world.token(3);
    world.create(create).unwrap();
    let held = world.join(3, "web-3", &first).unwrap();
    let second = world.renew(&held.node, held.cert, &key()).unwrap();
    assert_eq!(why(world.renew(&held.node, held.cert, &first)), Barred::KeyNotFresh);
    world.revoke(Target::Cert(second.cert)).unwrap();
    assert!(matches!(why(world.renew(&held.node, second.cert, &key())), Barred::CertRevoked { .. }));

    world.wait(defaults::LEAF_LIFETIME);
    world.renew(&one.identity, one.cert, &key()).unwrap();
    world.wait(Lifetime::from_secs(1));
    assert!(matches!(why(world.renew(&other.identity, other.cert, &key())), Barred::CertExpired { .. }));
}

#[test]
fn two_renewals_that_race_leave_both_certificates_known() {
    let mut world = World::founded();
    let held = world.worker(1, "web-1");
    let ask = |world: &mut World| {
        let public_key = certus_pki::Signer::public_key(&key()).clone();
        let ask = RenewAsk { node: held.identity.clone(), from: held.cert, public_key };
        world.renewal(&ask).unwrap()
    };
    let (one, other) = (ask(&mut world), ask(&mut world));
    let Ok(Reply::Renewed(one)) = world.apply(&one) else { panic!() };
    let Ok(Reply::Renewed(other)) = world.apply(&other) else { panic!() };
    let record = node(&world.store, &held.identity).unwrap().unwrap();
    assert_eq!((record.newest, record.previous), (other.cert, Some(held.cert)));
    assert!(cert(&world.store, &one.cert).unwrap().is_some());
}

/// A manager that was off for longer than its certificate lives is the only one that could help itself.
#[test]
fn a_manager_that_slept_renews_and_a_worker_does_not() {
    let mut world = World::founded();
    let node = world.worker(1, "web-1");
    let manager = identity(Role::Manager, "m1");
    let from = crate::latest_cert(&world.store, &manager).unwrap().unwrap().cert;
    world.wait(Lifetime::from_days(91));
    let late = world.renew(&node.identity, node.cert, &key());
    assert!(matches!(late, Err(Refusal::RenewalBarred { why: Barred::CertExpired { .. }, .. })));
    let again = world.renew(&manager, from, &key()).unwrap();
    // Not from what is older than the one before, and never from what was revoked.
    let newest = world.renew(&manager, again.cert, &key()).unwrap();
    let old = world.renew(&manager, from, &key());
    assert!(matches!(old, Err(Refusal::RenewalBarred { why: Barred::OlderKey { .. }, .. })));
    world.revoke(Target::Cert(again.cert)).unwrap();
    let revoked = world.renew(&manager, again.cert, &key());
    assert!(matches!(revoked, Err(Refusal::RenewalBarred { why: Barred::CertRevoked { .. }, .. })));
    world.renew(&manager, newest.cert, &key()).unwrap();
}
