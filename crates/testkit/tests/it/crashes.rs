//! A replica that is crashed, starved and lied to by its clock, against the numbered invariants.
//!
//! Every seed is run once; each test looks at its own invariant, and that it was put to the test.

use std::sync::OnceLock;

use certus_ca::store::{Fault, Store, Table, View};
use certus_server::replica::Machine;
use certus_testkit::authority::Authority;
use certus_testkit::chance::Chance;
use certus_testkit::registry::{self, Registry, RegistryClients};
use certus_testkit::sim::{self, Broken, Invariant, Outcome, Subject, Violation, Workload};

type Runs = Vec<Result<Outcome, Violation>>;

/// The real rules, and the small machine, which a reader can follow by hand.
fn runs() -> &'static Runs {
    static RUNS: OnceLock<Runs> = OnceLock::new();
    RUNS.get_or_init(|| {
        let seeds = sim::seeds().into_iter();
        seeds.flat_map(|seed| [sim::run(seed, authority(seed)), run_registry(seed)]).collect()
    })
}

fn authority(seed: u64) -> Authority {
    Authority::new(seed, sim::START)
}

fn run_registry(seed: u64) -> Result<Outcome, Violation> {
    sim::run(seed, RegistryClients::default())
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
fn i2_equal_logs_give_equal_state_across_crashes() {
    assert!(holds(Invariant::I2, |run| run.answered) > 0);
}

#[test]
fn i4_what_a_client_was_told_is_on_record_after_every_crash() {
    let told = holds(Invariant::I4, |run| run.answered);
    assert!(told > 0);
}

#[test]
fn i5_nothing_goes_back_and_no_serial_repeats_across_crashes() {
    assert!(holds(Invariant::I5, |run| run.clock_backs) > 0);
}

#[test]
fn i8_a_refused_command_changes_nothing_across_crashes() {
    assert!(holds(Invariant::I8, |run| run.refused) > 0);
    for run in runs().iter().flatten() {
        assert!(run.refused < run.answered, "nothing was accepted with seed {}", run.seed);
    }
}

#[test]
fn i10_revoked_and_used_up_stay_so_across_crashes() {
    assert!(holds(Invariant::I10, |run| run.ends.iter().sum()) > 0);
}

#[test]
fn it_opens_after_every_crash_and_stops_only_for_a_failing_disk() {
    holds(Invariant::Alive, |run| run.answered);
    if sim::seeds().len() == 1 {
        return;
    }
    let fates = ["power cut", "kill", "disk error", "full disk", "shutdown"];
    for (end, name) in fates.into_iter().enumerate() {
        let ends = holds(Invariant::Alive, |run| run.ends[end]);
        assert!(ends > 5, "only {ends} lives ended with a {name}");
        let stopped = holds(Invariant::Alive, |run| run.stopped[end]);
        let by_disk = !matches!(name, "kill" | "shutdown");
        assert_eq!(stopped > 0, by_disk, "{stopped} replicas were stopped by a {name}");
    }
    assert!(holds(Invariant::Alive, |run| run.stillborn) > 0);
    assert!(holds(Invariant::Alive, |run| run.unheard) > 0);
}

/// The registry, but a refusal leaves something behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Careless;

impl Machine for Careless {
    type Command = registry::Command;
    type Reply = Result<u64, registry::Refusal>;

    fn encode(command: &Self::Command) -> Vec<u8> {
        Registry::encode(command)
    }

    fn apply(store: &mut dyn Store, at: i64, command: &[u8]) -> Result<Self::Reply, Fault> {
        let reply = Registry::apply(store, at, command)?;
        if reply.is_err() {
            store.put(Table::Due, b"left", b"behind")?;
        }
        Ok(reply)
    }

    fn revision(view: &dyn View) -> Result<u64, Fault> {
        Registry::revision(view)
    }
}

impl Subject for Careless {
    fn accepted(reply: &Self::Reply) -> bool {
        reply.is_ok()
    }
}

#[derive(Default)]
struct CarelessClients(RegistryClients);

impl Workload for CarelessClients {
    type Machine = Careless;

    fn command(&mut self, chance: &mut Chance, known: &dyn View, now: i64) -> registry::Command {
        self.0.command(chance, known, now)
    }

    fn check(&self, before: &dyn View, after: &dyn View) -> Result<(), Broken> {
        self.0.check(before, after)
    }
}

#[test]
fn a_refusal_that_writes_is_found_and_says_how_to_rerun() {
    let violation = sim::run(7, CarelessClients::default()).unwrap_err();
    assert_eq!(violation.invariant, Invariant::I8, "{violation}");
    let words = violation.to_string();
    assert!(words.contains("CERTUS_SIM_SEED=7 cargo test"), "{words}");
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    let [Ok(real), Ok(small), ..] = &runs()[..] else {
        return;
    };
    assert_eq!(sim::run(real.seed, authority(real.seed)).as_ref(), Ok(real));
    assert_eq!(run_registry(small.seed).as_ref(), Ok(small));
}
