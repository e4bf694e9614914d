//! Keys at rest where there are several managers: a root that leaves all of them, and autolock.

use std::fs;

use crate::end::renewals;
use crate::harness::until;
use crate::stage::Group;

/// The root's data key of every manager: what opens the root's own key there.
fn with_root(group: &Group) -> usize {
    let has = |id: &str| group.world.path(id).join("manager/root-data-key.sealed").exists();
    group.places.iter().filter(|place| has(&place.id)).count()
}

#[test]
fn the_root_leaves_every_manager_and_comes_back_to_all() {
    let mut group = Group::of_three();
    let worker = group.worker("web-1");
    group.world.write("pass", "correct horse\n");
    assert_eq!(with_root(&group), 3);
    let root = |group: &Group, verb: &str, id: &str| {
        let words = ["cluster", "root", verb, "root.key", "--data-dir", id, "--passphrase-file", "pass"];
        group.world.run(&words)
    };
    // The others have their next issuers signed within a moment.
    let taken = || {
        let _ = fs::remove_file(group.world.path("root.key"));
        root(&group, "take-offline", "m2").code == 0
    };
    until("the root is taken offline", taken, || group.logs());
    until("every manager has destroyed what opens it", || with_root(&group) == 0, || group.logs());

    // Issuing goes on, at each of them.
    for place in &group.places {
        group.world.run(&["--manager", &place.address, "token", "create", "--role", "worker"]).ok();
    }
    let before = renewals(&worker);
    group.world.run(&["cert", "rotate", "--node", "web-1"]).ok();
    let renewed = || renewals(&worker) > before;
    until("the worker renews", renewed, || worker.log());
    // A further manager needs an issuer, and says what that needs.
    let said = group.world.run(&["token", "create", "--role", "manager", "--id", "m4"]).ok().stdout;
    group.world.write("m4.token", &said);
    let all = group.addresses();
    let listen = format!("127.0.0.1:{}", crate::harness::port());
    let join = ["--manager", &all, "manager", "join", "--token-file", "m4.token", "--id", "m4"];
    let join = [&join[..], &["--data-dir", "m4", "--listen", &listen, "--no-start"]].concat();
    let said = group.world.run(&join);
    assert!(said.code == 1 && said.stderr.contains("bring-online"), "{}", said.stderr);

    root(&group, "bring-online", "m3").ok();
    until("every manager has what opens it", || with_root(&group) == 3, || group.logs());
    // The same join goes on where it stopped, through one that had to fetch it.
    let through = group.place("m1").address.clone();
    let join: Vec<&str> = join.iter().map(|word| if *word == all { &through[..] } else { word }).collect();
    group.world.run(&join).ok();
    let address = listen.clone();
    group.places.push(crate::stage::Place { id: "m4".to_owned(), address, daemon: None });
    group.start("m4");
    group.voters(4);
    assert_eq!(with_root(&group), 4);
}

#[test]
fn two_managers_are_locked_each_with_a_key_of_its_own() {
    let mut group = Group::nobody();
    let listen = format!("127.0.0.1:{}", crate::harness::port());
    let first =
        group.found(&listen, &["--autolock", "--json"]).json()["unlock_key"].as_str().unwrap().to_owned();
    group.world.write("m1.key", &first);
    group.start_with("m1", &["--passphrase-file", "m1.key"]);
    group.ready("m1");
    group.join("m2");
    group.voters(2);
    // What it was sent opens with the cluster's key, which it keeps in the clear until it is told not to.
    let on = ["cluster", "autolock", "on", "--data-dir", "m2", "--json"];
    let second = group.world.run(&on).ok().json()["unlock_key"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    group.world.write("m2.key", &second);
    assert_eq!((group.take("m1").end(), group.take("m2").end()), (0, 0));

    let start = ["manager", "start", "--data-dir", "m2", "--passphrase-file", "m1.key"];
    group.world.run(&start).failed(1, "CT-1207");
    for id in ["m1", "m2"] {
        group.start_with(id, &[]);
        let socket = group.world.path(id).join("admin.sock");
        until("it waits for its key", || socket.exists(), || group.logs());
    }
    for id in ["m1", "m2"] {
        let file = format!("{id}.key");
        let unlock = ["node", "unlock", "--data-dir", id, "--passphrase-file", &file];
        until("it is unlocked", || group.world.run(&unlock).code == 0, || group.logs());
    }
    group.ready("m1");
    group.ready("m2");
    group.voters(2);
    group.world.token("token", &[]);
}
