//! Tests that need what the public API does not show.

use std::sync::Arc;
use std::time::Duration;

use certus_pki::{Accept, Issuers, Purpose, Rejection};

use crate::admit::{Finished, Gate, Unknown};
use crate::error::{Failed, within};
use crate::verifier::Notes;
use crate::{Action, CutReason, HandshakeError, Lifecycle, Server, ServerOptions, Snapshot};

#[path = "../tests/it/world.rs"]
mod world;

use world::{Authority, DAY, Dial, bundle, client, connect, key, meet, node, only, refused};

const WEB_1: &str = "spiffe://prod/worker/web-1";
const WEB_2: &str = "spiffe://prod/worker/web-2";

/// The screening of sessions only improves the words: without it, admission refuses all the same.
#[tokio::test]
async fn i11_admission_alone_refuses_a_resumption() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let trust = bundle("prod", 1, &[&prod], &[]);
    let one = node(&prod.identity(WEB_1), &trust, &dial);
    let server = Server::screening(one.credentials(), ServerOptions::new(only(&["spiffe://prod/*"])), false);
    let identity = prod.identity(WEB_2);
    let client = client(&node(&identity, &trust, &dial), &[WEB_1]);
    connect(&server, &client).await;
    assert!(connect(&server, &client).await.0.resumed());
    let own = one.current().identity().cloned();
    let revoked = bundle("prod", 2, &[&prod], &[prod.revoke(&identity)]);
    one.publish(Snapshot::new(own, revoked)).unwrap();
    let (served, dialed) = meet(&server, &client).await;
    assert!(dialed.ok().unwrap().resumed(), "rustls resumed it");
    assert!(matches!(refused(served), HandshakeError::Rejected(Rejection::Revoked { .. })));
    assert_eq!(one.registry().live(), 0);
}

/// What is published between verification and registration is seen by the second look.
#[test]
fn i11_the_epoch_is_read_again_after_registration() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let one = node(&prod.identity(WEB_1), &bundle("prod", 1, &[&prod], &[]), &dial);
    let rules = (Issuers::Known, Lifecycle::default());
    let gate =
        Gate::new(one.credentials(), only(&["spiffe://prod/*"]), Purpose::Client, Unknown::Refused, rules);
    let key = key();
    let chain = prod.chain(WEB_2, &key, DAY);
    let identity = crate::Identity::new(&key, chain.clone()).ok().unwrap();
    let finished = |notes| Finished { chain: chain.clone(), resumed: false, own: None, notes };
    let verified = || {
        let view = gate.view();
        let peer = gate.judge(&view, &chain).unwrap();
        Notes { verified: Some((view, Arc::new(peer))), ..Notes::default() }
    };
    drop(gate.admit(finished(verified())).ok().unwrap());

    let refused = gate.admit_while(finished(verified()), || {
        let own = one.current().identity().cloned();
        let cuts = one.publish(Snapshot::new(own, bundle("prod", 2, &[&prod], &[prod.revoke(&identity)])));
        assert_eq!(cuts.unwrap(), [], "it is not registered yet");
    });
    assert!(matches!(refused.err(), Some(Rejection::Revoked { .. })));
    // A verdict by an older view is worth nothing.
    let stale = gate.admit(finished(Notes::default()));
    assert!(matches!(stale.err(), Some(Rejection::Revoked { .. })));

    let own = one.current().identity().cloned();
    one.publish(Snapshot::new(own, bundle("prod", 3, &[&prod], &[]))).unwrap();
    let refused = gate.admit_while(finished(verified()), || {
        assert_eq!(gate.set_accept(Accept::only(Vec::new())), []);
    });
    assert!(matches!(refused.err(), Some(Rejection::NotAllowed { .. })));
    assert_eq!(one.registry().indexed(), [0; 6]);
}

/// A chain that was found good is not verified again, but only as long as nothing could say otherwise.
#[test]
fn i11_a_remembered_verdict_ends_with_its_view_and_its_time() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let one = node(&prod.identity(WEB_1), &bundle("prod", 1, &[&prod], &[]), &dial);
    let rules = (Issuers::Known, Lifecycle::default());
    let gate =
        Gate::new(one.credentials(), only(&["spiffe://prod/*"]), Purpose::Client, Unknown::Refused, rules);
    let identity = prod.identity(WEB_2);
    let chain = identity.chain();
    let first = gate.judge(&gate.view(), chain).unwrap();
    assert_eq!(gate.judge(&gate.view(), chain).unwrap(), first);
    // The same bytes cut elsewhere are another chain.
    let mut cut = chain.to_vec();
    let last = cut[0].pop().unwrap();
    cut[1].insert(0, last);
    assert!(gate.judge(&gate.view(), &cut).is_err());

    gate.set_accept(only(&[WEB_1]));
    assert!(matches!(gate.judge(&gate.view(), chain), Err(Rejection::NotAllowed { .. })));
    gate.set_accept(only(&["spiffe://prod/*"]));
    gate.judge(&gate.view(), chain).unwrap();
    let own = one.current().identity().cloned();
    let publish = |revision, authorities: &[&Authority], revoked: &[certus_pki::Revocation]| {
        one.publish(Snapshot::new(own.clone(), bundle("prod", revision, authorities, revoked))).unwrap();
    };
    publish(2, &[&prod], &[prod.revoke(&identity)]);
    assert!(matches!(gate.judge(&gate.view(), chain), Err(Rejection::Revoked { .. })));
    publish(3, &[&prod], &[]);
    gate.judge(&gate.view(), chain).unwrap();
    publish(4, &[&Authority::new("prod")], &[]);
    assert!(gate.judge(&gate.view(), chain).is_err());
    publish(5, &[&prod], &[]);
    gate.judge(&gate.view(), chain).unwrap();
    dial.advance(world::DAY);
    dial.advance(world::DAY);
    assert!(matches!(gate.judge(&gate.view(), chain), Err(Rejection::Expired { .. })));
}

#[tokio::test]
async fn the_registry_keeps_nothing_of_what_ended() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let trust = bundle("prod", 1, &[&prod], &[]);
    let one = node(&prod.identity(WEB_1), &trust, &dial);
    let server = world::server(&one, &["spiffe://prod/*"]);
    let identity = prod.identity(WEB_2);
    let client = client(&node(&identity, &trust, &dial), &[WEB_1]);
    let kept = connect(&server, &client).await;
    for _ in 0..5 {
        drop(connect(&server, &client).await);
    }
    assert_eq!(one.registry().indexed(), [1; 6]);
    let own = one.current().identity().cloned();
    one.publish(Snapshot::new(own, bundle("prod", 2, &[&prod], &[prod.revoke(&identity)]))).unwrap();
    assert_eq!(one.registry().indexed(), [0; 6], "what was cut is forgotten before it is dropped");
    drop(kept);
    assert_eq!(one.registry().indexed(), [0; 6]);
}

/// A listener's rules are forgotten with it and with the last of its connections, whichever goes first.
#[tokio::test]
async fn the_registry_keeps_nothing_of_listeners_and_dialers_that_are_gone() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let trust = bundle("prod", 1, &[&prod], &[]);
    let one = node(&prod.identity(WEB_1), &trust, &dial);
    let server = world::server(&one, &["spiffe://prod/*"]);
    let two = node(&prod.identity(WEB_2), &trust, &dial);
    let client = client(&two, &[WEB_1]);
    let (served, dialed) = connect(&server, &client).await;
    assert_eq!((one.registry().ends(), two.registry().ends()), (1, 1));
    let admission = served.admission().clone();
    drop((server, served));
    assert_eq!(
        (one.registry().ends(), one.registry().live()),
        (1, 1),
        "its connection lives on by its rules"
    );
    drop(admission);
    assert_eq!((one.registry().ends(), one.registry().indexed()), (0, [0; 6]));
    drop(dialed);
    assert_eq!((two.registry().ends(), two.registry().indexed()), (1, [0; 6]));
    drop(client);
    assert_eq!(two.registry().ends(), 0);
}

/// A drained connection that ends by itself leaves nothing to cut, nor does one whose listener refused it.
#[tokio::test(start_paused = true)]
async fn the_registry_keeps_nothing_of_what_was_drained_or_refused() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let trust = bundle("prod", 1, &[&prod], &[]);
    let one = node(&prod.identity(WEB_1), &trust, &dial);
    let drain = Action::Drain(Duration::from_secs(30));
    let lifecycle = Lifecycle { on_rotation: drain, ..Lifecycle::default() };
    let options = ServerOptions { lifecycle, ..ServerOptions::new(only(&["spiffe://prod/*"])) };
    let server = Server::new(one.credentials(), options);
    let client = client(&node(&prod.identity(WEB_2), &trust, &dial), &[WEB_1]);
    let (kept, finishes) = (connect(&server, &client).await, connect(&server, &client).await);
    one.publish_identity(prod.identity(WEB_1)).unwrap();
    finishes.0.admission().draining().cancelled().await;
    drop(finishes);
    kept.0.cancelled().cancelled().await;
    assert_eq!(one.registry().indexed(), [0; 6]);
    server.set_accept(Accept::only(Vec::new()));
    assert!(meet(&server, &client).await.0.is_err());
    assert_eq!(one.registry().indexed(), [0; 6]);
}

/// Who began a handshake under an identity that was replaced before its end is in time for the rule.
#[test]
fn a_rotation_during_a_handshake_is_not_missed() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let one = node(&prod.identity(WEB_1), &bundle("prod", 1, &[&prod], &[]), &dial);
    let lifecycle = Lifecycle { on_rotation: Action::Cut, ..Lifecycle::default() };
    let rules = (Issuers::Known, lifecycle);
    let gate =
        Gate::new(one.credentials(), only(&["spiffe://prod/*"]), Purpose::Client, Unknown::Refused, rules);
    let chain = prod.chain(WEB_2, &key(), DAY);
    let finished = || {
        let own = one.current().identity().cloned();
        Finished { chain: chain.clone(), resumed: false, own, notes: Notes::default() }
    };
    let registered = gate.admit_while(finished(), || {
        assert_eq!(one.publish_identity(prod.identity(WEB_1)).unwrap(), [], "it is not registered yet");
    });
    assert_eq!(registered.ok().unwrap().connection.reason(), Some(&CutReason::OwnReplaced));
    assert!(gate.admit(finished()).ok().unwrap().connection.reason().is_none());
    assert_eq!(one.registry().indexed(), [0; 6]);
}

/// The last moment is the one of the policy in force at the end of the handshake.
#[test]
fn a_grace_that_ends_during_a_handshake_is_not_kept() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let one = node(&prod.identity(WEB_1), &bundle("prod", 1, &[&prod], &[]), &dial);
    let accept = || only(&["spiffe://prod/*"]);
    let rules = (Issuers::Known, Lifecycle::default());
    let patient = accept().allowing_expired(DAY);
    let gate = Gate::new(one.credentials(), patient, Purpose::Client, Unknown::Refused, rules);
    let chain = prod.chain(WEB_2, &key(), DAY);
    let finished = Finished { chain, resumed: false, own: None, notes: Notes::default() };
    let registered = gate.admit_while(finished, || drop(gate.set_accept(accept()))).ok().unwrap();
    assert_eq!(registered.connection.last_moment(), world::START.plus(DAY));
    dial.advance(DAY);
    dial.advance(certus_pki::Lifetime::from_secs(1));
    assert_eq!(one.registry().sweep(dial.now()).len(), 1);
}

#[tokio::test]
async fn a_handshake_ends_in_time() {
    let never = std::future::pending::<Result<(), (std::io::Error, ())>>();
    let (failed, _) = within(Duration::from_millis(5), never).await.unwrap_err();
    assert!(matches!(failed, Failed::Timeout));
    assert_eq!(failed.explained(&Notes::default()), HandshakeError::Timeout);
}
