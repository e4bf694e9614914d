//! The checks against answers that are made up here.

use super::super::State;
use super::*;

fn answer(address: &str, version: &str, ahead: i64, managers: Vec<v1::Manager>) -> Answer {
    let info = v1::InfoReply { cluster: "prod".into(), version: version.into(), now: 0 };
    Answer { address: address.into(), info: Ok(info), ahead: Some(ahead), managers }
}

fn gone(address: &str) -> Answer {
    let info = Err(Explanation::new(code::UNREACHABLE, "no manager could be reached"));
    Answer { address: address.into(), info, ahead: None, managers: Vec::new() }
}

fn reached(answers: Vec<Answer>) -> Reached {
    Reached { nobody: None, answers, status: None }
}

fn manager(id: &str, leader: bool, behind: u64) -> v1::Manager {
    v1::Manager {
        node: format!("spiffe://prod/manager/{id}"),
        address: format!("{id}:7443"),
        voter: true,
        leader,
        behind: Some(behind),
        ..v1::Manager::default()
    }
}

fn status(change: impl FnOnce(&mut v1::ClusterStatus)) -> Reached {
    let day = 86_400;
    let authority = |days: i64| v1::Authority { not_after: days * day, ..v1::Authority::default() };
    let mut status = v1::ClusterStatus {
        now: 0,
        nodes: 3,
        leaf_lifetime_secs: 10 * 86_400,
        issuers: vec![authority(5), authority(300)],
        roots: vec![authority(3000)],
        root_state: Some(v1::RootState { issuing_until: 290 * day, ..v1::RootState::default() }),
        ..v1::ClusterStatus::default()
    };
    change(&mut status);
    Reached { status: Some(Ok(status)), ..reached(Vec::new()) }
}

fn codes(check: &Check) -> Vec<Code> {
    check.findings.iter().map(|finding| finding.told.code).collect()
}

#[test]
fn a_clock_that_is_off_is_said_with_its_way() {
    let check = clock(&reached(vec![answer("a:1", "1", 0, vec![]), answer("b:1", "1", 1, vec![])]));
    assert_eq!((check.state, check.said.as_str()), (State::Ok, "within a second of 2 managers"));
    let check = clock(&reached(vec![answer("a:1", "1", 90, vec![])]));
    assert_eq!((check.state, codes(&check)), (State::Warning, vec![code::CLOCK_SKEW]));
    let words = &check.findings[0].told.message;
    assert_eq!(words, "this machine's clock is 90 s behind the manager's at a:1");
    let check = clock(&reached(vec![answer("a:1", "1", -7200, vec![])]));
    assert_eq!(check.state, State::Failure);
    assert!(check.findings[0].told.message.contains("2 h ahead of"), "{check:?}");
    assert_eq!(clock(&reached(vec![gone("a:1")])).state, State::Skipped);
}

#[test]
fn each_version_is_named_where_they_differ() {
    let own = env!("CARGO_PKG_VERSION");
    assert_eq!(versions(&reached(vec![answer("a:1", own, 0, vec![])])).state, State::Ok);
    let check = versions(&reached(vec![answer("a:1", own, 0, vec![]), answer("b:1", "9.9.9", 0, vec![])]));
    assert_eq!((check.state, codes(&check)), (State::Warning, vec![code::VERSIONS_DIFFER]));
    let facts = &check.findings[0].told.facts;
    assert!(facts.contains(&("b:1".into(), "9.9.9".into())) && facts.len() == 3, "{facts:?}");
}

#[test]
fn a_quorum_is_judged_by_who_votes_leads_and_is_here() {
    let three = || vec![manager("m1", true, 0), manager("m2", false, 3), manager("m3", false, 5)];
    let all = |managers: Vec<v1::Manager>| {
        quorum(&reached(managers.iter().map(|m| answer(&m.address, "1", 0, managers.clone())).collect()))
    };
    assert_eq!((all(three()).state, all(vec![manager("m1", true, 0)]).state), (State::Ok, State::Ok));
    let one_away = quorum(&reached(vec![
        answer("m1:7443", "1", 0, three()),
        answer("m2:7443", "1", 0, three()),
        gone("m3:7443"),
    ]));
    assert_eq!((one_away.state, codes(&one_away)), (State::Warning, vec![code::QUORUM]));
    let two_away =
        quorum(&reached(vec![answer("m1:7443", "1", 0, three()), gone("m2:7443"), gone("m3:7443")]));
    assert_eq!(two_away.state, State::Failure);
    let leaderless = all(vec![manager("m1", false, 0), manager("m2", false, 0), manager("m3", false, 0)]);
    assert_eq!(leaderless.state, State::Failure);
    let two = all(vec![manager("m1", true, 0), manager("m2", false, 0)]);
    assert_eq!(two.state, State::Warning);
    let late = all(vec![manager("m1", true, 0), manager("m2", false, 0), manager("m3", false, 5000)]);
    assert!(late.findings[0].told.message.contains("m3 is behind"), "{late:?}");
}

#[test]
fn the_forecast_names_who_is_overdue_and_what_ends() {
    assert_eq!(renewals(&status(|_| {})).state, State::Ok);
    let node = "spiffe://prod/worker/web-1".to_owned();
    let check = renewals(&status(|s| s.overdue.push(v1::OverdueNode { node, renew_by: -3600 })));
    assert_eq!((check.state, codes(&check)), (State::Failure, vec![code::RENEWAL_OVERDUE]));
    let check = renewals(&status(|s| s.issuers.truncate(1)));
    assert_eq!((check.state, codes(&check)), (State::Warning, vec![code::AUTHORITY_ENDS]));
    let check = renewals(&status(|s| s.roots[0].not_after = -1));
    assert_eq!(check.state, State::Failure);
    let denied = Some(Err(Explanation::new(code::PERMISSION_DENIED, "no")));
    assert_eq!(renewals(&Reached { status: denied, ..reached(Vec::new()) }).state, State::Skipped);
}

#[test]
fn the_root_that_is_needed_is_passed_on() {
    assert_eq!(root(&status(|_| {}), &[]).state, State::Ok);
    let alert = v1::Explanation { code: 4124, message: "the root is needed".into(), ..Default::default() };
    let offline = |until| {
        let alert = Some(alert.clone());
        root(
            &status(|s| {
                s.root_state =
                    Some(v1::RootState { offline: true, issuing_until: until, alert, autolock: true })
            }),
            &[],
        )
    };
    assert_eq!((offline(60).state, codes(&offline(60))), (State::Warning, vec![code::ROOT_NEEDED]));
    assert_eq!(offline(-60).state, State::Failure);
}
