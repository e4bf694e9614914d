//! A byte of a manager's files that is not what it was: the manager says so, and can rejoin clean.

use std::fs;
use std::time::Instant;

use rustix::process::Signal;

use crate::end::serves_again;
use crate::load::Load;
use crate::stage::Group;
use crate::witness::renew_all;

/// Flips a bit of one byte within what is on record under `word`.
fn flip(group: &Group, id: &str, file: &str, word: &str) {
    let path = group.world.path(id).join("manager/store").join(file);
    let mut bytes = fs::read(&path).unwrap();
    let found: Vec<usize> = bytes
        .windows(word.len())
        .enumerate()
        .filter(|(_, w)| *w == word.as_bytes())
        .map(|(at, _)| at)
        .collect();
    // Pages that were replaced hold it too; one of these is in use.
    assert!(!found.is_empty(), "{word} is in {file}");
    for at in found {
        bytes[at] ^= 0x10;
    }
    fs::write(&path, bytes).unwrap();
}

#[test]
fn i4_i5_a_manager_whose_log_or_state_is_damaged_says_so_and_rejoins_clean() {
    let mut group = Group::of_three();
    // On record in every manager's log and state.
    let _worker = group.worker("weathercock-7");
    let load = Load::start(&group);
    for (file, signal) in [("log.redb", Signal::KILL), ("state.redb", Signal::TERM)] {
        let id = group.follower();
        let since = Instant::now();
        group.take(&id).end_by(signal);
        flip(&group, &id, file, "weathercock-7");
        let before = fs::read(group.world.path(&id).join("manager/store").join(file)).unwrap();
        for _ in 0..2 {
            let said = group.world.run(&["manager", "start", "--data-dir", &id]).failed(1, "CT-4103").stderr;
            let names = said.contains(file) && said.contains("is damaged");
            assert!(names && said.contains("\n  hint ") && said.contains("certus manager join"), "{said}");
        }
        let after = fs::read(group.world.path(&id).join("manager/store").join(file)).unwrap();
        assert!(before == after, "nothing was made of it");
        serves_again(&group, &format!("{file} of {id} is damaged"), &load, since);
        group.rejoin_clean(&id);
    }
    let (witness, members) = load.stop();
    witness.hold_and_nothing_failed(&group);
    assert!(group.world.run(&["node", "list"]).ok().stdout.contains("weathercock-7"));
    renew_all(&group, members);
}
