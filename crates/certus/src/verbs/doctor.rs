//! `certus doctor`: looks at this machine and its cluster. Exits 3 where a check failed.

use std::collections::BTreeMap;

use certus_pki::Explanation;
use serde::Serialize;

use super::Context;
use crate::args::Doctor;
use crate::doctor::{Check, Place, State, look};
use crate::terminal::{Exit, count};

/// Stable.
#[derive(Serialize)]
struct Report {
    state: State,
    checks: Vec<CheckData>,
}

#[derive(Serialize)]
struct CheckData {
    name: &'static str,
    state: State,
    seen: String,
    findings: Vec<FindingData>,
}

#[derive(Serialize)]
struct FindingData {
    state: State,
    code: String,
    message: String,
    facts: BTreeMap<String, String>,
    hint: Option<String>,
}

pub(super) async fn run(context: &Context, asked: &Doctor) -> Result<Exit, Explanation> {
    let place = Place::of(&context.home, &context.global, asked)?;
    let checks = look(&place, asked).await;
    let worst = checks.iter().map(|check| check.state).max().unwrap_or(State::Skipped);
    let report = Report { state: worst, checks: checks.iter().map(data).collect() };
    context.terminal.report(&report, || words(&checks));
    let bad = if asked.strict { State::Warning } else { State::Failure };
    Ok(if worst >= bad { Exit::Problems } else { Exit::Done })
}

fn data(check: &Check) -> CheckData {
    let findings = check.findings.iter().map(|finding| FindingData {
        state: finding.state,
        code: finding.told.code.to_string(),
        message: finding.told.message.clone(),
        facts: finding.told.facts.iter().cloned().collect(),
        hint: finding.told.hint.clone(),
    });
    CheckData { name: check.name, state: check.state, seen: check.said.clone(), findings: findings.collect() }
}

fn words(checks: &[Check]) -> String {
    let mut lines = Vec::new();
    for check in checks {
        lines.push(
            format!("{:<8}  {:<12}  {}", check.state.as_str(), check.name, check.said).trim_end().to_owned(),
        );
        for finding in &check.findings {
            let told = &finding.told;
            lines.push(format!("          {} {}: {}", finding.state.as_str(), told.code, told.message));
            let facts = told.facts.iter().map(|(label, value)| (label.as_str(), value.as_str()));
            let hint = told.hint.iter().map(|hint| ("hint", hint.as_str()));
            lines.extend(facts.chain(hint).map(|(label, value)| format!("            {label:<10}  {value}")));
        }
    }
    let number = |state: State| checks.iter().filter(|check| check.state == state).count() as u64;
    let (failed, warned, skipped) = (number(State::Failure), number(State::Warning), number(State::Skipped));
    lines.push(format!(
        "{}: {failed} failed, {warned} with warnings, {skipped} skipped",
        count(checks.len() as u64, "check")
    ));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use certus_pki::code;

    use super::*;
    use crate::doctor::Finding;

    #[test]
    fn a_check_shows_what_was_seen_and_what_to_do() {
        let told =
            Explanation::new(code::DISK_ROOM, "the disk is full").halves("10 MiB", "0 B").hint("df -h");
        let bad = Check {
            name: "disk",
            state: State::Failure,
            said: "0 B free".into(),
            findings: vec![Finding { state: State::Failure, told }],
        };
        let good =
            Check { name: "clock", state: State::Ok, said: "within a second".into(), findings: vec![] };
        let expected = "\
failure   disk          0 B free
          failure CT-3302: the disk is full
            expected    10 MiB
            came        0 B
            hint        df -h
ok        clock         within a second
2 checks: 1 failed, 0 with warnings, 0 skipped";
        assert_eq!(words(&[bad, good]), expected);
    }
}
