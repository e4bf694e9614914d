//! Two of three managers lost for good: the one that is left becomes the cluster, and others join it.

use std::time::Instant;

use crate::end::{renewals, serves_again, still_renews};
use crate::harness::until;
use crate::load::{Hands, Load};
use crate::stage::Group;
use crate::witness::renew_all;

#[test]
fn i5_one_manager_that_is_left_of_three_is_brought_back_alone() {
    let mut group = Group::of_three();
    let worker = group.worker("web-1");
    let load = Load::start(&group);
    let (witness, _) = load.stop();
    witness.hold_and_nothing_failed(&group);

    // The one that is left need not have led.
    let left = group.follower();
    let lost: Vec<String> =
        group.places.iter().map(|place| place.id.clone()).filter(|id| *id != left).collect();
    for id in &lost {
        group.kill(id);
    }
    // Alone it knows that it is, and answers no change.
    let address = group.place(&left).address.clone();
    let create = ["--manager", &address, "token", "create", "--role", "worker"];
    let said = group.world.run(&create);
    assert!(said.code == 1 && said.stderr.contains("error CT-2"), "{}", said.stderr);
    let recover = ["cluster", "recover", "--data-dir", &left, "--yes"];
    group.world.run(&recover).failed(1, "CT-3106");
    assert_eq!(group.take(&left).end(), 0);
    let said = group.world.run(&recover).ok();
    assert!(said.stderr.contains("of 3 voters"), "{}", said.stderr);
    assert!(said.stdout.contains("the only voter now"), "{}", said.stdout);
    group.start(&left);
    let gone = group.places.iter().position(|place| place.id == lost[0]).unwrap();
    let first = group.places.remove(gone);
    let gone = group.places.iter().position(|place| place.id == lost[1]).unwrap();
    let second = group.places.remove(gone);

    // Nothing that was answered is lost: that manager had all of it.
    witness.hold_against(&group);
    let before = renewals(&worker);
    let hands = Hands::start(&group, "web-1");
    still_renews(&worker, before, &hands);
    let listed = group.listed();
    assert_eq!(listed.len(), 1, "{listed:?}");

    // An old one comes back: it is refused, changes nothing, and says why.
    group.places.push(first);
    group.start_with(&lost[0], &[]);
    let old = group.daemon(&lost[0]);
    until("the old one hears that it is none any more", || old.log().contains("removed"), || old.log());
    assert_eq!(group.take(&lost[0]).ended(), 1);
    assert_eq!(group.listed().len(), 1);
    group.places.retain(|place| place.id == left);

    let load = Load::start(&group);
    let since = Instant::now();
    group.join("m4");
    group.join("m5");
    group.voters(3);
    serves_again(&group, "two new managers joined", &load, since);
    let (later, members) = load.stop();
    assert_eq!(hands.stop(), Vec::<String>::new(), "{}", group.logs());
    later.hold_and_nothing_failed(&group);
    witness.hold_against(&group);
    renew_all(&group, members);
    drop(second);
}
