//! A manager whose disk is full: it says so and stops; with room again it goes on where it was.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::end::serves_again;
use crate::harness::until;
use crate::load::{Hands, Load};
use crate::skip::{can, tool};
use crate::stage::Group;
use crate::witness::renew_all;

/// A file system of a few MiB, in memory, for as long as the test has it.
struct Disk(PathBuf);

impl Disk {
    fn at(path: PathBuf) -> Disk {
        fs::create_dir(&path).unwrap();
        tool(&["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs", path.to_str().unwrap()]);
        Disk(path)
    }

    /// Fills it to the last byte; returns what fills it.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).unwrap();
        let block = vec![0x55; 64 << 10];
        while file.write_all(&block).is_ok() {}
        while file.write(&[0x55]).is_ok_and(|wrote| wrote > 0) {}
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The manager may still hold it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn i4_i5_nothing_is_lost_when_the_leaders_disk_is_full() {
    let probe = tempfile::tempdir().unwrap();
    let place = probe.path().to_str().unwrap();
    if !can("a full disk", "mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs", place]) {
        return;
    }
    tool(&["umount", place]);
    let mut group = Group::nobody();
    let disks: Vec<Disk> = ["m1", "m2", "m3"].map(|id| Disk::at(group.world.path(id))).into();
    group.found(&format!("127.0.0.1:{}", crate::harness::port()), &[]);
    group.start("m1");
    group.join("m2");
    group.join("m3");
    group.voters(3);
    let load = Load::start(&group);
    let hands = Hands::start(&group, "m2");

    let leader = group.leader();
    let disk = disks.iter().find(|disk| disk.0.ends_with(&leader)).unwrap();
    let filler = disk.fill();
    // What its files had room for is used first.
    let daemon = group.take(&leader);
    let log = daemon.log_path().to_owned();
    until(
        "the manager on the full disk ends",
        || daemon.log().contains("the manager's store failed"),
        || daemon.log(),
    );
    let since = Instant::now();
    assert_eq!(daemon.ended(), 1);
    let said = fs::read_to_string(log).unwrap();
    assert!(said.contains("error CT-4103") && said.contains("No space left on device"), "{said}");
    assert!(said.contains("free or repair the disk, then certus manager start"), "{said}");
    serves_again(&group, "the leader's disk was full, and it ended", &load, since);

    // With room again it goes on where it was.
    fs::remove_file(filler).unwrap();
    group.start(&leader);
    group.voters(3);
    let (witness, members) = load.stop();
    assert_eq!(hands.stop(), Vec::<String>::new(), "{}", group.logs());
    witness.hold_and_nothing_failed(&group);
    renew_all(&group, members);
    drop(group);
    drop(disks);
}
