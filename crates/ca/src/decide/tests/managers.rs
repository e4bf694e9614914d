//! Managers come, say where they are, and go.

use certus_pki::{Change, Lifetime, Reason, Sha256, SpiffeId, Validity};

use crate::command::{Command, Reply, Target};
use crate::read;
use crate::record::ManagerRecord;
use crate::refusal::Refusal;
use crate::tests::{World, key, manager, operator, worker};
use crate::{Deltas, deltas_since};

fn present(world: &World) -> Vec<ManagerRecord> {
    let all = read::managers(&world.store).unwrap();
    all.into_iter().filter(|manager| manager.removed_at.is_none()).collect()
}

fn announce(world: &mut World, node: SpiffeId, address: &str) -> Result<Reply, Refusal> {
    world.apply(&Command::Announce { node, address: address.to_owned() })
}

fn remove(world: &mut World, compromised: bool) -> Result<Reply, Refusal> {
    world.apply(&Command::RemoveManager { node: manager("m2"), compromised, by: operator() })
}

fn issuer_hash(issuer: &certus_pki::Issuer) -> Sha256 {
    issuer.key_hash()
}

#[test]
fn the_founder_is_number_one_and_signs_with_the_founding_issuer() {
    let mut world = World::founded();
    assert_eq!(announce(&mut world, manager("m1"), "10.0.0.1:7443"), Ok(Reply::Announced { member: 1 }));
    let first = present(&world).pop().unwrap();
    assert_eq!(first.issuers, [issuer_hash(&world.issuer)]);
    assert!(first.voter);
    assert_eq!(announce(&mut world, manager("m1"), "10.0.0.2:7443"), Ok(Reply::Announced { member: 1 }));
    assert_eq!(present(&world).pop().unwrap().address, "10.0.0.2:7443");
    for bad in ["", "m1", ":7443", "m1:0", "m1:99999", &format!("{}:1", "x".repeat(300))] {
        let refused = announce(&mut world, manager("m1"), bad).unwrap_err();
        assert!(matches!(refused, Refusal::OutOfBounds { .. }), "{bad}: {refused:?}");
    }
}

#[test]
fn nobody_else_announces_itself_into_the_managers() {
    let mut world = World::founded();
    let web = world.worker(1, "web-1");
    let refused = announce(&mut world, web.identity, "10.0.0.9:7443").unwrap_err();
    assert!(matches!(refused, Refusal::NotAManager { .. }), "{refused:?}");
    announce(&mut world, manager("m1"), "10.0.0.1:7443").unwrap();
    world.join_manager(2);
    let refused = announce(&mut world, manager("m2"), "10.0.0.2:7443").unwrap_err();
    assert!(matches!(refused, Refusal::NotAManager { .. }), "{refused:?}");
}

#[test]
fn an_enlisted_manager_has_a_number_and_an_accepted_issuer() {
    let mut world = World::founded();
    let (node, issuer, _) = world.second_manager(1);
    let second = read::manager(&world.store, &node).unwrap().unwrap();
    assert_eq!((second.member, second.issuers), (2, vec![issuer_hash(&issuer)]));
    let bundle = read::bundle(&world.store).unwrap().unwrap();
    assert!(bundle.has_issuer(&issuer_hash(&issuer)));

    // Again with an empty log: the old number is dead.
    let (another, _) = world.fresh_issuer("m2");
    let enlist = world.enlist("m2", &another);
    let reply = world.apply(&Command::Enlist(enlist)).unwrap();
    assert!(matches!(reply, Reply::Enlisted { member: 3, .. }), "{reply:?}");
    assert_eq!(present(&world).iter().map(|manager| manager.member).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn what_is_no_manager_or_no_issuer_is_not_enlisted() {
    let mut world = World::founded();
    world.second_manager(1);
    world.worker(2, "m3");
    let (issuer, _) = world.fresh_issuer("m3");
    let enlist = crate::Enlist { node: worker("m3"), ..world.enlist("m2", &issuer) };
    let refused = world.apply(&Command::Enlist(enlist)).unwrap_err();
    assert!(matches!(refused, Refusal::NotAManager { .. }), "{refused:?}");

    let foreign = World::unfounded();
    let enlist = world.enlist("m2", &foreign.issuer);
    let refused = world.apply(&Command::Enlist(enlist)).unwrap_err();
    assert!(matches!(refused, Refusal::PlanMismatch { .. }), "{refused:?}");
}

#[test]
fn i10_a_removed_manager_neither_renews_nor_signs_nor_comes_back() {
    let mut world = World::founded();
    let (node, issuer, issuer_key) = world.second_manager(1);
    let before = read::epoch(&world.store).unwrap();
    let newest = read::node(&world.store, &node).unwrap().unwrap().newest;
    let reply = remove(&mut world, true).unwrap();
    let Reply::ManagerRemoved { member: Some(2), certs, .. } = reply else { panic!("{reply:?}") };
    assert_eq!(certs, [newest]);
    let Deltas::Changed(deltas) = deltas_since(&world.store, before, 10).unwrap() else { panic!() };
    let struck = Change::IssuerRemoved(issuer_hash(&issuer));
    assert!(deltas.iter().any(|delta| delta.changes.contains(&struck)));

    let refused = world.renew(&node, newest, &key()).unwrap_err();
    assert!(matches!(refused, Refusal::RenewalBarred { .. }), "{refused:?}");
    // A leaf that it signed for somebody else, with everything else right.
    let create = world.token(9);
    world.create(create).unwrap();
    let ask = world.ask(9, "web-9", &key());
    let Ok(crate::Admission::New(plan)) = crate::plan_join(&world.store, world.now, &ask).unwrap() else {
        panic!()
    };
    let serial = world.serial();
    let der = issuer.sign_leaf(&plan, serial, &issuer_key).unwrap();
    let refused = world.apply(&Command::Admit { ask, planned_at: world.now, der }).unwrap_err();
    assert!(matches!(refused, Refusal::IssuerNotActive { .. }), "{refused:?}");
    let bundle = read::bundle(&world.store).unwrap().unwrap();
    assert!(bundle.has_struck(&issuer_hash(&issuer)) && !bundle.has_issuer(&issuer_hash(&issuer)));
    assert!(remove(&mut world, true).is_err());
}

#[test]
fn a_manager_that_left_in_peace_keeps_its_issuer_until_it_is_struck() {
    let mut world = World::founded();
    let (_, issuer, issuer_key) = world.second_manager(1);
    world.issuer = issuer.clone();
    world.issuer_key = issuer_key;
    let web = world.worker(2, "web-1");
    let of_second = |world: &World| {
        read::newest_of_issuer(&world.store, &issuer_hash(&issuer), world.now, None, 10).unwrap().items
    };
    assert_eq!(of_second(&world), [web.identity]);
    let early = world.apply(&Command::StrikeIssuers { member: 2, by: manager("m1") }).unwrap_err();
    assert!(matches!(early, Refusal::OutOfBounds { .. }), "{early:?}");
    remove(&mut world, false).unwrap();
    let bundle = read::bundle(&world.store).unwrap().unwrap();
    assert!(bundle.has_issuer(&issuer_hash(&issuer)));
    let strike = Command::StrikeIssuers { member: 2, by: manager("m1") };
    let struck = world.apply(&strike).unwrap();
    assert!(matches!(&struck, Reply::IssuersStruck { issuers, .. } if *issuers == [issuer_hash(&issuer)]));
    // Once more changes nothing.
    let revision = read::revision(&world.store).unwrap();
    let again = world.apply(&strike).unwrap();
    assert_eq!(again, Reply::IssuersStruck { issuers: Vec::new(), revision });
    assert_eq!(read::revision(&world.store).unwrap(), revision);
}

#[test]
fn the_last_manager_stays() {
    let mut world = World::founded();
    announce(&mut world, manager("m1"), "10.0.0.1:7443").unwrap();
    let remove = Command::RemoveManager { node: manager("m1"), compromised: false, by: operator() };
    assert!(matches!(world.apply(&remove).unwrap_err(), Refusal::LastOne { .. }));
}

#[test]
fn a_manager_signs_with_every_issuer_it_adds_and_forgets_those_that_ended() {
    let mut world = World::founded();
    announce(&mut world, manager("m1"), "10.0.0.1:7443").unwrap();
    let add = |world: &mut World| {
        let (issuer, _) = world.fresh_issuer("m1");
        let der = issuer.certificate().der.clone();
        world.apply(&Command::AddIssuer { der, by: manager("m1") }).unwrap();
        issuer_hash(&issuer)
    };
    let second = add(&mut world);
    assert_eq!(present(&world)[0].issuers, [issuer_hash(&world.issuer), second]);
    let validity: Validity = Validity::starting(world.now, certus_pki::defaults::ISSUER_LIFETIME);
    world.now = validity.not_after.plus(Lifetime::from_secs(1));
    let third = add(&mut world);
    assert_eq!(present(&world)[0].issuers, [third]);
}

#[test]
fn a_promotion_is_an_order_that_is_kept() {
    let mut world = World::founded();
    let (node, ..) = world.second_manager(1);
    let reply = world.apply(&Command::Promote { node, by: operator() });
    assert_eq!(reply, Ok(Reply::Promoted { member: 2 }));
    let refused = world.apply(&Command::Promote { node: manager("m7"), by: operator() }).unwrap_err();
    assert!(matches!(refused, Refusal::NotAManager { .. }), "{refused:?}");
    let target = Target::Node(manager("m2"));
    let revoked = world.apply(&Command::Revoke { target, reason: Reason::Superseded, by: operator() });
    assert!(revoked.is_ok());
}
