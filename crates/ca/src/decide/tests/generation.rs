//! New generations: what a restore and a recovery change, and what is met afterwards.

use certus_pki::{CertId, Epoch, Lifetime, Reason, Role, Serial, UnixTime, code};

use crate::tests::{START, World, identity, key, operator, worker};
use crate::{
    Barred, CertFilter, Command, Deltas, Event, How, Refusal, Reply, Target, UnrecordedCert, audit, bundle,
    cert, certs, deltas_since, epoch, token, tokens,
};

fn manager() -> certus_pki::SpiffeId {
    identity(Role::Manager, "m1")
}

fn restore(world: &mut World) -> Epoch {
    match world.apply(&Command::Restore { made_at: START, by: manager() }) {
        Ok(Reply::Restored { epoch, .. }) => epoch,
        other => panic!("{other:?}"),
    }
}

#[test]
fn i5_a_restore_begins_a_generation_whose_epochs_and_revisions_never_were() {
    let mut world = World::founded();
    let held = world.worker(1, "web-1");
    world.direct(&held.identity).unwrap();
    let before = epoch(&world.store).unwrap();
    let backup = world.store.clone();
    // What happens after the backup is lost with the cluster.
    for _ in 0..5 {
        world.direct(&held.identity).unwrap();
    }
    let lost = epoch(&world.store).unwrap();
    world.store = backup.clone();
    let first = restore(&mut world);
    assert_eq!(first.generation, before.generation + 1);
    assert!(first.revision > lost.revision, "{first} after {lost}");
    let mut after = first;
    for _ in 0..3 {
        world.direct(&held.identity).unwrap();
        let next = epoch(&world.store).unwrap();
        assert!(next > after);
        after = next;
    }
    // The same backup again, an hour later: nothing of the first attempt is met again.
    world.store = backup;
    world.wait(Lifetime::from_hours(1));
    let second = restore(&mut world);
    assert!(second > after, "{second} after {after}");
}

#[test]
fn watchers_of_another_generation_take_everything_and_then_go_on_by_changes() {
    let mut world = World::founded();
    let held = world.worker(1, "web-1");
    world.direct(&held.identity).unwrap();
    let before = epoch(&world.store).unwrap();
    let now = restore(&mut world);
    for since in [Epoch::default(), before, Epoch { revision: u64::MAX, ..before }] {
        assert_eq!(deltas_since(&world.store, since, 10).unwrap(), Deltas::TooOld);
    }
    assert_eq!(bundle(&world.store).unwrap().unwrap().epoch(), now);
    assert_eq!(deltas_since(&world.store, now, 10).unwrap(), Deltas::UpToDate);
    world.direct(&held.identity).unwrap();
    let Deltas::Changed(changed) = deltas_since(&world.store, now, 10).unwrap() else { panic!() };
    assert_eq!(changed[0].epoch, Epoch { revision: now.revision + 1, ..now });
}

#[test]
fn a_restore_voids_every_token_and_a_recovery_none() {
    let mut world = World::founded();
    let held = world.worker(1, "web-1");
    let live = world.create(world.token(2)).unwrap();
    let recovered = world.apply(&Command::Recover { by: manager() }).unwrap();
    assert!(matches!(recovered, Reply::Recovered { epoch } if epoch.generation == 1));
    world.wait(Lifetime::from_secs(1));
    assert!(token(&world.store, &live).unwrap().unwrap().is_live(world.now));

    let reply = world.apply(&Command::Restore { made_at: START, by: manager() }).unwrap();
    assert!(matches!(reply, Reply::Restored { epoch, tokens: 2 } if epoch.generation == 2), "{reply:?}");
    for record in tokens(&world.store, None, 10).unwrap().items {
        assert!(!record.is_live(world.now) && record.revoked_at.is_some(), "{record:?}");
    }
    let joined = world.join(2, "web-2", &key());
    assert!(matches!(joined, Err(Refusal::TokenRevoked { .. })), "{joined:?}");
    // Who is known goes on.
    world.renew(&held.identity, held.cert, &key()).unwrap();
    let last = audit(&world.store, None, 100).unwrap().items;
    let restored = last.iter().filter(|record| matches!(record.event, Event::Restored { tokens: 2, .. }));
    assert_eq!(restored.count(), 1);
}

#[test]
fn only_a_manager_of_the_cluster_begins_a_generation() {
    let mut world = World::founded();
    let held = world.worker(1, "web-1");
    for by in [operator(), held.identity, identity(Role::Manager, "m9")] {
        for command in
            [Command::Restore { made_at: START, by: by.clone() }, Command::Recover { by: by.clone() }]
        {
            let before = epoch(&world.store).unwrap();
            let refusal = world.apply(&command).unwrap_err();
            assert_eq!(refusal.code(), code::PERMISSION_DENIED, "{refusal:?}");
            assert_eq!(epoch(&world.store).unwrap(), before);
        }
    }
}

fn unrecorded(world: &World) -> UnrecordedCert {
    UnrecordedCert {
        cert: CertId { issuer: world.issuer.key_hash(), serial: Serial::from_random([0x77; 16]) },
        node: worker("web-1"),
        key_hash: certus_pki::Sha256::of(b"a key"),
        not_after: UnixTime::from_secs(START.secs() + 1000),
    }
}

#[test]
fn what_is_on_no_record_does_not_renew_and_can_be_revoked_once() {
    let mut world = World::founded();
    let held = world.worker(1, "web-1");
    let seen = unrecorded(&world);
    let refused = world.renew(&held.identity, seen.cert, &key());
    assert!(
        matches!(refused, Err(Refusal::RenewalBarred { why: Barred::NotOnRecord, .. })),
        "{:?}",
        refused.err()
    );
    let (reason, by) = (Reason::KeyCompromise, operator());
    let revoke = Command::RevokeUnrecorded { cert: seen.clone(), reason, by };
    let reply = world.apply(&revoke).unwrap();
    assert!(matches!(reply, Reply::Revoked { certs, .. } if certs == [seen.cert]));
    assert!(bundle(&world.store).unwrap().unwrap().revocation(&seen.cert).is_some());
    let record = cert(&world.store, &seen.cert).unwrap().unwrap();
    assert_eq!((record.how, record.revoked), (How::Unrecorded, Some((world.now, reason))));
    let filter = CertFilter { node: Some(worker("web-1")), ..CertFilter::default() };
    assert_eq!(certs(&world.store, &filter, None, 10).unwrap().items.len(), 2);
    assert!(matches!(world.apply(&revoke), Err(Refusal::AlreadyExists { .. })));
    assert!(matches!(world.revoke(Target::Cert(seen.cert)), Err(Refusal::AlreadyRevoked { .. })));
    // The node itself goes on with what it has on record.
    world.renew(&held.identity, held.cert, &key()).unwrap();
    world.revoke(Target::Node(held.identity)).unwrap();
}

#[test]
fn certificates_of_strange_issuers_and_clusters_are_not_put_on_record() {
    let mut world = World::founded();
    let seen = unrecorded(&world);
    let foreign = CertId { issuer: certus_pki::Sha256::of(b"nobody"), ..seen.cert };
    let elsewhere = "spiffe://other/worker/web-1".parse().unwrap();
    for (cert, expected) in [
        (UnrecordedCert { cert: foreign, ..seen.clone() }, code::ISSUER_NOT_ACTIVE),
        (UnrecordedCert { node: elsewhere, ..seen }, code::UNKNOWN_NODE),
    ] {
        let revoke = Command::RevokeUnrecorded { cert, reason: Reason::Unspecified, by: operator() };
        assert_eq!(world.apply(&revoke).unwrap_err().code(), expected);
    }
}
