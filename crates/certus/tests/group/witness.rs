//! What the load was answered, held against what every manager has on record afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use certus_pki::{Serial, TokenId};
use serde_json::Value;

use crate::harness::until;
use crate::load::{Member, operator};
use crate::stage::Group;

/// One call that succeeded.
pub(crate) enum Answer {
    Joined { serial: Serial, token: TokenId, again: bool },
    Renewed { serial: Serial, again: bool },
    Token(TokenId),
    TokenRevoked(TokenId),
    Revoked(String),
}

/// Everything that was answered, and what failed twice.
#[derive(Default)]
pub(crate) struct Witness {
    times: Vec<(Instant, Instant)>,
    answers: Vec<Answer>,
    /// A call that failed, and failed again when it was retried.
    pub(crate) failed_twice: Vec<String>,
}

impl Witness {
    pub(crate) fn note(&mut self, begun: Instant, answer: Answer) {
        self.times.push((begun, Instant::now()));
        self.answers.push(answer);
    }

    /// How long after `since` each answer came to a call that was made after it.
    pub(crate) fn answers_since(&self, since: Instant) -> Vec<Duration> {
        let later = self.times.iter().filter(|(begun, _)| *begun >= since);
        later.map(|(_, answered)| answered.duration_since(since)).collect()
    }

    /// The longest time without an answer to anybody.
    pub(crate) fn longest_silence(&self) -> Duration {
        let mut ends: Vec<Instant> = self.times.iter().map(|(_, answered)| *answered).collect();
        ends.sort_unstable();
        ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Every manager has the same record, and all that was answered is on it: no certificate lost (I4), no
    /// serial twice (I5), no token that can be used again, nobody revoked who is not any more (I10).
    #[track_caller]
    pub(crate) fn hold_against(&self, group: &Group) {
        let (certs, tokens) = same_everywhere(group);
        let mut serials: Vec<&str> = certs.iter().map(|cert| cert["serial"].as_str().unwrap()).collect();
        serials.sort_unstable();
        let records = serials.len();
        serials.dedup();
        assert_eq!(serials.len(), records, "a serial came twice (I5)");
        let mut seen = BTreeSet::new();
        let tokens: BTreeMap<&str, &Value> =
            tokens.iter().map(|token| (token["id"].as_str().unwrap(), token)).collect();
        let token = |id: &TokenId| tokens.get(&id.to_string()[..]).copied();
        let revoked: BTreeSet<&str> = self
            .answers
            .iter()
            .filter_map(|answer| if let Answer::Revoked(id) = answer { Some(&id[..]) } else { None })
            .collect();
        for answer in &self.answers {
            match answer {
                Answer::Joined { serial, .. } | Answer::Renewed { serial, .. } => {
                    let text = serial.to_string();
                    assert!(
                        serials.binary_search(&&text[..]).is_ok(),
                        "{serial} was handed out and is lost (I4)"
                    );
                    assert!(seen.insert(text), "{serial} was handed out twice (I5)");
                }
                Answer::Token(id) => assert!(token(id).is_some(), "token {id} was made and is lost (I4)"),
                Answer::TokenRevoked(id) => {
                    let state = token(id).map(|token| token["state"].clone());
                    assert_eq!(state, Some("revoked".into()), "token {id} was revoked (I4)");
                }
                Answer::Revoked(_) => {}
            }
            if let Answer::Joined { token: id, .. } = answer {
                assert_eq!(token(id).unwrap()["used"], 1, "token {id} was used once");
            }
        }
        for cert in &certs {
            let id = cert["node"].as_str().unwrap().rsplit('/').next().unwrap();
            let newest = cert["newest"] == true;
            if newest && revoked.contains(id) {
                assert!(cert["revoked_at"].is_string(), "{id} was revoked and is not any more (I10): {cert}");
            }
        }
    }

    /// The same, and no call failed at a caller that tries once more.
    #[track_caller]
    pub(crate) fn hold_and_nothing_failed(&self, group: &Group) {
        self.hold_against(group);
        assert!(self.failed_twice.is_empty(), "{:#?}\n{}", self.failed_twice, group.logs());
    }
}

/// Nobody was locked out by an answer that was lost.
#[track_caller]
pub(crate) fn renew_all(group: &Group, members: Vec<Member>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let addresses: Vec<String> = group
        .places
        .iter()
        .filter(|place| place.daemon.is_some())
        .map(|place| place.address.clone())
        .collect();
    runtime.block_on(async {
        for mut member in members {
            let renewed = member.renew(&addresses).await;
            assert!(renewed.is_ok(), "{} is locked out: {:?}", member.id, renewed.err().unwrap());
        }
        // Its publisher must outlive it, and ends with the runtime.
        drop(operator(group, &addresses));
    });
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |kind: fn(&Answer) -> bool| self.answers.iter().filter(|answer| kind(answer)).count();
        write!(
            f,
            "{} joined, {} renewed, {} tokens made, {} taken back, {} nodes revoked; {} calls were \
             retried, {} in vain; longest silence {:.2} s",
            count(|answer| matches!(answer, Answer::Joined { .. })),
            count(|answer| matches!(answer, Answer::Renewed { .. })),
            count(|answer| matches!(answer, Answer::Token(_))),
            count(|answer| matches!(answer, Answer::TokenRevoked(_))),
            count(|answer| matches!(answer, Answer::Revoked(_))),
            count(|answer| matches!(
                answer,
                Answer::Joined { again: true, .. } | Answer::Renewed { again: true, .. }
            )),
            self.failed_twice.len(),
            self.longest_silence().as_secs_f64()
        )
    }
}

/// The certificates and tokens on record, once every manager that runs has the same.
#[track_caller]
fn same_everywhere(group: &Group) -> (Vec<Value>, Vec<Value>) {
    let running: Vec<_> = group.places.iter().filter(|place| place.daemon.is_some()).collect();
    let records = |address: &str| {
        let certs = group.world.run(&["--manager", address, "cert", "list", "--all", "--json"]);
        let tokens = group.world.run(&["--manager", address, "token", "list", "--json"]);
        if (certs.code, tokens.code) != (0, 0) {
            return None;
        }
        let rows = |json: &Value, name: &str| json[name].as_array().unwrap().clone();
        Some((rows(&certs.json(), "certificates"), rows(&tokens.json(), "tokens")))
    };
    let mut same = None;
    let agree = || {
        let all: Vec<_> = running.iter().map(|place| records(&place.address)).collect();
        let agree = all.iter().all(|one| one.is_some() && *one == all[0]);
        same = all.into_iter().next().flatten().filter(|_| agree);
        agree
    };
    until("every manager has the same on record", agree, || group.logs());
    same.unwrap()
}
