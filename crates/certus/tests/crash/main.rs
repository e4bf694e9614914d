//! The real manager, killed at any moment under load, again and again: nothing it answered is lost.
//!
//! The manager is the binary in a process of its own; its callers are library clients in this one. What
//! they were answered is remembered, and held against the cluster after every restart.
#![allow(clippy::print_stdout, reason = "the story and its seed belong to the test's output")]

mod load;
mod manager;

use std::time::{Duration, Instant};

use certus_pki::{Explain, code};
use certus_testkit::cluster::Operator;

use load::{Load, Witness};
use manager::Killable;

/// How often the manager is killed.
const KILLS: u64 = 50;
/// Shortest and longest life of a manager, from the moment it answers.
const LIFE_MS: std::ops::Range<u64> = 10..160;
/// Used-up tokens that are tried once more at the end.
const TOKENS_TRIED: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn i4_i5_i8_i10_nothing_that_was_answered_is_lost_when_the_manager_is_killed() {
    let seed = std::env::var("CERTUS_CRASH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("seed {seed}: again with CERTUS_CRASH_SEED={seed}");
    let mut chance = Chance(seed);
    let (mut manager, operator) = Killable::found().await;
    let mut witness = Witness::default();
    for round in 0..KILLS {
        manager.start().await;
        let load = Load::start(round, &operator, manager.address(), &mut witness).await;
        let life = Duration::from_millis(chance.between(LIFE_MS));
        tokio::time::sleep(life).await;
        manager.kill().await;
        load.stop(&mut witness).await;

        manager.start().await;
        check(round, &operator, &witness).await;
        manager.kill().await;
        witness.checked();
    }
    manager.start().await;
    check_everything(&operator, &mut witness, manager.address()).await;
    manager.kill().await;
    println!("{witness}");
    assert!(witness.joined() > 50 && witness.renewed() > 50, "the load was real: {witness}");
}

/// What the last life answered is still there.
async fn check(round: u64, operator: &Operator, witness: &Witness) {
    for serial in witness.unchecked() {
        let found = load::record_of(operator, serial).await;
        assert!(found.is_some(), "round {round}: {serial} was handed out and is not on record (I4)");
    }
    for serial in witness.revoked() {
        let record = load::record_of(operator, serial).await.expect("it is on record");
        assert!(record.revoked_at.is_some(), "round {round}: {serial} was revoked and is not any more (I10)");
    }
}

/// Over the whole story: no serial twice, used-up tokens stay used up, the revoked stay out, and nobody
/// was locked out by an answer that was lost.
async fn check_everything(operator: &Operator, witness: &mut Witness, address: std::net::SocketAddr) {
    let listed = load::all_records(operator).await;
    let mut serials: Vec<&[u8]> =
        listed.iter().filter_map(|cert| cert.id.as_ref()).map(|id| &id.serial[..]).collect();
    let records = serials.len();
    serials.sort_unstable();
    serials.dedup();
    assert_eq!(serials.len(), records, "a serial came twice (I5)");
    for serial in witness.every() {
        assert!(serials.binary_search(&serial.significant()).is_ok(), "{serial} is not listed (I4)");
    }
    let used_up = load::used_up_tokens(operator).await;
    for token in witness.spent_tokens() {
        assert!(used_up.contains(&token.id()), "token {} can be used again (I5)", token.id());
    }
    // Each try is two calls without a certificate, which one address may not make without end.
    let some = witness.spent_tokens().len().div_ceil(TOKENS_TRIED);
    for token in witness.spent_tokens().iter().step_by(some.max(1)) {
        let refused = load::join_with(token, "late", address).await.err().expect("the token is used up");
        assert_eq!(refused.explain().code, code::TOKEN_USED_UP);
    }
    let begin = Instant::now();
    for node in witness.nodes_mut() {
        let outcome = node.renew(address).await;
        match (node.revoked, outcome) {
            (false, Ok(_)) => {}
            (false, Err(error)) => panic!("{} is locked out: {}", node.id, error.explain()),
            (true, Ok(_)) => panic!("{} was revoked and renewed (I10)", node.id),
            (true, Err(error)) => {
                let code = error.explain().code;
                let barred = [code::PEER_REJECTED_US, code::RENEWAL_BARRED, code::REVOKED];
                assert!(barred.contains(&code), "{}", error.explain());
            }
        }
    }
    println!("every node renewed in {:?}", begin.elapsed());
}

/// A small generator of chance that can be repeated.
struct Chance(u64);

impl Chance {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn between(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }
}
