//! What a bundle that is not in force yet would do.

use certus_pki::{Explain, Rejection, code};
use certus_tls::{Client, ClientOptions};

use crate::world::*;

const WEB_1: &str = "spiffe://prod/worker/web-1";
const ALL: &[&str] = &["spiffe://prod/*"];

#[tokio::test]
async fn shadow_lists_exactly_those_that_would_be_refused_and_cuts_nobody() {
    let dial = Dial::new();
    let [old, new] = [Authority::new("prod"), Authority::new("prod")];
    let both = bundle("prod", 1, &[&old, &new], &[]);
    let one = node(&new.identity(WEB_1), &both, &dial);
    let server = server(&one, ALL);
    let mut pairs = Vec::new();
    for (authority, id) in [(&old, "a"), (&new, "b"), (&old, "c"), (&new, "d")] {
        let identity = authority.identity(&format!("spiffe://prod/worker/{id}"));
        pairs.push(connect(&server, &client(&node(&identity, &both, &dial), ALL)).await);
    }
    let candidate = bundle("prod", 2, &[&new], &[]);
    let refused = one.registry().shadow(&candidate, dial.now());
    let names: Vec<_> = refused.iter().map(|(info, _)| info.peer.as_ref().unwrap().peer.name()).collect();
    assert_eq!(names, ["spiffe://prod/worker/a", "spiffe://prod/worker/c"]);
    assert!(refused.iter().all(|(_, why)| matches!(why, Rejection::UnknownAuthority { .. })));
    assert!(refused.iter().all(|(_, why)| why.explain().code == code::UNKNOWN_AUTHORITY));

    assert_eq!(one.registry().live(), 4);
    for (served, dialed) in &mut pairs {
        assert!(served.cut().is_none() && !served.admission().draining().is_cancelled());
        talk(served, dialed).await;
    }
    // The bundle in force refuses nobody, and what the shadow said is what happens.
    assert_eq!(one.registry().shadow(&both, dial.now()), []);
    let mut cut: Vec<_> = one.publish_bundle(candidate).unwrap().into_iter().map(|cut| cut.peer).collect();
    cut.sort();
    assert_eq!(cut, names);
}

/// A caller of managers takes issuers that its bundle does not name: the shadow and a removed root too.
#[tokio::test]
async fn shadow_and_a_removed_root_judge_by_the_dialer_s_own_choice_of_issuers() {
    let dial = Dial::new();
    let [old, new] = [Authority::new("prod"), Authority::new("prod")];
    let later = new.with_another_issuer();
    let both = bundle("prod", 1, &[&old, &new], &[]);
    let managers = node(&later.identity(WEB_1), &bundle("prod", 2, &[&old, &new, &later], &[]), &dial);
    let server = server(&managers, ALL);
    let two = node(&new.identity("spiffe://prod/worker/web-2"), &both, &dial);
    let issuers = certus_pki::Issuers::AnyBelowRoot;
    let dialer = Client::new(two.credentials(), ClientOptions { issuers, ..ClientOptions::new(only(ALL)) });
    let mut pair = connect(&server, &dialer).await;
    let without = bundle("prod", 3, &[&new], &[]);
    assert_eq!(two.registry().shadow(&without, dial.now()), []);
    assert_eq!(two.publish_bundle(without).unwrap(), []);
    talk(&mut pair.0, &mut pair.1).await;
}
