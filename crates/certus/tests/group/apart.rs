//! The leader cut off from everybody, in network namespaces, and back again.

use std::process::Command;
use std::time::Instant;

use crate::end::{renewals, serves_again, still_renews};
use crate::harness::until;
use crate::load::{Hands, Load};
use crate::skip::{can, tool};
use crate::stage::{Group, seconds};
use crate::witness::renew_all;

const MANAGERS: [&str; 3] = ["m1", "m2", "m3"];
const PORT: u16 = 7443;

/// A bridge of this process, with a network namespace for each manager; gone with it.
struct Net;

/// Names are of this process, so that others on the machine may run the same.
fn named(kind: &str, id: &str) -> String {
    format!("ct{kind}{id}-{}", std::process::id())
}

/// A subnet of this process. Loopback's own range cannot be bridged.
fn address(host: usize) -> String {
    format!("10.119.{}.{host}", std::process::id() % 256)
}

impl Net {
    fn make() -> Net {
        let net = Net;
        let bridge = named("b", "");
        tool(&["ip", "link", "add", &bridge, "type", "bridge"]);
        tool(&["ip", "address", "add", &format!("{}/24", address(254)), "dev", &bridge]);
        tool(&["ip", "link", "set", &bridge, "up"]);
        for (place, id) in MANAGERS.iter().enumerate() {
            let (space, outside) = (named("n", id), named("v", id));
            tool(&["ip", "netns", "add", &space]);
            let inside = ["peer", "name", "eth0", "netns", &space];
            tool(&[&["ip", "link", "add", &outside, "type", "veth"][..], &inside].concat());
            tool(&["ip", "link", "set", &outside, "master", &bridge, "up"]);
            let own = format!("{}/24", address(place + 1));
            for words in [&["address", "add", &own, "dev", "eth0"][..], &["link", "set", "eth0", "up"]] {
                tool(&[&["ip", "-n", &space][..], words].concat());
            }
            tool(&["ip", "-n", &space, "link", "set", "lo", "up"]);
        }
        net
    }

    /// Nothing reaches it any more, and nothing comes back to say so.
    fn cut(id: &str) {
        tool(&["ip", "link", "set", &named("v", id), "nomaster"]);
    }

    fn heal(id: &str) {
        tool(&["ip", "link", "set", &named("v", id), "master", &named("b", "")]);
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for id in MANAGERS {
            let _ = Command::new("ip").args(["netns", "del", &named("n", id)]).output();
            let _ = Command::new("ip").args(["link", "del", &named("v", id)]).output();
        }
        let _ = Command::new("ip").args(["link", "del", &named("b", "")]).output();
    }
}

fn within(id: &str) -> Vec<String> {
    ["ip", "netns", "exec", &named("n", id)].map(str::to_owned).into()
}

#[test]
fn i4_i5_i10_nothing_is_lost_when_the_leader_is_cut_off() {
    if !can("cutting a manager off", "ip", &["netns", "list"]) {
        return;
    }
    let net = Net::make();
    let mut group = Group::nobody();
    group.wrap = Some(within);
    group.found(&format!("{}:{PORT}", address(1)), &[]);
    group.start("m1");
    for (place, id) in MANAGERS.iter().enumerate().skip(1) {
        let all = group.addresses();
        group.join_at(id, &format!("{}:{PORT}", address(place + 1)), &all, &[]);
    }
    group.voters(3);
    let worker = group.worker("web-1");
    let load = Load::start(&group);
    let hands = Hands::start(&group, "web-1");

    let leader = group.leader();
    let (since, before) = (Instant::now(), renewals(&worker));
    Net::cut(&leader);
    serves_again(&group, "the leader was cut off", &load, since);
    still_renews(&worker, before, &hands);
    // On its own side it acknowledges nothing.
    let address = group.place(&leader).address.clone();
    let words = ["--manager", &address, "token", "create", "--role", "worker"];
    let alone = group.command_of(&leader, &words);
    let said = group.world.run_with(alone, "");
    assert_ne!(said.code, 0, "it took a change without the others: {}", said.stdout);
    assert!(said.stderr.contains("error CT-") && said.stderr.contains("\n  hint "), "{}", said.stderr);
    let long = (since + seconds(8, 30)).saturating_duration_since(Instant::now());
    std::thread::sleep(long);

    let healed = Instant::now();
    Net::heal(&leader);
    serves_again(&group, "it is back", &load, healed);
    let follows = || group.listed().iter().all(|manager| manager["voter"] == true);
    until("it follows again", follows, || group.logs());
    let (witness, members) = load.stop();
    assert_eq!(hands.stop(), Vec::<String>::new(), "{}", group.logs());
    witness.hold_and_nothing_failed(&group);
    renew_all(&group, members);
    drop(group);
    drop(net);
}
