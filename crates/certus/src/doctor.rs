//! A check-up: what there is of certus on this machine and in its cluster, looked at from outside.
//!
//! Changes nothing, and needs nothing in particular: what is not there is skipped.

mod cluster;
mod identity;
mod machine;
mod place;
mod process;
mod reach;

use certus_pki::Explanation;
use serde::Serialize;

pub(crate) use place::Place;

use crate::args::Doctor;

/// How a check came out; the worst of its findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// There was nothing to look at.
    Skipped,
    /// Nothing is wrong.
    Ok,
    /// It works, and somebody should look at it.
    Warning,
    /// It does not work, or is about to stop.
    Failure,
}

impl State {
    /// As it is printed.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            State::Skipped => "skipped",
            State::Ok => "ok",
            State::Warning => "warning",
            State::Failure => "failure",
        }
    }
}

/// One thing that is not as it should be.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) state: State,
    pub(crate) told: Explanation,
}

/// What one check says.
#[derive(Debug)]
pub(crate) struct Check {
    /// Its name, which stays.
    pub(crate) name: &'static str,
    pub(crate) state: State,
    /// What was seen, or why nothing was looked at.
    pub(crate) said: String,
    pub(crate) findings: Vec<Finding>,
}

impl Check {
    fn skipped(name: &'static str, why: impl Into<String>) -> Check {
        Check { name, state: State::Skipped, said: why.into(), findings: Vec::new() }
    }

    /// `seen` is what is said whatever was found.
    fn of(name: &'static str, seen: impl Into<String>, findings: Vec<Finding>) -> Check {
        let state = findings.iter().map(|finding| finding.state).max().unwrap_or(State::Ok);
        Check { name, state, said: seen.into(), findings }
    }
}

fn warning(told: Explanation) -> Finding {
    Finding { state: State::Warning, told }
}

fn failure(told: Explanation) -> Finding {
    Finding { state: State::Failure, told }
}

/// Looks at everything.
pub(crate) async fn look(place: &Place, asked: &Doctor) -> Vec<Check> {
    let reached = reach::Reached::of(place).await;
    let processes = process::running(place).await;
    vec![
        cluster::clock(&reached),
        machine::permissions(place),
        cluster::reachability(&reached),
        identity::check(place),
        cluster::renewals(&reached),
        machine::disk(place, asked.min_free),
        process::limits(place, &processes),
        cluster::versions(&reached),
        cluster::quorum(&reached),
        cluster::root(&reached, &processes),
        process::core_dumps(&processes),
    ]
}
