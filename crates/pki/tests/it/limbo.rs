//! The public corpus x509-limbo through the same code as `cert verify`. Where we differ, a line in
//! `tests/limbo/differences.txt` says why; an unexpected agreement fails too.
//!
//! The corpus is not part of the project: `CERTUS_LIMBO` names its `limbo.json`, without it the test skips.
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::collections::BTreeMap;

use certus_pki::{AltName, ChainQuery, Crl, Explain, Purpose, UnixTime, pem, verify_chain};
use serde_json::Value;

const DIFFERENCES: &str = include_str!("../limbo/differences.txt");

/// For cases that ask about now: their certificates were made in November 2026.
const NOW: UnixTime = UnixTime::from_secs(1_795_305_600);

/// Of all cases; the best other verifier measured agrees on 87 of a hundred.
const AGREEMENT_PERCENT_MIN: usize = 90;

#[test]
fn the_limbo_cases_are_judged_as_the_corpus_says_but_for_stated_differences() {
    let Some(file) = std::env::var_os("CERTUS_LIMBO") else {
        eprintln!("SKIPPED limbo: CERTUS_LIMBO does not name a limbo.json");
        return;
    };
    let corpus: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let mut stated: BTreeMap<&str, &str> = DIFFERENCES
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split_once(": ").expect("ID, colon, reason"))
        .collect();
    let cases = corpus["testcases"].as_array().unwrap();
    let (mut surprises, mut differ) = (Vec::new(), 0);
    for case in cases {
        let id = case["id"].as_str().unwrap();
        let judged = judge(case);
        let agrees = (case["expected_result"] == "SUCCESS") == judged.is_ok();
        differ += usize::from(!agrees);
        let said = judged.err().unwrap_or_else(|| "accepted".to_owned());
        match (agrees, stated.remove(id)) {
            (true, None) | (false, Some(_)) => {}
            (false, None) => surprises.push(format!("{id}: {said}")),
            (true, Some(_)) => surprises.push(format!("{id} agrees now: strike it from the list")),
        }
    }
    surprises.extend(stated.keys().map(|id| format!("{id} is listed and not in the corpus")));
    let agree = cases.len() - differ;
    eprintln!("limbo: {agree} of {} cases agree", cases.len());
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
    assert!(agree * 100 >= cases.len() * AGREEMENT_PERCENT_MIN);
}

fn judge(case: &Value) -> Result<(), String> {
    let certificates = |key: &str| -> Vec<Vec<u8>> {
        let texts = case[key].as_array().cloned().unwrap_or_default();
        texts.iter().map(|text| der(text.as_str().unwrap())).collect()
    };
    let (roots, intermediates) = (certificates("trusted_certs"), certificates("untrusted_intermediates"));
    let roots: Vec<&[u8]> = roots.iter().map(Vec::as_slice).collect();
    let intermediates: Vec<&[u8]> = intermediates.iter().map(Vec::as_slice).collect();
    let lists = case["crls"].as_array().cloned().unwrap_or_default();
    let crls = lists.iter().map(|text| Crl::many_from_pem(text.as_str().unwrap()));
    let crls = crls.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?.concat();
    let wanted = case["expected_peer_names"].as_array().cloned().unwrap_or_default();
    let wanted = wanted.iter().chain(Some(&case["expected_peer_name"]).filter(|name| !name.is_null()));
    let names = wanted.map(name).collect::<Result<Vec<_>, _>>()?;
    let mut query = ChainQuery::at(time(&case["validation_time"]), &roots);
    query.intermediates = &intermediates;
    query.crls = &crls;
    query.purpose = Some(if case["validation_kind"] == "CLIENT" { Purpose::Client } else { Purpose::Server });
    query.names = &names;
    query.max_depth = case["max_chain_depth"].as_u64().map(|depth| depth as u8);
    match verify_chain(&der(case["peer_certificate"].as_str().unwrap()), &query) {
        Ok(chain) => {
            assert!(chain.path.len() >= 2 && chain.not_after >= query.at);
            Ok(())
        }
        Err(rejection) => {
            let explanation = rejection.explain();
            assert!(!explanation.message.is_empty() && !explanation.message.ends_with('.'));
            Err(format!("{explanation}"))
        }
    }
}

fn der(text: &str) -> Vec<u8> {
    pem::decode(text).unwrap().remove(0).der.to_vec()
}

fn name(name: &Value) -> Result<AltName, String> {
    let value = name["value"].as_str().unwrap();
    let read = match name["kind"].as_str().unwrap() {
        "DNS" => AltName::dns(value),
        "IP" => AltName::ip(value),
        "RFC822" => AltName::email(value),
        kind => panic!("a name of kind {kind}"),
    };
    read.map_err(|bad| bad.to_string())
}

/// Certificates count whole seconds.
fn time(text: &Value) -> UnixTime {
    let Some(text) = text.as_str() else { return NOW };
    let (date, clock) = text.split_once('T').unwrap();
    let numbers = |text: &str, by: char| -> Vec<i64> { text.split(by).map(|n| n.parse().unwrap()).collect() };
    let (date, clock) = (numbers(date, '-'), numbers(&clock[..8], ':'));
    let (year, month, day) = (date[0], date[1], date[2]);
    // Days from the civil calendar, with years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    UnixTime::from_secs(days * 86_400 + clock[0] * 3600 + clock[1] * 60 + clock[2])
}
