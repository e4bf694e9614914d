//! Managers that are killed, paused, or restarted one after the other, under load.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Daemon, until};
use crate::load::{Hands, Load};
use crate::stage::{Group, at_length, seconds};
use crate::witness::renew_all;

/// Within this the others answer again, once the majority is there. On a machine that is busy with other
/// things the short run allows more; what it took is printed.
fn back_within() -> Duration {
    seconds(15, 5)
}

/// Waits until calls that were made after `since` are answered, and says how soon the first one was.
#[track_caller]
pub(crate) fn serves_again(group: &Group, what: &str, load: &Load, since: Instant) {
    let took = load.some(what, since, 10);
    println!("{what}: the first answer came after {:.2} s", took.as_secs_f64());
    let within = back_within();
    assert!(took <= within, "{what}: {took:?}, expected at most {within:?}\n{}", group.logs());
}

/// How often the worker has renewed.
pub(crate) fn renewals(worker: &Daemon) -> usize {
    worker.log().matches("renewed, with a fresh key").count()
}

/// The worker renewed meanwhile, and does so now.
#[track_caller]
pub(crate) fn still_renews(worker: &Daemon, before: usize, hands: &Hands) {
    let why = || format!("{:?}\n{}", hands.failed(), worker.log());
    until("the worker renews", || renewals(worker) > before, why);
}

#[test]
fn i4_i5_i10_nothing_is_lost_when_each_manager_is_killed_in_turn() {
    let mut group = Group::of_three();
    let worker = group.worker("web-1");
    let load = Load::start(&group);
    let hands = Hands::start(&group, "web-1");
    let rounds = if at_length() { 5 } else { 1 };
    for _ in 0..rounds {
        let leader = group.leader();
        let mut order = vec![leader.clone()];
        order.extend(group.places.iter().map(|place| place.id.clone()).filter(|id| *id != leader));
        for id in order {
            let leads = group.leader() == id;
            let (since, before) = (Instant::now(), renewals(&worker));
            group.kill(&id);
            serves_again(
                &group,
                &format!("{id} was killed{}", if leads { ", which led" } else { "" }),
                &load,
                since,
            );
            still_renews(&worker, before, &hands);
            group.start(&id);
            group.voters(3);
        }
    }
    let (witness, members) = load.stop();
    assert_eq!(hands.stop(), Vec::<String>::new(), "{}", group.logs());
    witness.hold_and_nothing_failed(&group);
    renew_all(&group, members);
}

#[test]
fn i4_i5_i10_nothing_is_lost_when_the_leader_pauses() {
    let mut group = Group::of_three();
    let worker = group.worker("web-1");
    let load = Load::start(&group);
    let hands = Hands::start(&group, "web-1");
    let leader = group.leader();
    let (since, before) = (Instant::now(), renewals(&worker));
    group.daemon(&leader).signal(Signal::STOP);
    serves_again(&group, "the leader was paused", &load, since);
    still_renews(&worker, before, &hands);
    std::thread::sleep((since + seconds(8, 30)).saturating_duration_since(Instant::now()));
    let awake = Instant::now();
    group.daemon(&leader).signal(Signal::CONT);
    serves_again(&group, "the paused one goes on", &load, awake);
    group.voters(3);
    group.ready(&leader);
    let (witness, members) = load.stop();
    assert_eq!(hands.stop(), Vec::<String>::new(), "{}", group.logs());
    witness.hold_and_nothing_failed(&group);
    renew_all(&group, members);
    assert_eq!(group.take(&leader).end(), 0);
}

#[test]
fn i4_i5_no_call_fails_while_the_managers_are_restarted_one_by_one() {
    let mut group = Group::of_three();
    let worker = group.worker("web-1");
    let load = Load::start(&group);
    let hands = Hands::start(&group, "web-1");
    let rounds = if at_length() { 5 } else { 1 };
    for _ in 0..rounds {
        for id in ["m1", "m2", "m3"] {
            let (since, before) = (Instant::now(), renewals(&worker));
            assert_eq!(group.take(id).end(), 0);
            serves_again(&group, &format!("{id} ended for a restart"), &load, since);
            group.start(id);
            still_renews(&worker, before, &hands);
        }
    }
    let (witness, members) = load.stop();
    assert_eq!(hands.stop(), Vec::<String>::new(), "{}", group.logs());
    witness.hold_and_nothing_failed(&group);
    renew_all(&group, members);
}
