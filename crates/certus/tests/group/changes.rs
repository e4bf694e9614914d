//! Managers that join, leave and are removed while nodes join and renew.

use std::time::Instant;

use crate::end::{renewals, serves_again, still_renews};
use crate::harness::until;
use crate::load::{Hands, Load};
use crate::stage::Group;
use crate::witness::renew_all;

#[test]
fn i4_i5_no_call_fails_while_managers_join_leave_and_are_removed() {
    let mut group = Group::of_one(&[]);
    group.join("m2");
    group.voters(2);
    let worker = group.worker("web-1");
    let load = Load::start(&group);
    let hands = Hands::start(&group, "web-1");

    let mut since = Instant::now();
    group.join("m3");
    group.voters(3);
    serves_again(&group, "m3 joined", &load, since);

    // Who leaves may be the one that leads.
    let leaves = group.leader();
    let before = renewals(&worker);
    since = Instant::now();
    group.world.run(&["manager", "leave", "--data-dir", &leaves]).ok();
    assert_eq!(group.take(&leaves).ended(), 0);
    assert!(!group.world.path(&leaves).join("manager").exists(), "its keys are gone");
    group.voters(2);
    serves_again(&group, &format!("{leaves} left, which led"), &load, since);
    still_renews(&worker, before, &hands);

    // It comes back as a new one, on what is left of its directory.
    since = Instant::now();
    let address = group.place(&leaves).address.clone();
    let others = group.addresses();
    group.join_at(&leaves, &address, &others, &["--replace"]);
    group.voters(3);
    serves_again(&group, &format!("{leaves} is back"), &load, since);

    // One that is removed ends by itself, and is told what to do.
    let removed = group.follower();
    since = Instant::now();
    let said = group.world.run(&["manager", "remove", &removed, "--compromised", "--yes"]).ok().stdout;
    assert!(said.contains("removed") && said.contains("root"), "{said}");
    let log = {
        let daemon = group.take(&removed);
        until("it hears of it", || daemon.log().contains("removed"), || daemon.log());
        let path = daemon.log_path().to_owned();
        assert_eq!(daemon.ended(), 1);
        std::fs::read_to_string(path).unwrap()
    };
    assert!(log.contains("this manager was removed") && log.contains("certus manager join"), "{log}");
    serves_again(&group, &format!("{removed} was removed"), &load, since);
    group.voters(2);

    let (witness, members) = load.stop();
    assert_eq!(hands.stop(), Vec::<String>::new(), "{}", group.logs());
    witness.hold_and_nothing_failed(&group);
    // Whatever it had signed: nobody is locked out.
    renew_all(&group, members);
}
