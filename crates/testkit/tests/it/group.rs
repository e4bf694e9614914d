//! Groups of three and five managers through every trouble there is, against the numbered invariants.
//!
//! Every seed is run once; each test looks at its own invariant, and that it was put to the test.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use certus_testkit::authority::Authority;
use certus_testkit::sim::group::{self, Outcome};
use certus_testkit::sim::{self, Invariant, Violation};

type Count = fn(&Outcome) -> u64;
type Runs = Vec<Result<Outcome, Violation>>;

/// The seeds, by all processors of the machine: each run keeps to its thread.
fn runs() -> &'static Runs {
    static RUNS: OnceLock<Runs> = OnceLock::new();
    RUNS.get_or_init(|| {
        let (seeds, next, runs) = (seeds(), AtomicU64::new(0), Mutex::new(Vec::new()));
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                        let run = run(*seed);
                        runs.lock().unwrap().push((*seed, run));
                    }
                });
            }
        });
        let mut runs = runs.into_inner().unwrap();
        runs.sort_by_key(|(seed, _)| *seed);
        runs.into_iter().map(|(_, run)| run).collect()
    })
}

/// 50, or the one that the environment names.
fn seeds() -> Vec<u64> {
    let named = sim::seeds();
    if named.len() == 1 { named } else { (1..=SEEDS).collect() }
}

fn run(seed: u64) -> Result<Outcome, Violation> {
    group::run(seed, Authority::new(seed, sim::START))
}

/// Fails if a run broke `invariant`; otherwise the sum of what was counted in all of them.
fn holds(invariant: Invariant, counted: impl Fn(&Outcome) -> u64) -> u64 {
    for run in runs() {
        match run {
            Err(violation) if violation.invariant == invariant => panic!("{violation}"),
            _ => {}
        }
    }
    runs().iter().flatten().map(counted).sum()
}

#[test]
fn i2_all_managers_have_one_history_and_one_state() {
    assert!(holds(Invariant::I2, |run| run.places) > 0);
}

#[test]
fn i4_what_any_manager_acknowledged_is_never_lost() {
    assert!(holds(Invariant::I4, |run| run.answered) > 0);
}

#[test]
fn i5_nothing_goes_back_and_no_serial_repeats_in_a_group() {
    assert!(holds(Invariant::I5, |run| run.clock_jumps) > 0);
}

#[test]
fn i8_a_refused_command_changes_nothing_in_a_group() {
    assert!(holds(Invariant::I8, |run| run.refused) > 0);
}

#[test]
fn i10_revoked_and_used_up_stay_so_in_a_group() {
    assert!(holds(Invariant::I10, |run| run.terms) > 0);
}

#[test]
fn clients_see_one_order_and_are_never_told_no_for_a_yes() {
    assert!(holds(Invariant::Order, |run| run.reads) > 0);
    if seeds().len() > 1 {
        assert!(holds(Invariant::Order, |run| run.denied) > 0);
        assert!(holds(Invariant::Order, |run| run.unknown_applied) > 0);
    }
}

#[test]
fn a_clock_far_off_the_majority_is_not_believed() {
    let refused = holds(Invariant::Clock, |run| run.clock_off);
    assert!(refused > 0 || seeds().len() == 1);
}

#[test]
fn a_group_works_again_in_time_and_meets_every_trouble() {
    holds(Invariant::Alive, |run| run.steps);
    if seeds().len() == 1 {
        return;
    }
    let counted: [(&str, Count); 12] = [
        ("kills", |run| run.kills),
        ("power cuts", |run| run.power_cuts),
        ("replicas that their disk stopped", |run| run.stopped),
        ("processes that did not come up", |run| run.stillborn),
        ("cuts of the network", |run| run.cuts),
        ("slow disks", |run| run.slow_disks),
        ("managers added", |run| run.added),
        ("managers removed", |run| run.removed),
        ("changes left open", |run| run.changes_open),
        ("lost messages", |run| run.traffic.lost),
        ("doubled messages", |run| run.traffic.doubled),
        ("snapshots installed", |run| run.traffic.installed),
    ];
    for (name, count) in counted {
        let count = holds(Invariant::Alive, count);
        assert!(count > 5, "only {count} {name}");
    }
}

#[test]
fn a_seed_gives_the_same_group_twice() {
    for first in runs().iter().flatten().take(4) {
        assert_eq!(run(first.seed).as_ref(), Ok(first));
    }
}

/// Enough to meet every trouble many times; some ten seconds.
const SEEDS: u64 = 50;
