//! Runs seeds of the group simulation, as many as wanted: the nightly's way to it.
//!
//! `cargo run -p certus-testkit --example simulate -- [--seeds N] [--from SEED]`; the exit code is 1
//! if an invariant did not hold.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use certus_testkit::authority::Authority;
use certus_testkit::sim::group::{self, Outcome};
use certus_testkit::sim::{self, Violation};

fn main() -> io::Result<ExitCode> {
    let (mut seeds, mut from) = (1_000, 1);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().and_then(|value| value.parse::<u64>().ok());
        match (argument.as_str(), value) {
            ("--seeds", Some(value)) => seeds = value,
            ("--from", Some(value)) => from = value,
            _ => {
                writeln!(io::stderr(), "usage: simulate [--seeds N] [--from SEED]")?;
                return Ok(ExitCode::from(2));
            }
        }
    }
    let begin = Instant::now();
    let runs = run_all(from, seeds);
    let broken = report(&runs, begin.elapsed().as_secs())?;
    Ok(ExitCode::from(u8::from(broken)))
}

fn run_all(from: u64, seeds: u64) -> Vec<Result<Outcome, Violation>> {
    let next = AtomicU64::new(from);
    let runs = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    let run = group::run(seed, Authority::new(seed, sim::START));
                    if let Err(violation) = &run {
                        drop(writeln!(io::stdout(), "{violation}"));
                    }
                    runs.lock().expect("no thread panics while it holds this").push(run);
                }
            });
        }
    });
    runs.into_inner().expect("no thread panics while it holds this")
}

fn report(runs: &[Result<Outcome, Violation>], took_s: u64) -> io::Result<bool> {
    let good: Vec<&Outcome> = runs.iter().flatten().collect();
    let sum = |of: fn(&Outcome) -> u64| good.iter().map(|run| of(run)).sum::<u64>();
    let max = |of: fn(&Outcome) -> u64| good.iter().map(|run| of(run)).max().unwrap_or(0);
    let mut out = io::stdout().lock();
    writeln!(out, "{} seeds in {took_s} s, {} broken", runs.len(), runs.len() - good.len())?;
    let rows: [(&str, u64); 24] = [
        ("steps", sum(|run| run.steps)),
        ("commands answered", sum(|run| run.answered)),
        ("  of these refused", sum(|run| run.refused)),
        ("commands surely not proposed", sum(|run| run.denied)),
        ("  of these for the leader's clock", sum(|run| run.clock_off)),
        ("commands with no certain outcome", sum(|run| run.unknown)),
        ("  of these found applied", sum(|run| run.unknown_applied)),
        ("linearizable reads", sum(|run| run.reads)),
        ("processes killed", sum(|run| run.kills)),
        ("machines that lost power", sum(|run| run.power_cuts)),
        ("replicas stopped by their disk", sum(|run| run.stopped)),
        ("processes that did not come up", sum(|run| run.stillborn)),
        ("cuts of the network", sum(|run| run.cuts)),
        ("slow disks", sum(|run| run.slow_disks)),
        ("clock jumps", sum(|run| run.clock_jumps)),
        ("managers added", sum(|run| run.added)),
        ("managers removed", sum(|run| run.removed)),
        ("changes of members left open", sum(|run| run.changes_open)),
        ("terms", sum(|run| run.terms)),
        ("messages sent", sum(|run| run.traffic.sent)),
        ("  of these lost", sum(|run| run.traffic.lost)),
        ("  of these doubled", sum(|run| run.traffic.doubled)),
        ("snapshots begun", sum(|run| run.traffic.snapshots)),
        ("  of these installed", sum(|run| run.traffic.installed)),
    ];
    for (name, value) in rows {
        writeln!(out, "{name:<36}{value:>12}")?;
    }
    let mut recoveries: Vec<u64> = good.iter().map(|run| run.recovered_ms).collect();
    recoveries.sort_unstable();
    for (name, of_hundred) in [("recovery, ms: median", 50), ("  99 of 100 within", 99)] {
        let within = recoveries.get(recoveries.len() * of_hundred / 100);
        writeln!(out, "{name:<36}{:>12}", within.copied().unwrap_or_default())?;
    }
    writeln!(out, "{:<36}{:>12}", "  slowest", max(|run| run.recovered_ms))?;
    writeln!(out, "{:<36}{:>12}", "slowest levelling, ms", max(|run| run.level_ms))?;
    let digest = good.iter().fold(0, |digest, run| digest ^ run.digest.rotate_left((run.seed % 64) as u32));
    writeln!(out, "{:<36}{digest:>#20x}", "digest of all runs")?;
    Ok(good.len() < runs.len())
}
