//! Revoking: all of a node in one revision, one certificate alone, and no way back.

use certus_pki::{Change, Directive, Epoch, Lifetime, Reason, Role, code};

use crate::tests::{World, id, identity, key, operator, settings, worker};
use crate::{
    Barred, Command, Deltas, Refusal, Reply, Target, bundle, deltas_since, due, epoch, latest_cert, revision,
};

#[test]
fn a_node_is_revoked_with_all_it_has_in_one_revision() {
    let mut world = World::founded();
    let held = world.worker(1, "web-1");
    let second = world.renew(&held.identity, held.cert, &key()).unwrap();
    let before = epoch(&world.store).unwrap();
    let reply = world.revoke(Target::Node(held.identity.clone())).unwrap();
    let Reply::Revoked { node, certs, revision } = reply else { panic!() };
    assert_eq!((node, revision), (held.identity.clone(), before.revision + 1));
    assert_eq!(certs.len(), 2);
    let Deltas::Changed(deltas) = deltas_since(&world.store, before, 10).unwrap() else { panic!() };
    let [delta] = &deltas[..] else { panic!("{deltas:?}") };
    let mut revoked = Vec::new();
    let mut removed = Vec::new();
    for change in &delta.changes {
        match change {
            Change::Revoked(revocation) => revoked.push(revocation.cert),
            Change::Direct { node, directive: Directive::Removed } => removed.push(node.clone()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(removed, std::slice::from_ref(&held.identity));
    assert!(revoked.contains(&held.cert) && revoked.contains(&second.cert) && revoked.len() == 2);
    let overdue = due(&world.store, world.now.plus(Lifetime::from_days(999)), 10).unwrap();
    assert!(overdue.iter().all(|due| due.node != held.identity));
    let refusal = world.revoke(Target::Node(held.identity.clone())).unwrap_err();
    assert!(matches!(refusal, Refusal::AlreadyRevoked { since, .. } if since == world.now));
}

#[test]
fn one_certificate_is_revoked_alone() {
    let mut world = World::founded();
    let held = world.worker(1, "web-1");
    let second = world.renew(&held.identity, held.cert, &key()).unwrap();
    world.revoke(Target::Cert(second.cert)).unwrap();
    let trusted = bundle(&world.store).unwrap().unwrap();
    assert!(trusted.revocation(&second.cert).is_some() && trusted.revocation(&held.cert).is_none());
    let again = world.revoke(Target::Cert(second.cert)).unwrap_err();
    assert_eq!(again.code(), code::ALREADY_REVOKED);
    world.renew(&held.identity, held.cert, &key()).unwrap();
    let mut unknown = held.cert;
    unknown.serial = certus_pki::Serial::from_random([0xee; 16]);
    assert!(matches!(world.revoke(Target::Cert(unknown)), Err(Refusal::UnknownCertificate { .. })));
    assert!(matches!(world.revoke(Target::Node(worker("web-9"))), Err(Refusal::UnknownNode { .. })));
}

#[test]
fn the_last_admin_and_the_last_manager_stay() {
    let mut world = World::founded();
    let manager = identity(Role::Manager, "m1");
    for (last, what) in [(operator(), "admin"), (manager, "manager")] {
        let newest = latest_cert(&world.store, &last).unwrap().unwrap().cert;
        for target in [Target::Node(last.clone()), Target::Cert(newest)] {
            let refusal = world.revoke(target).unwrap_err();
            assert!(matches!(&refusal, Refusal::LastOne { what: of, .. } if of == what), "{refusal:?}");
        }
    }
}

#[test]
fn i10_revoked_nodes_cannot_renew_or_join() {
    let mut world = World::founded();
    let mine = key();
    let mut create = world.token(1);
    create.uses = 5;
    world.create(create).unwrap();
    let held = world.join(1, "web-1", &mine).unwrap();
    // A renewal and a join that were signed before the revocation, and come through the log after it.
    let ask = crate::RenewAsk {
        node: held.node.clone(),
        from: held.cert,
        public_key: certus_pki::Signer::public_key(&key()).clone(),
    };
    let underway = world.renewal(&ask).unwrap();
    world.revoke(Target::Node(held.node.clone())).unwrap();
    let barred =
        |refusal: &Refusal| matches!(refusal, Refusal::RenewalBarred { .. } | Refusal::IdInUse { .. });
    let late = world.apply(&underway).unwrap_err();
    assert!(matches!(late, Refusal::RenewalBarred { why: Barred::NodeRevoked { .. }, .. }));
    assert!(barred(&world.renew(&held.node, held.cert, &key()).unwrap_err()));
    // Same token, same key; same token, new key; its key under another id.
    for (name, key) in [("web-1", &mine), ("web-1", &key()), ("web-2", &mine)] {
        let refusal = world.join(1, name, key).unwrap_err();
        assert!(barred(&refusal), "{refusal:?}");
    }
    // An operator who names the id lets it in, with another key.
    let mut create = world.token(2);
    (create.id, create.replace) = (Some(id("web-1")), true);
    world.create(create).unwrap();
    assert!(barred(&world.join(2, "web-1", &mine).unwrap_err()));
    let issued = world.join(2, "web-1", &key()).unwrap();
    assert!(latest_cert(&world.store, &held.node).unwrap().unwrap().is_live(world.now));
    world.renew(&held.node, issued.cert, &key()).unwrap();
}

#[test]
fn i10_what_a_revoked_operator_asked_for_comes_to_nothing() {
    let mut world = World::founded();
    let node = world.worker(1, "web-1");
    world.admin(3, "second");
    world.revoke(Target::Node(operator())).unwrap();
    let create = world.token(2);
    assert!(matches!(world.create(create), Err(Refusal::NotPermitted { .. })));
    assert!(matches!(world.revoke(Target::Node(node.identity)), Err(Refusal::NotPermitted { .. })));
    let by = identity(Role::Manager, "m1");
    let target = Target::Node(worker("web-1"));
    world.apply(&Command::Revoke { target, reason: Reason::Unspecified, by }).unwrap();
}

#[test]
fn joins_and_renewals_are_no_news_to_watchers() {
    let mut world = World::founded();
    let before = revision(&world.store).unwrap();
    let held = world.worker(1, "web-1");
    world.renew(&held.identity, held.cert, &key()).unwrap();
    assert_eq!(revision(&world.store).unwrap(), before);
    let now = epoch(&world.store).unwrap();
    assert_eq!(deltas_since(&world.store, now, 10).unwrap(), Deltas::UpToDate);
}

#[test]
fn a_watcher_that_resumes_ends_with_the_same_trust() {
    let mut world = World::founded();
    let mut watcher = bundle(&world.store).unwrap().unwrap();
    for number in 0..6 {
        let held = world.worker(number, &format!("web-{number}"));
        world.revoke(Target::Node(held.identity)).unwrap();
    }
    while let Deltas::Changed(deltas) = deltas_since(&world.store, watcher.epoch(), 4).unwrap() {
        deltas.iter().for_each(|delta| watcher.apply(delta));
    }
    assert_eq!(watcher, bundle(&world.store).unwrap().unwrap());
    let nothing = Epoch { generation: 0, revision: 0 };
    assert_eq!(deltas_since(&world.store, nothing, 4).unwrap(), Deltas::TooOld);
    let ahead = Epoch { generation: 1, revision: 0 };
    assert_eq!(deltas_since(&world.store, ahead, 4).unwrap(), Deltas::UpToDate);
    // After a restore, whatever a watcher had is no beginning to go on from.
    let mut restored = World::unfounded();
    let Command::Genesis(genesis) = restored.genesis(settings()) else { panic!() };
    restored.apply(&Command::Genesis(crate::Genesis { generation: 1, ..genesis })).unwrap();
    restored.worker(1, "web-1");
    restored.direct(&worker("web-1")).unwrap();
    let before = Epoch { generation: 0, revision: 1 };
    assert_eq!(deltas_since(&restored.store, before, 4).unwrap(), Deltas::TooOld);
}

#[test]
fn ended_certificates_leave_the_bundle() {
    let mut world = World::founded();
    let held = world.worker(1, "web-1");
    world.revoke(Target::Node(held.identity)).unwrap();
    assert_eq!(bundle(&world.store).unwrap().unwrap().revocations().len(), 1);
    world.wait(Lifetime::from_days(91));
    let create = world.token(2);
    world.create(create).unwrap();
    assert_eq!(bundle(&world.store).unwrap().unwrap().revocations().len(), 0);
}
