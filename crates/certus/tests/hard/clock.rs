//! Clocks that are wrong: who is off by how much is said, before anything is damaged by it.
//!
//! Processes are given another time by a few lines of C that the system's loader puts before its own; where
//! there is no C compiler that is said, and the rules are tested in crates/server/tests/it/life.rs alone.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::harness::{Daemon, Said, World};

const SHIFT: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, id, at);
    const char *shift = getenv("TEST_CLOCK_SHIFT");
    if (!failed && id == CLOCK_REALTIME && shift) at->tv_sec += atol(shift);
    return failed;
}
"#;

/// The shim, or nothing where it cannot be built.
fn shim(world: &World) -> Option<PathBuf> {
    let (source, made) = (world.write("shift.c", SHIFT), world.path("shift.so"));
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&made).arg(source).stderr(Stdio::null());
    if compiler.status().is_ok_and(|status| status.success()) {
        return Some(made);
    }
    eprintln!("SKIPPED: no C compiler (cc) to give a process another time");
    None
}

struct Clocks {
    world: World,
    shim: PathBuf,
}

impl Clocks {
    fn command(&self, secs: i64, words: &[&str]) -> Command {
        let mut command = self.world.command(words);
        command.env("LD_PRELOAD", &self.shim).env("TEST_CLOCK_SHIFT", secs.to_string());
        command
    }

    fn run(&self, secs: i64, words: &[&str]) -> Said {
        self.world.run_with(self.command(secs, words), "")
    }

    fn daemon(&self, secs: i64, words: &[&str]) -> Daemon {
        self.world.daemon_with(self.command(secs, words))
    }
}

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

#[test]
fn a_manager_whose_clock_cannot_be_right_says_both_times() {
    let world = World::new();
    let Some(shim) = shim(&world) else { return };
    assert_eq!(world.manager().end(), 0);
    let clocks = Clocks { world, shim };
    let start = ["manager", "start", "--data-dir", "m1"];
    for (secs, says) in
        [(-630, "10 min behind"), (-5 * DAY - HOUR, "5 d behind"), (40 * DAY + HOUR, "40 d ahead")]
    {
        // The manager's certificate is checked by a clock that is far off as well; time is said first.
        let said = clocks.run(secs, &start).failed(1, "CT-4140");
        assert!(said.stderr.contains(says) && said.stderr.contains("  hint "), "{}", said.stderr);
        assert!(
            said.stderr.contains("cluster's last change") && said.stderr.contains("clock"),
            "{}",
            said.stderr
        );
    }
    // Put right it is as it was; with the operator's word it goes ahead, and says so when set back.
    let manager = clocks.daemon(0, &start);
    manager.ready(&clocks.world.path("m1"));
    clocks.world.run(&["cluster", "status"]).ok();
    assert_eq!(manager.end(), 0);
    let manager = clocks.daemon(40 * DAY, &[&start[..], &["--accept-clock"]].concat());
    manager.ready(&clocks.world.path("m1"));
    clocks.run(40 * DAY, &["token", "create", "--role", "worker"]).ok();
    assert_eq!(manager.end(), 0);
    let said = clocks.run(0, &start).failed(1, "CT-4140");
    assert!(said.stderr.contains("behind") && said.stderr.contains("cluster restore"), "{}", said.stderr);
}

#[test]
fn a_worker_whose_clock_is_off_is_told_by_how_much() {
    let world = World::new();
    let Some(shim) = shim(&world) else { return };
    let manager = world.manager();
    let clocks = Clocks { world, shim };
    let address = clocks.world.manager_address();
    for (number, (secs, skew)) in
        [(-HOUR, "behind"), (-5 * DAY, "behind"), (100 * DAY, "ahead")].iter().enumerate()
    {
        let (token, dir) = (format!("t{number}"), format!("w{number}"));
        clocks.world.token(&token, &[]);
        let start = [
            "worker",
            "start",
            "--manager",
            &address,
            "--id",
            &dir,
            "--data-dir",
            &dir,
            "--token-file",
            &token,
        ];
        let said = clocks.run(*secs, &start);
        assert_eq!(said.code, 1, "{secs}: {}", said.stderr);
        let code = said.stderr.contains("error CT-1102") || said.stderr.contains("error CT-1103");
        assert!(code && said.stderr.contains("  hint "), "{secs}: {}", said.stderr);
        assert!(said.stderr.contains("clock") && said.stderr.contains(skew), "{secs}: {}", said.stderr);
        // Nothing of it is used up: with the right clock the same token admits it.
        let worker = clocks.daemon(0, &start);
        worker.ready(&clocks.world.path(&dir));
        assert_eq!(worker.end(), 0);
    }
    // A few minutes are nothing: certificates are dated back.
    clocks.world.token("late", &[]);
    let start = [
        "worker",
        "start",
        "--manager",
        &address,
        "--id",
        "late-1",
        "--data-dir",
        "late-1",
        "--token-file",
        "late",
    ];
    let worker = clocks.daemon(-4 * 60, &start);
    worker.ready(&clocks.world.path("late-1"));
    assert_eq!(worker.end(), 0);
    assert_eq!(manager.end(), 0);
}
